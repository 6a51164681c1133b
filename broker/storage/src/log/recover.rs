//! Recovery: from the files of a partition's folder, whatever happened to them, back to a log; and making a new one.
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

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use cairn_protocol::ids::{Offset, TopicId};

use super::active::Active;
use super::delete::remove_if_there;
use super::epochs::{EPOCHS_FILE_MAX_BYTES, EpochHistory};
use super::error::{CreateLogError, OpenLogError};
use super::layout::{FileKind, METADATA_FILE};
use super::producers::Producers;
use super::recovery_scan::{Depth, Scanned, Stop, Task, discard, scan};
use super::roll::{StartError, growth, start_segment};
use super::segment::{Extent, Fault, Largest, Segment};
use super::snapshot::{self, SNAPSHOT_MAX_BYTES};
use super::sync::{Sealed, Unsynced};
use super::{BadBatch, Folder, Log, LogConfig, LogName, assemble, later};
use crate::dir::checkpoint::{LogMarks, OffsetOrder};
use crate::dir::state::DirState;
use crate::disk::EntryKind;

/// The largest `partition.metadata` that is read.
const METADATA_MAX_BYTES: u64 = 4096;

/// What is known of a log before its files are looked at.
#[derive(Debug)]
pub(crate) struct Foundation {
    pub(crate) dir: Arc<DirState>,
    pub(crate) name: LogName,
    pub(crate) topic_id: TopicId,
    pub(crate) config: LogConfig,
    pub(crate) folder: Folder,
    pub(crate) folder_name: String,
}

impl Foundation {
    pub(crate) fn new(dir: Arc<DirState>, name: LogName, topic_id: TopicId, config: LogConfig) -> Self {
        let folder_name = name.to_string();
        let folder = Folder::new(dir.root.join(&folder_name));
        Self { dir, name, topic_id, config, folder, folder_name }
    }
}

/// What a log is put together from.
pub(super) struct Parts {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) active: Active,
    pub(super) epochs: EpochHistory,
    pub(super) producers: Producers,
    pub(super) unsynced: Unsynced,
    pub(super) marks: LogMarks,
}

/// Makes a new, empty log, durably.
pub(crate) fn create(foundation: Foundation) -> Result<Log, CreateLogError> {
    let dir = Arc::clone(&foundation.dir);
    let folder = foundation.folder_name.clone();
    if dir.is_open(&folder) {
        return Err(CreateLogError::Exists { folder });
    }
    let before = match dir.disk.list(foundation.folder.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Before::Nothing,
        Err(error) => return Err(dir.fail("list a log's folder", &error).into()),
        Ok(entries) if is_half_made(&foundation, &entries) => Before::HalfMade,
        Ok(_) => return Err(CreateLogError::Exists { folder }),
    };
    if let Some(LogMarks { recovery_point, .. }) = dir.marks_of(&folder, foundation.topic_id) {
        return Err(CreateLogError::Lost { folder, recovery_point });
    }
    if before == Before::HalfMade {
        dir.heed("remove a half-made folder", dir.disk.remove_dir(foundation.folder.path()))?;
    }
    let active = match make_files(&foundation) {
        Ok(active) => active,
        Err(StartError::Full) => {
            // What is half made holds room that others could use, and its name.
            dir.heed("remove a half-made folder", remove_folder_if_there(&foundation))?;
            return Err(CreateLogError::DiskFull);
        }
        Err(StartError::Offline(offline)) => return Err(offline.into()),
    };
    let synced = dir.disk.sync_dir(foundation.folder.path()).and_then(|()| dir.disk.sync_dir(&dir.root));
    dir.heed("sync a new log's folder", synced)?;
    let zero = Offset::ZERO;
    let order = OffsetOrder::Dense;
    let topic_id = foundation.topic_id;
    let marks = LogMarks { topic_id, recovery_point: zero, start_offset: zero, high_watermark: zero, order };
    let parts = Parts {
        segments: vec![Arc::clone(&active.segment)],
        active,
        epochs: EpochHistory::default(),
        producers: Producers::default(),
        unsynced: Unsynced::default(),
        marks,
    };
    Ok(assemble(foundation, parts))
}

