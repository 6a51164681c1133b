//! Whole folders: a partition's, and a data directory.
//!
//! Must not know: what is in each file.

use std::io::Write;
use std::path::Path;

use cairn_protocol::ids::Offset;

use super::{Detail, InspectError, Target, Verdict, dump, index, read, segment, small};
use crate::dir::identity::{CLEAN_FILE, IDENTITY_FILE};
use crate::dir::state::CHECKPOINT_FILE;
use crate::dir::{Checkpoint, checkpoint};
use crate::disk::{Disk, Entry, EntryKind};
use crate::log::{FileKind, LogName};

/// A partition's files that are looked at, by name.
fn files(disk: &dyn Disk, path: &Path) -> Result<Vec<(Entry, FileKind)>, InspectError> {
    let entries = disk.list(path).map_err(read(path))?;
    let files = entries.into_iter().filter(|entry| entry.kind == EntryKind::File);
    Ok(files.map(|entry| (FileKind::of(&entry.name), entry)).map(|(kind, entry)| (entry, kind)).collect())
}

pub(super) fn dump_partition(
    disk: &dyn Disk,
    path: &Path,
    detail: Detail,
    out: &mut dyn Write,
) -> Result<(), InspectError> {
    for (entry, kind) in files(disk, path)? {
        match kind {
            FileKind::Unknown
            | FileKind::Dense
            | FileKind::Leftover
            | FileKind::Swap(_)
            | FileKind::TransactionIndex(_) => {
                writeln!(out, "{} bytes={} (not looked at)", entry.path.display(), entry.len)?;
            }
            _ => dump(disk, &entry.path, detail, out)?,
        }
    }
    Ok(())
}

/// Answers where the log's sound batches begin and end.
pub(super) fn verify_partition(
    disk: &dyn Disk,
    path: &Path,
    verdict: &mut Verdict,
) -> Result<Option<(Offset, Offset)>, InspectError> {
    let files = files(disk, path)?;
    let bases: Vec<Offset> = files
        .iter()
        .filter_map(|(_, kind)| match kind {
            FileKind::Segment(base) => Some(*base),
            _ => None,
        })
        .collect();
    let mut extent: Option<(Offset, Offset)> = None;
    for (entry, kind) in &files {
        match *kind {
            FileKind::Segment(base) => {
                if let Some((_, end)) = extent
                    && end < base
                {
                    verdict.problem(&entry.path, format!("begins at offset {base}, the one before ends at {end}"));
                }
                let end = segment::verify(disk, &entry.path, base, verdict)?;
                // The next segment ends this one: a reader has held what was there before a cut, or the process died.
                let next = bases.get(bases.partition_point(|other| *other <= base));
                if let Some(next) = next.filter(|next| **next < end) {
                    verdict.remark(&entry.path, format!("dead batches of before a cut from offset {next} to {end}"));
                }
                extent = Some((extent.map_or(base, |(start, _)| start), end));
            }
            FileKind::OffsetIndex(base) | FileKind::TimeIndex(base) if bases.binary_search(&base).is_err() => {
                verdict.remark(&entry.path, "an index without segment");
            }
            FileKind::OffsetIndex(base) => index::verify_offsets(disk, &entry.path, base, verdict)?,
            FileKind::TimeIndex(base) => index::verify_times(disk, &entry.path, base, verdict)?,
            FileKind::ProducerSnapshot(_) | FileKind::Epochs | FileKind::Metadata => {
                small::verify(disk, &entry.path, Target::File(*kind), verdict)?;
            }
            FileKind::Swap(_) => {
                verdict.remark(&entry.path, "compaction had begun to put this in place: the next start finishes it");
            }
            FileKind::TransactionIndex(_) | FileKind::Dense | FileKind::Leftover | FileKind::Unknown => {}
        }
    }
    // A log that has nothing yet has no files.
    if bases.is_empty() && !files.is_empty() {
        verdict.remark(path, "no segment");
    }
    Ok(extent)
}

/// The logs of a data directory.
fn logs(disk: &dyn Disk, path: &Path) -> Result<Vec<Entry>, InspectError> {
    let entries = disk.list(path).map_err(read(path))?;
    let is_log = |entry: &Entry| entry.kind == EntryKind::Folder && LogName::from_folder(&entry.name).is_ok();
    Ok(entries.into_iter().filter(is_log).collect())
}

/// The directory's own files that are there.
fn own_files(disk: &dyn Disk, path: &Path) -> Result<Vec<(Entry, Target)>, InspectError> {
    let target = |entry: Entry| match entry.name.as_str() {
        IDENTITY_FILE => Some((entry, Target::Identity)),
        CHECKPOINT_FILE => Some((entry, Target::Checkpoint)),
        CLEAN_FILE => Some((entry, Target::CleanMark)),
        _ => None,
    };
    Ok(disk.list(path).map_err(read(path))?.into_iter().filter_map(target).collect())
}

pub(super) fn dump_data_dir(
    disk: &dyn Disk,
    path: &Path,
    detail: Detail,
    out: &mut dyn Write,
) -> Result<(), InspectError> {
    for (entry, target) in own_files(disk, path)? {
        small::dump(disk, &entry.path, target, out)?;
    }
    for log in logs(disk, path)? {
        dump_partition(disk, &log.path, detail, out)?;
    }
    Ok(())
}

pub(super) fn verify_data_dir(disk: &dyn Disk, path: &Path, verdict: &mut Verdict) -> Result<(), InspectError> {
    let own = own_files(disk, path)?;
    for (entry, target) in &own {
        small::verify(disk, &entry.path, *target, verdict)?;
    }
    let marks = match own.iter().find(|(_, target)| *target == Target::Checkpoint) {
        Some((entry, _)) => {
            let bytes = disk.read(&entry.path, checkpoint::CHECKPOINT_MAX_BYTES).map_err(read(&entry.path))?;
            Checkpoint::decode(&bytes).unwrap_or_default().logs
        }
        None => Default::default(),
    };
    for log in logs(disk, path)? {
        let extent = verify_partition(disk, &log.path, verdict)?;
        let Some(marks) = marks.get(&log.name) else { continue };
        let end = extent.map_or(marks.start_offset, |(_, end)| end);
        if end < marks.recovery_point && marks.recovery_point > marks.start_offset {
            let point = marks.recovery_point;
            verdict.problem(&log.path, format!("ends at offset {end}, before its recovery point {point}"));
        }
    }
    Ok(())
}
