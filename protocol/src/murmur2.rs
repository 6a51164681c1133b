//! The hash by which Kafka's clients choose a partition for a key: murmur2 with Kafka's seed.
//!
//! Must not know: topics, how many partitions there are right now.

use crate::ids::PartitionIndex;

const SEED: u32 = 0x9747_b28c;
const MIX: u32 = 0x5bd1_e995;
const MIX_SHIFT: u32 = 24;

/// Kafka's 32-bit murmur2 of `data`, the same bits as the Java client's.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    // Kafka's lengths are 32 bits; a longer key cannot be sent, and its hash wraps as Java's would.
    #[expect(clippy::cast_possible_truncation, reason = "the algorithm takes the length modulo 2^32")]
    let mut hash = SEED ^ data.len() as u32;

    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MIX);
        mixed ^= mixed >> MIX_SHIFT;
        hash = hash.wrapping_mul(MIX) ^ mixed.wrapping_mul(MIX);
    }
    if !tail.is_empty() {
        for (index, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MIX);
    }

    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

/// The partition that Kafka's default partitioner gives to `key` in a topic of `partitions`; none for a topic without any.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: i32) -> Option<PartitionIndex> {
    if partitions <= 0 {
        return None;
    }
    let positive = (murmur2(key) & 0x7fff_ffff).cast_signed();
    Some(PartitionIndex(positive % partitions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_partition_in_an_empty_topic() {
        assert_eq!(partition_for_key(b"key", 0), None);
        assert_eq!(partition_for_key(b"key", -1), None);
    }
}
