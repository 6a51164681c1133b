//! What members of a consumer group tell each other through the coordinator, in the formats of Kafka's own consumers: a version,
//! then a `ConsumerProtocolSubscription` or a `ConsumerProtocolAssignment`.
//!
//! The bytes come from other clients, so whatever they are must not panic. Must not know: coordinators, who assigns what.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use cairn_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_assignment,
    consumer_protocol_subscription,
};
use cairn_protocol::{DecodeError, EncodeError, Message, Reader};

use crate::topic_partition::TopicPartition;

/// The protocol type under which consumers join.
pub(crate) const PROTOCOL_TYPE: &str = "consumer";
/// The newest version that is spoken. Newer ones only add behind what is known, so that they are read as this one.
const LATEST: i16 = 3;

/// Why a member's bytes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConsumerProtocolError {
    /// There is no version, or one that cannot be.
    #[error("it does not begin with a version")]
    NoVersion,
    /// What follows is cut off or makes no sense.
    #[error("it cannot be decoded: {0}")]
    Malformed(Arc<str>),
}

impl From<DecodeError> for ConsumerProtocolError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error.to_string().into())
    }
}

/// What a member wants and has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// The topics that it wants, in order.
    pub(crate) topics: Vec<Arc<str>>,
    /// What an assignor has to say to its like.
    pub(crate) user_data: Option<Bytes>,
    /// The partitions that it has, in order.
    pub(crate) owned: Vec<TopicPartition>,
    /// The generation in which it got them, -1 when it does not say.
    pub(crate) generation: i32,
}

impl Subscription {
    /// As it is sent.
    pub(crate) fn encode(&self) -> Result<Bytes, EncodeError> {
        let topic = |(topic, partitions): (&Arc<str>, Vec<i32>)| consumer_protocol_subscription::TopicPartition {
            topic: (&**topic).into(),
            partitions,
        };
        let message = ConsumerProtocolSubscription {
            topics: self.topics.iter().map(|topic| (&**topic).into()).collect(),
            user_data: self.user_data.clone(),
            owned_partitions: by_topic(&self.owned).into_iter().map(topic).collect(),
            generation_id: self.generation,
            rack_id: None,
        };
        message.to_prefixed_bytes(LATEST, LATEST)
    }

    /// As it came.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, ConsumerProtocolError> {
        let (version, mut reader) = begin(bytes)?;
        let message = ConsumerProtocolSubscription::decode(&mut reader, version)?;
        let owned = message.owned_partitions.iter().map(|topic| (&*topic.topic, &topic.partitions[..]));
        let mut topics: Vec<Arc<str>> = message.topics.iter().map(|topic| Arc::from(&**topic)).collect();
        topics.sort();
        topics.dedup();
        Ok(Self {
            owned: flat(owned),
            topics,
            user_data: message.user_data,
            // Before version 2 nobody says it.
            generation: if version >= 2 { message.generation_id } else { -1 },
        })
    }
}

/// A member's partitions, as they are sent.
pub(crate) fn encode_assignment(partitions: &[TopicPartition], user_data: Option<Bytes>) -> Result<Bytes, EncodeError> {
    let topic = |(topic, partitions): (&Arc<str>, Vec<i32>)| consumer_protocol_assignment::TopicPartition {
        topic: (&**topic).into(),
        partitions,
    };
    let assigned_partitions = by_topic(partitions).into_iter().map(topic).collect();
    ConsumerProtocolAssignment { assigned_partitions, user_data }.to_prefixed_bytes(LATEST, LATEST)
}

/// A member's partitions, as they came, in order. No bytes at all are no partitions: so a coordinator answers a member that the
/// leader forgot.
pub(crate) fn decode_assignment(bytes: &Bytes) -> Result<Vec<TopicPartition>, ConsumerProtocolError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let (version, mut reader) = begin(bytes)?;
    let message = ConsumerProtocolAssignment::decode(&mut reader, version)?;
    Ok(flat(message.assigned_partitions.iter().map(|topic| (&*topic.topic, &topic.partitions[..]))))
}

fn begin(bytes: &Bytes) -> Result<(i16, Reader), ConsumerProtocolError> {
    let mut bytes = bytes.clone();
    let version = bytes.try_get_i16().ok().filter(|version| *version >= 0).ok_or(ConsumerProtocolError::NoVersion)?;
    Ok((version.min(LATEST), Reader::new(bytes)))
}

fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<&Arc<str>, Vec<i32>> {
    let mut topics = BTreeMap::<&Arc<str>, Vec<i32>>::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    topics
}

/// In order, each once.
fn flat<'a>(topics: impl Iterator<Item = (&'a str, &'a [i32])>) -> Vec<TopicPartition> {
    let mut all = Vec::new();
    for (topic, partitions) in topics {
        let topic: Arc<str> = topic.into();
        all.extend(partitions.iter().map(|index| TopicPartition::new(Arc::clone(&topic), *index)));
    }
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(topic: &str, index: i32) -> TopicPartition {
        TopicPartition::new(topic, index)
    }

    /// The bytes that Kafka's `ConsumerProtocol.serializeSubscription` and `serializeAssignment` give for these.
    #[test]
    fn the_bytes_are_kafkas() {
        let subscription = Subscription {
            topics: vec!["t".into()],
            user_data: None,
            owned: vec![p("t", 0), p("t", 2)],
            generation: 7,
        };
        let golden =
            b"\0\x03\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\x07\xff\xff";
        assert_eq!(subscription.encode().expect("encodes"), &golden[..]);
        assert_eq!(Subscription::decode(&Bytes::from_static(golden)), Ok(subscription));
        let golden = b"\0\x03\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff";
        assert_eq!(encode_assignment(&[p("t", 1)], None).expect("encodes"), &golden[..]);
        assert_eq!(decode_assignment(&Bytes::from_static(golden)), Ok(vec![p("t", 1)]));
    }

    #[test]
    fn other_versions_are_read() {
        // Version 0, as old clients send it.
        let old = Subscription::decode(&Bytes::from_static(b"\0\0\0\0\0\x02\0\x01b\0\x01a\0\0\0\x01x")).expect("reads");
        assert_eq!(old.topics, [Arc::from("a"), Arc::from("b")]);
        assert_eq!((old.user_data.as_deref(), old.generation), (Some(&b"x"[..]), -1));
        // Version 1: owned partitions, no generation.
        let one = b"\0\x01\0\0\0\0\xff\xff\xff\xff\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05";
        assert_eq!(Subscription::decode(&Bytes::from_static(one)).expect("reads").owned, [p("t", 5)]);
        // A version of the future has more behind what is known.
        let future = b"\0\x09\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x01\xff\xff\xff\xffmore";
        assert_eq!(decode_assignment(&Bytes::from_static(future)), Ok(vec![p("t", 1)]));
        assert_eq!(decode_assignment(&Bytes::new()), Ok(Vec::new()));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = Subscription::decode(&bytes);
            let _ = decode_assignment(&bytes);
        }
    }
}
