//! The records of a consumer group, in Kafka's own bytes.
//!
//! ```text
//!   key 3  | group |           epoch, hash of its topics          key 6  | group |           target epoch, when
//!   key 5  | group | member |  what it asked for                  key 7  | group | member |  what it is to have
//!   key 8  | group | member |  what it has                        key 16 | group | regex |   its topics
//! ```
//! Each key and value is behind a number of two bytes: the key's type, the value's version, which is 0 everywhere. Key 4 was
//! written before Kafka 4.1; what it says is worked out anew.
//!
//! Must not know: what changes mean.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::codec::{DecodeError, EncodeError, Message, RecordPart};
use cairn_protocol::ids::{PartitionIndex, Timestamp, TopicId};
use cairn_protocol::messages::consumer_group_current_member_assignment_value::TopicPartitions;
use cairn_protocol::messages::consumer_group_member_metadata_value::{ClassicMemberMetadata, ClassicProtocol};
use cairn_protocol::messages::consumer_group_target_assignment_member_value::TopicPartition;
use cairn_protocol::messages::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataKey, ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
};

use super::assignment::{Held, Partitions};
use super::change::{Change, GroupEpoch, Resolved, TargetEpoch};
use super::member::{Classic, Current, MemberState, Subscription};
use crate::protocols::Protocol;
use crate::record_error::RecordError;

/// The only version of keys and values.
const VERSION: i16 = 0;

/// What a record of a consumer group says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) group: Box<str>,
    /// None where the record is of no use any more.
    pub(crate) change: Option<Change>,
}

/// Key and value of the record that makes a change last.
pub(crate) fn encode(group: &str, change: &Change) -> Result<(Bytes, Option<Bytes>), EncodeError> {
    let group: Box<str> = group.into();
    match change {
        Change::Epoch(epoch) => {
            let value = epoch
                .map(|epoch| ConsumerGroupMetadataValue { epoch: epoch.epoch, metadata_hash: epoch.metadata_hash });
            both(&ConsumerGroupMetadataKey { group_id: group }, value.as_ref())
        }
        Change::Subscription(member, subscription) => {
            let key = ConsumerGroupMemberMetadataKey { group_id: group, member_id: (**member).into() };
            both(&key, subscription.as_deref().map(subscription_value).as_ref())
        }
        Change::TargetEpoch(target) => {
            let value = target.map(|target| ConsumerGroupTargetAssignmentMetadataValue {
                assignment_epoch: target.epoch,
                assignment_timestamp: target.at.0,
            });
            both(&ConsumerGroupTargetAssignmentMetadataKey { group_id: group }, value.as_ref())
        }
        Change::Target(member, target) => {
            let key = ConsumerGroupTargetAssignmentMemberKey { group_id: group, member_id: (**member).into() };
            both(&key, target.as_deref().map(target_value).as_ref())
        }
        Change::Current(member, current) => {
            let key = ConsumerGroupCurrentMemberAssignmentKey { group_id: group, member_id: (**member).into() };
            both(&key, current.as_deref().map(current_value).as_ref())
        }
        Change::Regex(regex, resolved) => {
            let key = ConsumerGroupRegularExpressionKey { group_id: group, regular_expression: (**regex).into() };
            let value = resolved.as_deref().map(|resolved| ConsumerGroupRegularExpressionValue {
                topics: texts(&resolved.topics),
                version: resolved.version,
                timestamp: resolved.at.0,
            });
            both(&key, value.as_ref())
        }
    }
}

fn both<K: RecordPart, V: Message>(key: &K, value: Option<&V>) -> Result<(Bytes, Option<Bytes>), EncodeError> {
    let value = value.map(|value| value.to_prefixed_bytes(VERSION, VERSION)).transpose()?;
    Ok((key.to_prefixed_bytes(K::TYPE, VERSION)?, value))
}

fn texts(names: &BTreeSet<Arc<str>>) -> Vec<Box<str>> {
    names.iter().map(|name| (**name).into()).collect()
}

