//! Leader epochs against the batches that they are of: whether a history holds, and one made from the batches alone.
//!
//! Must not know: where a history comes from, when one is made anew.

use std::sync::Arc;

use cairn_protocol::ids::Offset;

use super::BadBatch;
use super::epochs::EpochHistory;
use super::segment::{Fault, Found, Segment};

/// Whether each known epoch begins with a batch of that epoch, and the batch before it is of another.
pub(super) fn epochs_hold(segments: &[Arc<Segment>], start: Offset, epochs: &EpochHistory) -> Result<bool, Fault> {
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return Ok(true) };
    let epoch_at = |offset: Offset| -> Result<Option<Found>, Fault> {
        let at = segments.partition_point(|segment| segment.base <= offset);
        match at.checked_sub(1) {
            Some(at) => segments[at].ahead()?.find(offset),
            None => Ok(None),
        }
    };
    let first_batch = first.ahead()?.batch_at(0)?.and_then(|found| found.batch.header.leader_epoch);
    let covers_start = epochs.starts().first().is_some_and(|known| known.start <= start);
    if first_batch.is_some() && !covers_start {
        return Ok(false);
    }
    let last_batch = match last.end_position().checked_sub(1) {
        Some(inside) => last.ahead()?.find_position(inside)?,
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
        // Compaction may have taken all batches of an epoch, so that this is one of a later epoch.
        if batch.batch.header.leader_epoch != epochs.epoch_at(batch.batch.base_offset().max(known.start)) {
            return Ok(false);
        }
        let before = if known.start > first.base { epoch_at(known.start.plus(-1))? } else { None };
        // Where compaction has taken the batch before, the search answers with one behind.
        let before = before.filter(|before| before.batch.base_offset() < known.start);
        // At the log's start an epoch may begin within a batch.
        let is_first = epochs.starts().first() == Some(known);
        if !is_first && before.is_some_and(|before| before.batch.header.leader_epoch >= Some(known.epoch)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The epochs as the batches have them.
pub(super) fn epochs_of(segments: &[Arc<Segment>]) -> Result<EpochHistory, Fault> {
    let mut epochs = EpochHistory::default();
    for segment in segments {
        let segment = segment.ahead()?;
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
