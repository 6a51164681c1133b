//! Appends to a log until somebody kills it, and tells on its standard output what is acknowledged: `appender DIR DURABILITY SEED`.
//!
//! It must not know who reads, nor when the end comes.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use cairn_protocol::ids::{LeaderEpoch, Timestamp};
use cairn_protocol::records::{BatchView, TimestampPolicy};
use cairn_storage::log::{AppendAs, Durability, Log};
use cairn_tests::dice::Dice;
use cairn_tests::stored::{batch_at, open};

/// One batch in so many is followed by each of these.
const SYNC_EVERY: u64 = 40;
const CHECKPOINT_EVERY: u64 = 60;
const MAINTAIN_EVERY: u64 = 80;
/// Batches that wait for one sync in a `synced` log.
const GROUP_MAX: u64 = 4;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, durability, seed] = arguments.as_slice() else { bail!("appender DIR DURABILITY SEED") };
    let durability = match durability.as_str() {
        "replicated" => Durability::Replicated,
        "synced" => Durability::Synced,
        other => bail!("durability {other}"),
    };
    let mut dice = Dice::new(seed.parse()?);
    let (dir, mut log) = open(Path::new(path), durability)?;
    let mut out = std::io::stdout().lock();

    loop {
        let group = if durability == Durability::Synced { dice.among(1..GROUP_MAX + 1) } else { 1 };
        for _ in 0..group {
            append(&mut log, &mut dice)?;
        }
        if durability == Durability::Synced || dice.among(0..SYNC_EVERY) == 0 {
            sync(&mut log)?;
        }
        tell(&mut out, 'A', log.end_offset().0)?;

        if dice.among(0..CHECKPOINT_EVERY) == 0 {
            let end = log.end_offset();
            log.note_high_watermark(end);
            dir.write_checkpoint()?;
        }
        if dice.among(0..MAINTAIN_EVERY) == 0 {
            let end = log.end_offset();
            let maintained = log.maintain(Timestamp(end.0), end)?;
            if let Some(removal) = maintained.removal {
                // Told before it is done: from here on it may be gone.
                tell(&mut out, 'S', log.start_offset().0)?;
                removal.run()?;
            }
        }
    }
}

fn append(log: &mut Log, dice: &mut Dice) -> anyhow::Result<()> {
    let end = log.end_offset();
    let batch = batch_at(end, dice)?;
    let view = BatchView::parse(&batch)?;
    let role = AppendAs::Leader { epoch: LeaderEpoch(0), now: Timestamp(end.0), timestamps: TimestampPolicy::Keep };
    let appended = log.append(&view, role).with_context(|| format!("append at {end}"))?;
    if appended.base_offset != end {
        bail!("a batch for {end} went to {}", appended.base_offset);
    }
    Ok(())
}

fn sync(log: &mut Log) -> anyhow::Result<()> {
    if let Some(job) = log.begin_sync() {
        let synced = job.run()?;
        log.on_synced(synced);
    }
    Ok(())
}

/// One write for one line: a kill leaves whole lines, or a last one without its end.
fn tell(out: &mut impl Write, kind: char, offset: i64) -> std::io::Result<()> {
    out.write_all(format!("{kind} {offset}\n").as_bytes())?;
    out.flush()
}
