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
//! next segment's base offset ends it. The dead part is cut off when the log is opened again, before it has readers.
//!
//! Must not know: why the log is cut.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_protocol::ids::Offset;

use super::delete::remove_segment;
use super::epochs::{EpochHistory, Trimmed};
use super::error::TruncateError;
use super::roll::{StartError, start_segment};
use super::segment::{Extent, Largest, Segment};
use super::{Log, recover};
use crate::dir::state::DirOffline;

impl Log {
    /// Cuts the log so that it ends at `offset`, or before it where `offset` lies within a batch. Answers the new end.
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
        let reader = self.reader();
        let segments = self.shared.segments.load_full();
        let at = segments.partition_point(|segment| segment.base <= offset).saturating_sub(1);
        let segment = &segments[at];
        let (cut, position) = match reader.heed(segment.find(offset))? {
            Some(found) => (found.batch.base_offset(), found.position),
            None => (segment.end_offset(), segment.end_position()),
        };
        let cut = cut.max(segment.base);
        // Before anything is cut: an end below the recovery point would be taken for corruption.
        self.unsynced.next_generation();
        if self.durable_end() > cut {
            self.set_durable_end(cut);
            self.dir.write_checkpoint()?;
        }
        let kept_in_place = position > 0 && cut > segment.base;
        let first_gone = if kept_in_place { at + 1 } else { at };
        let mut kept: Vec<Arc<Segment>> = segments[..first_gone].to_vec();
        if kept_in_place {
            let shorter = reader.heed(shorten(segment, cut, position))?;
            kept[at] = Arc::new(shorter);
        }
        self.remove_from_end(&segments[first_gone..])?;
        self.continue_at(cut, kept)?;
        Ok(cut)
    }

    /// Makes the log an empty one that starts at `offset`, for a replica that begins behind a snapshot. Durable when this
    /// returns; a crash before may leave the old log or a part of it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn reset_to(&mut self, offset: Offset) -> Result<(), TruncateError> {
        self.dir.check()?;
        let segments = self.shared.segments.load_full();
        self.unsynced.next_generation();
        self.shared.start_offset.store(offset.0, Ordering::Release);
        self.marks.start_offset.store(offset.0, Ordering::Release);
        self.marks.high_watermark.store(offset.0, Ordering::Release);
        self.set_durable_end(offset);
        self.dir.write_checkpoint()?;
        self.remove_from_end(&segments)?;
        self.set_epochs(EpochHistory::default());
        self.continue_at(offset, Vec::new())?;
        Ok(())
    }

    fn remove_from_end(&mut self, segments: &[Arc<Segment>]) -> Result<(), DirOffline> {
        for segment in segments.iter().rev() {
            let removed = remove_segment(&self.dir, &self.folder, segment.base);
            self.dir.heed("remove a segment", removed)?;
            self.dir.heed("sync a folder", self.dir.disk.sync_dir(self.folder.path()))?;
        }
        Ok(())
    }

    /// Goes on at `cut` with a new segment behind `kept`, and takes producers and epochs back there.
    fn continue_at(&mut self, cut: Offset, mut kept: Vec<Arc<Segment>>) -> Result<(), TruncateError> {
        let new = start_segment(&self.dir, &self.folder, &self.config, cut, Some(&self.active));
        let new = new.map_err(|error| match error {
            // The log has no segment to go on with: nothing but opening it again helps.
            StartError::Full => {
                self.dir.fail("create a segment", &std::io::Error::from(std::io::ErrorKind::StorageFull))
            }
            StartError::Offline(offline) => offline,
        })?;
        self.dir.heed("sync a folder", self.dir.disk.sync_dir(self.folder.path()))?;
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
        for at in stale {
            let removed = super::delete::remove_if_there(&self.dir, &self.folder.snapshot(at));
            self.dir.heed("remove a producer snapshot", removed)?;
        }
        self.keep_unsynced();
        let mut epochs = EpochHistory::clone(&self.shared.epochs.load());
        if epochs.truncate_to(cut) == Trimmed::Some {
            self.set_epochs(epochs);
        }
        self.write_epochs()?;
        let segments = self.shared.segments.load_full();
        let producers = recover::replay_producers(&self.dir, &self.folder, &segments, &self.unsynced.snapshots, cut);
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

/// The part of a segment before `position`, with maps of its own.
fn shorten(segment: &Segment, cut: Offset, position: u64) -> Result<Segment, super::segment::Fault> {
    let io = |error| segment.io(error);
    let offsets = segment.offsets.leading(|entry| u64::from(entry.position) < position).map_err(io)?;
    let relative = super::index::relative(segment.base, cut).unwrap_or(0);
    let times = segment.times.leading(|entry| entry.relative < relative).map_err(io)?;
    let extent =
        Extent { end_position: position, end_offset: cut, largest: Largest::none(segment.base), takes_appends: false };
    let shorter = Segment::new(segment.base, Arc::clone(&segment.bytes), offsets, times, &extent);
    let largest = recover::largest_of(&shorter)?;
    shorter.publish(position, cut, largest);
    Ok(shorter)
}
