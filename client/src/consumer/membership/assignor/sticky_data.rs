//! What members of Kafka's `sticky` tell their leader beside their topics: the partitions that they had, and in which generation.
//! They give up all before they join, so that the subscription itself says nothing of it.
//!
//! The bytes come from other clients, so whatever they are must not panic. Must not know: who is given what.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::topic_partition::TopicPartition;

/// The partitions of a generation; -1 for one that is not known.
pub(super) type Had = (Vec<TopicPartition>, i32);

pub(super) fn encode(had: &[TopicPartition], generation: i32) -> Option<Bytes> {
    let mut topics = BTreeMap::<&str, Vec<i32>>::new();
    for partition in had {
        topics.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    let mut bytes = BytesMut::new();
    bytes.put_i32(i32::try_from(topics.len()).ok()?);
    for (topic, partitions) in topics {
        bytes.put_i16(i16::try_from(topic.len()).ok()?);
        bytes.put_slice(topic.as_bytes());
        bytes.put_i32(i32::try_from(partitions.len()).ok()?);
        partitions.into_iter().for_each(|index| bytes.put_i32(index));
    }
    bytes.put_i32(generation);
    Some(bytes.freeze())
}

/// `None` for what does not read: then the member had nothing that anybody knows of.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Had> {
    let mut had = Vec::new();
    for _ in 0..bytes.try_get_i32().ok()? {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        let (topic, rest) = bytes.split_at_checked(length)?;
        let topic: std::sync::Arc<str> = std::str::from_utf8(topic).ok()?.into();
        bytes = rest;
        for _ in 0..bytes.try_get_i32().ok()? {
            had.push(TopicPartition::new(std::sync::Arc::clone(&topic), bytes.try_get_i32().ok()?));
        }
    }
    // Before KIP-341 nobody said it.
    Some((had, bytes.try_get_i32().unwrap_or(-1)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::p;
    use super::*;

    /// The bytes that Kafka's `StickyAssignor.serializeTopicPartitionAssignment` gives for these.
    #[test]
    fn the_bytes_are_kafkas() {
        let golden = b"\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\x07";
        let had = [p("t", 0), p("t", 2)];
        assert_eq!(encode(&had, 7).as_deref(), Some(&golden[..]));
        assert_eq!(decode(golden), Some((had.to_vec(), 7)));
        assert_eq!(decode(&golden[..golden.len() - 4]), Some((had.to_vec(), -1)));
        assert_eq!(decode(&golden[..golden.len() - 5]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
        }
    }
}
