//! What a member of a consumer group says, and what it is told.
//!
//! Must not know: messages of the wire, how groups decide.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;

use super::assignment::Partitions;
use super::assignor::{Assignor, Assignors};
use super::member::{AWAY_EPOCH, JOINING_EPOCH, LEAVING_EPOCH, Subscription};

/// The first version whose members choose their ids themselves, so that they must have one.
const OWN_ID_FROM: i16 = 1;

/// A ConsumerGroupHeartbeat.
#[derive(Clone, Debug)]
pub struct ConsumerHeartbeat<'a> {
    /// Its version.
    pub version: i16,
    /// The group.
    pub group: &'a str,
    /// The member's id; empty for a new one of an old version.
    pub member: &'a str,
    /// Its epoch; 0 when it joins, -1 when it leaves, -2 when a static member leaves for a while.
    pub epoch: i32,
    /// The id of a static member's instance.
    pub instance: Option<&'a str>,
    /// Its rack.
    pub rack: Option<&'a str>,
    /// How long it may need to give up partitions; -1 when that has not changed.
    pub rebalance_timeout_ms: i32,
    /// The topics that it wants; none when they have not changed.
    pub topics: Option<Vec<&'a str>>,
    /// The regular expression of topics that it wants, empty for no such; none when it has not changed.
    pub regex: Option<&'a str>,
    /// The assignor that it prefers; none when that has not changed.
    pub assignor: Option<&'a str>,
    /// What it owns; none when that has not changed.
    pub owned: Option<Partitions>,
    /// The client's name for itself.
    pub client_id: &'a str,
    /// Where it is, as ConsumerGroupDescribe shows it.
    pub client_host: &'a str,
    /// A text that nobody else has, for the id of a member that has none.
    pub unique: &'a str,
}

/// The answer to a ConsumerGroupHeartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// Why it is not heard.
    pub error: ErrorCode,
    /// The same for people.
    pub message: Option<Box<str>>,
    /// The member's id; none with an error.
    pub member: Option<Arc<str>>,
    /// Its epoch; 0 with an error.
    pub epoch: i32,
    /// When it is to come again; 0 with an error, and when it leaves.
    pub interval_ms: i32,
    /// All that it has now; none when that has not changed.
    pub assignment: Option<Partitions>,
}

/// Why something is refused, with the text that Kafka's clients show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorCode,
    pub(crate) message: Box<str>,
}

impl Refusal {
    pub(crate) fn new(error: ErrorCode, message: impl Into<Box<str>>) -> Self {
        Self { error, message: message.into() }
    }
}

impl HeartbeatReply {
    /// An error.
    #[must_use]
    pub fn refused(error: ErrorCode, message: Option<Box<str>>) -> Self {
        Self { error, message, member: None, epoch: 0, interval_ms: 0, assignment: None }
    }
}

impl From<Refusal> for HeartbeatReply {
    fn from(refusal: Refusal) -> Self {
        Self::refused(refusal.error, Some(refusal.message))
    }
}

impl ConsumerHeartbeat<'_> {
    pub(crate) fn is_joining(&self) -> bool {
        self.epoch == JOINING_EPOCH
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.epoch == LEAVING_EPOCH || self.epoch == AWAY_EPOCH
    }

    /// Whether it says everything: then it does not know what it was told last.
    pub(crate) fn is_full(&self) -> bool {
        self.rebalance_timeout_ms != -1 && (self.topics.is_some() || self.regex.is_some()) && self.owned.is_some()
    }

    /// What is wrong with it by itself, in Kafka's order.
    pub(crate) fn check(&self, assignors: Assignors) -> Result<(), Refusal> {
        let needs_id = self.version >= OWN_ID_FROM || self.epoch > JOINING_EPOCH || self.epoch == LEAVING_EPOCH;
        let is_blank = |text: &str| text.trim().is_empty();
        let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
        if needs_id && is_blank(self.member) {
            return invalid("MemberId can't be empty.");
        }
        if is_blank(self.group) {
            return invalid("GroupId can't be empty.");
        }
        if self.instance.is_some_and(is_blank) {
            return invalid("InstanceId can't be empty.");
        }
        if self.rack.is_some_and(is_blank) {
            return invalid("RackId can't be empty.");
        }
        match self.epoch {
            JOINING_EPOCH if self.rebalance_timeout_ms == -1 => {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            JOINING_EPOCH if self.owned.as_ref().is_none_or(|owned| !owned.is_empty()) => {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            JOINING_EPOCH if self.topics.is_none() && self.regex.is_none() => {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
            AWAY_EPOCH if self.instance.is_none() => return invalid("InstanceId can't be null."),
            epoch if epoch < AWAY_EPOCH => return invalid("MemberEpoch is invalid."),
            _ => {}
        }
        match self.assignor {
            Some(name) if assignors.find(name).is_none() => {
                let all = assignors.iter().map(Assignor::name).collect::<Vec<_>>().join(", ");
                let message = format!("ServerAssignor {name} is not supported. Supported assignors: {all}.");
                Err(Refusal::new(ErrorCode::UnsupportedAssignor, message))
            }
            _ => Ok(()),
        }
    }

    /// What the member asks for from now on.
    pub(crate) fn subscription(&self, before: &Subscription) -> Subscription {
        Subscription {
            instance: self.instance.map(Into::into).or_else(|| before.instance.clone()),
            rack: self.rack.map(Into::into).or_else(|| before.rack.clone()),
            client_id: self.client_id.into(),
            client_host: self.client_host.into(),
            topics: match &self.topics {
                Some(topics) if !before.topics.iter().map(|name| &**name).eq(topics.iter().copied()) => {
                    topics.iter().map(|name| (*name).into()).collect()
                }
                _ => before.topics.clone(),
            },
            regex: self.regex.map_or_else(|| Arc::clone(&before.regex), Into::into),
            rebalance_timeout_ms: match self.rebalance_timeout_ms {
                -1 => before.rebalance_timeout_ms,
                said => said,
            },
            assignor: self.assignor.map(Into::into).or_else(|| before.assignor.clone()),
            classic: None,
        }
    }
}
