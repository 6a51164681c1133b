//! The 61 bytes at the front of a record batch v2, and what a leader may change in them.
//!
//! Must not know: how records look, which batches are acceptable from a producer.

use super::{Compression, ParseBatchError, crc};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// Bytes of a batch's header; records follow.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the batch's length counts: base offset and the length itself.
pub const LENGTH_OVERHEAD: usize = 12;
/// The only format that is read and written.
pub const MAGIC: i8 = 2;

pub(super) const MAGIC_AT: usize = 16;
const LEADER_EPOCH_AT: usize = 12;
const CRC_AT: usize = 17;
/// The checksum covers everything from here to the end of the batch.
pub(super) const CHECKED_FROM: usize = 21;
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const RECORD_COUNT_AT: usize = 57;

/// Who says what time a record has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer, record by record.
    #[default]
    CreateTime,
    /// The leader: all records of the batch have its maximum timestamp.
    LogAppendTime,
}

/// A batch's attribute bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    const COMPRESSION: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// How the records are compressed; an id that Kafka does not know is an error.
    pub fn compression(self) -> Result<Compression, ParseBatchError> {
        let id = self.0 & Self::COMPRESSION;
        Compression::from_id(id).ok_or(ParseBatchError::UnknownCompression { id })
    }

    /// Who says what time a record has.
    #[must_use]
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Whether the batch belongs to a transaction (KIP-98).
    #[must_use]
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether its record is a marker for readers, not data (KIP-98).
    #[must_use]
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time from which tombstones may go (KIP-534).
    #[must_use]
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same with this compression.
    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Self {
        Self(self.0 & !Self::COMPRESSION | compression.id())
    }

    /// The same with this timestamp type.
    #[must_use]
    pub fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        match timestamp_type {
            TimestampType::CreateTime => Self(self.0 & !Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | Self::LOG_APPEND_TIME),
        }
    }

    /// The same, belonging to a transaction.
    #[must_use]
    pub fn transactional(self) -> Self {
        Self(self.0 | Self::TRANSACTIONAL)
    }

    /// The same, saying that the base timestamp is the delete horizon.
    #[must_use]
    pub fn with_delete_horizon(self) -> Self {
        Self(self.0 | Self::DELETE_HORIZON)
    }

    /// The same, with a base timestamp that is no delete horizon.
    #[must_use]
    pub fn without_delete_horizon(self) -> Self {
        Self(self.0 & !Self::DELETE_HORIZON)
    }
}

/// What an idempotent producer stamps on a batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchProducer {
    /// The producer's id, not negative.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The sequence number of the first record; it wraps from `i32::MAX` to 0. -1: none.
    pub base_sequence: i32,
}

