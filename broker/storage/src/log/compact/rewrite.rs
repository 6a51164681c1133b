//! The copy of a group of segments: batches as the filter leaves them, and indexes to match, in files that nobody reads yet.
//!
//! Must not know: which records stay, how the copy takes its segments' place.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use cairn_protocol::ids::{Offset, Timestamp};
use cairn_protocol::records::BatchHeader;

use super::super::config::SEGMENT_MAX_BYTES;
use super::super::delete::remove_if_there;
use super::super::index::{Entry, OffsetEntry, TimeEntry, relative};
use super::super::later;
use super::super::layout::SegmentFiles;
use super::super::segment::{Largest, Segment};
use super::filter::{Fate, Filter, Filtered, Position};
use super::{CompactError, LogConfig, Pacing, Place, WINDOW_BYTES};
use crate::num::as_u64;

/// The copy is made durable in pieces of so many bytes, so that its end is no burst that others wait for.
const SYNC_EVERY_BYTES: u64 = 16 << 20;

/// A copy of some segments, whole and durable, that is not in their place yet.
#[derive(Debug)]
#[must_use = "the copy takes up space until it is put in place or discarded"]
pub struct Rewritten {
    pub(super) place: Place,
    pub(super) files: SegmentFiles,
    pub(super) sources: Vec<Arc<Segment>>,
    pub(super) end_position: u64,
    pub(super) largest: Largest,
    pub(super) offset_entries: usize,
    pub(super) time_entries: usize,
    pub(super) bytes_read: u64,
    pub(super) records_read: u64,
    pub(super) records_kept: u64,
    /// Whether any batch is other than it was.
    differs: bool,
}

impl Rewritten {
    /// Where the copy begins.
    pub(super) fn base(&self) -> Offset {
        self.sources[0].base
    }

    /// Where the copy ends.
    pub(super) fn end_offset(&self) -> Offset {
        self.sources[self.sources.len() - 1].end_offset()
    }

    /// The base offset of the last segment that it replaces, which may have no batch.
    pub(super) fn last_base(&self) -> Offset {
        self.sources[self.sources.len() - 1].base
    }

    /// Whether the copy is anything but what there is already.
    pub(super) fn is_worth_it(&self) -> bool {
        self.differs || self.sources.len() > 1
    }

    /// Removes the copy.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn discard(self) -> Result<(), CompactError> {
        remove(&self.place, &self.files)
    }
}

/// Removes what there is of a copy. Of a log that was closed or deleted nothing is touched: its files may be another's by now.
fn remove(place: &Place, files: &SegmentFiles) -> Result<(), CompactError> {
    let generation = place.gate.lock();
    if *generation != place.generation {
        return Ok(());
    }
    for path in files.all() {
        place.dir.heed("remove a copy of a segment", remove_if_there(&place.dir, path))?;
    }
    Ok(())
}

/// Makes the copy of `sources`.
pub(super) fn rewrite(
    place: &Place,
    config: &LogConfig,
    sources: Vec<Arc<Segment>>,
    filter: &mut Filter<'_>,
    pacing: &dyn Pacing,
) -> Result<Rewritten, CompactError> {
    let base = sources[0].base;
    let files = place.folder.cleaned(base);
    // What an earlier round has left.
    remove(place, &files)?;
    let copied = copy(place, config, &sources, &files, filter, pacing);
    let (writer, tally) = match copied {
        Ok(copied) => copied,
        Err(error) => {
            remove(place, &files)?;
            return Err(error);
        }
    };
    Ok(Rewritten {
        place: place.clone(),
        files: files.clone(),
        sources,
        end_position: writer.position,
        largest: writer.indexes.largest,
        offset_entries: writer.indexes.offsets.len() / OffsetEntry::BYTES,
        time_entries: writer.indexes.times.len() / TimeEntry::BYTES,
        bytes_read: tally.bytes_read,
        records_read: tally.records_read,
        records_kept: tally.records_kept,
        differs: tally.differs,
    })
}

#[derive(Default)]
struct Tally {
    bytes_read: u64,
    records_read: u64,
    records_kept: u64,
    differs: bool,
}

