//! Recovery of one segment: which of its batches hold, and indexes to match.
//!
//! The scan begins at the last index entry whose batch is there, at or below where it has to begin, and ends at the first
//! batch that does not hold. Index entries behind that are made anew from what was scanned.
//!
//! Must not know: other segments, what is done about a segment that ends early.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};

use super::active::{Indexer, index_time};
use super::ahead::Ahead;
use super::batch::{BadBatch, Stored};
use super::delete::remove_if_there;
use super::epochs::EpochHistory;
use super::index::{Entry, Index, OffsetEntry, TimeEntry, count_entries, count_leading, entry_at, relative};
use super::segment::{Extent, Fault, Largest, Segment};
use super::{Folder, later};
use crate::dir::checkpoint::OffsetOrder;
use crate::dir::state::DirState;
use crate::disk::{Disk, SealedFile};
use crate::num::as_u64;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// The whole batch, by its checksum.
    Checksums,
    /// Only headers: what was synced is verified when it is read.
    Headers,
}

/// What to scan.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) base: Offset,
    /// Where the next segment begins: what lies behind is dead.
    pub(super) limit: Option<Offset>,
    /// Batches that end at or below it need not be scanned.
    pub(super) from: Offset,
    /// Where the batches end, when that is known: what lies behind may go meanwhile.
    pub(super) end_position: Option<u64>,
    pub(super) order: OffsetOrder,
    pub(super) depth: Depth,
    pub(super) index_interval_bytes: u64,
}

/// Why a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At the next segment's base offset.
    Limit,
    /// At the file's end, or at zeros.
    End,
    /// At something that is no batch, or not the one that should be there.
    Bad(BadBatch),
}

/// A scanned segment.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) segment: Segment,
    pub(super) stop: Stop,
    /// Where the scan began.
    pub(super) from_position: u64,
    /// The file's length.
    pub(super) file_len: u64,
    /// Entries at the front of the index files that hold; what is in the index behind them is only in memory.
    pub(super) offsets_kept: usize,
    /// The same for the time index.
    pub(super) times_kept: usize,
    pub(super) indexer: Indexer,
    pub(super) first_timestamp: Option<Timestamp>,
    /// Whether offsets were missing in what was scanned.
    pub(super) order: OffsetOrder,
}

/// The index files of one segment, as far as they can be believed.
struct Hints {
    offsets: (Option<Arc<dyn SealedFile>>, usize),
    times: (Option<Arc<dyn SealedFile>>, usize),
    position: u64,
    expected: Offset,
    largest: Largest,
}

/// Scans one segment, and notes leader epochs that are new.
pub(super) fn scan(dir: &DirState, folder: &Folder, task: &Task, epochs: &mut EpochHistory) -> Result<Scanned, Fault> {
    let base = task.base;
    let io = |source| Fault::Io { base, source };
    let path = folder.segment(base);
    let file = match task.end_position {
        Some(end) => dir.disk.open_front(&path, end),
        None => dir.disk.open_sealed(&path),
    };
    let file = file.map_err(io)?;
    let file_len = file.len();
    let all = Extent {
        end_position: file_len,
        end_offset: base,
        largest: Largest::none(base),
        takes_appends: false,
        trusted_from: u64::MAX,
    };
    let readable = || Arc::clone(&file) as Arc<dyn crate::disk::Readable>;
    let ahead = Arc::new(Ahead::new(readable(), file_len));
    let whole = Segment::new(base, ahead, Index::empty(base), Index::empty(base), &all);
    let hints = hints(dir, folder, task, &whole)?;

    let (offsets_kept, times_kept) = (hints.offsets.1, hints.times.1);
    let extent = Extent {
        end_position: hints.position,
        end_offset: hints.expected,
        largest: hints.largest,
        takes_appends: false,
        trusted_from: match task.depth {
            Depth::Checksums => hints.position,
            Depth::Headers => u64::MAX,
        },
    };
    let segment = Segment::new(base, readable(), index(base, hints.offsets), index(base, hints.times), &extent);
    let mut scanned = Scanned {
        segment,
        stop: Stop::End,
        from_position: hints.position,
        file_len,
        offsets_kept,
        times_kept,
        indexer: Indexer { last_position: hints.position },
        first_timestamp: None,
        order: OffsetOrder::Dense,
    };
    scanned.first_timestamp = match whole.batch_at(0) {
        Ok(first) => first.map(|found| found.batch.header.max_timestamp),
        Err(Fault::Damaged { .. }) => None,
        Err(other) => return Err(other),
    };
    scanned.walk(&whole, task, hints.expected, epochs)?;
    Ok(scanned)
}

