//! Which partition a record goes to: by its key's hash as in Java, else sticky as in KIP-794.
//!
//! Must not know: batches, brokers' addresses, the clock.

use cairn_protocol::ids::PartitionIndex;
use cairn_protocol::murmur2::partition_for_key;

/// Records without a key: all go to one partition until it got a batch's worth, then to another at random.
#[derive(Debug, Default)]
pub(crate) struct Sticky {
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    partition: PartitionIndex,
    bytes_left: usize,
}

impl Sticky {
    /// The partition for `bytes` more. `available` are those with a leader, in order; when none has one, all of `partitions`
    /// count. `random` gives a number below its argument.
    pub(crate) fn choose(
        &mut self,
        available: &[PartitionIndex],
        partitions: i32,
        batch_bytes: usize,
        bytes: usize,
        random: impl FnOnce(usize) -> usize,
    ) -> Option<PartitionIndex> {
        if let Some(current) = &mut self.current
            && current.bytes_left > 0
            && current.partition.0 < partitions
            && (available.is_empty() || available.binary_search(&current.partition).is_ok())
        {
            current.bytes_left = current.bytes_left.saturating_sub(bytes);
            return Some(current.partition);
        }
        let partition = match available.len() {
            0 => PartitionIndex(
                i32::try_from(random(usize::try_from(partitions).ok().filter(|&count| count > 0)?)).ok()?,
            ),
            count => *available.get(random(count))?,
        };
        self.current = Some(Current { partition, bytes_left: batch_bytes.saturating_sub(bytes) });
        Some(partition)
    }
}

/// The partition that a record names or its key gives, or `None` when stickiness decides.
pub(crate) fn fixed(partition: Option<PartitionIndex>, key: Option<&[u8]>, partitions: i32) -> Option<PartitionIndex> {
    partition.or_else(|| key.and_then(|key| partition_for_key(key, partitions)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: fn(i32) -> PartitionIndex = PartitionIndex;

    #[test]
    fn keys_go_where_java_sends_them() {
        // Computed with org.apache.kafka.common.utils.Utils.toPositive(murmur2(key)) % n of kafka-clients 4.3.1.
        for (key, partition) in
            [("21", 40), ("customer-7", 11), ("", 81), ("foobar", 66), ("a-little-bit-long-string", 12)]
        {
            assert_eq!(fixed(None, Some(key.as_bytes()), 100), Some(P(partition)), "{key:?}");
        }
        assert_eq!(fixed(Some(P(7)), Some(b"21"), 100), Some(P(7)));
        assert_eq!(fixed(None, None, 100), None);
    }

    #[test]
    fn sticks_for_a_batch_then_moves() {
        let mut sticky = Sticky::default();
        let available = [P(0), P(1), P(2)];
        let mut choose = |random: usize| sticky.choose(&available, 3, 100, 40, |_| random);
        assert_eq!(choose(1), Some(P(1)));
        assert_eq!(choose(2), Some(P(1)));
        assert_eq!(choose(2), Some(P(1)), "the third fills the batch");
        assert_eq!(choose(2), Some(P(2)));
    }

    #[test]
    fn leaves_a_partition_without_a_leader() {
        let mut sticky = Sticky::default();
        assert_eq!(sticky.choose(&[P(0), P(1)], 2, 100, 1, |_| 0), Some(P(0)));
        assert_eq!(sticky.choose(&[P(1)], 2, 100, 1, |_| 0), Some(P(1)));
        assert_eq!(sticky.choose(&[], 2, 100, 1, |_| 0), Some(P(1)), "stays when nobody has a leader");
        assert_eq!(Sticky::default().choose(&[], 0, 100, 1, |_| 0), None);
    }
}
