//! Who is to have which partitions: decided from what members ask for and what they were to have before.
//!
//! An assignor gives every partition that somebody asks for to exactly one of those who ask for its topic. `uniform` keeps
//! as much as it can where it is and makes all equal; `range` gives ranges that lie side by side across topics.
//!
//! Must not know: groups, epochs, records.

mod range;
mod uniform;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_protocol::ids::TopicId;

use super::assignment::Partitions;

/// A way to distribute partitions, by its name in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Assignor {
    /// Everybody has equally many, and as few as possible move.
    #[default]
    Uniform,
    /// The n-th partitions of all topics go to the same member.
    Range,
}

impl Assignor {
    /// All that there are, the default first.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Distributes all partitions of the topics that somebody asks for.
    pub(crate) fn assign(self, spec: &Spec) -> BTreeMap<Arc<str>, Partitions> {
        match self {
            Self::Uniform => uniform::assign(spec),
            Self::Range => range::assign(spec),
        }
    }
}

/// What is to be distributed, and to whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spec {
    pub(crate) members: BTreeMap<Arc<str>, MemberSpec>,
    /// How many partitions each topic has that somebody asks for.
    pub(crate) topics: BTreeMap<TopicId, i32>,
}

/// One of those to whom is distributed.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemberSpec {
    pub(crate) instance: Option<Arc<str>>,
    /// All of them are in [`Spec::topics`].
    pub(crate) topics: Arc<BTreeSet<TopicId>>,
    /// What it was to have before.
    pub(crate) before: Arc<Partitions>,
}

#[cfg(test)]
mod tests;