fn subscription_value(subscription: &Subscription) -> ConsumerGroupMemberMetadataValue {
    let classic = subscription.classic.as_ref().map(|classic| ClassicMemberMetadata {
        session_timeout_ms: classic.session_timeout_ms,
        supported_protocols: classic
            .protocols
            .iter()
            .map(|protocol| ClassicProtocol { name: (*protocol.name).into(), metadata: protocol.metadata.clone() })
            .collect(),
    });
    ConsumerGroupMemberMetadataValue {
        instance_id: subscription.instance.as_deref().map(Into::into),
        rack_id: subscription.rack.clone(),
        client_id: subscription.client_id.clone(),
        client_host: subscription.client_host.clone(),
        subscribed_topic_names: texts(&subscription.topics),
        subscribed_topic_regex: Some((*subscription.regex).into()),
        rebalance_timeout_ms: subscription.rebalance_timeout_ms,
        server_assignor: subscription.assignor.clone(),
        classic_member_metadata: classic,
    }
}

fn target_value(target: &Partitions) -> ConsumerGroupTargetAssignmentMemberValue {
    let topic = |(topic, partitions): (&TopicId, &BTreeSet<PartitionIndex>)| TopicPartition {
        topic_id: topic.0,
        partitions: partitions.iter().map(|partition| partition.0).collect(),
    };
    ConsumerGroupTargetAssignmentMemberValue { topic_partitions: target.iter().map(topic).collect() }
}

fn current_value(current: &Current) -> ConsumerGroupCurrentMemberAssignmentValue {
    let held = |held: &Held| {
        let topics = held.iter().map(|(topic, partitions)| TopicPartitions {
            topic_id: topic.0,
            partitions: partitions.keys().map(|partition| partition.0).collect(),
            assignment_epochs: Some(partitions.values().copied().collect()),
        });
        topics.collect()
    };
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: current.epoch,
        previous_member_epoch: current.previous_epoch,
        state: current.state.number(),
        assigned_partitions: held(&current.assigned),
        partitions_pending_revocation: held(&current.revoking),
    }
}

/// What a record says whose key is of this type; none when that is no type of a consumer group. `key` is what follows the
/// type; `value` what follows the version, with it.
pub(crate) fn decode(kind: i16, key: Bytes, value: Option<(i16, Bytes)>) -> Result<Option<Decoded>, RecordError> {
    let (group, change) = match kind {
        ConsumerGroupMetadataKey::TYPE => {
            let key: ConsumerGroupMetadataKey = read(key, VERSION)?;
            let epoch = read_value(value)?.map(|value: ConsumerGroupMetadataValue| GroupEpoch {
                epoch: value.epoch,
                metadata_hash: value.metadata_hash,
            });
            (key.group_id, Some(Change::Epoch(epoch)))
        }
        ConsumerGroupPartitionMetadataKey::TYPE => {
            let key: ConsumerGroupPartitionMetadataKey = read(key, VERSION)?;
            (key.group_id, None)
        }
        ConsumerGroupMemberMetadataKey::TYPE => {
            let key: ConsumerGroupMemberMetadataKey = read(key, VERSION)?;
            let subscription = read_value(value)?.map(|value| Arc::new(subscription(value)));
            (key.group_id, Some(Change::Subscription((*key.member_id).into(), subscription)))
        }
        ConsumerGroupTargetAssignmentMetadataKey::TYPE => {
            let key: ConsumerGroupTargetAssignmentMetadataKey = read(key, VERSION)?;
            let target = read_value(value)?.map(|value: ConsumerGroupTargetAssignmentMetadataValue| TargetEpoch {
                epoch: value.assignment_epoch,
                at: Timestamp(value.assignment_timestamp),
            });
            (key.group_id, Some(Change::TargetEpoch(target)))
        }
        ConsumerGroupTargetAssignmentMemberKey::TYPE => {
            let key: ConsumerGroupTargetAssignmentMemberKey = read(key, VERSION)?;
            let target = read_value(value)?.map(|value| Arc::new(target(value)));
            (key.group_id, Some(Change::Target((*key.member_id).into(), target)))
        }
        ConsumerGroupCurrentMemberAssignmentKey::TYPE => {
            let key: ConsumerGroupCurrentMemberAssignmentKey = read(key, VERSION)?;
            let current = read_value(value)?.map(|value| Arc::new(current(value)));
            (key.group_id, Some(Change::Current((*key.member_id).into(), current)))
        }
        ConsumerGroupRegularExpressionKey::TYPE => {
            let key: ConsumerGroupRegularExpressionKey = read(key, VERSION)?;
            let resolved = read_value(value)?.map(|value: ConsumerGroupRegularExpressionValue| {
                let topics = value.topics.iter().map(|topic| (**topic).into()).collect();
                Arc::new(Resolved { topics, version: value.version, at: Timestamp(value.timestamp) })
            });
            (key.group_id, Some(Change::Regex((*key.regular_expression).into(), resolved)))
        }
        _ => return Ok(None),
    };
    Ok(Some(Decoded { group, change }))
}

