//! Whether a batch is one that a producer may send, and what a leader has to know about its records.
//!
//! Must not know: topic configs, clocks, logs: it reports times and missing keys, the caller judges them.

use std::io::Read;

use super::compression::Decoder;
use super::record::{RawRecord, RecordError, take_slice};
use super::stream::{Stream, StreamError};
use super::{BatchHeader, BatchView, Compression, CrcMismatch, DecompressError, DecompressLimits, TimestampType};
use crate::error_code::ErrorCode;
use crate::ids::{Offset, Timestamp};

/// Headers of one record, at most, unless configured otherwise.
pub const HEADERS_MAX: u32 = 1024;

/// What a produced batch may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceLimits {
    /// Headers of one record, at most.
    pub headers: u32,
    /// For compressed batches.
    pub decompress: DecompressLimits,
}

impl Default for ProduceLimits {
    fn default() -> Self {
        Self { headers: HEADERS_MAX, decompress: DecompressLimits::default() }
    }
}

/// A time that a record has, and which record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampAt {
    /// The time.
    pub timestamp: Timestamp,
    /// The record's offset minus the base offset.
    pub offset_delta: i32,
}

/// What validation has found out about the records of a produced batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Produced {
    /// The greatest timestamp and the first record that has it; none if no record has one from 0 on.
    pub max: Option<TimestampAt>,
    /// The smallest timestamp other than -1, which says that there is none, and the first record that has it.
    pub min: Option<TimestampAt>,
    /// The first record without a key: topics with compaction refuse it.
    pub first_without_key: Option<i32>,
    /// Bytes of the records, decompressed.
    pub record_bytes: u64,
}

impl Produced {
    /// The greatest timestamp as a batch header has it.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        self.max.map_or(Timestamp(-1), |max| max.timestamp)
    }
}

/// Why a leader refuses a batch from a producer.
#[derive(Debug, thiserror::Error)]
pub enum InvalidProduced {
    /// The checksum is wrong.
    #[error(transparent)]
    Crc(#[from] CrcMismatch),
    /// Producers count from 0; the leader gives offsets.
    #[error("base offset of a produced batch is {base_offset}, not 0")]
    BaseOffset {
        /// What the batch has.
        base_offset: Offset,
    },
    /// There are no records, or there are gaps between them.
    #[error("{record_count} records in a produced batch with a last offset delta of {last_offset_delta}")]
    Count {
        /// Declared records.
        record_count: i32,
        /// Declared delta of the last.
        last_offset_delta: i32,
    },
    /// Control records and delete horizons are the broker's.
    #[error("attributes {attributes:#06x} are not a producer's to set")]
    Attributes {
        /// The attributes.
        attributes: i16,
    },
    /// Only a leader may say that its time counts.
    #[error("timestamp type of a produced batch is log append time")]
    TimestampType,
    /// The producer's id, epoch and sequence contradict each other.
    #[error("producer fields of the batch are inconsistent")]
    Producer,
    /// A record cannot be read.
    #[error("record {index} of the batch")]
    Record {
        /// Which.
        index: i32,
        /// Why.
        source: RecordError,
    },
    /// A record is not at its place.
    #[error("record {index} of the batch has offset delta {offset_delta}")]
    OffsetDelta {
        /// Which.
        index: i32,
        /// What it says.
        offset_delta: i32,
    },
    /// A record has too many headers.
    #[error("record {index} of the batch has {headers} headers, at most {limit} are allowed")]
    Headers {
        /// Which.
        index: i32,
        /// How many.
        headers: u32,
        /// The limit.
        limit: u32,
    },
    /// The records do not decompress.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
}

impl InvalidProduced {
    /// What the producer is told. As Apache Kafka does where it has the check.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::Crc(_) | Self::Decompress(DecompressError::Corrupt { .. }) => ErrorCode::CorruptMessage,
            Self::Decompress(DecompressError::TooLarge { .. }) => ErrorCode::MessageTooLarge,
            Self::TimestampType => ErrorCode::InvalidTimestamp,
            // Not CorruptMessage, which would make the producer send it again and again.
            Self::Decompress(DecompressError::Window { .. }) => ErrorCode::InvalidRecord,
            Self::BaseOffset { .. }
            | Self::Count { .. }
            | Self::Attributes { .. }
            | Self::Producer
            | Self::Record { .. }
            | Self::OffsetDelta { .. }
            | Self::Headers { .. } => ErrorCode::InvalidRecord,
        }
    }

    /// The record that is at fault, where one is: produce answers name it (KIP-467).
    #[must_use]
    pub fn record_index(&self) -> Option<i32> {
        match *self {
            Self::Record { index, .. } | Self::OffsetDelta { index, .. } | Self::Headers { index, .. } => Some(index),
            _ => None,
        }
    }
}

