//! The end of a move: from a copy that is nearly whole to the partition's log, while producers go on.
//!
//! ```text
//!   chase       the copy is made durable, named, and made durable again, until little is left
//!   level       it takes what the log takes; appends wait for some batches to be copied in memory, and for nothing else
//!   durable     as far as the log was when it drew level; what is told to be durable from then on is so in both
//!   noted       durably: from here on the copy counts after a crash, which by then has all that was promised
//!   replaced    the copy is the log; the log before is removed
//! ```
//!
//! Must not know: which partitions move when, threads, pace.

use cairn_protocol::ids::Offset;
use cairn_storage::dir::{DirOffline, ReplaceError};
use cairn_storage::log::{CopyError, LogCopy, LogName};

use super::{Move, PIECE_BYTES};
use crate::clock;
use crate::partitions::dirs::LogDirs;
use crate::partitions::partition::Drawn;
use crate::partitions::{DirAt, Partition};

/// So often a copy runs after a log that grows, before it pauses and comes again.
const ROUNDS_MAX: u32 = 64;
/// About so much appends may have to wait for, which takes some ten microseconds.
const LEFT_BYTES_MAX: u64 = 64 << 10;

/// How the end of a move came out.
pub(super) enum Finished {
    Moved,
    /// The log grows too fast, or there was no room.
    Behind(Box<LogCopy>),
    Gone,
    InDoubt(CopyError),
}

/// From a copy that is nearly whole to the partition's log.
pub(super) fn finish(dirs: &LogDirs, one: &Move, mut copy: Box<LogCopy>) -> Result<Finished, CopyError> {
    let partition = &one.partition;
    let (topic, index, from) = (partition.topic_id, partition.index, partition.log_dir());
    loop {
        match chase(dirs, one, &mut copy) {
            Ok(Chased::Gone) => {
                discard(partition, *copy);
                return Ok(Finished::Gone);
            }
            Ok(Chased::Level) if copy.is_settled() => break,
            // What batches do not tell is durable before the copy has the log's name.
            Ok(Chased::Level) => copy = Box::new(copy.settle()?),
            Err(error) => return behind_or_failed(partition, copy, error),
        }
    }
    match draw_near(partition, &mut copy) {
        Ok(true) => {}
        Ok(false) => return Ok(Finished::Behind(copy)),
        Err(error) => return behind_or_failed(partition, copy, error),
    }
    match partition.draw_level(copy, clock::now()) {
        Drawn::Level => {}
        Drawn::Not(copy, None) => return Ok(Finished::Behind(copy)),
        Drawn::Not(copy, Some(error)) => return behind_or_failed(partition, copy, error),
        Drawn::Gone(copy) => {
            discard(partition, *copy);
            return Ok(Finished::Gone);
        }
    }
    partition.sync_mirror();
    if !partition.decide() {
        return match partition.end_mirror() {
            Some((copy, Some(error))) => behind_or_failed(partition, copy, error),
            Some((copy, None)) => Ok(Finished::Behind(copy)),
            None => Ok(Finished::Gone),
        };
    }
    match dirs.commit(topic, index, one.to) {
        Ok(()) => {}
        Err(ReplaceError::DiskFull) => {
            return Ok(partition.end_mirror().map_or(Finished::Gone, |(copy, _)| Finished::Behind(copy)));
        }
        Err(ReplaceError::Offline(offline)) => return undo(partition, offline),
    }
    let Some(old) = partition.replace_log(one.to) else {
        drop(partition.close());
        let why = DirOffline { path: dirs.get(one.to).path.clone(), cause: "the copy lacks something".into() };
        return Ok(Finished::InDoubt(why.into()));
    };
    dirs.count_out(from);
    partition.end_move();
    let (topic, partition) = (&*partition.topic, partition.index.0);
    tracing::info!(topic, partition, to = %dirs.get(one.to).path.display(), "moved to another log dir");
    let removed = match dirs.opened(from) {
        Some(dir) => dir.delete_log(*old).and_then(|deleted| deleted.remove()),
        None => Ok(()),
    };
    if let Err(offline) = removed {
        tracing::error!(topic, partition, %offline, "partition not removed from the log dir that it has left");
    }
    Ok(Finished::Moved)
}

/// Whether there is a log to run after.
enum Chased {
    Level,
    Gone,
}

/// Makes the copy what the log is at one moment, durably.
fn chase(dirs: &LogDirs, one: &Move, copy: &mut LogCopy) -> Result<Chased, CopyError> {
    let Some(state) = one.partition.log_state() else { return Ok(Chased::Gone) };
    while copy.advance(state.end, PIECE_BYTES, clock::now())? > 0 {}
    copy.adopt(&state)?;
    note_cleaned(dirs, &one.partition, one.to)?;
    Ok(Chased::Level)
}

/// Copies what came meanwhile, without a sync and so faster than it comes, until next to nothing is left. False when it comes faster
/// all the same.
fn draw_near(partition: &Partition, copy: &mut LogCopy) -> Result<bool, CopyError> {
    for _ in 0..ROUNDS_MAX {
        let (end, mut bytes) = (partition.reader().end_offset(), 0);
        while let copied @ 1.. = copy.advance(end, PIECE_BYTES, clock::now())? {
            bytes += copied;
        }
        if bytes <= LEFT_BYTES_MAX {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A copy that found no room is gone on with when there is some; any other one that failed is removed.
fn behind_or_failed(partition: &Partition, copy: Box<LogCopy>, error: CopyError) -> Result<Finished, CopyError> {
    match error {
        CopyError::NoSpace => Ok(Finished::Behind(copy)),
        error => {
            discard(partition, *copy);
            Err(error)
        }
    }
}

/// Nobody knows whether it was noted that the copy is the log: so there must be no copy. Where it cannot be removed neither of the two
/// takes anything from now on.
fn undo(partition: &Partition, why: DirOffline) -> Result<Finished, CopyError> {
    let removed = partition.doubt(&why.to_string()).map(|copy| copy.discard());
    match removed {
        Some(Ok(deleted)) => {
            drop(partition.end_mirror());
            if let Err(offline) = deleted.remove() {
                tracing::error!(topic = &*partition.topic, %offline, "copy of a partition not removed");
            }
            Err(why.into())
        }
        Some(Err(_)) | None => {
            drop(partition.close());
            Ok(Finished::InDoubt(why.into()))
        }
    }
}

/// What is compacted stays so: compaction did nothing since the copy was begun.
fn note_cleaned(dirs: &LogDirs, partition: &Partition, to: DirAt) -> Result<(), CopyError> {
    let Ok(name) = LogName::new(&partition.topic, partition.index) else { return Ok(()) };
    let cleaned: Option<Offset> = dirs.opened(partition.log_dir()).and_then(|dir| dir.cleaned_to(&name));
    match (cleaned, dirs.opened(to)) {
        (Some(end), Some(dir)) => Ok(dir.note_cleaned(&name, end)?),
        _ => Ok(()),
    }
}

pub(super) fn discard(partition: &Partition, copy: LogCopy) {
    if let Err(offline) = copy.discard().and_then(|deleted| deleted.remove()) {
        let (topic, partition) = (&*partition.topic, partition.index.0);
        tracing::error!(topic, partition, %offline, "copy of a partition not removed");
    }
}
