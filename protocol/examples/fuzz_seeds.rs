//! Seeds for the fuzz targets of messages: `fuzz_seeds DIR` writes one small random message of every version into
//! DIR/request, DIR/response and DIR/stored.
//!
//! Must not know: what the fuzz targets check.

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::PathBuf;

use anyhow::{Context, Result};
use support::random::Random;
use support::schema::Kind;
use support::{all_messages, message_bytes};

const SEED: u64 = 7;

macro_rules! names {
    ($($name:ident),* $(,)?) => {
        [$(stringify!($name)),*]
    };
}

fn main() -> Result<()> {
    let dir = PathBuf::from(std::env::args().nth(1).context("usage: fuzz_seeds DIR")?);
    let mut random = Random::new(SEED);
    let stored = cairn_protocol::every_stored!(names);
    let mut count = 0;
    for (name, message) in all_messages() {
        for version in message.versions.first..=message.versions.last {
            let flexible = message.flexible.contains(version);
            let key = message.key.unwrap_or(0).to_be_bytes();
            let (target, before): (_, Vec<u8>) = match message.kind {
                Kind::Request => {
                    let client = if flexible { &b"\0\0\0\x01\0\x01c\0"[..] } else { b"\0\0\0\x01\0\x01c" };
                    ("request", [&key, &version.to_be_bytes(), client].concat())
                }
                Kind::Response => {
                    let is_tagged = flexible && name != "ApiVersionsResponse";
                    let header = if is_tagged { &b"\0\0\0\x01\0"[..] } else { b"\0\0\0\x01" };
                    ("response", [&key, &version.to_be_bytes(), header].concat())
                }
                Kind::Header => continue,
                Kind::Data | Kind::RecordKey | Kind::RecordValue => {
                    let index = stored.iter().position(|stored| *stored == name).context("a stored message")?;
                    let nth = version - message.versions.first;
                    ("stored", [i16::try_from(index)?.to_be_bytes(), nth.to_be_bytes()].concat())
                }
            };
            let bytes = [before, message_bytes(&message, version, &mut random)].concat();
            let dir = dir.join(target);
            std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
            std::fs::write(dir.join(format!("{name}-{version}")), bytes)?;
            count += 1;
        }
    }
    println!("{count} seeds in {}", dir.display());
    Ok(())
}
