//! The checkpoint of a data directory: for each log its recovery point, start offset and high watermark.
//!
//! Format: docs/formats/data-directory.md.
//!
//! Must not know: when it is written, what a log does with it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};

use cairn_protocol::ids::{Offset, TopicId};
use uuid::Uuid;

use super::frame::{Fields, FrameError, Kind};

const KIND: Kind = Kind { magic: *b"cairnckp", version: 2 };
/// The same without [`OffsetOrder::Compacted`].
const BEFORE: Kind = Kind { version: 1, ..KIND };
/// The largest checkpoint that is read: far more than a million logs.
pub(crate) const CHECKPOINT_MAX_BYTES: u64 = 512 << 20;

/// Whether offsets may be missing between the batches of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetOrder {
    /// Each batch begins where the one before ended.
    Dense,
    /// Compaction of ours has been there: offsets are missing within segments, but each ends where the next one begins.
    Compacted,
    /// Compaction of Apache Kafka's has been there: offsets are missing within segments and between them.
    Rising,
}

impl OffsetOrder {
    fn encode(self) -> u8 {
        match self {
            Self::Dense => 0,
            Self::Rising => 1,
            Self::Compacted => 2,
        }
    }

    fn decode(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Dense),
            1 => Some(Self::Rising),
            2 => Some(Self::Compacted),
            _ => None,
        }
    }
}

/// [`OffsetOrder`] that one thread sets and others read.
#[derive(Debug)]
pub(crate) struct OrderCell(AtomicU8);

impl OrderCell {
    pub(crate) fn new(order: OffsetOrder) -> Self {
        Self(AtomicU8::new(order.encode()))
    }

    pub(crate) fn load(&self) -> OffsetOrder {
        OffsetOrder::decode(self.0.load(Ordering::Acquire)).expect("only orders are stored")
    }

    pub(crate) fn store(&self, order: OffsetOrder) {
        self.0.store(order.encode(), Ordering::Release);
    }
}

/// What is known of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogMarks {
    /// Whose log it is: of a topic that was deleted and made anew there was another one in the same folder.
    pub topic_id: TopicId,
    /// Everything below was synced.
    pub recovery_point: Offset,
    /// The first offset that may be read.
    pub start_offset: Offset,
    /// The end of what was committed, as the log's owner said; no more than a hint.
    pub high_watermark: Offset,
    /// Whether offsets may be missing.
    pub order: OffsetOrder,
}

impl LogMarks {
    /// Whether they speak of the log of this topic; all zeros is an id that nobody knows.
    pub(crate) fn are_of(&self, topic_id: TopicId) -> bool {
        self.topic_id == topic_id || self.topic_id.is_zero() || topic_id.is_zero()
    }
}

/// All logs of a data directory, by folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Counts the checkpoints of this directory.
    pub sequence: u64,
    /// By the folder's name.
    pub logs: BTreeMap<String, LogMarks>,
}

impl Checkpoint {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(12 + self.logs.len() * 64);
        content.extend_from_slice(&self.sequence.to_be_bytes());
        let count = u32::try_from(self.logs.len()).expect("fewer logs than that fit into memory");
        content.extend_from_slice(&count.to_be_bytes());
        for (folder, marks) in &self.logs {
            let len = u16::try_from(folder.len()).expect("a folder's name fits a file name");
            content.extend_from_slice(&len.to_be_bytes());
            content.extend_from_slice(folder.as_bytes());
            content.extend_from_slice(marks.topic_id.0.as_bytes());
            for offset in [marks.recovery_point, marks.start_offset, marks.high_watermark] {
                content.extend_from_slice(&offset.0.to_be_bytes());
            }
            content.push(marks.order.encode());
        }
        KIND.encode(&content)
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// When anything in them is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let content = match KIND.decode(bytes) {
            Err(FrameError::Version { found, .. }) if found == BEFORE.version => BEFORE.decode(bytes),
            content => content,
        };
        let mut fields = Fields(content?);
        let checkpoint = Self::decode_content(&mut fields).ok_or(FrameError::Damaged)?;
        if fields.0.is_empty() { Ok(checkpoint) } else { Err(FrameError::Damaged) }
    }

    fn decode_content(fields: &mut Fields<'_>) -> Option<Self> {
        let sequence = fields.u64()?;
        let count = fields.u32()?;
        let mut logs = BTreeMap::new();
        for _ in 0..count {
            let len = usize::from(u16::from_be_bytes(fields.array()?));
            let folder = std::str::from_utf8(fields.take(len)?).ok()?;
            let topic_id = TopicId(Uuid::from_bytes(fields.array()?));
            let mut offset = || fields.i64().filter(|offset| *offset >= 0).map(Offset);
            let (recovery_point, start_offset, high_watermark) = (offset()?, offset()?, offset()?);
            let [order] = fields.array()?;
            let order = OffsetOrder::decode(order)?;
            let marks = LogMarks { topic_id, recovery_point, start_offset, high_watermark, order };
            logs.insert(folder.to_owned(), marks);
        }
        Some(Self { sequence, logs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(number: i64) -> LogMarks {
        LogMarks {
            topic_id: TopicId(Uuid::from_bytes([9; 16])),
            recovery_point: Offset(number),
            start_offset: Offset(number - 1),
            high_watermark: Offset(number - 2),
            order: OffsetOrder::Rising,
        }
    }

    #[test]
    fn golden_bytes() {
        let logs = [("t-0".to_owned(), marks(3))].into();
        let bytes = Checkpoint { sequence: 7, logs }.encode();
        let mut expected = b"cairnckp".to_vec();
        expected.extend([0, 2, 0, 0, 0, 0, 0, 58]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 3]);
        expected.extend(b"t-0");
        expected.extend([9; 16]);
        for number in [3i64, 2, 1] {
            expected.extend(number.to_be_bytes());
        }
        expected.push(1);
        let checksum = crc32c::crc32c(&expected);
        expected.extend(checksum.to_be_bytes());
        assert_eq!(bytes, expected);
    }

    #[test]
    fn the_version_before_is_read_and_a_newer_one_is_named() {
        let logs = [("t-0".to_owned(), marks(3))].into();
        let checkpoint = Checkpoint { sequence: 7, logs };
        let bytes = checkpoint.encode();
        let content = KIND.decode(&bytes).unwrap();
        assert_eq!(Checkpoint::decode(&BEFORE.encode(content)), Ok(checkpoint));
        let newer = Kind { version: 3, ..KIND }.encode(content);
        assert_eq!(Checkpoint::decode(&newer), Err(FrameError::Version { found: 3, known: 2 }));
    }

    #[test]
    fn round_trip_and_damage() {
        let logs = [("a-0".to_owned(), marks(5)), ("b-17".to_owned(), marks(i64::MAX))].into();
        let checkpoint = Checkpoint { sequence: u64::MAX, logs };
        let bytes = checkpoint.encode();
        assert_eq!(Checkpoint::decode(&bytes), Ok(checkpoint));
        for at in 0..bytes.len() {
            assert!(Checkpoint::decode(&bytes[..at]).is_err());
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(Checkpoint::decode(&flipped).is_err(), "byte {at}");
        }
    }
}
