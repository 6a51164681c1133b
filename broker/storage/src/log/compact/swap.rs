//! A copy takes the place of its segments, so that a crash at any point leaves the one or the other.
//!
//! ```text
//!   before     100.log   200.log   300.log   400.log      100.log.cleaned   (durable: a copy of 100 to 399)
//!   commit     100.log   200.log   300.log   400.log      100.log.swap
//!   then       100.log                       400.log      100.log.swap      (from the last to the first)
//!   after      100.log                       400.log                        (the rename replaces the first)
//! ```
//!
//! Before the commit a crash leaves the segments, and a `.cleaned` file that recovery removes. From the commit on recovery
//! finishes what was begun: the copy says by its last batch which segments it replaces. Indexes that are not in place
//! by then are made anew.
//!
//! Readers that hold segments of before keep their maps. One that has not mapped its file yet finds that another file has the
//! name, waits for the exchange, and looks again (`LogReader::undisturbed`).
//!
//! Must not know: what was left out of the copy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_protocol::ids::Offset;

use super::super::delete::remove_if_there;
use super::super::index::Index;
use super::super::recovery_scan::discard;
use super::super::segment::{Extent, Segment};
use super::super::{Folder, Log};
use super::rewrite::Rewritten;
use super::{CompactError, Place};
use crate::dir::checkpoint::OffsetOrder;
use crate::dir::state::DirState;

/// Puts a copy in the place of its segments. Runs on any thread, without the log; [`Log::end_swap`] has to follow.
#[derive(Debug)]
#[must_use = "the log waits for the exchange"]
pub struct SwapJob(Rewritten);

/// The segments of a copy are no longer the log's, so it is of no use.
#[derive(Debug, thiserror::Error)]
#[error("the segments have changed meanwhile")]
pub struct Stale(pub Box<Rewritten>);

impl Log {
    /// Prepares the exchange. Until [`Log::end_swap`] no segment leaves the log.
    ///
    /// # Errors
    /// When the segments are no longer there as they were: the copy is given back to be discarded.
    pub fn begin_swap(&mut self, rewritten: Rewritten) -> Result<SwapJob, Stale> {
        let segments = self.shared.segments.load();
        let sources = &rewritten.sources;
        let at = segments.partition_point(|segment| segment.base < rewritten.base());
        let there = segments.get(at..at + sources.len());
        let same = there.is_some_and(|there| there.iter().zip(sources).all(|(a, b)| Arc::ptr_eq(a, b)));
        let current = rewritten.place.generation == self.unsynced.generation;
        if !same || !current || self.swapping {
            return Err(Stale(Box::new(rewritten)));
        }
        self.swapping = true;
        Ok(SwapJob(rewritten))
    }

    /// The exchange is over, one way or the other.
    pub fn end_swap(&mut self) {
        self.swapping = false;
    }
}

impl SwapJob {
    /// Exchanges the files, durably, and what readers see.
    ///
    /// # Errors
    /// When the log was closed or cut meanwhile, or the disk is full, the segments are as they were and the copy is gone. When the
    /// disk fails the data directory is offline.
    pub fn run(self) -> Result<(), CompactError> {
        let Self(rewritten) = self;
        let place = rewritten.place.clone();
        place.dir.check()?;
        if let Err(error) = place.note_gaps() {
            rewritten.discard()?;
            return Err(error);
        }
        // Syncs, retention and truncation of this log wait meanwhile, and so do readers that find a file gone.
        let generation = place.gate.lock();
        if *generation != place.generation {
            return Err(CompactError::Gone);
        }
        let exchange = place.shared.exchange.lock();
        let segment = place.dir.heed("put a compacted segment in place", rewritten.put_in_place())?;
        let (segment, base, end) = (Arc::new(segment), rewritten.base(), rewritten.end_offset());
        place.shared.segments.rcu(|segments| {
            let mut changed: Vec<Arc<Segment>> = Vec::with_capacity(segments.len());
            let first = segments.partition_point(|segment| segment.base < base);
            let behind = segments.partition_point(|segment| segment.base < end);
            changed.extend_from_slice(&segments[..first]);
            changed.push(Arc::clone(&segment));
            changed.extend_from_slice(&segments[behind..]);
            changed
        });
        place.shared.exchanges.fetch_add(1, Ordering::Release);
        drop(exchange);
        Ok(())
    }
}

impl Place {
    /// Has recovery know, before there is one, that there may be gaps between batches.
    fn note_gaps(&self) -> Result<(), CompactError> {
        if self.shared.gaps_noted.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.marks.order.load() == OffsetOrder::Dense {
            self.marks.order.store(OffsetOrder::Compacted);
            self.shared.order.store(OffsetOrder::Compacted);
        }
        self.dir.write_checkpoint()?;
        let generation = self.gate.lock();
        if *generation != self.generation {
            return Err(CompactError::Gone);
        }
        let dense = remove_if_there(&self.dir, &self.folder.dense());
        self.dir.heed("remove the mark of a dense log", dense)?;
        self.dir.heed("sync a folder", self.dir.disk.sync_dir(self.folder.path()))?;
        self.shared.gaps_noted.store(true, Ordering::Release);
        Ok(())
    }
}

impl Rewritten {
    fn put_in_place(&self) -> io::Result<Segment> {
        let Place { dir, folder, .. } = &self.place;
        let base = self.base();
        dir.disk.rename(&self.files.segment, &folder.swap(base))?;
        dir.disk.sync_dir(folder.path())?;
        let replaced: Vec<Offset> = self.sources.iter().skip(1).map(|source| source.base).collect();
        finish(dir, folder, base, &replaced)?;
        dir.disk.rename(&self.files.offset_index, &folder.offset_index(base))?;
        dir.disk.rename(&self.files.time_index, &folder.time_index(base))?;
        dir.disk.sync_dir(folder.path())?;

        let bytes = dir.disk.open_sealed(&folder.segment(base))?;
        let offsets = Index::of_file(base, dir.disk.open_sealed(&folder.offset_index(base))?, self.offset_entries);
        let times = Index::of_file(base, dir.disk.open_sealed(&folder.time_index(base))?, self.time_entries);
        let extent = Extent {
            end_position: self.end_position,
            end_offset: self.end_offset(),
            largest: self.largest,
            takes_appends: false,
            trusted_from: 0,
        };
        Ok(Segment::new(base, bytes, offsets, times, &extent))
    }
}

/// From the commit on: removes the replaced segments behind the first, durably, and has the copy replace the first. The folder
/// is to be synced.
pub(in super::super) fn finish(dir: &DirState, folder: &Folder, base: Offset, replaced: &[Offset]) -> io::Result<()> {
    for other in replaced.iter().rev() {
        discard(dir, folder, *other)?;
    }
    if !replaced.is_empty() {
        dir.disk.sync_dir(folder.path())?;
    }
    remove_if_there(dir, &folder.offset_index(base))?;
    remove_if_there(dir, &folder.time_index(base))?;
    dir.disk.rename(&folder.swap(base), &folder.segment(base))
}
