//! What administrators see of a consumer group.
//!
//! Must not know: messages of the wire.

use super::assignment::{Partitions, partitions_of};
use super::assignor::Assignors;
use super::member::{Current, Member};
use super::state::{ConsumerGroupState, Core};
use super::target::preferred_assignor;

/// A consumer group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumerGroup {
    /// What it is doing.
    pub state: ConsumerGroupState,
    /// Counts up when members or topics change.
    pub epoch: i32,
    /// The epoch that the target assignment was made for.
    pub assignment_epoch: i32,
    /// The name of the assignor.
    pub assignor: Box<str>,
    /// Its members, by id.
    pub members: Vec<DescribedConsumerMember>,
}

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumerMember {
    /// Its id.
    pub id: Box<str>,
    /// The id of a static member's instance.
    pub instance: Option<Box<str>>,
    /// Its rack.
    pub rack: Option<Box<str>>,
    /// How far it is; -2 for a static member that is away.
    pub epoch: i32,
    /// The client's name for itself.
    pub client_id: Box<str>,
    /// Where it is.
    pub client_host: Box<str>,
    /// The topics that it asks for by name.
    pub topics: Vec<Box<str>>,
    /// The regular expression of topics that it asks for.
    pub regex: Option<Box<str>>,
    /// What it has.
    pub assigned: Partitions,
    /// What it is to have.
    pub target: Partitions,
    /// Which protocol it speaks.
    pub protocol: MemberProtocol,
}

/// Which protocol a member of a consumer group speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberProtocol {
    /// JoinGroup and SyncGroup.
    Classic,
    /// ConsumerGroupHeartbeat.
    Consumer,
}

impl MemberProtocol {
    /// The number in ConsumerGroupDescribe.
    #[must_use]
    pub fn number(self) -> i8 {
        match self {
            Self::Classic => 0,
            Self::Consumer => 1,
        }
    }
}

pub(crate) fn describe(core: &Core, assignors: Assignors) -> DescribedConsumerGroup {
    let member = |(id, member): (&std::sync::Arc<str>, &Member)| {
        let Member { subscription, current } = member;
        let Current { epoch, assigned, .. } = &**current;
        DescribedConsumerMember {
            id: (**id).into(),
            instance: subscription.instance.as_deref().map(Into::into),
            rack: subscription.rack.clone(),
            epoch: *epoch,
            client_id: subscription.client_id.clone(),
            client_host: subscription.client_host.clone(),
            topics: subscription.topics.iter().map(|name| (**name).into()).collect(),
            regex: Some(&*subscription.regex).filter(|regex| !regex.is_empty()).map(Into::into),
            assigned: partitions_of(assigned),
            target: core.target_of(id).map(|target| (**target).clone()).unwrap_or_default(),
            protocol: if member.is_classic() { MemberProtocol::Classic } else { MemberProtocol::Consumer },
        }
    };
    DescribedConsumerGroup {
        state: core.state(),
        epoch: core.group.epoch,
        assignment_epoch: core.target.epoch,
        assignor: preferred_assignor(core, assignors).name().into(),
        members: core.members().map(member).collect(),
    }
}
