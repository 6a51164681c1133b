//! Which partition of `__consumer_offsets` a group belongs to: Kafka's rule, so that data and clients agree with it.
//!
//! Must not know: what is in the partition.

use cairn_protocol::ids::PartitionIndex;

/// How many partitions `__consumer_offsets` is made with, as in Kafka. It can never change afterwards.
pub const OFFSETS_PARTITIONS_DEFAULT: i32 = 50;

/// The partition of a group among `partitions`: Java's hash of the name without its sign, modulo.
///
/// # Panics
/// When `partitions` is not positive.
#[must_use]
pub fn partition_of(group: &str, partitions: i32) -> PartitionIndex {
    assert!(partitions > 0, "a topic has partitions");
    // Java hashes UTF-16 units, and its `abs` here gives 0 for the one number that has no positive counterpart.
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    PartitionIndex(hash.checked_abs().unwrap_or(0) % partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values were printed by Apache Kafka 4.3.1: `Utils.abs(group.hashCode()) % 50`.
    #[test]
    fn groups_lie_where_kafka_puts_them() {
        let table = [
            ("", 0),
            ("a", 47),
            ("group-1", 49),
            ("my-consumer-group", 13),
            ("polygenelubricants", 0), // its hash is -2147483648
            ("grüße", 23),
            ("日本", 47),
            ("🚀rocket", 31),
        ];
        for (group, partition) in table {
            assert_eq!(partition_of(group, 50), PartitionIndex(partition), "{group}");
        }
    }
}
