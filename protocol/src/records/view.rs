//! A checked view of one record batch in place, and the walk over many that follow each other.
//!
//! Must not know: where the bytes come from; what a producer may send (that is `validate`).

use bytes::Bytes;

use super::header::{CHECKED_FROM, HEADER_BYTES, LENGTH_OVERHEAD, MAGIC_AT};
use super::{BatchHeader, Compression, DecompressError, DecompressLimits, MAGIC, Records, crc};
use crate::error_code::ErrorCode;
use crate::ids::Offset;

/// No record is shorter: length, attributes, two deltas, two lengths and the header count take a byte each.
pub const RECORD_BYTES_MIN: usize = 7;

/// Why bytes are not one whole record batch v2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseBatchError {
    /// There is less than a header.
    #[error("{bytes} bytes are no whole batch header")]
    TooShort {
        /// How many there are.
        bytes: usize,
    },
    /// A message set of before Kafka 0.11, or something else.
    #[error("message format {magic} is not supported, only 2 is")]
    UnsupportedMagic {
        /// The format that the bytes name.
        magic: i8,
    },
    /// The declared length cannot hold the header.
    #[error("batch length {length} is out of range")]
    InvalidLength {
        /// The declared length, which leaves out the first 12 bytes.
        length: i32,
    },
    /// The batch is longer than the bytes at hand: at the end of a fetch answer that is as it should be.
    #[error("batch of {declared} bytes is cut off after {actual}")]
    Truncated {
        /// Bytes of the whole batch.
        declared: usize,
        /// Bytes that are there.
        actual: usize,
    },
    /// Other bytes follow the batch where only one was expected.
    #[error("{trailing} bytes follow the batch")]
    Trailing {
        /// How many.
        trailing: usize,
    },
    /// The attributes name a compression that does not exist.
    #[error("compression {id} is unknown")]
    UnknownCompression {
        /// The id in the attributes.
        id: i16,
    },
    /// Record count, offsets and length contradict each other.
    #[error("{record_count} records with a last offset delta of {last_offset_delta} in {bytes} bytes are impossible")]
    InvalidCounts {
        /// The declared number of records.
        record_count: i32,
        /// The declared delta.
        last_offset_delta: i32,
        /// Bytes after the header.
        bytes: usize,
    },
    /// The base offset is negative, or the last offset is beyond 64 bits.
    #[error("base offset {base_offset} is out of range")]
    InvalidBaseOffset {
        /// The declared base offset.
        base_offset: Offset,
    },
}

impl ParseBatchError {
    /// What Apache Kafka answers to a produce request that holds such bytes.
    #[must_use]
    pub fn error_code(self) -> ErrorCode {
        match self {
            Self::UnsupportedMagic { .. } | Self::Trailing { .. } => ErrorCode::InvalidRecord,
            Self::InvalidCounts { .. } | Self::InvalidBaseOffset { .. } => ErrorCode::InvalidRecord,
            Self::UnknownCompression { .. } => ErrorCode::UnsupportedCompressionType,
            Self::TooShort { .. } | Self::InvalidLength { .. } | Self::Truncated { .. } => ErrorCode::CorruptMessage,
        }
    }
}

/// The checksum in the header is not that of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("checksum of the batch at offset {base_offset} is {actual:#010x}, not {declared:#010x}")]
pub struct CrcMismatch {
    /// The batch's base offset.
    pub base_offset: Offset,
    /// What the header says.
    pub declared: u32,
    /// What the bytes have.
    pub actual: u32,
}

/// Exactly one record batch v2 whose header is consistent in itself and with the number of bytes.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    bytes: &'a [u8],
    header: BatchHeader,
    compression: Compression,
}

