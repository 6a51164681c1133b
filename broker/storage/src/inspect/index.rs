//! Index files: their entries, each compared with the batch that it names.
//!
//! Must not know: how indexes are searched.

use std::io::Write;
use std::path::Path;

use cairn_protocol::ids::Offset;

use super::segment::batch_at;
use super::{InspectError, Verdict, read};
use crate::disk::{Disk, SealedFile};
use crate::log::{IndexEntry, OffsetEntry, TimeEntry, count_entries};

/// The entries of an index file before Kafka's filler, and the bytes behind them.
struct Entries<E> {
    entries: Vec<E>,
    rest: u64,
}

fn load<E: IndexEntry>(disk: &dyn Disk, path: &Path) -> Result<Entries<E>, InspectError> {
    let file = disk.open_sealed(path).map_err(read(path))?;
    let count = count_entries::<E>(&*file).map_err(read(path))?;
    let end = crate::num::as_u64(count * E::BYTES);
    let bytes = file.slice(0..end).map_err(read(path))?;
    let entries = bytes.chunks_exact(E::BYTES).map(E::decode).collect();
    Ok(Entries { entries, rest: file.len() - end })
}

pub(super) fn dump_offsets(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
    out: &mut dyn Write,
) -> Result<(), InspectError> {
    let Entries { entries, rest } = load::<OffsetEntry>(disk, path)?;
    writeln!(out, "offset index {} entries={} rest_bytes={rest}", path.display(), entries.len())?;
    for entry in entries {
        writeln!(out, "offset={} position={}", base.plus(i64::from(entry.relative)), entry.position)?;
    }
    Ok(())
}

pub(super) fn dump_times(disk: &dyn Disk, path: &Path, base: Offset, out: &mut dyn Write) -> Result<(), InspectError> {
    let Entries { entries, rest } = load::<TimeEntry>(disk, path)?;
    writeln!(out, "time index {} entries={} rest_bytes={rest}", path.display(), entries.len())?;
    for entry in entries {
        writeln!(out, "timestamp={} offset={}", entry.timestamp, base.plus(i64::from(entry.relative)))?;
    }
    Ok(())
}

/// The segment that an index belongs to.
fn segment_of(disk: &dyn Disk, index: &Path) -> Result<std::sync::Arc<dyn SealedFile>, InspectError> {
    let path = index.with_extension("log");
    disk.open_sealed(&path).map_err(read(&path))
}

pub(super) fn verify_offsets(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
    verdict: &mut Verdict,
) -> Result<(), InspectError> {
    verdict.files += 1;
    let segment = segment_of(disk, path)?;
    let Entries { entries, rest } = load::<OffsetEntry>(disk, path)?;
    check_rest(path, rest, verdict);
    let mut before: Option<OffsetEntry> = None;
    for (at, entry) in entries.into_iter().enumerate() {
        verdict.index_entries += 1;
        if before.is_some_and(|before| entry.relative <= before.relative || entry.position <= before.position) {
            verdict.problem(path, format!("entry {at} does not follow on the one before it"));
        }
        before = Some(entry);
        let offset = base.plus(i64::from(entry.relative));
        match batch_at(&*segment, u64::from(entry.position)).map_err(read(path))? {
            Ok(batch) if batch.header.last_offset() == offset => {}
            Ok(batch) => {
                let found = batch.header.last_offset();
                verdict.problem(path, format!("entry {at} says offset {offset}, its batch ends with {found}"));
            }
            Err(bad) => verdict.problem(path, format!("entry {at} says position {}: {bad}", entry.position)),
        }
    }
    Ok(())
}

pub(super) fn verify_times(
    disk: &dyn Disk,
    path: &Path,
    base: Offset,
    verdict: &mut Verdict,
) -> Result<(), InspectError> {
    verdict.files += 1;
    let segment = segment_of(disk, path)?;
    let Entries { entries, rest } = load::<TimeEntry>(disk, path)?;
    check_rest(path, rest, verdict);
    let mut before: Option<TimeEntry> = None;
    // Entries rise, and so do batches: one walk compares all of them.
    let mut position = 0;
    let mut newest = cairn_protocol::ids::Timestamp(-1);
    for (at, entry) in entries.into_iter().enumerate() {
        verdict.index_entries += 1;
        if before.is_some_and(|before| entry.timestamp <= before.timestamp || entry.relative < before.relative) {
            verdict.problem(path, format!("entry {at} does not follow on the one before it"));
            return Ok(());
        }
        before = Some(entry);
        let offset = base.plus(i64::from(entry.relative));
        let found = loop {
            let Ok(batch) = batch_at(&*segment, position).map_err(read(path))? else { break None };
            if batch.header.last_offset() >= offset {
                break Some(batch);
            }
            newest = newest.max(batch.header.max_timestamp);
            position += batch.size;
        };
        let Some(batch) = found else {
            verdict.problem(path, format!("entry {at} says offset {offset}, where no batch is"));
            return Ok(());
        };
        if batch.header.max_timestamp != entry.timestamp {
            let (said, found) = (entry.timestamp, batch.header.max_timestamp);
            verdict.problem(path, format!("entry {at} says timestamp {said} at offset {offset}, its batch {found}"));
        } else if newest >= entry.timestamp {
            verdict.problem(path, format!("entry {at} says timestamp {}, a batch before is younger", entry.timestamp));
        }
    }
    Ok(())
}

fn check_rest(path: &Path, rest: u64, verdict: &mut Verdict) {
    if rest > 0 {
        verdict.remark(path, format!("{rest} bytes of filler behind the last entry"));
    }
}
