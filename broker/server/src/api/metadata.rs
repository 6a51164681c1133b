//! Metadata, versions 0 to 13: brokers, and topics with their partitions and leaders.
//!
//! - All topics: an empty list in version 0, null from 1 on. By id from 12 on; in 10 and 11, which have the field, an id is
//!   INVALID_REQUEST as in Kafka.
//! - A topic that does not exist is made when the client allows it and `auto.create.topics.enable` does; the answer waits for
//!   it and shows it whole, so that the client need not ask again.
//! - A topic that is named more than once is answered once, as in Kafka.
//! - The address of this broker is what the listener advertises: with nothing configured, what the client has reached.
//! - Authorized operations: all of them, when asked for, as nobody is forbidden anything yet.

use std::sync::Arc;
use std::time::Instant;

use cairn_metadata::{Image, Topic, names};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{PartitionIndex, TopicId};
use cairn_protocol::messages::metadata_request::MetadataRequestTopic;
use cairn_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use cairn_protocol::messages::{MetadataRequest, MetadataResponse};

use super::addresses::{self, Address};
use super::authorized;
use super::led::{Led, led};
use super::once::once;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::topics;

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: MetadataRequest) -> Outcome<MetadataResponse> {
    let MetadataRequest {
        topics,
        allow_auto_topic_creation,
        include_cluster_authorized_operations: of_cluster,
        include_topic_authorized_operations: of_topics,
    } = request;
    let wanted = wanted(call.version, topics.as_deref());
    let operations = Operations {
        topic: if of_topics { authorized::TOPIC } else { authorized::NOT_ASKED },
        cluster: if of_cluster { authorized::CLUSTER } else { authorized::NOT_ASKED },
    };
    let may_create = node.config.start().auto_create_topics_enable && allow_auto_topic_creation;
    let missing = if may_create { missing(&node.image(), &wanted) } else { Vec::new() };
    if missing.is_empty() {
        return Outcome::Now(answer(node, call, &wanted, operations, &[]));
    }
    let (node, call) = (Arc::clone(node), call.clone());
    Outcome::alone(async move {
        let mut refused = Vec::new();
        let mut mutations = call.mutations(&node, NEVER_STRICT);
        for name in missing {
            match topics::make_missing(&node, &name).await {
                // Whoever asks for a topic is not refused it for a quota, and waits afterwards.
                Ok(partitions) => mutations.take(partitions, Instant::now()).unwrap_or_default(),
                Err(error) => refused.push((name, error)),
            }
        }
        let throttle_time_ms = mutations.throttle(Instant::now()).millis();
        MetadataResponse { throttle_time_ms, ..answer(&node, &call, &wanted, operations, &refused) }
    })
}

/// Topics that are made because they were asked for are made whatever `controller_mutation_rate` says; see
/// [`Call::mutations`].
const NEVER_STRICT: i16 = i16::MAX;
/// The first version that names topics by id.
const BY_ID_FROM: i16 = 12;

