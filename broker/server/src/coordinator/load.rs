//! Reads the groups of a partition back from its log.
//!
//! Must not know: requests, how groups change.

use cairn_groups::{GroupSettings, Loaded, Shard};
use cairn_protocol::records::{BatchIter, BatchView, DecompressLimits};
use cairn_storage::log::{FirstBatch, Limits, ReadError};

use crate::partitions::Partition;

/// How much is read at a time.
const READ_BYTES: u64 = 1 << 20;

/// Reads all that may be read by now. Blocks.
///
/// A record that does not decode is skipped and told: one damaged record must not take all other groups with it.
pub(super) fn read(partition: &Partition, settings: GroupSettings) -> Result<Shard, ReadError> {
    let mut shard = Shard::with(settings);
    let reader = partition.reader();
    let end = partition.high_watermark();
    let mut offset = reader.start_offset();
    while offset < end {
        let limits = Limits { max_bytes: READ_BYTES, first_batch: FirstBatch::AtLeastOne, end };
        let batches = reader.read(offset, limits)?;
        if batches.next_offset <= offset {
            break;
        }
        for batch in BatchIter::new(&batches.bytes).flatten() {
            load_batch(&mut shard, &batch, &batches.bytes)?;
        }
        offset = batches.next_offset;
    }
    Ok(shard)
}

fn load_batch(shard: &mut Shard, batch: &BatchView<'_>, owner: &bytes::Bytes) -> Result<(), ReadError> {
    if batch.header().attributes.is_control() {
        return Ok(());
    }
    let base = batch.header().base_offset;
    let unreadable = |reason: String| ReadError::Records { offset: base, reason };
    let records = batch.records(owner, &DecompressLimits::default()).map_err(|error| unreadable(error.to_string()))?;
    for record in records.iter() {
        let record = record.map_err(|error| unreadable(error.to_string()))?;
        let Some(key) = record.key.map(|key| records.share(key)) else { continue };
        let value = record.value.map(|value| records.share(value));
        match shard.load(&key, value.as_ref()) {
            Ok(Loaded::Offset | Loaded::Group) => {}
            Ok(Loaded::Unknown(kind)) => tracing::debug!(offset = record.offset.0, kind, "record of another kind"),
            Err(error) => tracing::error!(offset = record.offset.0, %error, "record of a group does not decode"),
        }
    }
    Ok(())
}