fn read<T: Message>(bytes: Bytes, version: i16) -> Result<T, DecodeError> {
    T::decode_all(bytes, version)
}

fn read_value<T: Message>(value: Option<(i16, Bytes)>) -> Result<Option<T>, DecodeError> {
    value.map(|(version, bytes)| read(bytes, version)).transpose()
}

/// Who speaks the new protocol has null in the field: where it is left out, Kafka reads a member of the classic protocol that
/// knows no way to assign. Only brokers that do not know the field leave it out, whose members all speak the new one.
fn is_said(classic: &ClassicMemberMetadata) -> bool {
    !classic.supported_protocols.is_empty()
}

fn subscription(value: ConsumerGroupMemberMetadataValue) -> Subscription {
    let protocol = |protocol: ClassicProtocol| Protocol {
        name: (*protocol.name).into(),
        // Bytes of their own, so that they do not hold on to what was read from the log.
        metadata: Bytes::copy_from_slice(&protocol.metadata),
    };
    Subscription {
        instance: value.instance_id.as_deref().map(Into::into),
        rack: value.rack_id,
        client_id: value.client_id,
        client_host: value.client_host,
        topics: value.subscribed_topic_names.iter().map(|name| (**name).into()).collect(),
        regex: value.subscribed_topic_regex.as_deref().unwrap_or_default().into(),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        assignor: value.server_assignor,
        classic: value.classic_member_metadata.filter(is_said).map(|classic| Classic {
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic.supported_protocols.into_iter().map(protocol).collect(),
        }),
    }
}

fn target(value: ConsumerGroupTargetAssignmentMemberValue) -> Partitions {
    let mut target = Partitions::new();
    for topic in value.topic_partitions.into_iter().filter(|topic| !topic.partitions.is_empty()) {
        target.entry(TopicId(topic.topic_id)).or_default().extend(topic.partitions.into_iter().map(PartitionIndex));
    }
    target
}

fn current(value: ConsumerGroupCurrentMemberAssignmentValue) -> Current {
    let held = |topics: Vec<TopicPartitions>| {
        let mut held = Held::new();
        for topic in topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
            // Before Kafka 4.3 nobody wrote when a partition was given: then it counts as given in the member's epoch.
            let mut epochs = topic.assignment_epochs.unwrap_or_default().into_iter();
            let with_epoch = |partition| (PartitionIndex(partition), epochs.next().unwrap_or(value.member_epoch));
            held.entry(TopicId(topic.topic_id)).or_default().extend(topic.partitions.into_iter().map(with_epoch));
        }
        held
    };
    Current {
        epoch: value.member_epoch,
        previous_epoch: value.previous_member_epoch,
        state: MemberState::of(value.state),
        assigned: held(value.assigned_partitions),
        revoking: held(value.partitions_pending_revocation),
    }
}

#[cfg(test)]
mod tests;
