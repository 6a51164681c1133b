//! The header of a record batch as it lies in a segment, and what can be wrong with it.
//!
//! Must not know: records inside a batch, files.

use cairn_protocol::ids::{LeaderEpoch, Offset};
use cairn_protocol::records::{BatchHeader, BatchView, ParseBatchError};

use crate::num::{as_u64, as_usize};

/// Bytes of a batch before its first record.
pub(crate) const HEADER_BYTES: u64 = 61;
/// Where the length stands: what comes before it, and itself, is not counted by it.
const LENGTH_AT: usize = 8;

/// The header of a batch in a segment, with its size. See docs/formats/segment.md for the drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) header: BatchHeader,
    /// The whole batch, header included.
    pub(crate) size: u64,
}

/// Why bytes are not the batch that should be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBatch {
    /// The length field is zero, as in the prepared rest of a segment.
    #[error("zeros where a batch should begin")]
    Zeros,
    /// Less bytes than the batch has, or than a header has.
    #[error("a batch of {wanted} bytes in {left} bytes")]
    Short {
        /// The batch's size.
        wanted: u64,
        /// What is there.
        left: u64,
    },
    /// The length field makes no sense.
    #[error("impossible length {0}")]
    Length(i32),
    /// Not a batch of format version 2.
    #[error("magic {0} where 2 should be")]
    Magic(i8),
    /// The checksum does not hold.
    #[error("checksum {stored:#010x} where {computed:#010x} should be")]
    Checksum {
        /// In the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// Offsets do not follow on.
    #[error("base offset {found} where {expected} should be")]
    Offset {
        /// In the header.
        found: Offset,
        /// The end of the batch before.
        expected: Offset,
    },
    /// The leader epoch fell.
    #[error("leader epoch {found} after {before}")]
    Epoch {
        /// In the header.
        found: LeaderEpoch,
        /// Of the batch before.
        before: LeaderEpoch,
    },
    /// The attributes name a compression that does not exist.
    #[error("unknown compression {0}")]
    Compression(i16),
    /// A negative count or offset delta.
    #[error("impossible last offset delta {last_offset_delta} or record count {record_count}")]
    Counts {
        /// In the header.
        last_offset_delta: i32,
        /// In the header.
        record_count: i32,
    },
}

impl Stored {
    /// Reads a header from the first bytes of `bytes`, which may go on. Length and counts make sense afterwards; the
    /// checksum was not looked at.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BadBatch> {
        let left = as_u64(bytes.len());
        let front = &bytes[..bytes.len().min(as_usize(HEADER_BYTES))];
        if front.iter().all(|byte| *byte == 0) {
            return Err(BadBatch::Zeros);
        }
        let short = BadBatch::Short { wanted: HEADER_BYTES, left };
        let header = BatchHeader::decode(bytes).map_err(|error| match error {
            ParseBatchError::UnsupportedMagic { magic } => BadBatch::Magic(magic),
            _ => short,
        })?;
        let size = u64::try_from(header.length).map_err(|_| BadBatch::Length(header.length))? + as_u64(LENGTH_AT + 4);
        if size < HEADER_BYTES {
            return Err(BadBatch::Length(header.length));
        }
        let BatchHeader { last_offset_delta, record_count, base_offset, .. } = header;
        if last_offset_delta < 0 || record_count < 0 || i64::from(record_count) > i64::from(last_offset_delta) + 1 {
            return Err(BadBatch::Counts { last_offset_delta, record_count });
        }
        if base_offset.0 < 0 || base_offset.0 > i64::MAX - i64::from(last_offset_delta) - 1 {
            return Err(BadBatch::Offset { found: base_offset, expected: Offset::ZERO });
        }
        Ok(Self { header, size })
    }

    /// Checks the checksum of the batch that this is the header of; bytes may follow it.
    pub(crate) fn verify(&self, bytes: &[u8]) -> Result<(), BadBatch> {
        let short = BadBatch::Short { wanted: self.size, left: as_u64(bytes.len()) };
        let batch = bytes.get(..as_usize(self.size)).ok_or_else(|| short.clone())?;
        let view = BatchView::parse(batch).map_err(|error| match error {
            ParseBatchError::UnsupportedMagic { magic } => BadBatch::Magic(magic),
            ParseBatchError::UnknownCompression { id } => BadBatch::Compression(id),
            ParseBatchError::InvalidCounts { record_count, last_offset_delta, .. } => {
                BadBatch::Counts { last_offset_delta, record_count }
            }
            _ => short,
        })?;
        view.verify_crc().map_err(|wrong| BadBatch::Checksum { stored: wrong.declared, computed: wrong.actual })
    }

    pub(crate) fn base_offset(&self) -> Offset {
        self.header.base_offset
    }

    pub(crate) fn last_offset(&self) -> Offset {
        self.header.last_offset()
    }

    pub(crate) fn end_offset(&self) -> Offset {
        self.header.end_offset()
    }
}
