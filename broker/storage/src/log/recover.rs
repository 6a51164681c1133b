//! Recovery: from the files of a partition's folder, whatever happened to them, back to a log.
//!
//! ```text
//!   start        recovery point      end
//!   | synced: has to be there | may be torn: cut at the first batch that does not hold
//!   | headers behind the last index entry of each segment | checksums too
//! ```
//!
//! A log that ends before its recovery point is not torn but corrupt: data that was acknowledged is gone. It is left as
//! it is, and not opened. Reasons: docs/decisions/0003-recovery.md.
//!
//! Must not know: who asks, other partitions.

mod parts;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use cairn_protocol::ids::Offset;

pub(super) use self::parts::Parts;
use super::active::Backing;
use super::ahead::Ahead;
use super::create::{is_early, is_half_made, unfounded};
use super::delete::remove_if_there;
use super::epochs::{EPOCHS_FILE_MAX_BYTES, EpochHistory};
use super::error::OpenLogError;
use super::foundation::{Foundation, stated_topic_id, topic_id_text};
use super::index::Index;
use super::layout::FileKind;
use super::recovery_scan::{Depth, Scanned, Stop, Task, discard, scan};
use super::segment::{Extent, Fault, Largest, Segment};
use super::{Log, assemble, compact};
use crate::dir::checkpoint::{LogMarks, OffsetOrder};
use crate::dir::state::ReplaceError;
use crate::disk::{Entry, EntryKind};

/// Opens the log of an existing folder.
pub(crate) fn open(mut foundation: Foundation) -> Result<Log, OpenLogError> {
    let dir = Arc::clone(&foundation.dir);
    dir.check()?;
    let folder = foundation.folder_name.clone();
    if dir.is_open(&folder) {
        return Err(OpenLogError::AlreadyOpen { folder });
    }
    let files = match dir.disk.list(foundation.folder.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(OpenLogError::Missing { folder }),
        listed => {
            let entries = dir.heed("list a log's folder", listed)?;
            if is_half_made(&foundation, &entries) {
                return Err(OpenLogError::Missing { folder });
            }
            Files::sort(&entries)
        }
    };
    let stated = stated_topic_id(&foundation);
    let known = Some(dir.known_topic_id(&folder)).filter(|known| !known.is_zero());
    foundation.topic_id = stated.or(known).unwrap_or(foundation.topic_id);
    let parts = Recovery { foundation: &foundation, files, origin: Origin::Unknown }.run()?;
    if stated.is_none() && !foundation.topic_id.is_zero() && parts.active.backing == Backing::File {
        restate_topic_id(&foundation)?;
    }
    Ok(assemble(foundation, parts))
}

/// A crash came before the file was on disk, or something has damaged it: the checkpoint knows what it said.
fn restate_topic_id(foundation: &Foundation) -> Result<(), OpenLogError> {
    let text = topic_id_text(foundation.topic_id);
    match foundation.dir.replace(&foundation.folder.metadata(), text.as_bytes()) {
        // Then the checkpoint goes on knowing it.
        Ok(()) | Err(ReplaceError::DiskFull) => Ok(()),
        Err(ReplaceError::Offline(offline)) => Err(offline.into()),
    }
}

/// The files of a folder, by what they hold.
#[derive(Debug, Default)]
struct Files {
    segments: BTreeMap<Offset, u64>,
    indexes: Vec<Offset>,
    snapshots: Vec<Offset>,
    leftovers: Vec<String>,
    swaps: Vec<Offset>,
    is_dense: bool,
    /// There is nothing but what is made before the first segment.
    is_early: bool,
}

impl Files {
    fn sort(entries: &[Entry]) -> Self {
        let mut files = Self { is_early: entries.iter().all(is_early), ..Self::default() };
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
            match FileKind::of(&entry.name) {
                FileKind::Segment(base) => drop(files.segments.insert(base, entry.len)),
                FileKind::OffsetIndex(base) | FileKind::TimeIndex(base) => files.indexes.push(base),
                FileKind::ProducerSnapshot(end) => files.snapshots.push(end),
                FileKind::Dense => files.is_dense = true,
                FileKind::Swap(base) => files.swaps.push(base),
                FileKind::Leftover => files.leftovers.push(entry.name.clone()),
                _ => {}
            }
        }
        files
    }
}

struct Recovery<'a> {
    foundation: &'a Foundation,
    files: Files,
    origin: Origin,
}

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The checkpoint knows it.
    Ours,
    /// Nobody has said anything of it: it may be Kafka's.
    Unknown,
}

/// What the scan of all segments has found.
struct Found {
    /// Oldest first; the last one takes appends.
    segments: Vec<Scanned>,
    epochs: EpochHistory,
}

