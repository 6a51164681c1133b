//! Roll: the active segment is sealed, a new one takes its place.
//!
//! Must not know: why.

use std::sync::Arc;

use cairn_protocol::ids::{Offset, Timestamp};

use super::active::{Active, Backing, Indexer, index_time};
use super::config::SEGMENT_MAX_BYTES;
use super::error::{AppendError, is_full};
use super::index::{Entry, Index, OffsetEntry, TimeEntry};
use super::segment::{Extent, Largest, Segment};
use super::{Folder, Log, LogConfig};
use crate::dir::state::{DirOffline, DirState};
use crate::disk::Growth;
use crate::num::as_u64;

impl Log {
    /// Begins a new segment at the log's end. The caller made sure that the active one is not empty. When the disk is full
    /// nothing has changed.
    pub(super) fn roll(&mut self, now: Timestamp) -> Result<(), AppendError> {
        self.roll_at(self.end_offset(), now)
    }

    /// The same at `base`, behind the log's end where compaction of Apache Kafka's has left a gap.
    pub(super) fn roll_at(&mut self, base: Offset, now: Timestamp) -> Result<(), AppendError> {
        self.finish_indexes()?;
        // Once there is a new segment the old one has to be sealed.
        self.active.file.prepare_seal().map_err(|error| self.no_room(&error))?;
        let mut new = start_segment(&self.dir, &self.folder, &self.config, base, Some(&self.active))?;
        new.since = Some(now);
        self.snapshot_producers();
        let new_segment = Arc::clone(&new.segment);
        let old = std::mem::replace(&mut self.active, new);
        let sealed = self.seal(old)?;
        // Compaction may be exchanging segments before the last one.
        self.shared.segments.rcu(|segments| {
            let mut changed = Vec::clone(segments);
            changed.pop();
            changed.push(Arc::clone(&sealed));
            changed.push(Arc::clone(&new_segment));
            changed
        });
        Ok(())
    }

    /// Ends appends to a segment whose indexes are finished: the file is cut at its last batch.
    fn seal(&mut self, active: Active) -> Result<Arc<Segment>, DirOffline> {
        let Active { file, segment, .. } = active;
        let dir = Arc::clone(&self.dir);
        self.unsynced.on_seal(&segment, &self.folder, &*file);
        dir.heed("seal a segment", file.seal())?;
        dir.heed("open a sealed segment", reopen_sealed(&dir, &self.folder, &segment)).map(Arc::new)
    }

    /// Ends the active segment's time index with its largest timestamp, and writes what the index files lack.
    pub(super) fn finish_indexes(&mut self) -> Result<(), StartError> {
        let segment = Arc::clone(&self.active.segment);
        let (base, disk) = (segment.base, &self.dir.disk);
        let (from_offset, from_time) = self.unsynced.indexed(base);
        let write = || -> std::io::Result<()> {
            index_time(&segment)?;
            let offsets = segment.offsets.encode_from(from_offset)?;
            disk.write_at(&self.folder.offset_index(base), as_u64(from_offset * OffsetEntry::BYTES), &offsets)?;
            let times = segment.times.encode_from(from_time)?;
            disk.write_at(&self.folder.time_index(base), as_u64(from_time * TimeEntry::BYTES), &times)
        };
        write().map_err(|error| match is_full(&error) {
            true => StartError::Full,
            false => StartError::Offline(self.dir.fail("write the indexes of a segment", &error)),
        })
    }
}

/// The same segment with maps of its own that are made on demand, instead of the writer's.
pub(super) fn reopen_sealed(dir: &DirState, folder: &Folder, segment: &Segment) -> std::io::Result<Segment> {
    let base = segment.base;
    let bytes = dir.disk.open_front(&folder.segment(base), segment.end_position())?;
    let offsets = dir.disk.open_sealed(&folder.offset_index(base))?;
    let times = dir.disk.open_sealed(&folder.time_index(base))?;
    let extent = Extent {
        end_position: segment.end_position(),
        end_offset: segment.end_offset(),
        largest: segment.largest(),
        takes_appends: false,
        trusted_from: segment.trusted_from(),
    };
    let offsets = Index::of_file(base, offsets, segment.offsets.len());
    let times = Index::of_file(base, times, segment.times.len());
    Ok(Segment::new(base, bytes, offsets, times, &extent).following(segment))
}

/// Why a segment was not started.
pub(super) enum StartError {
    Full,
    Offline(DirOffline),
}

impl From<StartError> for AppendError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Full => Self::DiskFull,
            StartError::Offline(offline) => Self::Offline(offline),
        }
    }
}

/// Makes a new segment's file. The folder is not synced.
pub(super) fn start_segment(
    dir: &DirState,
    folder: &Folder,
    config: &LogConfig,
    base: Offset,
    previous: Option<&Active>,
) -> Result<Active, StartError> {
    let growth = growth(config);
    let file = dir.disk.create_append(&folder.segment(base), growth).map_err(|error| {
        if is_full(&error) { StartError::Full } else { StartError::Offline(dir.fail("create a segment", &error)) }
    })?;
    let extent = Extent {
        end_position: 0,
        end_offset: base,
        largest: Largest::none(base),
        takes_appends: true,
        trusted_from: 0,
    };
    let segment = Segment::new(base, file.shared(), Index::empty(base), Index::empty(base), &extent);
    let ahead = match (&dir.allocator, previous.and_then(|previous| previous.ahead.as_ref())) {
        (Some(allocator), Some(previous)) => Some(allocator.attach_next(file.shared(), growth.chunk, previous)),
        (Some(allocator), None) => Some(allocator.attach(file.shared(), growth.chunk)),
        (None, _) => None,
    };
    Ok(Active {
        ahead,
        file,
        segment: Arc::new(segment),
        indexer: Indexer::default(),
        first_timestamp: None,
        since: None,
        backing: Backing::File,
        capacity: growth.capacity,
        jitter_seed: jitter_seed(folder),
    })
}

/// A number that differs between logs and stays the same for one.
pub(super) fn jitter_seed(folder: &Folder) -> u64 {
    u64::from(crc32c::crc32c(folder.path().as_os_str().as_encoded_bytes()))
}

/// How far a segment's file may grow: one batch may be larger than a segment when it came from a leader with other settings.
pub(super) fn growth(config: &LogConfig) -> Growth {
    /// Larger than any batch that the wire lets in.
    const LARGEST_BATCH_BYTES: u64 = 128 << 20;
    let capacity = config.segment_bytes.clamp(LARGEST_BATCH_BYTES, SEGMENT_MAX_BYTES);
    Growth { capacity, chunk: config.prepare_chunk() }
}
