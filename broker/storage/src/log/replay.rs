//! The idempotent producers of a log, from its snapshots and its batches.
//!
//! Must not know: why they are asked for, what is done with snapshots that are of no use.

use std::sync::Arc;

use cairn_protocol::ids::Offset;

use super::Folder;
use super::producers::Producers;
use super::segment::{Fault, Segment};
use super::snapshot::{self, SNAPSHOT_MAX_BYTES};
use crate::dir::state::DirState;

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
        let segment = segment.ahead()?;
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
    // Right behind a roll they lie in the segment before, or in several.
    let mut parts = Vec::new();
    let mut left = LOOK_BACK_BYTES;
    for segment in segments.iter().rev().filter(|segment| segment.base < at) {
        let segment = segment.ahead()?;
        let end = segment.find(at)?.map_or(segment.end_position(), |found| found.position);
        parts.push((segment, end.saturating_sub(left), end));
        left = left.saturating_sub(end);
        if left == 0 {
            break;
        }
    }
    let mut recent = Producers::default();
    for (segment, from, end) in parts.into_iter().rev() {
        let mut position = segment.find_position(from)?.map_or(0, |found| found.position);
        while position < end
            && let Some(found) = segment.batch_at(position)?
        {
            recent.note(&found.batch.header);
            position += found.batch.size;
        }
    }
    producers.widen(&recent);
    Ok(())
}
