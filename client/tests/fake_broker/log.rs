//! One partition's log, in memory. It checks producers' sequence numbers as Kafka's brokers do.

use std::collections::{HashMap, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{LeaderEpoch, Offset};
use cairn_protocol::records::{BatchHeader, BatchProducer, BatchView, HEADER_BYTES};

/// A batch's sequence, count and offset.
type Known = (i32, i32, i64);

/// One partition's log.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) batches: Vec<(Offset, Bytes)>,
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// By producer id and epoch: the last batches' sequence, count and offset.
    producers: HashMap<i64, (i16, VecDeque<Known>)>,
}

impl Log {
    /// The batch's offset, or that of the same batch from before.
    pub(crate) fn append(&mut self, batch: &Bytes) -> Result<i64, ErrorCode> {
        let view = BatchView::parse(batch).map_err(|_| ErrorCode::CorruptMessage)?;
        view.verify_crc().map_err(|_| ErrorCode::CorruptMessage)?;
        let header = *view.header();
        if let Some(producer) = header.producer
            && let Some(known) = self.check_sequence(producer, header.record_count)?
        {
            return Ok(known);
        }
        let offset = self.end;
        let mut stamped = header;
        stamped.stamp(Offset(offset), LeaderEpoch(3));
        let mut bytes = BytesMut::with_capacity(batch.len());
        bytes.put_slice(&stamped.encode());
        bytes.put_slice(&batch[HEADER_BYTES..]);
        self.batches.push((Offset(offset), bytes.freeze()));
        self.end += i64::from(header.record_count);
        if let Some(producer) = header.producer {
            let (_, last) = self.producers.get_mut(&producer.id.0).expect("checked");
            last.push_back((producer.base_sequence, header.record_count, offset));
            if last.len() > 5 {
                last.pop_front();
            }
        }
        Ok(offset)
    }

    fn check_sequence(&mut self, producer: BatchProducer, count: i32) -> Result<Option<i64>, ErrorCode> {
        let (epoch, last) = self.producers.entry(producer.id.0).or_default();
        if producer.epoch.0 > *epoch {
            (*epoch, *last) = (producer.epoch.0, VecDeque::new());
        }
        if let Some((_, _, offset)) = last.iter().find(|it| (it.0, it.1) == (producer.base_sequence, count)) {
            return Ok(Some(*offset));
        }
        // Of a producer that it does not know, Kafka's broker takes any sequence number (KIP-360).
        let Some(last) = last.back() else { return Ok(None) };
        let expected = BatchProducer::sequence_after(last.0, last.1);
        if producer.base_sequence == expected { Ok(None) } else { Err(ErrorCode::OutOfOrderSequenceNumber) }
    }

    /// Whole batches from the one that holds `from`, at least one.
    pub(crate) fn read(&self, from: i64, max_bytes: i32) -> Bytes {
        let mut bytes = BytesMut::new();
        for (_, batch) in &self.batches {
            let header = BatchHeader::decode(batch).expect("was checked");
            if header.end_offset().0 <= from {
                continue;
            }
            if !bytes.is_empty() && bytes.len() + batch.len() > usize::try_from(max_bytes).unwrap_or(0) {
                break;
            }
            bytes.put_slice(batch);
        }
        bytes.freeze()
    }

    pub(crate) fn offset_for(&self, time: i64) -> i64 {
        let newer = |batch: &Bytes| BatchHeader::decode(batch).expect("was checked").max_timestamp.0 >= time;
        self.batches.iter().find(|(_, batch)| newer(batch)).map_or(-1, |(offset, _)| offset.0)
    }
}