impl<'a> BatchView<'a> {
    /// Checks header and bounds of `bytes`, which are exactly one batch. Neither the checksum nor the records are looked at.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseBatchError> {
        let view = Self::parse_first(bytes)?;
        match bytes.len() - view.bytes.len() {
            0 => Ok(view),
            trailing => Err(ParseBatchError::Trailing { trailing }),
        }
    }

    /// As [`parse`](Self::parse) for the batch at the front of `bytes`; others may follow.
    pub fn parse_first(bytes: &'a [u8]) -> Result<Self, ParseBatchError> {
        let header = BatchHeader::decode(bytes)?;
        let invalid_length = ParseBatchError::InvalidLength { length: header.length };
        let declared = usize::try_from(header.length).map_err(|_| invalid_length)?.saturating_add(LENGTH_OVERHEAD);
        if declared < HEADER_BYTES {
            return Err(invalid_length);
        }
        let Some(bytes) = bytes.get(..declared) else {
            return Err(ParseBatchError::Truncated { declared, actual: bytes.len() });
        };

        let compression = header.attributes.compression()?;
        check_counts(&header, compression, declared - HEADER_BYTES)?;
        let base_offset = header.base_offset;
        if base_offset.0 < 0 || base_offset.0 > i64::MAX - i64::from(i32::MAX) - 1 {
            return Err(ParseBatchError::InvalidBaseOffset { base_offset });
        }
        Ok(Self { bytes, header, compression })
    }

    /// What the checksum does not cover: all that stands before it, and the checksum.
    #[must_use]
    pub fn unchecked(&self) -> &'a [u8] {
        &self.bytes[..CHECKED_FROM]
    }

    /// Compares the checksum with the bytes.
    pub fn verify_crc(&self) -> Result<(), CrcMismatch> {
        let checked = &self.bytes[CHECKED_FROM..];
        if crc::matches(self.header.crc, checked) {
            return Ok(());
        }
        Err(CrcMismatch { base_offset: self.header.base_offset, declared: self.header.crc, actual: crc::of(checked) })
    }

    /// The records, decompressed if need be. `owner` is the buffer that this view looks into: what is handed out keeps it alive.
    ///
    /// # Panics
    /// If the view does not look into `owner`.
    pub fn records(&self, owner: &Bytes, limits: &DecompressLimits) -> Result<Records, DecompressError> {
        let body = match self.compression {
            Compression::None => owner.slice_ref(self.record_bytes()),
            codec => super::decompress(codec, self.record_bytes(), limits)?,
        };
        Ok(Records::new(self.header, body))
    }

    /// The header's fields.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The header's bytes.
    #[must_use]
    pub fn header_bytes(&self) -> &'a [u8; HEADER_BYTES] {
        self.bytes.first_chunk().expect("a parsed batch has a whole header")
    }

    /// What follows the header: the records, possibly compressed.
    #[must_use]
    pub fn record_bytes(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The whole batch.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How the records are compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }
}

/// Compaction removes records but never the last offset, so there may be fewer records than offsets, even none.
fn check_counts(header: &BatchHeader, compression: Compression, bytes: usize) -> Result<(), ParseBatchError> {
    let BatchHeader { record_count, last_offset_delta, .. } = *header;
    let impossible = ParseBatchError::InvalidCounts { record_count, last_offset_delta, bytes };
    let records = usize::try_from(record_count).map_err(|_| impossible)?;
    if last_offset_delta < 0 || i64::from(record_count) > i64::from(last_offset_delta) + 1 {
        return Err(impossible);
    }
    let fits = match compression {
        Compression::None => records.checked_mul(RECORD_BYTES_MIN).is_some_and(|least| least <= bytes),
        _ => records == 0 || bytes > 0,
    };
    if fits { Ok(()) } else { Err(impossible) }
}

/// Walks the batches that follow each other in a fetch answer or a segment. Checksums are not verified.
///
/// It ends at the end of the bytes, in front of a batch that is cut off there (see [`tail`](Self::tail)), or after an error.
#[derive(Clone, Debug)]
pub struct BatchIter<'a> {
    rest: &'a [u8],
    consumed: usize,
    tail: Tail,
}

/// What is behind the last batch that a [`BatchIter`] gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing, or what has not been looked at yet.
    Whole,
    /// The first bytes of one more batch; legal at the end of a fetch answer, a torn write at the end of a segment.
    Partial {
        /// How many bytes of it there are.
        have: usize,
        /// How many it has, as far as that can be read.
        need: Option<usize>,
    },
    /// Something that is no batch.
    Corrupt,
}

impl<'a> BatchIter<'a> {
    /// Walks `bytes` from its start.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, consumed: 0, tail: Tail::Whole }
    }

    /// Bytes of the batches given so far: the position of the next one, of the partial one, or of the corruption.
    #[must_use]
    pub fn position(&self) -> usize {
        self.consumed
    }

    /// What the walk met at [`position`](Self::position).
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.tail
    }
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Result<BatchView<'a>, ParseBatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || self.tail != Tail::Whole {
            return None;
        }
        match BatchView::parse_first(self.rest) {
            Ok(view) => {
                self.consumed += view.bytes.len();
                self.rest = &self.rest[view.bytes.len()..];
                Some(Ok(view))
            }
            Err(ParseBatchError::TooShort { bytes }) => {
                self.tail = Tail::Partial { have: bytes, need: declared_bytes(self.rest) };
                None
            }
            Err(ParseBatchError::Truncated { declared, actual }) => {
                self.tail = Tail::Partial { have: actual, need: Some(declared) };
                None
            }
            Err(error) => {
                self.tail = Tail::Corrupt;
                Some(Err(error))
            }
        }
    }
}

/// The whole length that the first bytes of a batch declare, if they reach that far.
fn declared_bytes(bytes: &[u8]) -> Option<usize> {
    debug_assert!(bytes.get(MAGIC_AT).is_none_or(|magic| magic.cast_signed() == MAGIC), "the magic was checked before");
    let length = bytes.get(8..LENGTH_OVERHEAD)?.first_chunk().map(|length| i32::from_be_bytes(*length))?;
    usize::try_from(length).ok()?.checked_add(LENGTH_OVERHEAD)
}
