//! One batch on its way: the records that gather in it, then its bytes with the producer's stamp on them.
//!
//! Must not know: which partition it is for, when it is sent.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use cairn_protocol::ids::{ProducerEpoch, ProducerId, Timestamp};
use cairn_protocol::records::{
    AppendError, BatchBuilder, BatchHeader, BatchProducer, BatchView, DecompressLimits, FinishError, HEADER_BYTES,
    NewRecord,
};
use tokio::time::Instant;

use super::fate::Fate;
use super::{PossiblyWritten, ProduceError, ProducerRecord};

/// Headers as the builder takes them.
type NewHeaders<'a> = Vec<(&'a str, Option<&'a [u8]>)>;

/// Who wrote a batch, as far as the broker can tell (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

/// An identity and the number of the batch's first record under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) identity: Identity,
    pub(crate) sequence: i32,
}

impl Stamp {
    fn on_the_wire(self) -> BatchProducer {
        BatchProducer { id: self.identity.id, epoch: self.identity.epoch, base_sequence: self.sequence }
    }
}

/// What is known about a batch that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is not in the log: never sent, or refused.
    NotWritten,
    /// It was sent, and the answer is lost or leaves it open.
    MaybeWritten,
}

/// Ascends in the order in which batches were begun; so it is the order within a partition, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchNumber {
    pub(crate) batch: u64,
    /// When a batch is split, the halves are ordered by their first record.
    record: i32,
}

impl BatchNumber {
    pub(crate) fn new(batch: u64) -> Self {
        Self { batch, record: 0 }
    }
}

/// A batch.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) number: BatchNumber,
    pub(crate) fate: Arc<Fate>,
    pub(crate) count: i32,
    /// What its records have taken of the buffer.
    pub(crate) reserved_bytes: usize,
    pub(crate) opened: Instant,
    pub(crate) expires: Instant,
    pub(crate) stamp: Option<Stamp>,
    pub(crate) known: Known,
    /// A request carries it.
    pub(crate) is_under_way: bool,
    pub(crate) failures: u32,
    pub(crate) last_error: Option<ProduceError>,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    Gathering(BatchBuilder),
    Encoded { bytes: Bytes, stamp: Option<Stamp> },
}

impl Batch {
    pub(crate) fn open(number: BatchNumber, opened: Instant, expires: Instant, builder: BatchBuilder) -> Self {
        Self {
            number,
            fate: Arc::default(),
            count: 0,
            reserved_bytes: 0,
            opened,
            expires,
            stamp: None,
            known: Known::NotWritten,
            is_under_way: false,
            failures: 0,
            last_error: None,
            contents: Contents::Gathering(builder),
        }
    }

    /// What can be said about a record in it that nobody will acknowledge any more.
    pub(crate) fn possibly_written(&self) -> PossiblyWritten {
        match self.known {
            Known::NotWritten if !self.is_under_way => PossiblyWritten::No,
            Known::NotWritten | Known::MaybeWritten => PossiblyWritten::Yes,
        }
    }

    /// Its size; before compression, as long as it gathers records.
    pub(crate) fn bytes(&self) -> usize {
        match &self.contents {
            Contents::Gathering(builder) => builder.uncompressed_bytes(),
            Contents::Encoded { bytes, .. } => bytes.len(),
        }
    }

    /// Adds a record that has taken `reserved_bytes` of the buffer, and gives its index.
    ///
    /// # Panics
    /// When the batch was encoded: nobody may add to it then.
    pub(crate) fn append(
        &mut self,
        record: &ProducerRecord,
        timestamp: Timestamp,
        reserved_bytes: usize,
    ) -> Result<u32, AppendError> {
        let Contents::Gathering(builder) = &mut self.contents else { unreachable!("an encoded batch is closed") };
        // Most records have no headers, and an empty Vec does not allocate.
        let headers: NewHeaders<'_> = record.headers.iter().map(|(key, value)| (&**key, value.as_deref())).collect();
        builder.append(&NewRecord {
            timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        })?;
        let index = self.count;
        self.count += 1;
        self.reserved_bytes += reserved_bytes;
        Ok(index.cast_unsigned())
    }

    /// Its bytes with the stamp of now: compressed when they are asked for first, stamped anew when the stamp has changed.
    /// Gives the builder back for the next batch when it was in use.
    pub(crate) fn encode(&mut self) -> Result<(Bytes, Option<BatchBuilder>), FinishError> {
        let producer = self.stamp.map(Stamp::on_the_wire);
        let (bytes, builder) = match &mut self.contents {
            Contents::Gathering(builder) => {
                let bytes = builder.finish(producer)?;
                (bytes, Some(std::mem::take(builder)))
            }
            Contents::Encoded { bytes, stamp } if *stamp == self.stamp => return Ok((bytes.clone(), None)),
            Contents::Encoded { bytes, .. } => (restamped(bytes, producer), None),
        };
        self.contents = Contents::Encoded { bytes: bytes.clone(), stamp: self.stamp };
        Ok((bytes, builder))
    }
}

