//! Entries as record batches: one batch with one record each, so that index is offset and term is leader epoch.
//!
//! Must not know: the log that the batches lie in.

use bytes::Bytes;
use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_protocol::records::{
    BatchBuilder, BatchView, DecompressLimits, NewRecord, ParseBatchError, TimestampPolicy, stamped_header,
};

use crate::bytes::term_of;
use crate::entry::{self, EntryDecodeError};
use crate::types::Entry;

/// A batch holds no entry.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchError {
    #[error(transparent)]
    Parse(#[from] ParseBatchError),
    #[error("batch at offset {0} has not exactly one record with a value")]
    NotOneRecord(Offset),
    #[error("entry at index {index}: {source}")]
    Entry { index: u64, source: EntryDecodeError },
}

/// The bytes of an entry's batch, with offset and leader epoch in place.
pub(super) fn encode(entry: &Entry, now: Timestamp) -> Vec<u8> {
    let value = entry::encode(entry);
    let mut builder = BatchBuilder::new();
    let record = NewRecord { key: None, value: Some(&value), headers: &[], timestamp: now };
    builder.append(&record).expect("an entry is smaller than a batch may be");
    let batch = builder.finish(None).expect("a batch of one record");
    let view = BatchView::parse(&batch).expect("made just now");
    let header = stamped_header(&view, offset(entry.log_id.index()), leader_epoch(entry), TimestampPolicy::Keep);
    [&header[..], view.record_bytes()].concat()
}

/// The entries of batches that lie one behind the other.
pub(super) fn decode(mut bytes: Bytes) -> Result<Vec<Entry>, BatchError> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let view = BatchView::parse_first(&bytes)?;
        entries.push(decode_one(&view, &bytes)?);
        let len = view.as_bytes().len();
        bytes = bytes.slice(len..);
    }
    Ok(entries)
}

fn decode_one(view: &BatchView<'_>, owner: &Bytes) -> Result<Entry, BatchError> {
    let base = view.header().base_offset;
    let not_one = || BatchError::NotOneRecord(base);
    let records = view.records(owner, &DecompressLimits::default()).map_err(|_| not_one())?;
    let mut records = records.iter();
    let (Some(Ok(record)), None) = (records.next(), records.next()) else { return Err(not_one()) };
    let value = record.value.ok_or_else(not_one)?;
    let index = index(record.offset);
    entry::decode(index, value).map_err(|source| BatchError::Entry { index, source })
}

/// Terms are longer than leader epochs: the last epoch stands for all terms from there on. The entry has the whole term.
fn leader_epoch(entry: &Entry) -> LeaderEpoch {
    LeaderEpoch(i32::try_from(term_of(&entry.log_id)).unwrap_or(i32::MAX))
}

pub(super) fn offset(index: u64) -> Offset {
    Offset(i64::try_from(index).expect("a log has less than 2^63 entries"))
}

pub(super) fn index(offset: Offset) -> u64 {
    u64::try_from(offset.0).expect("offsets are not negative")
}
