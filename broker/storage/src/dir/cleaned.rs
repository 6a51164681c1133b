//! Up to where each log was compacted: Kafka's text file `cleaner-offset-checkpoint`.
//!
//! It is a hint. An offset that is missing, or that the log does not have, has the log compacted from its start.
//!
//! Must not know: when a log is compacted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cairn_protocol::ids::{Offset, PartitionIndex};

use crate::log::LogName;

/// The largest file that is read: a million logs with names of the usual length.
pub(crate) const CLEANED_MAX_BYTES: u64 = 256 << 20;

/// The file of the offsets.
pub(crate) fn cleaned_path(root: &Path) -> PathBuf {
    root.join("cleaner-offset-checkpoint")
}

/// Up to where each log was compacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CleanedOffsets(pub(crate) BTreeMap<LogName, Offset>);

impl CleanedOffsets {
    /// Kafka's text: version, number of entries, then a topic, a partition and an offset in each line.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = format!("0\n{}\n", self.0.len());
        for (name, offset) in &self.0 {
            text.push_str(&format!("{} {} {}\n", name.topic(), name.partition().0, offset.0));
        }
        text.into_bytes()
    }

    /// Reads Kafka's text; `None` when anything in it is wrong.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != "0" {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let mut offsets = BTreeMap::new();
        for line in lines {
            let mut words = line.split(' ');
            let (topic, partition, offset) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            if words.next().is_some() || offset < 0 {
                return None;
            }
            offsets.insert(LogName::new(topic, PartitionIndex(partition)).ok()?, Offset(offset));
        }
        (offsets.len() == count).then_some(Self(offsets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_kafkas_text_and_damage_is_seen() {
        let name = |topic, partition| LogName::new(topic, PartitionIndex(partition)).unwrap();
        let offsets = CleanedOffsets([(name("b.c-d", 12), Offset(0)), (name("a", 0), Offset(34))].into());
        let bytes = offsets.encode();
        assert_eq!(bytes, b"0\n2\na 0 34\nb.c-d 12 0\n");
        assert_eq!(CleanedOffsets::decode(&bytes), Some(offsets));
        assert_eq!(CleanedOffsets::decode(b"0\n0\n"), Some(CleanedOffsets::default()));
        for len in 0..bytes.len() {
            assert_eq!(CleanedOffsets::decode(&bytes[..len]), None, "first {len} bytes");
        }
        for wrong in ["1\n0\n", "0\n1\n", "0\n1\na 0\n", "0\n1\na 0 -1\n", "0\n1\na 0 1 2\n", "0\n2\na 0 1\na 0 2\n"] {
            assert_eq!(CleanedOffsets::decode(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
