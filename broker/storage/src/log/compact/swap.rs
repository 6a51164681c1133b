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
//! by then are made anew. No file is called `.cleaned` any more when the first segment goes: where Kafka finds one, it takes
//! `.swap` files for unfinished and removes them.
//!
//! Readers that hold segments of before keep their maps. One that has not mapped its file yet finds that another file has the
//! name, waits for the exchange, and looks again (`LogReader::undisturbed`).
//!
//! Must not know: what was left out of the copy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Puts a copy in the place of its segments. Runs on any thread, without the log. While it lives no segment leaves the log.
#[derive(Debug)]
#[must_use = "the log waits for the exchange"]
pub struct SwapJob {
    rewritten: Rewritten,
    _swapping: Swapping,
}

/// Says that files of a log are being exchanged, until it is dropped, however that comes about.
#[derive(Debug)]
struct Swapping(Arc<AtomicBool>);

impl Swapping {
    /// Nothing when there is one already.
    fn begin(flag: &Arc<AtomicBool>) -> Option<Self> {
        (!flag.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(flag)))
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The segments of a copy are no longer the log's, so it is of no use.
#[derive(Debug, thiserror::Error)]
#[error("the segments have changed meanwhile")]
pub struct Stale(pub Box<Rewritten>);

impl Log {
    /// Prepares the exchange. As long as the answer lives no segment leaves the log.
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
        let swapping = if same && current { Swapping::begin(&self.swapping) } else { None };
        match swapping {
            Some(_swapping) => Ok(SwapJob { rewritten, _swapping }),
            None => Err(Stale(Box::new(rewritten))),
        }
    }

    /// Files are being exchanged by compaction: no segment leaves the log meanwhile.
    pub(in super::super) fn is_swapping(&self) -> bool {
        self.swapping.load(Ordering::Acquire)
    }
}

impl SwapJob {
    /// Exchanges the files, durably, and what readers see.
    ///
    /// # Errors
    /// When the log was closed or cut meanwhile, or the disk is full, the segments are as they were and the copy is gone. When the
    /// disk fails the data directory is offline.
    pub fn run(self) -> Result<(), CompactError> {
        let Self { rewritten, _swapping } = self;
        let place = rewritten.place.clone();
        place.dir.check()?;
        // Syncs, retention and truncation of this log wait meanwhile, and so do readers that find a file gone.
        let generation = place.gate.lock();
        if *generation != place.generation {
            return Err(CompactError::Gone);
        }
        if let Err(error) = place.note(rewritten.end_offset()) {
            drop(generation);
            rewritten.discard()?;
            return Err(error);
        }
        let exchange = place.shared.exchange.lock();
        let segment = place.dir.heed("put a compacted segment in place", rewritten.put_in_place())?;
        let (segment, base, last) = (Arc::new(segment), rewritten.base(), rewritten.last_base());
        place.shared.segments.rcu(|segments| {
            let mut changed: Vec<Arc<Segment>> = Vec::with_capacity(segments.len());
            let first = segments.partition_point(|segment| segment.base < base);
            let behind = segments.partition_point(|segment| segment.base <= last);
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
    /// Has recovery know what batches will not tell any more: that there may be gaps between them, and which epochs began
    /// below `end`. It believes what is noted of epochs below the recovery point only. To be called with the gate held.
    fn note(&self, end: Offset) -> Result<(), CompactError> {
        let gaps_noted = self.shared.gaps_noted.load(Ordering::Acquire);
        if gaps_noted && self.dir.is_recovery_point_noted(&self.folder_name, end) {
            return Ok(());
        }
        // A sync on a full disk may have left this for later.
        self.dir.replace(&self.folder.epochs(), &self.shared.epochs.load().encode())?;
        if self.marks.order.load() == OffsetOrder::Dense {
            self.marks.order.store(OffsetOrder::Compacted);
            self.shared.order.store(OffsetOrder::Compacted);
        }
        self.dir.write_checkpoint()?;
        if gaps_noted {
            return Ok(());
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
        // The batches first: Kafka would put indexes of that name in place without them.
        let swap = folder.swap(base);
        dir.disk.rename(&self.files.segment, &swap.segment)?;
        dir.disk.rename(&self.files.offset_index, &swap.offset_index)?;
        dir.disk.rename(&self.files.time_index, &swap.time_index)?;
        dir.disk.sync_dir(folder.path())?;
        let replaced: Vec<Offset> = self.sources.iter().skip(1).map(|source| source.base).collect();
        finish(dir, folder, base, &replaced)?;
        dir.disk.rename(&swap.offset_index, &folder.offset_index(base))?;
        dir.disk.rename(&swap.time_index, &folder.time_index(base))?;
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
    dir.disk.rename(&folder.swap(base).segment, &folder.segment(base))
}