fn copy<'a>(
    place: &'a Place,
    config: &LogConfig,
    sources: &[Arc<Segment>],
    files: &'a SegmentFiles,
    filter: &mut Filter<'_>,
    pacing: &'a dyn Pacing,
) -> Result<(Writer<'a>, Tally), CompactError> {
    let mut writer = Writer::new(place, &files.segment, sources[0].base, config.index_interval_bytes, pacing);
    let mut tally = Tally::default();
    let group_bytes: u64 = sources.iter().map(|source| source.end_position()).sum();
    for source in sources {
        place.each_batch(source, 0, pacing, |batch, bytes| {
            let position = match tally.bytes_read + batch.size == group_bytes {
                true => Position::Last,
                false => Position::Inner,
            };
            let Filtered { fate, records_read, records_kept } = filter.apply(batch, bytes, position)?;
            tally.bytes_read += batch.size;
            tally.records_read += records_read;
            tally.differs |= !matches!(fate, Fate::Stays);
            match fate {
                Fate::Stays => writer.push(&batch.header, bytes)?,
                Fate::Becomes(changed) => {
                    let header = BatchHeader::decode(&changed).expect("a written batch has a header");
                    writer.push(&header, &changed)?;
                }
                Fate::Goes => {}
            }
            tally.records_kept += records_kept;
            Ok(ControlFlow::Continue(()))
        })?;
    }
    writer.finish(files)?;
    Ok((writer, tally))
}

/// Writes the copy's files.
struct Writer<'a> {
    place: &'a Place,
    path: &'a Path,
    pacing: &'a dyn Pacing,
    buffer: Vec<u8>,
    /// Behind the last batch.
    position: u64,
    written: u64,
    synced: u64,
    indexes: Indexes,
}

impl<'a> Writer<'a> {
    fn new(place: &'a Place, path: &'a Path, base: Offset, interval: u64, pacing: &'a dyn Pacing) -> Self {
        let indexes = Indexes {
            base,
            interval,
            last_position: 0,
            largest: Largest::none(base),
            last_time: Timestamp(-1),
            offsets: Vec::new(),
            times: Vec::new(),
        };
        Self { place, path, pacing, buffer: Vec::new(), position: 0, written: 0, synced: 0, indexes }
    }

    fn push(&mut self, header: &BatchHeader, bytes: &[u8]) -> Result<(), CompactError> {
        let end = self.position + as_u64(bytes.len());
        if end > SEGMENT_MAX_BYTES {
            return Err(CompactError::TooLarge { segment: self.indexes.base });
        }
        self.indexes.note(header, self.position);
        self.buffer.extend_from_slice(bytes);
        self.position = end;
        if as_u64(self.buffer.len()) >= WINDOW_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CompactError> {
        let bytes = as_u64(self.buffer.len());
        if bytes == 0 {
            return Ok(());
        }
        self.pacing.spend(bytes)?;
        if !self.place.is_current() {
            return Err(CompactError::Gone);
        }
        // The reserve is for others; what is compacted frees space only when it is through.
        if self.place.dir.spend(bytes)?.is_below_reserve() {
            return Err(CompactError::DiskFull);
        }
        let disk = &self.place.dir.disk;
        self.place.written("write a copy of a segment", disk.write_at(self.path, self.written, &self.buffer))?;
        self.written += bytes;
        self.buffer.clear();
        if self.written - self.synced >= SYNC_EVERY_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), CompactError> {
        self.synced = self.written;
        sync(self.place, self.path)
    }

    /// Writes what is left, and the indexes, and makes all of it durable.
    fn finish(&mut self, files: &SegmentFiles) -> Result<(), CompactError> {
        self.flush()?;
        self.sync()?;
        self.indexes.finish();
        let disk = &self.place.dir.disk;
        for (path, bytes) in [(&files.offset_index, &self.indexes.offsets), (&files.time_index, &self.indexes.times)] {
            self.place.written("write the index of a copy", disk.write_at(path, 0, bytes))?;
            sync(self.place, path)?;
        }
        Ok(())
    }
}

/// Whatever goes wrong with a sync is final, unless the log is gone.
fn sync(place: &Place, path: &Path) -> Result<(), CompactError> {
    place.dir.disk.sync_file(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound if !place.is_current() => CompactError::Gone,
        _ => place.dir.fail("sync a copy of a segment", &error).into(),
    })
}

/// The copy's indexes, as the log's writer would have made them.
struct Indexes {
    base: Offset,
    interval: u64,
    last_position: u64,
    largest: Largest,
    last_time: Timestamp,
    offsets: Vec<u8>,
    times: Vec<u8>,
}

impl Indexes {
    fn note(&mut self, header: &BatchHeader, position: u64) {
        self.largest = later(self.largest, header.max_timestamp, header.last_offset());
        if position - self.last_position <= self.interval {
            return;
        }
        self.last_position = position;
        let (Some(relative), Ok(position)) = (relative(self.base, header.last_offset()), u32::try_from(position))
        else {
            return;
        };
        OffsetEntry { relative, position }.encode(&mut self.offsets);
        self.finish();
    }

    /// Ends the time index with the largest timestamp so far.
    fn finish(&mut self) {
        if self.largest.timestamp > self.last_time
            && let Some(relative) = relative(self.base, self.largest.offset)
        {
            self.last_time = self.largest.timestamp;
            TimeEntry { timestamp: self.largest.timestamp, relative }.encode(&mut self.times);
        }
    }
}
