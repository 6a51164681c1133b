//! ConsumerGroupDescribe, versions 0 and 1: groups of the consumer protocol (KIP-848) with their members, what each has and
//! what it is to have.
//!
//! - A group that is not there, or of the classic protocol: GROUP_ID_NOT_FOUND with a message that says which.
//! - A group that is named more than once is answered once.
//! - Which protocol a member speaks is told from version 1 on. Topics that are gone are left out of what members have.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_groups::{DescribedConsumerGroup as Found, DescribedConsumerMember, Partitions};
use cairn_metadata::Image;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{PartitionIndex, TopicId};
use cairn_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use cairn_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};

use super::authorized;
use super::once::once;
use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(
    node: &Arc<Node>,
    _: &Call,
    request: ConsumerGroupDescribeRequest,
) -> Outcome<ConsumerGroupDescribeResponse> {
    let operations = if request.include_authorized_operations { authorized::GROUP } else { authorized::NOT_ASKED };
    let image = node.image();
    let describe = |name: Box<str>| match find(node, &name) {
        Ok(found) => DescribedGroup { authorized_operations: operations, ..described(name, found, &image) },
        Err(refusal) => DescribedGroup {
            error_code: refusal.error.code(),
            error_message: Some(refusal.message).filter(|message| !message.is_empty()),
            group_id: name,
            ..DescribedGroup::default()
        },
    };
    Outcome::Now(ConsumerGroupDescribeResponse {
        groups: once(request.group_ids, Box::clone).into_iter().map(describe).collect(),
        ..ConsumerGroupDescribeResponse::default()
    })
}

fn find(node: &Node, name: &str) -> Result<Found, Refusal> {
    let plain = |error| Refusal::new(error, "");
    if name.is_empty() {
        return Err(plain(ErrorCode::InvalidGroupId));
    }
    let shard = node.coordinator.of_group(&node.cluster, name).map_err(plain)?;
    shard.look(|groups| {
        groups.describe_consumer(name).map_err(|error| {
            let what = if groups.describe(name).is_some() { "is not a consumer group" } else { "not found" };
            Refusal::new(error, format!("Group {name} {what}."))
        })
    })
}

fn described(name: Box<str>, found: Found, image: &Image) -> DescribedGroup {
    let member = |member: DescribedConsumerMember| Member {
        member_id: member.id,
        instance_id: member.instance,
        rack_id: member.rack,
        member_epoch: member.epoch,
        client_id: member.client_id,
        client_host: member.client_host,
        subscribed_topic_names: member.topics,
        subscribed_topic_regex: member.regex,
        assignment: assignment(member.assigned, image),
        target_assignment: assignment(member.target, image),
        member_type: member.protocol.number(),
    };
    DescribedGroup {
        group_id: name,
        group_state: found.state.name().into(),
        group_epoch: found.epoch,
        assignment_epoch: found.assignment_epoch,
        assignor_name: found.assignor,
        members: found.members.into_iter().map(member).collect(),
        ..DescribedGroup::default()
    }
}

fn assignment(all: Partitions, image: &Image) -> Assignment {
    let topic = |(id, partitions): (TopicId, BTreeSet<PartitionIndex>)| {
        let topic_name = (*image.topic(id)?.name).into();
        let partitions = partitions.into_iter().map(|partition| partition.0).collect();
        Some(TopicPartitions { topic_id: id.0, topic_name, partitions })
    };
    Assignment { topic_partitions: all.into_iter().filter_map(topic).collect() }
}