impl Recovery<'_> {
    fn run(mut self) -> Result<Parts, OpenLogError> {
        let dir = &self.foundation.dir;
        let topic_id = self.foundation.topic_id;
        let known = dir.marks_of(&self.foundation.folder_name, topic_id);
        // Before anything is asked of the list of segments: it may have the first one under another name.
        self.finish_swaps()?;
        let first = self.files.segments.keys().next().copied().unwrap_or(Offset::ZERO);
        let marks = known.unwrap_or(LogMarks {
            topic_id,
            recovery_point: first,
            start_offset: first,
            high_watermark: first,
            // A log that nobody has said anything of may be Kafka's, and compacted.
            order: if self.files.is_dense { OffsetOrder::Dense } else { OffsetOrder::Rising },
        });
        self.origin = if known.is_some() { Origin::Ours } else { Origin::Unknown };
        self.clear_leftovers()?;
        self.drop_deleted(marks.start_offset)?;
        self.check_front(marks)?;
        let stored_epochs = self.read_epochs();
        // What began at or behind the recovery point may be of batches that a crash has taken: the scan tells anew.
        let mut epochs = stored_epochs.clone().unwrap_or_default();
        epochs.truncate_to(marks.recovery_point);
        let found = self.scan_all(marks, &mut epochs)?;
        let parts = match found {
            Some(segments) => self.put_together(Found { segments, epochs }, stored_epochs.as_ref(), marks)?,
            None if self.files.is_early && marks.start_offset == Offset::ZERO => unfounded(self.foundation),
            None => self.start_empty(marks)?,
        };
        Ok(parts)
    }

    /// An error of the disk, of any kind, while recovering.
    fn heed<T>(&self, action: &str, result: io::Result<T>) -> Result<T, OpenLogError> {
        Ok(self.foundation.dir.heed(action, result)?)
    }

    /// The same where a full disk does no harm: all that was done until then is done again when the log is opened anew.
    fn heed_full<T>(&self, action: &str, result: io::Result<T>) -> Result<T, OpenLogError> {
        match result {
            Err(error) if super::error::is_full(&error) => Err(OpenLogError::DiskFull),
            other => self.heed(action, other),
        }
    }

    fn fault(&self, fault: Fault) -> OpenLogError {
        match fault {
            Fault::Io { source, .. } => self.foundation.dir.fail("read a segment", &source).into(),
            Fault::Damaged { base, position, source } => {
                let Foundation { dir, folder_name, topic_id, .. } = self.foundation;
                let marks = dir.marks_of(folder_name, *topic_id);
                OpenLogError::Corrupt {
                    folder: folder_name.clone(),
                    sound_end: base,
                    recovery_point: marks.map_or(base, |marks| marks.recovery_point),
                    segment: base,
                    position,
                    source: Some(source),
                }
            }
        }
    }

    /// Puts in place what compaction had begun to: the copy is durable, and some of what it replaces may be gone.
    fn finish_swaps(&mut self) -> Result<(), OpenLogError> {
        let Foundation { dir, folder, .. } = self.foundation;
        for base in std::mem::take(&mut self.files.swaps) {
            let copy = self.heed("open a compacted segment", dir.disk.open_sealed(&folder.swap(base).segment))?;
            let len = copy.len();
            let extent = Extent {
                end_position: len,
                end_offset: base,
                largest: Largest::none(base),
                takes_appends: false,
                trusted_from: u64::MAX,
            };
            let copy = Arc::new(Ahead::new(copy, len));
            let copy = Segment::new(base, copy, Index::empty(base), Index::empty(base), &extent);
            let (mut position, mut end) = (0, base);
            while let Some(found) = copy.batch_at(position).map_err(|fault| self.fault(fault))? {
                (position, end) = (position + found.batch.size, found.batch.end_offset());
            }
            let replaced: Vec<Offset> =
                self.files.segments.keys().copied().filter(|other| *other > base && *other < end).collect();
            tracing::info!(log = %self.foundation.name, base = base.0, end = end.0, "finishing an exchange of segments");
            self.heed("put a compacted segment in place", compact::finish_swap(dir, folder, base, &replaced))?;
            self.heed("sync a folder", dir.disk.sync_dir(folder.path()))?;
            for other in &replaced {
                self.files.segments.remove(other);
            }
            self.files.segments.insert(base, len);
            self.files.indexes.retain(|other| *other != base && !replaced.contains(other));
        }
        Ok(())
    }

    fn clear_leftovers(&self) -> Result<(), OpenLogError> {
        let Foundation { dir, folder, .. } = self.foundation;
        for name in &self.files.leftovers {
            self.heed("remove a leftover", remove_if_there(dir, &folder.path().join(name)))?;
        }
        for base in self.files.indexes.iter().filter(|base| !self.files.segments.contains_key(base)) {
            self.heed("remove an index without segment", discard(dir, folder, *base))?;
        }
        Ok(())
    }

    /// Removes segments that retention or DeleteRecords had taken out of the log before a crash.
    fn drop_deleted(&mut self, start: Offset) -> Result<(), OpenLogError> {
        let Foundation { dir, folder, .. } = self.foundation;
        while let Some(second) = self.files.segments.keys().nth(1).copied().filter(|second| *second <= start) {
            let (base, _) = self.files.segments.pop_first().expect("there are two");
            tracing::debug!(log = %self.foundation.name, base = base.0, next = second.0, "removing a deleted segment");
            self.heed("remove a deleted segment", discard(dir, folder, base))?;
        }
        Ok(())
    }

    /// What is removed on purpose is noted before: a log that begins behind its start has lost what was synced there.
    fn check_front(&self, marks: LogMarks) -> Result<(), OpenLogError> {
        let Some(first) = self.files.segments.keys().next().copied() else { return Ok(()) };
        // A reset goes back to where nothing is durable.
        if first <= marks.start_offset || marks.recovery_point <= marks.start_offset {
            return Ok(());
        }
        Err(self.nothing_at_start(marks))
    }

    fn nothing_at_start(&self, marks: LogMarks) -> OpenLogError {
        OpenLogError::Corrupt {
            folder: self.foundation.folder_name.clone(),
            sound_end: marks.start_offset,
            recovery_point: marks.recovery_point,
            segment: marks.start_offset,
            position: 0,
            source: None,
        }
    }

    fn read_epochs(&self) -> Option<EpochHistory> {
        let path = self.foundation.folder.epochs();
        let bytes = self.foundation.dir.disk.read(&path, EPOCHS_FILE_MAX_BYTES).ok()?;
        let history = EpochHistory::decode(&bytes);
        if history.is_none() {
            tracing::warn!(log = %self.foundation.name, "leader-epoch-checkpoint is damaged; made anew from the batches");
        }
        history
    }

    /// Scans all segments. `None` when nothing is there that the log needs.
    fn scan_all(&mut self, marks: LogMarks, epochs: &mut EpochHistory) -> Result<Option<Vec<Scanned>>, OpenLogError> {
        let Foundation { dir, folder, config, .. } = self.foundation;
        let bases: Vec<Offset> = self.files.segments.keys().copied().collect();
        let mut scanned: Vec<Scanned> = Vec::new();
        for (at, base) in bases.iter().enumerate() {
            let limit = bases.get(at + 1).copied();
            let synced = limit.is_some_and(|limit| limit <= marks.recovery_point);
            let task = Task {
                base: *base,
                limit,
                end_position: None,
                from: if synced { Offset(i64::MAX) } else { marks.recovery_point },
                order: marks.order,
                depth: if synced { Depth::Headers } else { Depth::Checksums },
                index_interval_bytes: config.index_interval_bytes,
            };
            let segment = scan(dir, folder, &task, epochs).map_err(|fault| self.fault(fault))?;
            let end = segment.segment.end_offset();
            let may_be_empty = synced || self.origin == Origin::Unknown;
            let rising = marks.order == OffsetOrder::Rising;
            let ends_here = segment.ends_exactly() || may_be_empty && segment.is_empty();
            let whole = limit.is_some_and(|limit| end == limit || rising && ends_here);
            if whole {
                scanned.push(segment);
                continue;
            }
            if end < marks.start_offset && marks.recovery_point <= marks.start_offset {
                // All that is left was deleted, or a reset was under way: the log goes on empty at its start.
                self.discard_all(&bases)?;
                return Ok(None);
            }
            if end < marks.recovery_point {
                return Err(self.corrupt(&segment, marks));
            }
            self.report_tail(&segment);
            scanned.push(segment);
            self.discard_all(&bases[at + 1..])?;
            break;
        }
        if scanned.is_empty() && marks.recovery_point > marks.start_offset {
            return Err(self.nothing_at_start(marks));
        }
        Ok(if scanned.is_empty() { None } else { Some(scanned) })
    }

    fn corrupt(&self, segment: &Scanned, marks: LogMarks) -> OpenLogError {
        OpenLogError::Corrupt {
            folder: self.foundation.folder_name.clone(),
            sound_end: segment.segment.end_offset(),
            recovery_point: marks.recovery_point,
            segment: segment.segment.base,
            position: segment.segment.end_position(),
            source: match &segment.stop {
                Stop::Bad(bad) => Some(bad.clone()),
                Stop::End | Stop::Limit => None,
            },
        }
    }

    fn report_tail(&self, segment: &Scanned) {
        if let Stop::Bad(bad) = &segment.stop {
            tracing::warn!(
                log = %self.foundation.name,
                end = segment.segment.end_offset().0,
                segment = segment.segment.base.0,
                position = segment.segment.end_position(),
                reason = %bad,
                "cutting a torn tail that was never synced"
            );
        }
    }

    /// Removes segments from the last to the first, each removal durable before the next.
    fn discard_all(&mut self, bases: &[Offset]) -> Result<(), OpenLogError> {
        let Foundation { dir, folder, .. } = self.foundation;
        for base in bases.iter().rev() {
            tracing::warn!(log = %self.foundation.name, base = base.0, "removing a segment behind the log's end");
            self.heed("remove a segment", discard(dir, folder, *base))?;
            self.heed("sync a folder", dir.disk.sync_dir(folder.path()))?;
            self.files.segments.remove(base);
        }
        Ok(())
    }
}
