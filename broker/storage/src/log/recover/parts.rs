//! From segments that were scanned to the parts of a log that takes appends; or, where nothing is left, to those of an empty
//! one.
//!
//! Must not know: which segments hold, what is done about those that do not.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cairn_protocol::ids::Offset;

use super::{Found, Origin, Recovery};
use crate::dir::checkpoint::{LogMarks, OffsetOrder};
use crate::dir::state::DirState;
use crate::log::active::{Active, Backing};
use crate::log::create::write_metadata;
use crate::log::delete::remove_if_there;
use crate::log::epoch_check::{epochs_hold, epochs_of};
use crate::log::epochs::EpochHistory;
use crate::log::error::OpenLogError;
use crate::log::foundation::Foundation;
use crate::log::index::{Entry, Index};
use crate::log::producers::Producers;
use crate::log::recovery_scan::Scanned;
use crate::log::replay::replay_producers;
use crate::log::roll::{StartError, growth, jitter_seed, start_segment};
use crate::log::segment::{Extent, Segment};
use crate::log::sync::{Sealed, Unsynced};
use crate::num::as_u64;

/// What a log is put together from.
pub(in crate::log) struct Parts {
    pub(in crate::log) segments: Vec<Arc<Segment>>,
    pub(in crate::log) active: Active,
    pub(in crate::log) epochs: EpochHistory,
    pub(in crate::log) producers: Producers,
    pub(in crate::log) unsynced: Unsynced,
    pub(in crate::log) marks: LogMarks,
}

