//! Indexes of sealed segments made anew, in which a reader found an entry that does not hold.
//!
//! ```text
//!   under the lock    maintain() hands out a Mending: which segments
//!   without it        run() walks through all their batches, and writes the indexes under other names
//!   under the lock    on_mended() gives them the names of the old ones: two renames, nothing that waits
//! ```
//!
//! Must not know: how an index came to be wrong, when to look.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_protocol::ids::Offset;

use super::active::index_time;
use super::delete::remove_if_there;
use super::epochs::EpochHistory;
use super::layout::SegmentFiles;
use super::recovery_scan::{Depth, Task, scan};
use super::roll::reopen_sealed;
use super::segment::{Fault, Segment};
use super::sync::Gate;
use super::{Folder, Log};
use crate::dir::checkpoint::OffsetOrder;
use crate::dir::state::{DirOffline, DirState, is_full};

/// Segments whose indexes are to be made anew. To be run without the log's lock.
#[derive(Debug)]
#[must_use = "indexes are mended when it is run, and given back to the log"]
pub struct Mending {
    dir: Arc<DirState>,
    folder: Folder,
    gate: Arc<Gate>,
    generation: u64,
    index_interval_bytes: u64,
    /// Each with the offset at which the next one begins.
    segments: Vec<(Arc<Segment>, Offset)>,
}

/// What [`Mending::run`] has made, for [`Log::on_mended`].
#[derive(Debug)]
#[must_use = "the log has to be told"]
pub struct Mended {
    made: Vec<Made>,
}

/// Indexes of one segment, whole and durable, that do not have their names yet.
#[derive(Debug)]
struct Made {
    of: Arc<Segment>,
    /// The same segment as a walk through it has found it.
    walked: Segment,
    files: SegmentFiles,
}

impl Mending {
    /// Walks through the segments, and writes their indexes. Where there is no room for them, or the log was cut or closed
    /// meanwhile, they stay as they are.
    ///
    /// # Errors
    /// When the disk fails: the data directory is offline.
    pub fn run(self) -> Result<Mended, DirOffline> {
        let mut made = Vec::with_capacity(self.segments.len());
        for (segment, limit) in &self.segments {
            let walked = self.walk(segment, *limit);
            let Some(walked) = self.dir.heed("walk through a segment", walked)? else { continue };
            let files = self.folder.replacement(segment.base);
            // By now the folder may be another log's.
            let generation = self.gate.lock();
            if *generation != self.generation {
                break;
            }
            match write(&self.dir, &walked, &files) {
                Ok(()) => made.push(Made { of: Arc::clone(segment), walked, files }),
                Err(error) if is_full(&error) => {
                    tracing::warn!(segment = segment.base.0, %error, "an index is mended later");
                    self.dir.heed("remove an index that was not finished", remove(&self.dir, &files))?;
                }
                Err(error) => return Err(self.dir.fail("write an index anew", &error)),
            }
        }
        Ok(Mended { made })
    }

    /// `None` when the segment itself does not hold, which is no matter of its index, or has gone meanwhile.
    fn walk(&self, segment: &Segment, limit: Offset) -> io::Result<Option<Segment>> {
        let task = Task {
            base: segment.base,
            limit: Some(limit),
            from: segment.base,
            end_position: Some(segment.end_position()),
            order: OffsetOrder::Rising,
            depth: Depth::Headers,
            index_interval_bytes: self.index_interval_bytes,
        };
        match scan(&self.dir, &self.folder, &task, &mut EpochHistory::default()) {
            Ok(scanned) => {
                let is_whole = scanned.segment.end_offset() == segment.end_offset();
                Ok(is_whole.then_some(scanned.segment))
            }
            Err(Fault::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(Fault::Io { source, .. }) => Err(source),
            Err(Fault::Damaged { .. }) => Ok(None),
        }
    }
}

/// Writes the indexes of a segment under other names, durably.
pub(super) fn write(dir: &DirState, walked: &Segment, files: &SegmentFiles) -> io::Result<()> {
    index_time(walked)?;
    // What an earlier try has left may be longer.
    remove(dir, files)?;
    for (path, bytes) in
        [(&files.offset_index, walked.offsets.encode_from(0)?), (&files.time_index, walked.times.encode_from(0)?)]
    {
        dir.disk.write_at(path, 0, &bytes)?;
        dir.disk.sync_file(path)?;
    }
    Ok(())
}

fn remove(dir: &DirState, files: &SegmentFiles) -> io::Result<()> {
    remove_if_there(dir, &files.offset_index)?;
    remove_if_there(dir, &files.time_index)
}

impl Log {
    /// What is to be mended, if anything.
    pub(super) fn begin_mending(&self) -> Option<Mending> {
        let segments = self.shared.segments.load();
        let sealed = segments.windows(2).filter(|pair| pair[0].is_index_suspect());
        let suspect: Vec<_> = sealed.map(|pair| (Arc::clone(&pair[0]), pair[1].base)).collect();
        (!suspect.is_empty()).then(|| Mending {
            dir: Arc::clone(&self.dir),
            folder: self.folder.clone(),
            gate: Arc::clone(&self.unsynced.gate),
            generation: self.unsynced.generation,
            index_interval_bytes: self.config.index_interval_bytes,
            segments: suspect,
        })
    }

    /// Puts indexes that were made anew in the place of the old ones. Of segments that are no longer the log's nothing is
    /// touched: by now the names of their files may be those of others.
    ///
    /// # Errors
    /// When the disk fails: the data directory is offline.
    pub fn on_mended(&mut self, mended: Mended) -> Result<(), DirOffline> {
        self.dir.check()?;
        for Made { of, walked, files } in mended.made {
            let segments = self.shared.segments.load_full();
            let at = segments.iter().position(|held| Arc::ptr_eq(held, &of));
            // While compaction is exchanging files: a later look finds what is still wrong then.
            let Some(at) = at.filter(|_| !self.is_swapping()) else {
                self.dir.heed("remove an index that nobody wants", remove(&self.dir, &files))?;
                continue;
            };
            // A reader that comes to the old index by its name from now on waits, and looks again.
            let exchange = self.shared.exchange.lock();
            let new = self.dir.heed("mend an index", self.put_in_place(&walked, &files))?;
            let mut changed = Vec::clone(&segments);
            changed[at] = Arc::new(new.following(&of));
            self.shared.segments.store(Arc::new(changed));
            self.shared.exchanges.fetch_add(1, Ordering::Release);
            drop(exchange);
            tracing::info!(log = %self.name, segment = of.base.0, "made the indexes of a segment anew");
        }
        Ok(())
    }

    /// Gives indexes of a segment their names. Answers the segment with them.
    pub(super) fn put_in_place(&self, walked: &Segment, files: &SegmentFiles) -> io::Result<Segment> {
        let disk = &self.dir.disk;
        disk.rename(&files.offset_index, &self.folder.offset_index(walked.base))?;
        disk.rename(&files.time_index, &self.folder.time_index(walked.base))?;
        reopen_sealed(&self.dir, &self.folder, walked)
    }
}