/// What the client wants to know of.
enum Wanted {
    All,
    These(Vec<Named>),
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Named {
    Name(Box<str>),
    Id(TopicId),
    /// By an id, in a version that cannot answer that.
    Refused(Option<Box<str>>),
}

#[derive(Clone, Copy)]
struct Operations {
    topic: i32,
    cluster: i32,
}

fn wanted(version: i16, topics: Option<&[MetadataRequestTopic]>) -> Wanted {
    let named = |topic: &MetadataRequestTopic| match &topic.name {
        name if version < BY_ID_FROM && (name.is_none() || !topic.topic_id.is_nil()) => Named::Refused(name.clone()),
        Some(name) => Named::Name(name.clone()),
        None => Named::Id(TopicId(topic.topic_id)),
    };
    match topics {
        None => Wanted::All,
        Some([]) if version == 0 => Wanted::All,
        Some(topics) => Wanted::These(once(topics.iter().map(named).collect(), Named::clone)),
    }
}

fn missing(image: &Image, wanted: &Wanted) -> Vec<Box<str>> {
    let Wanted::These(topics) = wanted else { return Vec::new() };
    let unknown = |named: &Named| match named {
        Named::Name(name) if names::check_topic_name(name).is_ok() && image.topic_by_name(name).is_none() => {
            Some(name.clone())
        }
        _ => None,
    };
    topics.iter().filter_map(unknown).collect()
}

fn answer(
    node: &Node,
    call: &Call,
    wanted: &Wanted,
    operations: Operations,
    refused: &[(Box<str>, ErrorCode)],
) -> MetadataResponse {
    let image = node.image();
    let known = |topic: &Arc<Topic>| describe(node, &image, topic, operations);
    let topics = match wanted {
        Wanted::All => {
            let mut topics: Vec<&Arc<Topic>> = image.topics().collect();
            topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            topics.into_iter().map(known).collect()
        }
        Wanted::These(wanted) => wanted
            .iter()
            .map(|named| match named {
                Named::Name(name) => image.topic_by_name(name).map_or_else(|| unknown_name(name, refused), known),
                Named::Refused(name) => refused_id(name.as_deref()),
                Named::Id(id) => image.topic(*id).map_or_else(|| unknown_id(*id), known),
            })
            .collect(),
    };
    MetadataResponse {
        brokers: brokers(node, call, &image),
        cluster_id: image.cluster_id().map(|id| id.to_string().into()),
        controller_id: node.cluster.controller().map_or(-1, |id| id.0),
        topics,
        cluster_authorized_operations: operations.cluster,
        ..MetadataResponse::default()
    }
}

/// The brokers that serve, with the addresses that suit the listener that the client has come in by.
fn brokers(node: &Node, call: &Call, image: &Image) -> Vec<MetadataResponseBroker> {
    let serving = image.brokers().filter(|broker| !broker.fenced || broker.id == node.id);
    serving
        .filter_map(|broker| {
            let Address { host, port } = addresses::of(node, call, broker)?;
            Some(MetadataResponseBroker { node_id: broker.id.0, host, port: i32::from(port), rack: broker.rack.clone() })
        })
        .collect()
}

fn describe(node: &Node, image: &Image, topic: &Arc<Topic>, operations: Operations) -> MetadataResponseTopic {
    let of = |index, partition| describe_partition(node, image, topic.id, (index, partition));
    MetadataResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some((*topic.name).into()),
        topic_id: topic.id.0,
        is_internal: names::is_internal(&topic.name),
        partitions: topic.partitions().map(|(index, partition)| of(index, partition)).collect(),
        topic_authorized_operations: operations.topic,
    }
}

fn describe_partition(
    node: &Node,
    image: &Image,
    topic: TopicId,
    (index, partition): (PartitionIndex, &cairn_metadata::Partition),
) -> MetadataResponsePartition {
    let Led { leader, offline } = led(node, image, topic, (index, partition));
    let error = if leader.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable };
    MetadataResponsePartition {
        error_code: error.code(),
        partition_index: index.0,
        leader_id: leader.map_or(-1, |leader| leader.0),
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: partition.told_replicas().map(|id| id.0).collect(),
        isr_nodes: partition.isr.iter().map(|id| id.0).collect(),
        offline_replicas: offline.iter().map(|id| id.0).collect(),
    }
}

fn unknown_name(name: &str, refused: &[(Box<str>, ErrorCode)]) -> MetadataResponseTopic {
    let error = match refused.iter().find(|(refused, _)| **refused == *name) {
        Some((_, error)) => *error,
        None if names::check_topic_name(name).is_err() => ErrorCode::InvalidTopicException,
        None => ErrorCode::UnknownTopicOrPartition,
    };
    MetadataResponseTopic {
        error_code: error.code(),
        name: Some(name.into()),
        is_internal: names::is_internal(name),
        ..MetadataResponseTopic::default()
    }
}

fn refused_id(name: Option<&str>) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(name.unwrap_or_default().into()),
        ..MetadataResponseTopic::default()
    }
}

fn unknown_id(id: TopicId) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: ErrorCode::UnknownTopicId.code(),
        name: None,
        topic_id: id.0,
        ..MetadataResponseTopic::default()
    }
}