impl BatchProducer {
    /// The sequence number `records` further on, wrapping as Kafka's do.
    #[must_use]
    pub fn sequence_after(base_sequence: i32, records: i32) -> i32 {
        let sum = i64::from(base_sequence) + i64::from(records);
        i32::try_from(sum.rem_euclid(i64::from(i32::MAX) + 1)).unwrap_or(0)
    }
}

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// Bytes after this field: the batch without its first 12.
    pub length: i32,
    /// The epoch of the leader that appended it; outside the checksum, like the base offset and the length.
    pub leader_epoch: Option<LeaderEpoch>,
    /// CRC-32C from the attributes to the end.
    pub crc: u32,
    /// Compression and flags.
    pub attributes: Attributes,
    /// The last record's offset minus the base offset, even if compaction has removed that record.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas count from, or the delete horizon.
    pub base_timestamp: Timestamp,
    /// The greatest timestamp of the records; -1 if none has any.
    pub max_timestamp: Timestamp,
    /// The idempotent producer that made it.
    pub producer: Option<BatchProducer>,
    /// How many records there are.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the first [`HEADER_BYTES`] of `bytes`. Only the magic is checked: see [`super::BatchView::parse`] for the rest.
    pub fn decode(bytes: &[u8]) -> Result<Self, ParseBatchError> {
        if let Some(magic) = bytes.get(MAGIC_AT).map(|byte| byte.cast_signed())
            && magic != MAGIC
        {
            return Err(ParseBatchError::UnsupportedMagic { magic });
        }
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(ParseBatchError::TooShort { bytes: bytes.len() });
        };
        let producer_id = i64::from_be_bytes(field(header, PRODUCER_ID_AT));
        let leader_epoch = i32::from_be_bytes(field(header, LEADER_EPOCH_AT));
        Ok(Self {
            base_offset: Offset(i64::from_be_bytes(field(header, 0))),
            length: i32::from_be_bytes(field(header, 8)),
            leader_epoch: (leader_epoch >= 0).then_some(LeaderEpoch(leader_epoch)),
            crc: u32::from_be_bytes(field(header, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(field(header, ATTRIBUTES_AT))),
            last_offset_delta: i32::from_be_bytes(field(header, LAST_OFFSET_DELTA_AT)),
            base_timestamp: Timestamp(i64::from_be_bytes(field(header, BASE_TIMESTAMP_AT))),
            max_timestamp: Timestamp(i64::from_be_bytes(field(header, MAX_TIMESTAMP_AT))),
            producer: (producer_id >= 0).then(|| BatchProducer {
                id: ProducerId(producer_id),
                epoch: ProducerEpoch(i16::from_be_bytes(field(header, PRODUCER_EPOCH_AT))),
                base_sequence: i32::from_be_bytes(field(header, BASE_SEQUENCE_AT)),
            }),
            record_count: i32::from_be_bytes(field(header, RECORD_COUNT_AT)),
        })
    }

    /// The header's bytes, with the checksum as it stands in `crc`.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let producer =
            self.producer.unwrap_or(BatchProducer { id: ProducerId(-1), epoch: ProducerEpoch(-1), base_sequence: -1 });
        let mut header = [0; HEADER_BYTES];
        put(&mut header, 0, self.base_offset.0.to_be_bytes());
        put(&mut header, 8, self.length.to_be_bytes());
        put(&mut header, LEADER_EPOCH_AT, self.leader_epoch.map_or(-1, |epoch| epoch.0).to_be_bytes());
        put(&mut header, MAGIC_AT, MAGIC.to_be_bytes());
        put(&mut header, CRC_AT, self.crc.to_be_bytes());
        put(&mut header, ATTRIBUTES_AT, self.attributes.0.to_be_bytes());
        put(&mut header, LAST_OFFSET_DELTA_AT, self.last_offset_delta.to_be_bytes());
        put(&mut header, BASE_TIMESTAMP_AT, self.base_timestamp.0.to_be_bytes());
        put(&mut header, MAX_TIMESTAMP_AT, self.max_timestamp.0.to_be_bytes());
        put(&mut header, PRODUCER_ID_AT, producer.id.0.to_be_bytes());
        put(&mut header, PRODUCER_EPOCH_AT, producer.epoch.0.to_be_bytes());
        put(&mut header, BASE_SEQUENCE_AT, producer.base_sequence.to_be_bytes());
        put(&mut header, RECORD_COUNT_AT, self.record_count.to_be_bytes());
        header
    }

    /// [`encode`](Self::encode) after computing the checksum over the header's rest and `records`.
    #[must_use]
    pub fn encode_with_crc(&self, records: &[u8]) -> [u8; HEADER_BYTES] {
        let mut header = self.encode();
        set_crc(&mut header, records);
        header
    }

    /// Places the batch in a log. Both fields lie outside the checksum, so it stays right.
    pub fn stamp(&mut self, base_offset: Offset, leader_epoch: LeaderEpoch) {
        self.base_offset = base_offset;
        self.leader_epoch = Some(leader_epoch);
    }

    /// The offset of the last record, whether or not compaction has removed it.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// The offset after the last record.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// The greatest timestamp of the records, if any has one.
    #[must_use]
    pub fn max_timestamp(&self) -> Option<Timestamp> {
        (self.max_timestamp.0 >= 0).then_some(self.max_timestamp)
    }

    /// The sequence number of the last record, for a batch with a producer and a base sequence.
    #[must_use]
    pub fn last_sequence(&self) -> Option<i32> {
        let base_sequence = self.producer?.base_sequence;
        (base_sequence >= 0).then(|| BatchProducer::sequence_after(base_sequence, self.last_offset_delta))
    }
}

/// What becomes of a batch's timestamps when a leader appends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampPolicy {
    /// Everything under the checksum stays as it came, the checksum too.
    Keep,
    /// `message.timestamp.type=CreateTime`: the maximum is what validation found, should the producer have got it wrong.
    CreateTime {
        /// The greatest timestamp of the records; -1 if none has any.
        max: Timestamp,
    },
    /// `message.timestamp.type=LogAppendTime`: all records get this time.
    LogAppendTime {
        /// The leader's clock.
        now: Timestamp,
    },
}

/// The header under which `batch` goes into a log; its records follow unchanged. The checksum is computed anew only if
/// something that it covers has changed.
#[must_use]
pub fn stamped_header(
    batch: &super::BatchView<'_>,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    timestamps: TimestampPolicy,
) -> [u8; HEADER_BYTES] {
    let mut header = *batch.header_bytes();
    put(&mut header, 0, base_offset.0.to_be_bytes());
    put(&mut header, LEADER_EPOCH_AT, leader_epoch.0.to_be_bytes());

    let (timestamp_type, max) = match timestamps {
        TimestampPolicy::Keep => return header,
        TimestampPolicy::CreateTime { max } => (TimestampType::CreateTime, max),
        TimestampPolicy::LogAppendTime { now } => (TimestampType::LogAppendTime, now),
    };
    let attributes = batch.header().attributes.with_timestamp_type(timestamp_type);
    if attributes == batch.header().attributes && max == batch.header().max_timestamp {
        return header;
    }
    put(&mut header, ATTRIBUTES_AT, attributes.0.to_be_bytes());
    put(&mut header, MAX_TIMESTAMP_AT, max.0.to_be_bytes());
    set_crc(&mut header, batch.record_bytes());
    header
}

fn set_crc(header: &mut [u8; HEADER_BYTES], records: &[u8]) {
    let crc = crc::extend(crc::of(&header[CHECKED_FROM..]), records);
    put(header, CRC_AT, crc.to_be_bytes());
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *header[at..].first_chunk().expect("fields lie within the header")
}

fn put<const N: usize>(header: &mut [u8; HEADER_BYTES], at: usize, value: [u8; N]) {
    header[at..at + N].copy_from_slice(&value);
}
