//! The records of `__consumer_offsets`, in Kafka's own bytes: committed offsets, and groups of the classic protocol.
//!
//! ```text
//!   key    | type: i16 = 1 | group: string | topic: string | partition: i32 |
//!   value  | version: i16  | OffsetCommitValue of that version |    none: the offset is deleted
//!
//!   key    | type: i16 = 2 | group: string |
//!   value  | version: i16  | GroupMetadataValue of that version |   none: the group is deleted
//! ```
//! Type 0 is an older spelling of type 1. Types 3 to 8 and 16 are those of consumer groups, in `crate::consumer`; others
//! belong to protocols that are not served.
//!
//! Must not know: what has been committed, what groups do.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use cairn_protocol::codec::Message;
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};
use cairn_protocol::messages::{GroupMetadataKey, GroupMetadataValue, OffsetCommitKey, OffsetCommitValue};

use crate::consumer::{self, change::Change as ConsumerChange};
use crate::offsets::{CommittedOffset, OffsetKey};
use crate::record_error::RecordError;
use crate::stored_group::StoredGroup;

const LEGACY_KEY: i16 = 0;
const KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const KEY_VERSION: i16 = 0;
/// The only version that keeps when an offset expires.
const VALUE_VERSION_EXPIRING: i16 = 1;
const VALUE_VERSION: i16 = 4;
/// The version of a group's value that Apache Kafka 4.3 writes.
const GROUP_VALUE_VERSION: i16 = 3;

/// A record that has to be appended to the shard's partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Bytes,
    /// Its value; none deletes.
    pub value: Option<Bytes>,
    /// What it means, so that nobody has to read it back.
    pub(crate) change: Change,
}

/// What a record changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A committed offset: seen once it is durable.
    Offset(OffsetChange),
    /// A group as it already is: what is written follows what was decided.
    Group,
    /// A group that goes away as soon as this is appended.
    GroupDeleted(Box<str>),
    /// A consumer group that is a classic one as soon as this is appended.
    Downgraded(Box<StoredGroup>),
    /// A step that a consumer group takes as soon as this is appended.
    Consumer(Arc<str>, ConsumerChange),
}

/// What a record does to committed offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetChange {
    pub(crate) key: OffsetKey,
    pub(crate) value: Option<CommittedOffset>,
}

/// What a record says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    Offset(OffsetChange),
    Group(StoredGroup),
    GroupDeleted(Box<str>),
    Consumer(consumer::records::Decoded),
    /// A key of a type that is not known.
    Other(i16),
}

impl Record {
    /// The record that makes `change` last. A string that is too long for Kafka's wire cannot come in by it either.
    pub(crate) fn new(change: OffsetChange) -> Self {
        let key = OffsetCommitKey {
            group: change.key.group.clone(),
            topic: change.key.topic.clone(),
            partition: change.key.partition.0,
        };
        let key = key.to_prefixed_bytes(KEY, KEY_VERSION).expect("names came in by the same encoding");
        let value = change.value.as_ref().map(encode_value);
        Self { key, value, change: Change::Offset(change) }
    }

    /// The record that keeps a group.
    pub(crate) fn of_group(stored: &StoredGroup) -> Self {
        let value = stored.to_value().to_prefixed_bytes(GROUP_VALUE_VERSION, GROUP_VALUE_VERSION);
        let value = value.expect("what members said came in by the same encoding, and their ids are bounded");
        Self { key: group_key(&stored.name), value: Some(value), change: Change::Group }
    }

    /// The record that keeps what was a consumer group.
    pub(crate) fn of_downgraded(stored: StoredGroup) -> Self {
        let record = Self::of_group(&stored);
        Self { change: Change::Downgraded(Box::new(stored)), ..record }
    }

    /// The record that makes a step of a consumer group last.
    pub(crate) fn of_consumer(group: &Arc<str>, change: ConsumerChange) -> Self {
        let (key, value) = consumer::records::encode(group, &change).expect("all texts came in by the same encoding");
        Self { key, value, change: Change::Consumer(Arc::clone(group), change) }
    }

    /// The record that deletes a group.
    pub(crate) fn of_deleted_group(group: &str) -> Self {
        Self { key: group_key(group), value: None, change: Change::GroupDeleted(group.into()) }
    }
}

fn group_key(group: &str) -> Bytes {
    let key = GroupMetadataKey { group: group.into() };
    key.to_prefixed_bytes(GROUP_KEY, KEY_VERSION).expect("names came in by the same encoding")
}

fn encode_value(committed: &CommittedOffset) -> Bytes {
    let version = if committed.expires_at.is_some() { VALUE_VERSION_EXPIRING } else { VALUE_VERSION };
    let value = OffsetCommitValue {
        offset: committed.offset.0,
        leader_epoch: committed.leader_epoch.map_or(-1, |epoch| epoch.0),
        metadata: committed.metadata.clone(),
        commit_timestamp: committed.committed_at.0,
        expire_timestamp: committed.expires_at.map_or(-1, |at| at.0),
        topic_id: committed.topic_id.0,
    };
    value.to_prefixed_bytes(version, version).expect("the metadata is bounded")
}