/// What is where a log is to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// What a process left that died while it made the log.
    HalfMade,
}

/// Whether a folder was never a log: it has nothing but what is made before the first segment, and nobody has ever noted
/// anything of it.
fn is_half_made(foundation: &Foundation, entries: &[crate::disk::Entry]) -> bool {
    let is_early = |entry: &crate::disk::Entry| {
        entry.kind == EntryKind::File
            && matches!(FileKind::of(&entry.name), FileKind::Dense | FileKind::Metadata | FileKind::Leftover)
    };
    entries.iter().all(is_early) && !foundation.dir.is_known(&foundation.folder_name)
}

fn make_files(foundation: &Foundation) -> Result<Active, StartError> {
    let Foundation { dir, folder, config, .. } = foundation;
    make_folder(foundation).map_err(|error| match super::error::is_full(&error) {
        true => StartError::Full,
        false => StartError::Offline(dir.fail("create a log", &error)),
    })?;
    start_segment(dir, folder, config, Offset::ZERO, None)
}

fn make_folder(foundation: &Foundation) -> io::Result<()> {
    let disk = &foundation.dir.disk;
    disk.create_dir(foundation.folder.path())?;
    disk.write_at(&foundation.folder.dense(), 0, &[])?;
    let text = format!("version: 0\ntopic_id: {}", foundation.topic_id);
    disk.replace(&foundation.folder.metadata(), text.as_bytes())
}

fn remove_folder_if_there(foundation: &Foundation) -> io::Result<()> {
    match foundation.dir.disk.remove_dir(foundation.folder.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

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
    foundation.topic_id = read_topic_id(&foundation);
    let parts = Recovery { foundation: &foundation, files }.run()?;
    Ok(assemble(foundation, parts))
}

/// The topic's id as `partition.metadata` says; all zeros when it does not, as in folders of old Kafka versions.
pub(crate) fn read_topic_id(foundation: &Foundation) -> TopicId {
    let path = foundation.folder.metadata();
    let Ok(bytes) = foundation.dir.disk.read(&path, METADATA_MAX_BYTES) else { return TopicId::ZERO };
    parse_topic_id(&bytes).unwrap_or_else(|| {
        tracing::warn!(log = %foundation.name, "cannot read {METADATA_FILE}");
        TopicId::ZERO
    })
}

/// Kafka's text: `version: 0`, then `topic_id: ` and 22 characters.
pub(crate) fn parse_topic_id(bytes: &[u8]) -> Option<TopicId> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    if lines.next()? != "version: 0" {
        return None;
    }
    lines.next()?.strip_prefix("topic_id: ")?.parse().ok()
}

/// The files of a folder, by what they hold.
#[derive(Debug, Default)]
struct Files {
    segments: BTreeMap<Offset, u64>,
    indexes: Vec<Offset>,
    snapshots: Vec<Offset>,
    leftovers: Vec<String>,
    is_dense: bool,
}

impl Files {
    fn sort(entries: &[crate::disk::Entry]) -> Self {
        let mut files = Self::default();
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
            match FileKind::of(&entry.name) {
                FileKind::Segment(base) => drop(files.segments.insert(base, entry.len)),
                FileKind::OffsetIndex(base) | FileKind::TimeIndex(base) => files.indexes.push(base),
                FileKind::ProducerSnapshot(end) => files.snapshots.push(end),
                FileKind::Dense => files.is_dense = true,
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
        let first = self.files.segments.keys().next().copied().unwrap_or(Offset::ZERO);
        let marks = known.unwrap_or(LogMarks {
            topic_id,
            recovery_point: first,
            start_offset: first,
            high_watermark: first,
            // A log that nobody has said anything of may be Kafka's, and compacted.
            order: if self.files.is_dense { OffsetOrder::Dense } else { OffsetOrder::Rising },
        });

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
            Fault::Damaged { base, position, source } => OpenLogError::Corrupt {
                folder: self.foundation.folder_name.clone(),
                sound_end: base,
                recovery_point: base,
                segment: base,
                position,
                source: Some(source),
            },
        }
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
                from: if synced { Offset(i64::MAX) } else { marks.recovery_point },
                order: marks.order,
                depth: if synced { Depth::Headers } else { Depth::Checksums },
                index_interval_bytes: config.index_interval_bytes,
            };
            let segment = scan(dir, folder, &task, epochs).map_err(|fault| self.fault(fault))?;
            let end = segment.segment.end_offset();
            let rising = marks.order == OffsetOrder::Rising;
            let whole = limit.is_some_and(|limit| end == limit || rising && segment.ends_exactly());
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

