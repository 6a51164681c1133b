//! Truncation and reset: the log's end goes back, durably, without changing a byte that a reader may hold.
//!
//! ```text
//!   before     | 0 .......... | 100 ........ | 200 ... 250
//!   cut at 130                         ^
//!   after      | 0 .......... | 100 ..(dead) | 130        (a new file; 200 is removed)
//! ```
//!
//! Segments go from the last to the first, each removal durable before the next, so that a crash at any point leaves a
//! log that ends somewhere between the old end and the cut. What lies behind the cut in a segment that stays is dead: the
//! next segment's base offset ends it. The dead part is cut off once no reader can hold it (`dead_tail.rs`), or when the log is
//! opened again.
//!
//! Must not know: why the log is cut.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_protocol::ids::Offset;

use super::active::{Active, Backing};
use super::delete::{remove_if_there, remove_segment};
use super::epochs::{EpochHistory, Trimmed};
use super::error::TruncateError;
use super::replay::replay_producers;
use super::roll::{StartError, start_segment};
use super::segment::{Extent, Fault, Largest, Segment};
use super::{DeadTail, Hole, Log, later, mend};
use crate::dir::state::{DirOffline, ReplaceError, is_full};
use crate::disk::Readable;

impl Log {
    /// Cuts the log so that it ends at `offset`, or before it where `offset` lies within a batch. Answers the new end. In a hole
    /// that compaction has left the log ends at `offset` (see [`super::Hole`]).
    /// The cut is durable when this returns (Redpanda 75f02908a8: otherwise old batches can come back).
    ///
    /// # Errors
    /// When the log starts behind `offset`, or the disk fails.
    pub fn truncate_to(&mut self, offset: Offset) -> Result<Offset, TruncateError> {
        self.dir.check()?;
        let (start, end) = (self.start_offset(), self.end_offset());
        if offset >= end {
            return Ok(end);
        }
        if offset < start {
            return Err(TruncateError::BelowStart { to: offset, start });
        }
        // Waits for an exchange of files that compaction has begun, and has it begin no other.
        self.unsynced.next_generation();
        let epochs = self.epochs();
        let segments = self.shared.segments.load_full();
        let at = segments.partition_point(|segment| segment.base <= offset).saturating_sub(1);
        let cut = self.reader().heed(place_of_cut(&segments[at], offset))?;
        // A reader that finds the file of an index gone waits, and looks again.
        let shared = Arc::clone(&self.shared);
        let exchange = shared.exchange.lock();
        self.cut(&segments, at, &cut)?;
        shared.exchanges.fetch_add(1, Ordering::Release);
        drop((exchange, segments));
        self.cut_dead_tails()?;
        self.fill_up(cut.wanted, &epochs)?;
        let (end, moved) = (self.end_offset(), self.start_offset());
        if moved < start.min(end) {
            self.set_start_offset(start.min(end));
        }
        Ok(end)
    }

    /// Cuts the log in the segment at `at`.
    fn cut(&mut self, segments: &[Arc<Segment>], at: usize, cut: &Cut) -> Result<(), TruncateError> {
        let (start, end) = (self.start_offset(), cut.end);
        // Before anything is cut: an end below the recovery point would be taken for corruption. A batch of which the
        // first records were deleted goes whole.
        let (start_after, durable_after) = (start.min(end), self.durable_end().min(end));
        if start_after < start || durable_after < self.durable_end() {
            self.move_marks(start_after, durable_after)?;
        }
        let segment = &segments[at];
        let kept_in_place = cut.position > 0 && end > segment.base;
        let mut kept: Vec<Arc<Segment>> = segments[..at].to_vec();
        if kept_in_place {
            // With the new file the cut is done, whatever becomes of the segments behind it.
            let new = self.start_at(end)?;
            kept.push(Arc::new(self.keep_front(segment, cut)?));
            self.remove_from_end(&segments[at + 1..])?;
            return self.continue_with(new, kept);
        }
        self.remove_from_end(&segments[at..])?;
        let new = self.start_at(end).map_err(|error| self.no_way_back(error))?;
        self.continue_with(new, kept)
    }