pub(crate) fn decode(key: &Bytes, value: Option<&Bytes>) -> Result<Decoded, RecordError> {
    let (kind, key) = split_number(key).ok_or(RecordError::NoKey)?;
    match kind {
        LEGACY_KEY | KEY => decode_offset(key, value),
        GROUP_KEY => decode_group(key, value),
        other => {
            let value = value.map(|value| split_number(value).ok_or(RecordError::NoVersion)).transpose()?;
            let decoded = consumer::records::decode(other, key, value)?;
            Ok(decoded.map_or(Decoded::Other(other), Decoded::Consumer))
        }
    }
}

fn decode_group(key: Bytes, value: Option<&Bytes>) -> Result<Decoded, RecordError> {
    let group = GroupMetadataKey::decode_all(key, KEY_VERSION)?.group;
    let Some(value) = value else { return Ok(Decoded::GroupDeleted(group)) };
    let (version, value) = split_number(value).ok_or(RecordError::NoVersion)?;
    StoredGroup::from_value(group, GroupMetadataValue::decode_all(value, version)?).map(Decoded::Group)
}

fn decode_offset(key: Bytes, value: Option<&Bytes>) -> Result<Decoded, RecordError> {
    let key = OffsetCommitKey::decode_all(key, KEY_VERSION)?;
    let key = OffsetKey { group: key.group, topic: key.topic, partition: PartitionIndex(key.partition) };
    let value = value.map(decode_value).transpose()?;
    Ok(Decoded::Offset(OffsetChange { key, value }))
}

fn decode_value(value: &Bytes) -> Result<CommittedOffset, RecordError> {
    let (version, value) = split_number(value).ok_or(RecordError::NoVersion)?;
    let value = OffsetCommitValue::decode_all(value, version)?;
    Ok(CommittedOffset {
        offset: Offset(value.offset),
        leader_epoch: (value.leader_epoch >= 0).then_some(LeaderEpoch(value.leader_epoch)),
        metadata: value.metadata,
        committed_at: Timestamp(value.commit_timestamp),
        expires_at: (value.expire_timestamp >= 0).then_some(Timestamp(value.expire_timestamp)),
        topic_id: TopicId(value.topic_id),
    })
}

