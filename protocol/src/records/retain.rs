//! A batch of which records were taken away, as compaction leaves it: offsets, producer, epoch and codec stay as they were.
//!
//! Must not know: which records go, and why.

use bytes::BufMut;

use super::record::{RecordError, Source};
use super::{
    BatchHeader, BatchView, CompressError, Compression, HEADER_BYTES, LENGTH_OVERHEAD, Records, TimestampType, compress,
};
use crate::ids::Timestamp;
use crate::varint;

/// Why a batch could not be written with fewer records.
#[derive(Debug, thiserror::Error)]
pub enum RetainError {
    /// A record of the batch cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The records cannot be compressed again.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// The batch does not fit into the format's 32-bit length.
    #[error("batch is too large")]
    TooLarge,
}

impl BatchView<'_> {
    /// The batch with only those of its records for which `keep` says so, in their order. With a `delete_horizon` the batch
    /// says from when on its tombstones may go (KIP-534): its base timestamp is that time, and its records count from there.
    ///
    /// # Errors
    /// When the records cannot be read, or compressed again.
    ///
    /// # Panics
    /// If `records` are another batch's, so that `keep` has not as many entries.
    pub fn retain(
        &self,
        records: &Records,
        keep: &[bool],
        delete_horizon: Option<Timestamp>,
    ) -> Result<Vec<u8>, RetainError> {
        let header = *self.header();
        assert_eq!(usize::try_from(header.record_count), Ok(keep.len()), "an answer for each record");
        let base_timestamp = delete_horizon.unwrap_or(header.base_timestamp);
        let mut body = Vec::with_capacity(records.as_bytes().len());
        let mut rest: &[u8] = records.as_bytes();
        let (mut count, mut newest) = (0, Timestamp(-1));
        for kept in keep {
            let whole = rest;
            let length = rest.varint()?;
            let bytes = usize::try_from(length).map_err(|_| RecordError::InvalidLength { length })?;
            let mut record = rest.chunk(bytes)?;
            if !kept {
                continue;
            }
            let attributes = record.byte()?;
            let delta = record.varlong()?;
            let timestamp = match header.attributes.timestamp_type() {
                TimestampType::CreateTime => {
                    Timestamp(header.base_timestamp.0.checked_add(delta).ok_or(RecordError::OutOfRange)?)
                }
                TimestampType::LogAppendTime => header.max_timestamp,
            };
            (count, newest) = (count + 1, newest.max(timestamp));
            if base_timestamp == header.base_timestamp {
                body.extend_from_slice(&whole[..whole.len() - rest.len()]);
                continue;
            }
            let delta = timestamp.0.checked_sub(base_timestamp.0).ok_or(RecordError::OutOfRange)?;
            let length = i32::try_from(1 + varint::len_i64(delta) + record.len()).map_err(|_| RetainError::TooLarge)?;
            varint::put_i32(&mut body, length);
            body.put_u8(attributes);
            varint::put_i64(&mut body, delta);
            body.extend_from_slice(record);
        }
        let max_timestamp = match header.attributes.timestamp_type() {
            TimestampType::CreateTime => newest,
            TimestampType::LogAppendTime => header.max_timestamp,
        };
        let attributes = match delete_horizon {
            Some(_) => header.attributes.with_delete_horizon(),
            None => header.attributes,
        };
        sealed(BatchHeader { attributes, base_timestamp, max_timestamp, record_count: count, ..header }, self, &body)
    }

    /// The batch without any record: what is left of it says which offsets it had, and where its producer stands.
    #[must_use]
    pub fn retain_nothing(&self) -> [u8; HEADER_BYTES] {
        let header = *self.header();
        let length = i32::try_from(HEADER_BYTES - LENGTH_OVERHEAD).expect("a header is small");
        let attributes = header.attributes.with_compression(Compression::None).without_delete_horizon();
        let base_timestamp = Timestamp(-1);
        BatchHeader { length, attributes, base_timestamp, record_count: 0, ..header }.encode_with_crc(&[])
    }
}

