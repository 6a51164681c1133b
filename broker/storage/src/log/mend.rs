//! Indexes of sealed segments made anew, in which a reader found an entry that does not hold.
//!
//! ```text
//!   under the lock    maintain() hands out a Mending: which segments
//!   without it        run() walks through all their batches: up to a whole segment is read
//!   under the lock    on_mended() writes the indexes and puts them in the place of the old ones
//! ```
//!
//! Must not know: how an index came to be wrong, when to look.

use std::io;
use std::sync::Arc;

use cairn_protocol::ids::Offset;

use super::delete::remove_if_there;
use super::epochs::EpochHistory;
use super::recovery_scan::{Depth, Scanned, Task, scan};
use super::segment::{Fault, Segment};
use super::{Folder, Log};
use crate::dir::checkpoint::OffsetOrder;
use crate::dir::state::{DirOffline, DirState};

/// Segments whose indexes are to be made anew. To be run without the log's lock.
#[derive(Debug)]
#[must_use = "indexes are mended when it is run, and given back to the log"]
pub struct Mending {
    dir: Arc<DirState>,
    folder: Folder,
    index_interval_bytes: u64,
    /// Each with the offset at which the next one begins.
    segments: Vec<(Arc<Segment>, Offset)>,
}

/// What [`Mending::run`] has found, for [`Log::on_mended`].
#[derive(Debug)]
#[must_use = "the log has to be told"]
pub struct Mended {
    found: Vec<(Arc<Segment>, Scanned)>,
}

impl Mending {
    /// Walks through the segments. Nothing is written.
    ///
    /// # Errors
    /// When the disk fails: the data directory is offline.
    pub fn run(self) -> Result<Mended, DirOffline> {
        let mut found = Vec::with_capacity(self.segments.len());
        for (segment, limit) in &self.segments {
            let walked = self.walk(segment, *limit);
            if let Some(scanned) = self.dir.heed("walk through a segment", walked)? {
                found.push((Arc::clone(segment), scanned));
            }
        }
        Ok(Mended { found })
    }

    /// `None` when the segment itself does not hold, which is no matter of its index, or has gone meanwhile.
    fn walk(&self, segment: &Segment, limit: Offset) -> io::Result<Option<Scanned>> {
        let task = Task {
            base: segment.base,
            limit: Some(limit),
            from: segment.base,
            order: OffsetOrder::Rising,
            depth: Depth::Headers,
            index_interval_bytes: self.index_interval_bytes,
        };
        match scan(&self.dir, &self.folder, &task, &mut EpochHistory::default()) {
            Ok(scanned) => {
                let is_whole = scanned.segment.end_offset() == segment.end_offset();
                Ok(is_whole.then_some(scanned))
            }
            Err(Fault::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(Fault::Io { source, .. }) => Err(source),
            Err(Fault::Damaged { .. }) => Ok(None),
        }
    }
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
        // Compaction is exchanging files: a later look finds what is still wrong then.
        if self.swapping {
            return Ok(());
        }
        for (segment, scanned) in mended.found {
            let segments = self.shared.segments.load_full();
            let Some(at) = segments.iter().position(|held| Arc::ptr_eq(held, &segment)) else { continue };
            let written = self.write_indexes(segment.base, scanned);
            let new = self.dir.heed("mend an index", written)?;
            tracing::info!(log = %self.name, segment = segment.base.0, "made the indexes of a segment anew");
            let mut changed = Vec::clone(&segments);
            changed[at] = Arc::new(new);
            self.shared.segments.store(Arc::new(changed));
        }
        Ok(())
    }

    fn write_indexes(&self, base: Offset, scanned: Scanned) -> io::Result<Segment> {
        // New files, because searches may be under way in the old ones.
        remove_if_there(&self.dir, &self.folder.offset_index(base))?;
        remove_if_there(&self.dir, &self.folder.time_index(base))?;
        scanned.finish_index(&self.dir, &self.folder)
    }
}