impl Scanned {
    fn walk(
        &mut self,
        whole: &Segment,
        task: &Task,
        mut expected_offset: Offset,
        epochs: &mut EpochHistory,
    ) -> Result<(), Fault> {
        let mut position = self.from_position;
        let mut last_epoch: Option<LeaderEpoch> = None;
        self.stop = loop {
            let found = match whole.batch_at(position) {
                Ok(Some(found)) => found,
                Ok(None) | Err(Fault::Damaged { source: BadBatch::Zeros, .. }) => break Stop::End,
                Err(Fault::Damaged { source, .. }) => break Stop::Bad(source),
                Err(other) => return Err(other),
            };
            if task.limit.is_some_and(|limit| found.batch.base_offset() >= limit) {
                break Stop::Limit;
            }
            if let Err(bad) = check(&found.batch, task, expected_offset, last_epoch) {
                break Stop::Bad(bad);
            }
            if task.depth == Depth::Checksums {
                let bytes = whole.slice(position, position + found.batch.size)?;
                if let Err(bad) = found.batch.verify(&bytes) {
                    break Stop::Bad(bad);
                }
            }
            if found.batch.base_offset() > expected_offset {
                self.order = OffsetOrder::Rising;
            }
            self.take(&found.batch, position, task);
            last_epoch = found.batch.header.leader_epoch.or(last_epoch);
            if let Some(epoch) = found.batch.header.leader_epoch {
                // An epoch that does not follow on was ruled out above, or lies before the known ones.
                let _known_or_older = epochs.assign(epoch, found.batch.base_offset());
            }
            expected_offset = found.batch.end_offset();
            position += found.batch.size;
        };
        Ok(())
    }

    fn take(&mut self, batch: &Stored, position: u64, task: &Task) {
        let segment = &self.segment;
        let largest = later(segment.largest(), batch.header.max_timestamp, batch.last_offset());
        segment.publish(position + batch.size, batch.end_offset(), largest);
        self.indexer.index(segment, task.index_interval_bytes, position, batch.last_offset());
    }

    /// Whether the file ends right behind its last batch. A segment that lost bytes in a crash has zeros there, or is empty.
    pub(super) fn ends_exactly(&self) -> bool {
        let end = self.segment.end_position();
        self.stop == Stop::End && end == self.file_len && end > 0
    }

    /// Whether the file has nothing at all. Kafka's compaction leaves such segments; a crash may leave one of ours so.
    pub(super) fn is_empty(&self) -> bool {
        self.file_len == 0
    }

    /// The segment takes no more appends: its time index ends with its largest timestamp. Index files are written when
    /// they differ from what was found.
    pub(super) fn finish_sealed(self, dir: &DirState, folder: &Folder) -> io::Result<Segment> {
        if self.file_len > self.segment.end_position() {
            dir.disk.truncate(&folder.segment(self.segment.base), self.segment.end_position())?;
        }
        let segment = self.segment;
        let base = segment.base;
        index_time(&segment)?;
        let (offsets_path, times_path) = (folder.offset_index(base), folder.time_index(base));
        rewrite(&*dir.disk, &offsets_path, &segment.offsets, self.offsets_kept)?;
        rewrite(&*dir.disk, &times_path, &segment.times, self.times_kept)?;
        super::roll::reopen_sealed(dir, folder, &segment)
    }
}

fn check(batch: &Stored, task: &Task, expected: Offset, last_epoch: Option<LeaderEpoch>) -> Result<(), BadBatch> {
    let found = batch.base_offset();
    let follows = match task.order {
        OffsetOrder::Dense => found == expected,
        OffsetOrder::Compacted | OffsetOrder::Rising => found >= expected,
    };
    if !follows || task.limit.is_some_and(|limit| batch.end_offset() > limit) {
        return Err(BadBatch::Offset { found, expected });
    }
    match (batch.header.leader_epoch, last_epoch) {
        (Some(found), Some(before)) if found < before => Err(BadBatch::Epoch { found, before }),
        (None, Some(before)) => Err(BadBatch::Epoch { found: LeaderEpoch(-1), before }),
        _ => Ok(()),
    }
}

fn index<E: Entry>(base: Offset, (file, entries): (Option<Arc<dyn SealedFile>>, usize)) -> Index<E> {
    match file {
        Some(file) if entries > 0 => Index::of_file(base, file, entries),
        _ => Index::empty(base),
    }
}