fn sealed(mut header: BatchHeader, view: &BatchView<'_>, body: &[u8]) -> Result<Vec<u8>, RetainError> {
    let mut batch = vec![0; HEADER_BYTES];
    match view.compression() {
        Compression::None => batch.extend_from_slice(body),
        codec => compress(codec, None, body, &mut batch)?,
    }
    header.length = i32::try_from(batch.len() - LENGTH_OVERHEAD).map_err(|_| RetainError::TooLarge)?;
    let (front, records) = batch.split_at_mut(HEADER_BYTES);
    front.copy_from_slice(&header.encode_with_crc(records));
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
    use crate::records::{
        BatchBuilder, BatchProducer, DecompressLimits, NewRecord, TimestampPolicy, TimestampType, stamped_header,
    };

    const PRODUCER: BatchProducer =
        BatchProducer { id: ProducerId(9), epoch: ProducerEpoch(2), base_sequence: i32::MAX - 1 };

    /// Four records at offsets 100 to 103, the second one a tombstone.
    fn batch(codec: Compression, timestamps: TimestampPolicy) -> Bytes {
        let mut builder = BatchBuilder::new().with_compression(codec, None).unwrap();
        for (at, value) in [Some(&b"one"[..]), None, Some(b"three"), Some(b"four")].into_iter().enumerate() {
            let key = [b'k', u8::try_from(at).unwrap()];
            let timestamp = Timestamp(5_000 - 100 * i64::try_from(at).unwrap());
            let headers = [("h", Some(&b"v"[..])), ("n", None)];
            builder.append(&NewRecord { timestamp, key: Some(&key), value, headers: &headers }).unwrap();
        }
        let batch = builder.finish(Some(PRODUCER)).unwrap();
        let view = BatchView::parse(&batch).unwrap();
        let mut stamped = stamped_header(&view, Offset(100), LeaderEpoch(7), timestamps).to_vec();
        stamped.extend_from_slice(view.record_bytes());
        stamped.into()
    }

    type Shown = (i64, i64, Vec<u8>, Option<Vec<u8>>, usize);

    fn shown(batch: &Bytes) -> Vec<Shown> {
        let view = BatchView::parse(batch).unwrap();
        view.verify_crc().unwrap();
        let records = view.records(batch, &DecompressLimits::default()).unwrap();
        let show = |record: super::super::Record<'_>| {
            let value = record.value.map(<[u8]>::to_vec);
            (record.offset.0, record.timestamp.0, record.key.unwrap().to_vec(), value, record.headers.count())
        };
        records.iter().map(|record| show(record.unwrap())).collect()
    }

    #[test]
    fn what_is_kept_is_as_it_was() {
        for codec in Compression::ALL {
            for policy in [TimestampPolicy::Keep, TimestampPolicy::LogAppendTime { now: Timestamp(77_000) }] {
                let whole = batch(codec, policy);
                let view = BatchView::parse(&whole).unwrap();
                let records = view.records(&whole, &DecompressLimits::default()).unwrap();
                for horizon in [None, Some(Timestamp(90_000)), Some(Timestamp(1))] {
                    let keep = [false, true, false, true];
                    let some: Bytes = view.retain(&records, &keep, horizon).unwrap().into();
                    let all = shown(&whole);
                    assert_eq!(shown(&some), [all[1].clone(), all[3].clone()], "{codec} {policy:?} {horizon:?}");
                    let (before, after) = (*view.header(), *BatchView::parse(&some).unwrap().header());
                    assert_eq!((after.base_offset, after.last_offset()), (Offset(100), Offset(103)));
                    assert_eq!((after.producer, after.leader_epoch), (Some(PRODUCER), Some(LeaderEpoch(7))));
                    assert_eq!(after.last_sequence(), before.last_sequence());
                    assert_eq!(after.attributes.compression(), Ok(codec));
                    assert_eq!(after.attributes.has_delete_horizon(), horizon.is_some());
                    assert_eq!(after.base_timestamp, horizon.unwrap_or(before.base_timestamp));
                    let newest = match before.attributes.timestamp_type() {
                        TimestampType::CreateTime => Timestamp(4_900),
                        TimestampType::LogAppendTime => Timestamp(77_000),
                    };
                    assert_eq!(after.max_timestamp, newest);
                }
            }
        }
    }

    #[test]
    fn a_horizon_stays_when_more_records_go() {
        let whole = batch(Compression::Zstd, TimestampPolicy::Keep);
        let view = BatchView::parse(&whole).unwrap();
        let records = view.records(&whole, &DecompressLimits::default()).unwrap();
        let once: Bytes = view.retain(&records, &[true; 4], Some(Timestamp(90_000))).unwrap().into();
        let view = BatchView::parse(&once).unwrap();
        let records = view.records(&once, &DecompressLimits::default()).unwrap();
        let twice: Bytes = view.retain(&records, &[true, true, false, false], None).unwrap().into();
        let header = *BatchView::parse(&twice).unwrap().header();
        assert!(header.attributes.has_delete_horizon());
        assert_eq!(header.base_timestamp, Timestamp(90_000));
        assert_eq!(shown(&twice), shown(&whole)[..2]);
    }

    #[test]
    fn an_empty_batch_still_says_whose_it_was() {
        let whole = batch(Compression::Lz4, TimestampPolicy::Keep);
        let empty = Bytes::copy_from_slice(&BatchView::parse(&whole).unwrap().retain_nothing());
        assert!(shown(&empty).is_empty());
        let (before, after) =
            (*BatchView::parse(&whole).unwrap().header(), *BatchView::parse(&empty).unwrap().header());
        assert_eq!((after.base_offset, after.last_offset()), (Offset(100), Offset(103)));
        assert_eq!((after.producer, after.last_sequence()), (Some(PRODUCER), before.last_sequence()));
        assert_eq!((after.max_timestamp, after.base_timestamp), (before.max_timestamp, Timestamp(-1)));
        assert_eq!((after.record_count, after.leader_epoch), (0, Some(LeaderEpoch(7))));
    }
}