impl Recovery<'_> {
    pub(super) fn start_empty(&self, marks: LogMarks) -> Result<Parts, OpenLogError> {
        let Foundation { dir, folder, config, topic_id, .. } = self.foundation;
        let start = marks.start_offset;
        let made = write_metadata(dir, folder, *topic_id);
        let active = match made.and_then(|()| start_segment(dir, folder, config, start, None)) {
            Ok(active) => active,
            Err(StartError::Offline(offline)) => return Err(offline.into()),
            Err(StartError::Full) => return Err(OpenLogError::DiskFull),
        };
        self.drop_snapshots(start, &[])?;
        let epochs = EpochHistory::default();
        dir.replace(&folder.epochs(), &epochs.encode())?;
        self.heed("sync a folder", dir.disk.sync_dir(folder.path()))?;
        Ok(Parts {
            segments: vec![Arc::clone(&active.segment)],
            active,
            epochs,
            producers: Producers::default(),
            unsynced: Unsynced::of_new(start),
            marks: LogMarks { recovery_point: start, high_watermark: start, order: OffsetOrder::Dense, ..marks },
        })
    }

    pub(super) fn put_together(
        &self,
        found: Found,
        stored_epochs: Option<&EpochHistory>,
        marks: LogMarks,
    ) -> Result<Parts, OpenLogError> {
        let Foundation { dir, folder, .. } = self.foundation;
        let Found { segments: mut scanned, mut epochs } = found;
        let order = order_of(&scanned, marks.order);
        let last = scanned.pop().expect("a log that was found has a segment");
        let first_base = scanned.first().map_or(last.segment.base, |first| first.segment.base);
        let has_empty = scanned.iter().any(Scanned::is_empty);
        let mut segments = Vec::with_capacity(scanned.len() + 1);
        for sealed in scanned {
            let finished = sealed.finish_sealed(dir, folder);
            segments.push(Arc::new(self.heed_full("finish a sealed segment", finished)?));
        }
        let mut unsynced = Unsynced::with_indexed(last.segment.base, last.offsets_kept, last.times_kept);
        let scanned_from = last.from_position;
        let active = self.heed_full("open a segment for appends", self.activate(last))?;
        segments.push(Arc::clone(&active.segment));

        let end = active.segment.end_offset();
        let start = marks.start_offset.max(first_base).min(end);
        let durable = match self.origin {
            Origin::Unknown if has_empty => {
                self.sync_all(&segments)?;
                end
            }
            _ => marks.recovery_point.clamp(start, end),
        };
        unsynced.active_from = match durable {
            durable if durable >= end => active.segment.end_position(),
            durable if durable > active.segment.base => scanned_from,
            _ => 0,
        };
        // A segment that has nothing durable may have been begun since the folder was synced, and its name may be lost.
        let named = durable > active.segment.base;
        if durable < end || !named {
            unsynced.folder_version += 1;
        }
        unsynced.is_new = durable <= first_base;
        let sealed = segments.iter().take(segments.len() - 1).filter(|segment| segment.end_offset() > durable);
        unsynced.sealed = sealed.map(|segment| Sealed::file(folder, segment)).collect();

        let trusted =
            stored_epochs.is_some() && epochs_hold(&segments, start, &epochs).map_err(|fault| self.fault(fault))?;
        if !trusted {
            epochs = epochs_of(&segments).map_err(|fault| self.fault(fault))?;
        }
        // A leader that has written nothing yet is known from the file alone.
        if let Some(silent) = stored_epochs.and_then(EpochHistory::latest).filter(|known| known.start == end) {
            let _older_than_a_batch = epochs.assign(silent.epoch, silent.start);
        }
        epochs.advance_to(start);
        if stored_epochs != Some(&epochs) {
            unsynced.epochs_version += 1;
        }
        unsynced.snapshots = self.drop_snapshots(end, &segments)?;
        let producers = replay_producers(dir, folder, &segments, &unsynced.snapshots, end);
        let producers = producers.map_err(|fault| self.fault(fault))?;
        let high_watermark = marks.high_watermark.clamp(start, end);
        let marks = LogMarks { recovery_point: durable, start_offset: start, high_watermark, order, ..marks };
        Ok(Parts { segments, active, epochs, producers, unsynced, marks })
    }

    /// Makes an imported log durable as it was found, before anything is known of it: from then on a segment without a batch
    /// that lies behind the recovery point is one that a crash has emptied.
    fn sync_all(&self, segments: &[Arc<Segment>]) -> Result<(), OpenLogError> {
        let Foundation { dir, folder, .. } = self.foundation;
        for segment in segments {
            self.heed("sync an imported segment", dir.disk.sync_file(&folder.segment(segment.base)))?;
        }
        self.heed("sync a folder", dir.disk.sync_dir(folder.path()))
    }

    /// Opens the last segment for appends: what lies behind its last batch is cut off.
    fn activate(&self, last: Scanned) -> io::Result<Active> {
        let Foundation { dir, folder, config, .. } = self.foundation;
        let Scanned { segment: found, offsets_kept, times_kept, indexer, first_timestamp, .. } = last;
        let base = found.base;
        let extent = Extent {
            end_position: found.end_position(),
            end_offset: found.end_offset(),
            largest: found.largest(),
            takes_appends: true,
            trusted_from: found.trusted_from(),
        };
        let offsets = cut_index(dir, &folder.offset_index(base), found.offsets, offsets_kept)?;
        let times = cut_index(dir, &folder.time_index(base), found.times, times_kept)?;
        // Known from now on without a file.
        times.last()?;
        let growth = growth(config);
        let file = dir.disk.open_append(&folder.segment(base), extent.end_position, growth)?;
        let ahead = dir.allocator.as_ref().map(|allocator| allocator.attach(file.shared(), growth.chunk));
        let segment = Segment::new(base, file.shared(), offsets, times, &extent);
        Ok(Active {
            file,
            segment: Arc::new(segment),
            indexer,
            capacity: growth.capacity,
            first_timestamp,
            since: None,
            backing: Backing::File,
            jitter_seed: jitter_seed(folder),
            ahead,
        })
    }

    /// Removes snapshots from behind the log's end. Answers the others.
    fn drop_snapshots(&self, end: Offset, segments: &[Arc<Segment>]) -> Result<Vec<Offset>, OpenLogError> {
        let Foundation { dir, folder, .. } = self.foundation;
        let usable = |at: &Offset| *at <= end && !segments.is_empty();
        for stale in self.files.snapshots.iter().filter(|at| !usable(at)) {
            self.heed("remove a producer snapshot", remove_if_there(dir, &folder.snapshot(*stale)))?;
        }
        // One that came back after a crash would be believed once the log has grown past it again.
        if !self.files.snapshots.iter().all(usable) {
            self.heed("sync a folder", dir.disk.sync_dir(folder.path()))?;
        }
        Ok(self.files.snapshots.iter().copied().filter(usable).collect())
    }
}

/// Whether a log of which `assumed` held has offsets missing.
fn order_of(scanned: &[Scanned], assumed: OffsetOrder) -> OffsetOrder {
    let between = |pair: &[Scanned]| pair[0].segment.end_offset() < pair[1].segment.base;
    let within = |segment: &Scanned| segment.order == OffsetOrder::Rising || segment.from_position > 0;
    match assumed {
        OffsetOrder::Rising if scanned.iter().any(within) || scanned.windows(2).any(between) => OffsetOrder::Rising,
        OffsetOrder::Compacted => OffsetOrder::Compacted,
        OffsetOrder::Dense | OffsetOrder::Rising => OffsetOrder::Dense,
    }
}

/// Cuts an index file behind the `kept` entries that hold, so that later entries follow on. Answers the index of what is left.
fn cut_index<E: Entry>(dir: &DirState, path: &Path, index: Index<E>, kept: usize) -> io::Result<Index<E>> {
    match dir.disk.truncate(path, as_u64(kept * E::BYTES)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(index),
        other => other?,
    }
    if !index.has_a_longer_file() {
        return Ok(index);
    }
    // Whoever comes when its map is gone opens a file of that length, or none.
    Ok(index.over(dir.disk.open_sealed(path)?))
}