fn split_number(bytes: &Bytes) -> Option<(i16, Bytes)> {
    let mut bytes = bytes.clone();
    Some((bytes.try_get_i16().ok()?, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Bytes {
        let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
        (0..text.len()).step_by(2).map(digit).collect()
    }

    fn change(topic_id: TopicId, expires_at: Option<Timestamp>) -> OffsetChange {
        OffsetChange {
            key: OffsetKey { group: "group-é".into(), topic: "topic".into(), partition: PartitionIndex(3) },
            value: Some(CommittedOffset {
                offset: Offset(1_234_567_890_123),
                leader_epoch: Some(LeaderEpoch(5)),
                metadata: "méta".into(),
                committed_at: Timestamp(1000),
                expires_at,
                topic_id,
            }),
        }
    }

    /// The bytes were made by Apache Kafka 4.3.1's own group coordinator.
    #[test]
    fn records_have_kafkas_bytes() {
        let key = "0001000867726f75702dc3a90005746f70696300000003";
        let topic_id = "AQIDBAUGBwgJCgsMDQ4PEA".parse().expect("a topic id");
        let table = [
            (TopicId::ZERO, None, "00040000011f71fb04cb00000005066dc3a9746100000000000003e800"),
            (
                topic_id,
                None,
                "00040000011f71fb04cb00000005066dc3a9746100000000000003e80100100102030405060708090a0b0c0d0e0f10",
            ),
            (topic_id, Some(Timestamp(77)), "00010000011f71fb04cb00056dc3a9746100000000000003e8000000000000004d"),
        ];
        for (topic_id, expires_at, value) in table {
            let record = Record::new(change(topic_id, expires_at));
            assert_eq!((&record.key, record.value.as_ref()), (&hex(key), Some(&hex(value))));
        }
        let key = OffsetKey { group: "g".into(), topic: "t".into(), partition: PartitionIndex(0) };
        let tombstone = Record::new(OffsetChange { key, value: None });
        assert_eq!((tombstone.key, tombstone.value), (hex("000100016700017400000000"), None));
    }

    /// The bytes were made by Apache Kafka 4.3.1's own message classes.
    #[test]
    fn groups_have_kafkas_bytes() {
        use cairn_protocol::messages::group_metadata_value::MemberMetadata;

        let member = |id: &str, instance: Option<&str>, times: (i32, i32), bytes: (&'static [u8], &'static [u8])| {
            MemberMetadata {
                member_id: id.into(),
                group_instance_id: instance.map(Into::into),
                client_id: "client".into(),
                client_host: "/127.0.0.1".into(),
                rebalance_timeout: times.0,
                session_timeout: times.1,
                subscription: Bytes::from_static(bytes.0),
                assignment: Bytes::from_static(bytes.1),
            }
        };
        let value = GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 7,
            protocol: Some("range".into()),
            leader: Some("m-2".into()),
            current_state_timestamp: 1000,
            members: vec![
                member("m-1", Some("i-1"), (300_000, 45_000), (&[1, 2, 3], &[4, 5])),
                member("m-2", None, (10_000, 6_000), (&[1], &[])),
            ],
        };
        let empty = GroupMetadataValue {
            current_state_timestamp: 1000,
            protocol: None,
            leader: None,
            ..GroupMetadataValue::default()
        };
        let key = hex("0002000867726f75702dc3a9");
        let table = [
            (
                value,
                "00030008636f6e73756d657200000007000572616e676500036d2d3200000000000003e80000000200036d2d310003692d31\
                 0006636c69656e74000a2f3132372e302e302e31000493e00000afc80000000301020300000002040500036d2d32ffff0006\
                 636c69656e74000a2f3132372e302e302e310000271000001770000000010100000000",
            ),
            (empty, "0003000000000000ffffffff00000000000003e800000000"),
        ];
        for (value, bytes) in table {
            let stored = StoredGroup::from_value("group-é".into(), value).expect("each member once");
            let record = Record::of_group(&stored);
            assert_eq!((&record.key, record.value.as_ref()), (&key, Some(&hex(bytes))));
            assert_eq!(decode(&key, record.value.as_ref()).expect("decodes"), Decoded::Group(stored.clone()));
            // What is loaded and written again is the same.
            let again = StoredGroup::of(&stored.clone().into_group(), None);
            assert_eq!(again, stored);
        }
        let deleted = Record::of_deleted_group("group-é");
        assert_eq!((&deleted.key, &deleted.value), (&key, &None));
    }

    #[test]
    fn a_member_is_in_a_group_once() {
        use cairn_protocol::messages::group_metadata_value::MemberMetadata;

        let member = |id: &str, instance: Option<&str>| MemberMetadata {
            member_id: id.into(),
            group_instance_id: instance.map(Into::into),
            ..MemberMetadata::default()
        };
        for members in
            [vec![member("a", None), member("a", None)], vec![member("a", Some("i")), member("b", Some("i"))]]
        {
            let value = GroupMetadataValue { members, ..GroupMetadataValue::default() };
            assert!(matches!(StoredGroup::from_value("g".into(), value), Err(RecordError::MemberTwice)));
        }
    }

    #[test]
    fn records_read_back_in_every_version() {
        let whole = change("AQIDBAUGBwgJCgsMDQ4PEA".parse().expect("a topic id"), Some(Timestamp(77)));
        let record = Record::new(whole.clone());
        for version in 0..=4i16 {
            let message = OffsetCommitValue {
                offset: 1_234_567_890_123,
                leader_epoch: if version >= 3 { 5 } else { -1 },
                metadata: "méta".into(),
                commit_timestamp: 1000,
                expire_timestamp: if version == 1 { 77 } else { -1 },
                topic_id: if version >= 4 { whole.value.as_ref().expect("set").topic_id.0 } else { uuid::Uuid::nil() },
            };
            let value = message.to_prefixed_bytes(version, version).expect("encodes");
            let mut expected = whole.clone();
            let committed = expected.value.as_mut().expect("set");
            committed.leader_epoch = committed.leader_epoch.filter(|_| version >= 3);
            committed.expires_at = committed.expires_at.filter(|_| version == 1);
            committed.topic_id = if version >= 4 { committed.topic_id } else { TopicId::ZERO };
            for kind in [0, 1] {
                let key = [&[0, kind], &record.key[2..]].concat().into();
                assert_eq!(decode(&key, Some(&value)).expect("decodes"), Decoded::Offset(expected.clone()));
            }
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let record = Record::new(change(TopicId::ZERO, None));
        let (key, value) = (record.key, record.value.expect("set"));
        for cut in 0..key.len() {
            assert!(decode(&key.slice(..cut), Some(&value)).is_err(), "key cut at {cut}");
        }
        for cut in 0..value.len() {
            assert!(decode(&key, Some(&value.slice(..cut))).is_err(), "value cut at {cut}");
        }
        let longer = Bytes::from([&value[..], &[0]].concat());
        assert!(matches!(decode(&key, Some(&longer)), Err(RecordError::Decode(_))));
        let later = Bytes::from([&[0, 5], &value[2..]].concat());
        assert!(matches!(decode(&key, Some(&later)), Err(RecordError::Decode(_))));
        assert!(matches!(decode(&hex("000300016700"), None), Err(RecordError::Decode(_))));
        assert!(matches!(decode(&hex("00090001670000"), None), Ok(Decoded::Other(9))));
    }
}
