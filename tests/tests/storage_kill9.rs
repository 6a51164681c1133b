//! A process that appends is killed with `kill -9`, hundreds of times on the same data: what it acknowledged is there, readable and as
//! it was written, and the next process goes on behind it.
//!
//! `CAIRN_STORAGE_KILLS` is how often (default 200).

use std::path::Path;

use anyhow::Context;
use cairn_storage::log::Durability;
use cairn_tests::dice::Dice;
use cairn_tests::report::say;
use cairn_tests::stored::{Appender, Told, open, verify};

const KILLS: u64 = 200;
/// A folder of data serves so many deaths, so that both new and old logs meet them.
const KILLS_PER_FOLDER: u64 = 50;
/// Between two deaths, in acknowledgements.
const LIFE: std::ops::Range<u64> = 1..400;

#[test]
fn nothing_acknowledged_is_lost_over_kills() -> anyhow::Result<()> {
    let kills =
        std::env::var("CAIRN_STORAGE_KILLS").map_or(Ok(KILLS), |text| text.parse()).context("CAIRN_STORAGE_KILLS")?;
    let mut dice = Dice::from_environment("storage_kill9");
    let program = Path::new(env!("CARGO_BIN_EXE_appender"));
    let mut records = 0;
    let mut folder = tempfile::TempDir::with_prefix("cairn-kill9-")?;
    let mut told = Told::default();
    for kill in 0..kills {
        if kill % KILLS_PER_FOLDER == 0 {
            folder = tempfile::TempDir::with_prefix("cairn-kill9-")?;
            told = Told::default();
        }
        // One death in four meets a log that syncs before it acknowledges.
        let durability = if kill % 4 == 3 { Durability::Synced } else { Durability::Replicated };
        let path = folder.path().join("data");
        let mut appender = Appender::start(program, &path, durability, &mut dice, told)?;
        appender.hear(dice.among(LIFE)).with_context(|| format!("in life {kill}"))?;
        told = appender.kill9()?;

        let (_dir, log) = open(&path, durability).with_context(|| format!("after kill {kill}"))?;
        records += verify(&log, told).with_context(|| format!("after kill {kill}"))?;
    }
    say(&format!("storage_kill9: {kills} kills, {records} records verified, lost=0"));
    Ok(())
}
