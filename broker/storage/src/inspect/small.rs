//! Small files: producer snapshots, leader epochs, topic ids, and our own checkpoint, identity and clean mark.
//!
//! Must not know: segments, indexes.

use std::io::Write;
use std::path::Path;

use super::{InspectError, Target, Verdict, read};
use crate::dir::checkpoint::CHECKPOINT_MAX_BYTES;
use crate::dir::{Checkpoint, CleanMark, Identity};
use crate::disk::Disk;
use crate::log::{EpochHistory, FileKind, ProducerState, decode_snapshot, parse_topic_id};

enum Content {
    Producers(Vec<ProducerState>),
    Epochs(EpochHistory),
    TopicId(cairn_protocol::ids::TopicId),
    Identity(Identity),
    Checkpoint(Checkpoint),
    CleanMark(CleanMark),
}

fn load(disk: &dyn Disk, path: &Path, target: Target) -> Result<Result<Content, String>, InspectError> {
    let bytes = disk.read(path, CHECKPOINT_MAX_BYTES).map_err(read(path))?;
    let text = |error: &dyn std::fmt::Display| error.to_string();
    Ok(match target {
        Target::File(FileKind::ProducerSnapshot(_)) => {
            decode_snapshot(&bytes).map(Content::Producers).map_err(|error| text(&error))
        }
        Target::File(FileKind::Epochs) => EpochHistory::decode(&bytes)
            .map(Content::Epochs)
            .ok_or_else(|| "no list of rising leader epochs".to_owned()),
        Target::File(FileKind::Metadata) => {
            parse_topic_id(&bytes).map(Content::TopicId).ok_or_else(|| "no version 0 and topic id".to_owned())
        }
        Target::Identity => Identity::decode(&bytes).map(Content::Identity).map_err(|error| text(&error)),
        Target::Checkpoint => Checkpoint::decode(&bytes).map(Content::Checkpoint).map_err(|error| text(&error)),
        Target::CleanMark => CleanMark::decode(&bytes).map(Content::CleanMark).map_err(|error| text(&error)),
        _ => return Err(InspectError::Unknown { path: path.to_owned() }),
    })
}

pub(super) fn dump(disk: &dyn Disk, path: &Path, target: Target, out: &mut dyn Write) -> Result<(), InspectError> {
    let shown = path.display();
    match load(disk, path, target)? {
        Err(reason) => writeln!(out, "{shown} UNSOUND: {reason}")?,
        Ok(Content::Producers(producers)) => {
            writeln!(out, "producer snapshot {shown} producers={}", producers.len())?;
            for state in producers {
                write!(out, "producer={}/{} last_timestamp={}", state.id, state.epoch, state.last_timestamp)?;
                if let Some(batch) = state.batches.last() {
                    let (first, last) = (batch.base_sequence(), batch.last_sequence);
                    write!(out, " sequences={first}..={last} offsets={}..={}", batch.base_offset(), batch.last_offset)?;
                }
                if let Some(start) = state.transaction_start {
                    write!(out, " transaction_start={start}")?;
                }
                writeln!(out)?;
            }
        }
        Ok(Content::Epochs(epochs)) => {
            writeln!(out, "leader epochs {shown} epochs={}", epochs.starts().len())?;
            for known in epochs.starts() {
                writeln!(out, "epoch={} start={}", known.epoch, known.start)?;
            }
        }
        Ok(Content::TopicId(id)) => writeln!(out, "partition metadata {shown} topic_id={id}")?,
        Ok(Content::Identity(identity)) => {
            writeln!(out, "identity {shown} storage_id={} boot_id={}", identity.storage_id, identity.boot_id)?;
        }
        Ok(Content::CleanMark(mark)) => {
            let owner = mark.owner.map_or(String::new(), |owner| format!(" broker_epoch={owner}"));
            writeln!(
                out,
                "clean-shutdown mark {shown} storage_id={} checkpoint={}{owner}",
                mark.storage_id, mark.checkpoint_sequence
            )?;
        }
        Ok(Content::Checkpoint(checkpoint)) => {
            writeln!(out, "checkpoint {shown} sequence={} logs={}", checkpoint.sequence, checkpoint.logs.len())?;
            for (folder, marks) in &checkpoint.logs {
                writeln!(
                    out,
                    "{folder} topic_id={} recovery_point={} start_offset={} high_watermark={}",
                    marks.topic_id, marks.recovery_point, marks.start_offset, marks.high_watermark
                )?;
            }
        }
    }
    Ok(())
}

pub(super) fn verify(disk: &dyn Disk, path: &Path, target: Target, verdict: &mut Verdict) -> Result<(), InspectError> {
    verdict.files += 1;
    match (load(disk, path, target)?, target) {
        (Err(reason), _) => verdict.problem(path, reason),
        (Ok(Content::Producers(producers)), Target::File(FileKind::ProducerSnapshot(end))) => {
            for state in producers.iter().filter(|state| state.batches.iter().any(|batch| batch.last_offset >= end)) {
                verdict.problem(path, format!("producer {} has a batch behind the snapshot's offset", state.id));
            }
        }
        _ => {}
    }
    Ok(())
}