    fn start_empty(&self, marks: LogMarks) -> Result<Parts, OpenLogError> {
        let Foundation { dir, folder, config, .. } = self.foundation;
        let start = marks.start_offset;
        let active = match start_segment(dir, folder, config, start, None) {
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
            unsynced: Unsynced::with_indexed(start, 0, 0),
            marks: LogMarks { recovery_point: start, high_watermark: start, order: OffsetOrder::Dense, ..marks },
        })
    }

    fn put_together(
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
        let durable = marks.recovery_point.clamp(start, end);
        unsynced.active_from = match durable {
            durable if durable >= end => active.segment.end_position(),
            durable if durable > active.segment.base => scanned_from,
            _ => 0,
        };
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

    /// Opens the last segment for appends: what lies behind its last batch is cut off.
    fn activate(&self, last: Scanned) -> io::Result<Active> {
        let Foundation { dir, folder, config, .. } = self.foundation;
        let Scanned { segment: found, offsets_kept, times_kept, indexer, first_timestamp, .. } = last;
        let base = found.base;
        cut_index(dir, &folder.offset_index(base), offsets_kept * 8)?;
        cut_index(dir, &folder.time_index(base), times_kept * 12)?;
        let growth = growth(config);
        let file = dir.disk.open_append(&folder.segment(base), found.end_position(), growth)?;
        let ahead = dir.allocator.as_ref().map(|allocator| allocator.attach(file.shared(), growth.chunk));
        let extent = Extent {
            end_position: found.end_position(),
            end_offset: found.end_offset(),
            largest: found.largest(),
            takes_appends: true,
            trusted_from: found.trusted_from(),
        };
        let segment = Segment::new(base, file.shared(), found.offsets, found.times, &extent);
        Ok(Active {
            file,
            segment: Arc::new(segment),
            indexer,
            capacity: growth.capacity,
            first_timestamp,
            since: None,
            jitter_seed: super::roll::jitter_seed(folder),
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
        _ => OffsetOrder::Dense,
    }
}

/// Cuts an index file behind the entries that hold, so that later entries follow on.
fn cut_index(dir: &DirState, path: &std::path::Path, len: usize) -> io::Result<()> {
    match dir.disk.truncate(path, crate::num::as_u64(len)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The producers before `end`: from the newest sound snapshot, and the batches behind it.
pub(super) fn replay_producers(
    dir: &DirState,
    folder: &Folder,
    segments: &[Arc<Segment>],
    snapshots: &[Offset],
    end: Offset,
) -> Result<Producers, Fault> {
    let mut producers = Producers::default();
    let mut from = segments.first().map_or(end, |segment| segment.base);
    let mut newest_first: Vec<Offset> = snapshots.iter().copied().filter(|at| *at <= end && *at >= from).collect();
    newest_first.sort_unstable_by(|a, b| b.cmp(a));
    for at in newest_first {
        let Ok(bytes) = dir.disk.read(&folder.snapshot(at), SNAPSHOT_MAX_BYTES) else { continue };
        match snapshot::decode(&bytes) {
            Ok(states) if states.iter().all(|state| state.batches.iter().all(|batch| batch.last_offset < at)) => {
                states.into_iter().for_each(|state| producers.insert(state));
                widen_windows(&mut producers, segments, at)?;
                from = at;
                break;
            }
            Ok(_) => tracing::warn!(snapshot = at.0, "producer snapshot knows batches from behind it"),
            Err(error) => tracing::warn!(snapshot = at.0, %error, "producer snapshot is damaged; using an older one"),
        }
    }
    for segment in segments.iter().filter(|segment| segment.end_offset() > from) {
        let Some(first) = segment.find(from.max(segment.base))? else { continue };
        let mut position = first.position;
        while let Some(found) = segment.batch_at(position)? {
            producers.note(&found.batch.header);
            position += found.batch.size;
        }
    }
    Ok(producers)
}

/// A snapshot has only the last batch of each producer, but one that waits for an answer may send any of its last five
/// again: the others are taken from the log right before the snapshot.
fn widen_windows(producers: &mut Producers, segments: &[Arc<Segment>], at: Offset) -> Result<(), Fault> {
    /// Five batches of the usual sizes of many producers.
    const LOOK_BACK_BYTES: u64 = 1 << 20;
    if producers.is_empty() {
        return Ok(());
    }
    let Some(segment) = segments.iter().rfind(|segment| segment.base < at) else { return Ok(()) };
    let end = segment.find(at)?.map_or(segment.end_position(), |found| found.position);
    let from = end.saturating_sub(LOOK_BACK_BYTES);
    let mut position = segment.find_position(from)?.map_or(0, |found| found.position);
    let mut recent = Producers::default();
    while position < end
        && let Some(found) = segment.batch_at(position)?
    {
        recent.note(&found.batch.header);
        position += found.batch.size;
    }
    producers.widen(&recent);
    Ok(())
}

/// The largest timestamp of a segment, from its index and the batches behind the index's last entry.
pub(super) fn largest_of(segment: &Segment) -> Result<Largest, Fault> {
    let io = |source| segment.io(source);
    let known = segment.times.largest().map_err(io)?;
    let mut largest = known.map_or(Largest::none(segment.base), |(timestamp, offset)| Largest { timestamp, offset });
    let mut position = segment.offsets.last().map_err(io)?.map_or(0, |entry| u64::from(entry.position));
    while let Some(found) = segment.batch_at(position)? {
        largest = later(largest, found.batch.header.max_timestamp, found.batch.last_offset());
        position += found.batch.size;
    }
    Ok(largest)
}

/// Whether each known epoch begins with a batch of that epoch, and the batch before it is of another.
fn epochs_hold(segments: &[Arc<Segment>], start: Offset, epochs: &EpochHistory) -> Result<bool, Fault> {
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return Ok(true) };
    let epoch_at = |offset: Offset| -> Result<Option<super::segment::Found>, Fault> {
        let at = segments.partition_point(|segment| segment.base <= offset);
        match at.checked_sub(1) {
            Some(at) => segments[at].find(offset),
            None => Ok(None),
        }
    };
    let first_batch = first.batch_at(0)?.and_then(|found| found.batch.header.leader_epoch);
    let covers_start = epochs.starts().first().is_some_and(|known| known.start <= start);
    if first_batch.is_some() && !covers_start {
        return Ok(false);
    }
    let last_batch = match last.end_position().checked_sub(1) {
        Some(inside) => last.find_position(inside)?,
        None => None,
    };
    if let Some(found) = last_batch
        && found.batch.header.leader_epoch != epochs.epoch_at(found.batch.base_offset().max(start))
    {
        return Ok(false);
    }
    for known in epochs.starts() {
        if known.start >= last.end_offset() || known.start < first.base {
            continue;
        }
        let Some(batch) = epoch_at(known.start)? else { continue };
        if batch.batch.header.leader_epoch != Some(known.epoch) {
            return Ok(false);
        }
        let before = if known.start > first.base { epoch_at(known.start.plus(-1))? } else { None };
        // At the log's start an epoch may begin within a batch.
        let is_first = epochs.starts().first() == Some(known);
        if !is_first && before.is_some_and(|before| before.batch.header.leader_epoch >= Some(known.epoch)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The epochs as the batches have them.
fn epochs_of(segments: &[Arc<Segment>]) -> Result<EpochHistory, Fault> {
    let mut epochs = EpochHistory::default();
    for segment in segments {
        let mut position = 0;
        while let Some(found) = segment.batch_at(position)? {
            if let Some(epoch) = found.batch.header.leader_epoch {
                let assigned = epochs.assign(epoch, found.batch.base_offset());
                assigned.map_err(|error| Fault::Damaged {
                    base: segment.base,
                    position,
                    source: BadBatch::Epoch { found: epoch, before: error.last.epoch },
                })?;
            }
            position += found.batch.size;
        }
    }
    Ok(epochs)
}