/// Makes an index file hold exactly the index: keeps its first `kept` entries, replaces the rest.
pub(super) fn rewrite<E: Entry>(disk: &dyn Disk, path: &Path, index: &Index<E>, kept: usize) -> io::Result<()> {
    let bytes = index.encode_from(kept)?;
    let end = as_u64(index.len() * E::BYTES);
    disk.write_at(path, as_u64(kept * E::BYTES), &bytes)?;
    disk.truncate(path, end)
}

/// Finds out how much of the index files holds, and where to begin.
fn hints(dir: &DirState, folder: &Folder, task: &Task, whole: &Segment) -> Result<Hints, Fault> {
    let base = task.base;
    let nothing =
        Hints { offsets: (None, 0), times: (None, 0), position: 0, expected: base, largest: Largest::none(base) };
    let io = |source| Fault::Io { base, source };
    let Some(offsets_file) = open_if_there(&*dir.disk, &folder.offset_index(base)).map_err(io)? else {
        return Ok(nothing);
    };
    let count = count_entries::<OffsetEntry>(&*offsets_file).map_err(io)?;
    // Entries behind the limit are of a dead tail.
    let wanted = task.limit.map_or(task.from, |limit| limit.min(task.from));
    let Some(wanted) = relative(base, wanted) else { return Ok(nothing) };
    let leading = count_leading(&*offsets_file, count, |entry: &OffsetEntry| entry.relative < wanted).map_err(io)?;
    let last = leading.checked_sub(1);
    // A wrong entry says nothing about those before it: go back by growing steps, and give up soon.
    let mut candidate = last;
    let mut step = 1;
    while let Some(at) = candidate {
        if let Some(hint) = try_hint(dir, folder, &*offsets_file, at, whole)? {
            let (position, expected, times, largest) = hint;
            return Ok(Hints { offsets: (Some(offsets_file), at + 1), times, position, expected, largest });
        }
        tracing::warn!(segment = base.0, entry = at, "index entry does not hold");
        candidate = at.checked_sub(step);
        step *= 8;
    }
    Ok(nothing)
}

type Hint = (u64, Offset, (Option<Arc<dyn SealedFile>>, usize), Largest);

/// Whether the batch of an index entry is there, whole, and the time index goes with it.
fn try_hint(
    dir: &DirState,
    folder: &Folder,
    offsets: &dyn SealedFile,
    at: usize,
    whole: &Segment,
) -> Result<Option<Hint>, Fault> {
    let base = whole.base;
    let io = |source| Fault::Io { base, source };
    let entry: OffsetEntry = entry_at(offsets, at).map_err(io)?;
    let position = u64::from(entry.position);
    let found = match whole.batch_at(position) {
        Ok(Some(found)) => found,
        Ok(None) | Err(Fault::Damaged { .. }) => return Ok(None),
        Err(other) => return Err(other),
    };
    let last_offset = base.plus(i64::from(entry.relative));
    let bytes = whole.slice(position, position + found.batch.size)?;
    if found.batch.last_offset() != last_offset
        || found.batch.base_offset() < base
        || found.batch.verify(&bytes).is_err()
    {
        return Ok(None);
    }
    let Some(times_file) = open_if_there(&*dir.disk, &folder.time_index(base)).map_err(io)? else {
        // Nothing in the log has a timestamp, or the index is lost: only a scan tells.
        return Ok(None);
    };
    let count = count_entries::<TimeEntry>(&*times_file).map_err(io)?;
    let kept = count_leading(&*times_file, count, |time: &TimeEntry| time.relative <= entry.relative).map_err(io)?;
    let largest = match kept.checked_sub(1) {
        Some(last) => {
            let time: TimeEntry = entry_at(&*times_file, last).map_err(io)?;
            Largest { timestamp: time.timestamp, offset: base.plus(i64::from(time.relative)) }
        }
        None => Largest::none(base),
    };
    // The indexed batch is the largest so far, or one before it is.
    if largest.timestamp < found.batch.header.max_timestamp {
        return Ok(None);
    }
    Ok(Some((position, found.batch.base_offset(), (Some(times_file), kept), largest)))
}

fn open_if_there(disk: &dyn Disk, path: &Path) -> io::Result<Option<Arc<dyn SealedFile>>> {
    match disk.open_sealed(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the files of a segment that recovery has no use for.
pub(super) fn discard(dir: &DirState, folder: &Folder, base: Offset) -> io::Result<()> {
    remove_if_there(dir, &folder.segment(base))?;
    remove_if_there(dir, &folder.offset_index(base))?;
    remove_if_there(dir, &folder.time_index(base))
}