    /// The part of a segment before the cut, with maps and indexes of its own.
    fn keep_front(&mut self, segment: &Segment, cut: &Cut) -> Result<Segment, TruncateError> {
        let bytes = self.dir.disk.open_front(&self.folder.segment(segment.base), cut.position);
        let bytes = self.dir.heed("open the front of a segment", bytes)?;
        self.dead_tails.push(DeadTail::of(segment));
        let front = self.reader().heed(shorten(segment, bytes, cut))?;
        let files = self.folder.replacement(front.base);
        match mend::write(&self.dir, &front, &files) {
            Ok(()) => Ok(self.dir.heed("cut the indexes of a segment", self.put_in_place(&front, &files))?),
            // Entries behind the end stay in the files; recovery does not believe them.
            Err(error) if is_full(&error) => Ok(front),
            Err(error) => Err(self.dir.fail("write the indexes of a segment", &error).into()),
        }
    }

    /// Makes the log an empty one that starts at `offset`, before or behind where it was, for a replica that begins anew. It
    /// knows no epoch and no producer. Durable when this returns; a crash before may leave the old log or a part of it,
    /// with records that were deleted from a segment that was kept.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn reset_to(&mut self, offset: Offset) -> Result<(), TruncateError> {
        self.dir.check()?;
        self.unsynced.next_generation();
        let segments = self.shared.segments.load_full();
        self.marks.high_watermark.store(offset.0, Ordering::Release);
        self.move_marks(offset, offset)?;
        self.remove_from_end(&segments)?;
        self.set_epochs(EpochHistory::default());
        let removed = remove_if_there(&self.dir, &self.folder.epochs());
        self.dir.heed("remove the leader epochs", removed)?;
        // No producer of before is known any more, also not one that was when the log ended here.
        let forgotten = std::mem::take(&mut self.unsynced.snapshots);
        self.remove_snapshots(&forgotten)?;
        // Beside the new segment they would be taken for its own.
        self.dir.heed("sync a folder", self.dir.disk.sync_dir(self.folder.path()))?;
        let new = self.start_at(offset).map_err(|error| self.no_way_back(error))?;
        self.continue_with(new, Vec::new())
    }

    fn remove_snapshots(&self, offsets: &[Offset]) -> Result<(), DirOffline> {
        for at in offsets {
            let removed = remove_if_there(&self.dir, &self.folder.snapshot(*at));
            self.dir.heed("remove a producer snapshot", removed)?;
        }
        Ok(())
    }

    /// Moves start and durable end, first on disk.
    fn move_marks(&mut self, start: Offset, durable: Offset) -> Result<(), TruncateError> {
        let swap = |start: i64, durable: i64| {
            let before = self.marks.start_offset.swap(start, Ordering::AcqRel);
            (before, self.marks.recovery_point.swap(durable, Ordering::AcqRel))
        };
        let (start_before, durable_before) = swap(start.0, durable.0);
        if let Err(error) = self.dir.write_checkpoint() {
            swap(start_before, durable_before);
            return Err(error.into());
        }
        self.shared.start_offset.store(start.0, Ordering::Release);
        self.set_durable_end(durable);
        Ok(())
    }

    /// Makes the segment to go on with, durably.
    fn start_at(&mut self, base: Offset) -> Result<Active, TruncateError> {
        let made = match self.active.backing {
            Backing::Absent => self.write_metadata(),
            Backing::File => Ok(()),
        };
        let start = |()| start_segment(&self.dir, &self.folder, &self.config, base, Some(&self.active));
        let new = match made.and_then(start) {
            Ok(new) => new,
            Err(StartError::Full) => return Err(TruncateError::DiskFull),
            Err(StartError::Offline(offline)) => return Err(offline.into()),
        };
        self.dir.heed("sync a folder", self.dir.disk.sync_dir(self.folder.path()))?;
        Ok(new)
    }

    /// The log has no segment to go on with: nothing but opening it again helps.
    fn no_way_back(&self, error: TruncateError) -> TruncateError {
        match error {
            TruncateError::DiskFull => self.dir.fail("go on after a truncation", &error).into(),
            other => other,
        }
    }

    fn remove_from_end(&mut self, segments: &[Arc<Segment>]) -> Result<(), DirOffline> {
        for segment in segments.iter().rev() {
            let removed = remove_segment(&self.dir, &self.folder, segment.base);
            self.dir.heed("remove a segment", removed)?;
            self.dir.heed("sync a folder", self.dir.disk.sync_dir(self.folder.path()))?;
        }
        Ok(())
    }

    /// Goes on with a new segment behind `kept`, and takes producers and epochs back to where it begins.
    fn continue_with(&mut self, new: Active, mut kept: Vec<Arc<Segment>>) -> Result<(), TruncateError> {
        let cut = new.segment.base;
        kept.push(Arc::clone(&new.segment));
        let old = std::mem::replace(&mut self.active, new);
        // Its file, if it stays, is not shortened: readers may hold its end. No more is prepared in it, though.
        drop(old);
        self.shared.segments.store(Arc::new(kept));

        let unsynced = &mut self.unsynced;
        unsynced.active_from = 0;
        unsynced.indexed = (cut, 0, 0);
        unsynced.sealed.clear();
        let (stale, current): (Vec<Offset>, Vec<Offset>) = unsynced.snapshots.iter().partition(|at| **at > cut);
        unsynced.snapshots = current;
        self.remove_snapshots(&stale)?;
        self.keep_unsynced();
        let mut epochs = EpochHistory::clone(&self.shared.epochs.load());
        if epochs.cut_to(cut) == Trimmed::Some {
            self.set_epochs(epochs);
        }
        match self.write_epochs() {
            // The next sync tries again; recovery does not believe what is there.
            Ok(()) | Err(ReplaceError::DiskFull) => {}
            Err(ReplaceError::Offline(offline)) => return Err(offline.into()),
        }
        let segments = self.shared.segments.load_full();
        let producers = replay_producers(&self.dir, &self.folder, &segments, &self.unsynced.snapshots, cut);
        self.producers = self.reader().heed(producers)?;
        Ok(())
    }

    /// After a cut, what is not durable yet is synced as whole files.
    fn keep_unsynced(&mut self) {
        let durable = self.durable_end();
        let segments = self.shared.segments.load();
        let sealed = segments.iter().take(segments.len() - 1).filter(|segment| segment.end_offset() > durable);
        self.unsynced.sealed = sealed.map(|segment| super::sync::Sealed::file(&self.folder, segment)).collect();
    }
}