/// A batch that the broker found too large, in two.
pub(crate) struct Halves {
    pub(crate) first: Batch,
    pub(crate) second: Batch,
}

impl Batch {
    /// The same records in two batches, under the same sequence numbers, or `None` when they cannot be parted. Those who wait for
    /// this batch wait for the halves from now on.
    pub(crate) fn split(&self, mut builders: impl FnMut() -> Option<BatchBuilder>) -> Option<Halves> {
        let Contents::Encoded { bytes, .. } = &self.contents else { return None };
        let at = self.count / 2;
        if at == 0 {
            return None;
        }
        let (mut first, mut second) = (builders()?, builders()?);
        let records = BatchView::parse(bytes).ok()?.records(bytes, &DecompressLimits::default()).ok()?;
        for (index, record) in (0..).zip(records.iter()) {
            let record = record.ok()?;
            let headers: Option<NewHeaders<'_>> =
                record.headers.map(|header| Some((std::str::from_utf8(header.key).ok()?, header.value))).collect();
            let record =
                NewRecord { timestamp: record.timestamp, key: record.key, value: record.value, headers: &headers? };
            let half = if index < at { &mut first } else { &mut second };
            half.append(&record).ok()?;
        }
        let reserved = self.reserved_bytes / 2;
        let second = self.half(at, self.count - at, self.reserved_bytes - reserved, second);
        let first = self.half(0, at, reserved, first);
        self.fate.split(at.cast_unsigned(), Arc::clone(&first.fate), Arc::clone(&second.fate));
        Some(Halves { first, second })
    }

    fn half(&self, from: i32, count: i32, reserved_bytes: usize, builder: BatchBuilder) -> Self {
        let moved = |stamp: Stamp| Stamp { sequence: BatchProducer::sequence_after(stamp.sequence, from), ..stamp };
        Self {
            number: BatchNumber { record: self.number.record + from, ..self.number },
            fate: Arc::default(),
            count,
            reserved_bytes,
            opened: self.opened,
            expires: self.expires,
            stamp: self.stamp.map(moved),
            known: Known::NotWritten,
            is_under_way: false,
            failures: self.failures,
            last_error: self.last_error.clone(),
            contents: Contents::Gathering(builder),
        }
    }
}

/// Nobody waits for ever: a batch that is dropped undecided, because the producer was closed or its runtime ended, says so.
impl Drop for Batch {
    fn drop(&mut self) {
        self.fate.decide(Err(ProduceError::GivenUp { written: self.possibly_written() }));
    }
}

/// The same batch by another producer. The old bytes may still be in a socket's hands, so they stay as they are.
fn restamped(batch: &Bytes, producer: Option<BatchProducer>) -> Bytes {
    let mut header = BatchHeader::decode(batch).expect("a batch that was built here has a header");
    header.producer = producer;
    let records = &batch[HEADER_BYTES..];
    let mut bytes = BytesMut::with_capacity(batch.len());
    bytes.put_slice(&header.encode_with_crc(records));
    bytes.put_slice(records);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_stamp_gives_a_valid_batch_with_the_same_records() {
        let now = Instant::now();
        let mut batch = Batch::open(BatchNumber::new(1), now, now, BatchBuilder::default());
        let record = ProducerRecord::to("t").key("k").value("v").header("h", "x");
        assert_eq!(batch.append(&record, Timestamp(5), 10), Ok(0));
        assert_eq!(batch.append(&record, Timestamp(6), 10), Ok(1));
        assert_eq!(batch.reserved_bytes, 20);

        let identity = |id| Identity { id: ProducerId(id), epoch: ProducerEpoch(0) };
        batch.stamp = Some(Stamp { identity: identity(7), sequence: 40 });
        let (first, builder) = batch.encode().expect("encodes");
        assert!(builder.is_some());
        let (again, _) = batch.encode().expect("encodes");
        assert_eq!(first.as_ptr(), again.as_ptr(), "the same bytes are sent again");

        batch.stamp = Some(Stamp { identity: identity(8), sequence: 0 });
        let (second, _) = batch.encode().expect("encodes");
        let view = BatchView::parse(&second).expect("one batch");
        view.verify_crc().expect("the checksum is the new one");
        let producer = view.header().producer.expect("stamped");
        assert_eq!((producer.id, producer.base_sequence), (ProducerId(8), 0));
        assert_eq!(view.header().record_count, 2);
        assert_eq!(view.record_bytes(), &first[HEADER_BYTES..]);
    }
}
