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
    /// All that there are.
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

/// The assignors that members may ask for (`group.consumer.assignors`). The first one is for those who ask for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignors {
    first: Assignor,
    second: Option<Assignor>,
}

impl Default for Assignors {
    fn default() -> Self {
        Self { first: Assignor::Uniform, second: Some(Assignor::Range) }
    }
}

impl Assignors {
    /// These, in this order; none where there is not one at least, or one of them twice.
    #[must_use]
    pub fn new(all: &[Assignor]) -> Option<Self> {
        match *all {
            [first] => Some(Self { first, second: None }),
            [first, second] if first != second => Some(Self { first, second: Some(second) }),
            _ => None,
        }
    }

    /// The one for members who ask for none.
    pub(crate) fn preferred(self) -> Assignor {
        self.first
    }

    /// All of them, the preferred one first.
    pub(crate) fn iter(self) -> impl Iterator<Item = Assignor> {
        std::iter::once(self.first).chain(self.second)
    }

    /// The assignor of a name, if it is one of these.
    pub(crate) fn find(self, name: &str) -> Option<Assignor> {
        self.iter().find(|assignor| assignor.name() == name)
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