/// Where a log is cut.
struct Cut {
    /// The end of the last batch that stays, or the segment's base offset.
    end: Offset,
    /// Where that is in the segment.
    position: u64,
    /// Where the log is to end: behind a hole, if that is not the same.
    wanted: Offset,
}

/// Where a log that is to end at `offset` is cut in the segment that has that offset.
fn place_of_cut(segment: &Segment, offset: Offset) -> Result<Cut, Fault> {
    let segment = segment.ahead()?;
    let Some(found) = segment.find(offset)? else {
        return Ok(Cut {
            end: segment.end_offset().max(segment.base),
            position: segment.end_position(),
            wanted: offset,
        });
    };
    let last = match found.position.checked_sub(1) {
        Some(before) => segment.find_position(before)?,
        None => None,
    };
    let wanted = match Hole::of(&found.batch.header) {
        Some(_) => offset,
        None => offset.min(found.batch.base_offset()),
    };
    let end = last.map_or(segment.base, |last| last.batch.end_offset()).max(segment.base);
    Ok(Cut { end, position: found.position, wanted })
}

/// The part of a segment before the cut, of which `bytes` are those.
fn shorten(segment: &Segment, bytes: Arc<dyn Readable>, cut: &Cut) -> Result<Segment, Fault> {
    let (end, position) = (cut.end, cut.position);
    let io = |error| segment.io(error);
    segment.offsets.populate().map_err(io)?;
    segment.times.populate().map_err(io)?;
    let offsets = segment.offsets.leading(|entry| u64::from(entry.position) < position).map_err(io)?;
    let relative = super::index::relative(segment.base, end).unwrap_or(0);
    let times = segment.times.leading(|entry| entry.relative < relative).map_err(io)?;
    let extent = Extent {
        end_position: position,
        end_offset: end,
        largest: Largest::none(segment.base),
        takes_appends: false,
        trusted_from: segment.trusted_from(),
    };
    let shorter = Segment::new(segment.base, bytes, offsets, times, &extent).following(segment);
    let largest = largest_of(&shorter)?;
    shorter.publish(position, end, largest);
    Ok(shorter)
}

/// The largest timestamp of a segment, from its index and the batches behind the index's last entry.
fn largest_of(segment: &Segment) -> Result<Largest, Fault> {
    let io = |source| segment.io(source);
    let known = segment.times.largest().map_err(io)?;
    let mut largest = known.map_or(Largest::none(segment.base), |(timestamp, offset)| Largest { timestamp, offset });
    let mut position = segment.offsets.last().map_err(io)?.map_or(0, |entry| u64::from(entry.position));
    let ahead = segment.ahead()?;
    while let Some(found) = ahead.batch_at(position)? {
        largest = later(largest, found.batch.header.max_timestamp, found.batch.last_offset());
        position += found.batch.size;
    }
    Ok(largest)
}
