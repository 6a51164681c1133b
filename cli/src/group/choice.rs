//! Arguments that choose partitions and places: `TOPIC[:P,P..]` and `beginning|end|OFFSET|RFC3339`.
//!
//! Must not know: groups, the cluster.

use std::str::FromStr;

use cairn_client::{Offset, PartitionIndex, Timestamp, TopicPartition};

use crate::start_at::{StartAt, StartAtError};

/// A topic, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicChoice {
    /// Its name.
    pub(crate) topic: String,
    /// Its partitions; empty for all.
    pub(crate) partitions: Vec<PartitionIndex>,
}

/// The text chooses nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected TOPIC, or TOPIC:P,P.. with partition numbers")]
pub(crate) struct TopicChoiceError;

impl TopicChoice {
    /// Whether it chooses this one.
    pub(crate) fn takes(&self, partition: &TopicPartition) -> bool {
        self.topic == *partition.topic && (self.partitions.is_empty() || self.partitions.contains(&partition.partition))
    }
}

impl FromStr for TopicChoice {
    type Err = TopicChoiceError;

    fn from_str(text: &str) -> Result<Self, TopicChoiceError> {
        let (topic, partitions) = match text.split_once(':') {
            None => (text, Vec::new()),
            Some((topic, list)) => {
                let index = |part: &str| part.parse().ok().filter(|index| *index >= 0).map(PartitionIndex);
                (topic, list.split(',').map(index).collect::<Option<Vec<_>>>().ok_or(TopicChoiceError)?)
            }
        };
        if topic.is_empty() { Err(TopicChoiceError) } else { Ok(Self { topic: topic.to_owned(), partitions }) }
    }
}

/// Where a group is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetTo {
    /// The oldest record.
    Beginning,
    /// What comes after the newest record.
    End,
    /// This offset.
    Offset(Offset),
    /// The first record of this time or later.
    Time(Timestamp),
}

/// The text names no place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected beginning, end, an offset, or a time such as 2026-03-01T12:00:00Z")]
pub(crate) struct ResetToError;

impl FromStr for ResetTo {
    type Err = ResetToError;

    fn from_str(text: &str) -> Result<Self, ResetToError> {
        match text.parse() {
            Ok(StartAt::Beginning) => Ok(Self::Beginning),
            Ok(StartAt::End) => Ok(Self::End),
            Ok(StartAt::Offset(offset)) => Ok(Self::Offset(Offset(offset))),
            Ok(StartAt::Time(time)) => Ok(Self::Time(Timestamp(time))),
            Ok(StartAt::Stored) | Err(StartAtError::Unknown | StartAtError::BeforeEpoch) => Err(ResetToError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_partitions() {
        let choice: TopicChoice = "orders:0,12".parse().expect("two partitions");
        assert_eq!(choice.partitions, [PartitionIndex(0), PartitionIndex(12)]);
        assert!(choice.takes(&TopicPartition::new("orders", 12)));
        assert!(!choice.takes(&TopicPartition::new("orders", 1)) && !choice.takes(&TopicPartition::new("order", 0)));
        assert!("orders".parse::<TopicChoice>().expect("a topic").takes(&TopicPartition::new("orders", 7)));
        for text in ["", ":0", "t:", "t:x", "t:-1", "t:0,,1", "t:0:1"] {
            assert_eq!(text.parse::<TopicChoice>(), Err(TopicChoiceError), "{text:?}");
        }
    }

    #[test]
    fn places() {
        assert_eq!("7".parse(), Ok(ResetTo::Offset(Offset(7))));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(ResetTo::Time(Timestamp(1_000))));
        for text in ["stored", "", "-7", "soon"] {
            assert_eq!(text.parse::<ResetTo>(), Err(ResetToError), "{text:?}");
        }
    }
}
