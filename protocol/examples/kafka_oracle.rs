//! Apache Kafka's own classes as an oracle: `kafka_oracle JAR-DIR [SEED]` makes random messages of every version with our
//! codecs, has Kafka's read and write them, and fails when a byte differs. It needs a JDK (17 or newer) as `java`.
//!
//! Must not know: how either side reads a message.

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cairn_protocol::codec::Message;
use support::random::Random;
use support::{all_messages, message_bytes};

const MESSAGES_PER_VERSION: u64 = 20;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kafka_oracle: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(jars) = arguments.next() else { bail!("usage: kafka_oracle JAR-DIR [SEED]") };
    let seed = arguments.next().map_or(Ok(1), |text| text.parse()).context("read the seed")?;
    let lines = lines(seed)?;
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/kafka_oracle/Oracle.java");
    let mut java = Command::new("java");
    java.args(["-cp", &format!("{jars}/*"), source]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut java = java.spawn().context("start java")?;
    let mut input = java.stdin.take().context("java has no input")?;
    let count = lines.len();
    let writer = std::thread::spawn(move || lines.iter().try_for_each(|line| writeln!(input, "{line}")));
    let mut last = String::new();
    for line in BufReader::new(java.stdout.take().context("java has no output")?).lines() {
        last = line?;
        println!("{last}");
    }
    writer.join().expect("no panic").context("write to java")?;
    ensure!(java.wait()?.success(), "java failed");
    ensure!(last == format!("same {count}"), "of {count} messages with seed {seed} some differ");
    Ok(())
}

type Rewrite = fn(&[u8], i16) -> Result<Vec<u8>>;

/// What our codecs write of what they read.
fn rewrite<M: Message>(bytes: &[u8], version: i16) -> Result<Vec<u8>> {
    let message = M::decode_all(bytes.to_vec().into(), version).with_context(|| M::NAME)?;
    Ok(message.to_bytes(version).with_context(|| M::NAME)?.into())
}

macro_rules! rewrites {
    ($($name:ident),* $(,)?) => {
        [$((stringify!($name), rewrite::<cairn_protocol::messages::$name> as Rewrite)),*]
    };
}

fn lines(seed: u64) -> Result<Vec<String>> {
    let rewrites: BTreeMap<&str, Rewrite> = cairn_protocol::every_message!(rewrites).into_iter().collect();
    let mut random = Random::new(seed);
    let mut lines = Vec::new();
    for (name, message) in all_messages() {
        for version in message.versions.first..=message.versions.last {
            for _ in 0..MESSAGES_PER_VERSION {
                let bytes = message_bytes(&message, version, &mut random);
                let bytes = rewrites[name.as_str()](&bytes, version)?;
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                lines.push(format!("{name} {version} {hex}"));
            }
        }
    }
    Ok(lines)
}