impl BatchView<'_> {
    /// The whole check of a batch that a producer has sent, checksum first. Records of an uncompressed batch are read in place,
    /// only their heads; those of a compressed one are streamed through a fixed amount of memory.
    pub fn validate_produced(&self, limits: &ProduceLimits) -> Result<Produced, InvalidProduced> {
        self.verify_crc()?;
        check_produced_header(self.header())?;
        match self.compression() {
            Compression::None => walk_slice(self.header(), self.record_bytes(), limits),
            codec => {
                let decoder = Decoder::new(codec, self.record_bytes(), &limits.decompress)?;
                walk_stream(self.header(), Stream::new(decoder, codec, limits.decompress), limits)
            }
        }
    }
}

fn check_produced_header(header: &BatchHeader) -> Result<(), InvalidProduced> {
    let BatchHeader { record_count, last_offset_delta, attributes, .. } = *header;
    if header.base_offset != Offset::ZERO {
        return Err(InvalidProduced::BaseOffset { base_offset: header.base_offset });
    }
    if record_count < 1 || record_count - 1 != last_offset_delta {
        return Err(InvalidProduced::Count { record_count, last_offset_delta });
    }
    if attributes.is_control() || attributes.has_delete_horizon() {
        return Err(InvalidProduced::Attributes { attributes: attributes.0 });
    }
    if attributes.timestamp_type() == TimestampType::LogAppendTime {
        return Err(InvalidProduced::TimestampType);
    }
    let consistent = match header.producer {
        Some(producer) => producer.epoch.0 >= 0 && producer.base_sequence >= 0,
        None => !attributes.is_transactional(),
    };
    if consistent { Ok(()) } else { Err(InvalidProduced::Producer) }
}

/// Collects what [`Produced`] tells, and checks what needs the record's index.
struct Walk<'a> {
    header: &'a BatchHeader,
    headers_max: u32,
    found: Produced,
}

impl<'a> Walk<'a> {
    fn new(header: &'a BatchHeader, limits: &ProduceLimits) -> Self {
        Self { header, headers_max: limits.headers, found: Produced::default() }
    }

    #[inline]
    fn on_record<C>(&mut self, index: i32, record: &RawRecord<C>) -> Result<(), InvalidProduced> {
        let offset_delta = record.offset_delta;
        if offset_delta != index {
            return Err(InvalidProduced::OffsetDelta { index, offset_delta });
        }
        if record.header_count > self.headers_max {
            return Err(InvalidProduced::Headers { index, headers: record.header_count, limit: self.headers_max });
        }
        let Some(timestamp) = self.header.base_timestamp.0.checked_add(record.timestamp_delta) else {
            return Err(InvalidProduced::Record { index, source: RecordError::OutOfRange });
        };
        if timestamp != -1 {
            let here = TimestampAt { timestamp: Timestamp(timestamp), offset_delta };
            if timestamp >= 0 && self.found.max.is_none_or(|max| timestamp > max.timestamp.0) {
                self.found.max = Some(here);
            }
            if self.found.min.is_none_or(|min| timestamp < min.timestamp.0) {
                self.found.min = Some(here);
            }
        }
        if record.key.is_none() && self.found.first_without_key.is_none() {
            self.found.first_without_key = Some(index);
        }
        Ok(())
    }

    fn trailing(&self) -> InvalidProduced {
        let declared = self.header.record_count;
        let source = RecordError::WrongCount { declared, held: declared.saturating_add(1) };
        InvalidProduced::Record { index: declared, source }
    }
}

fn walk_slice(header: &BatchHeader, bytes: &[u8], limits: &ProduceLimits) -> Result<Produced, InvalidProduced> {
    let mut walk = Walk::new(header, limits);
    let mut rest = bytes;
    for index in 0..header.record_count {
        let record = take_slice(&mut rest).map_err(|source| InvalidProduced::Record { index, source })?;
        walk.on_record(index, &record)?;
    }
    if !rest.is_empty() {
        return Err(walk.trailing());
    }
    walk.found.record_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Ok(walk.found)
}

fn walk_stream<R: Read>(
    header: &BatchHeader,
    mut stream: Stream<R>,
    limits: &ProduceLimits,
) -> Result<Produced, InvalidProduced> {
    let mut walk = Walk::new(header, limits);
    for index in 0..header.record_count {
        let record = stream.take_record().map_err(|error| at(index, error))?;
        walk.on_record(index, &record)?;
    }
    if !stream.is_at_end().map_err(|error| at(header.record_count, error))? {
        return Err(walk.trailing());
    }
    walk.found.record_bytes = u64::try_from(stream.output_bytes).unwrap_or(u64::MAX);
    Ok(walk.found)
}

fn at(index: i32, error: StreamError) -> InvalidProduced {
    match error {
        StreamError::Record(source) => InvalidProduced::Record { index, source },
        StreamError::Decompress(source) => InvalidProduced::Decompress(source),
    }
}
