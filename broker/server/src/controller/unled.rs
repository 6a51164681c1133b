//! Partitions that nobody leads, and in which nobody can be elected without looking at logs.
//!
//! Must not know: how logs are asked for.

use cairn_metadata::{Broker, Duty, ElectBy, Image, Partition, Topic};
use cairn_protocol::ids::{BrokerId, PartitionIndex, TopicId};

/// A partition in which somebody is to be elected by logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unled {
    pub(super) topic: TopicId,
    pub(super) partition: PartitionIndex,
    pub(super) by: ElectBy,
    /// Whose logs are asked for.
    pub(super) of: Vec<BrokerId>,
}

/// Those for which there are brokers to ask: all that had everything when they were last heard of, or, where the topic allows it, whoever
/// is there.
pub(super) fn unled(image: &Image, allows_unclean: impl Fn(&Topic) -> bool) -> Vec<Unled> {
    let serves = |id: &BrokerId| is_serving(image, *id);
    let mut found = Vec::new();
    for topic in image.topics() {
        for (partition, of) in topic.partitions().filter(|(_, partition)| partition.leader.is_none()) {
            let by = if knows_nobody(of) && !of.last_known.is_empty() && of.last_known.iter().all(serves) {
                (ElectBy::LastKnown, of.last_known.clone())
            } else if allows_unclean(topic) && of.replicas.iter().any(serves) {
                (ElectBy::Anyone, of.replicas.iter().copied().filter(serves).collect())
            } else {
                continue;
            };
            found.push(Unled { topic: topic.id, partition, by: by.0, of: by.1 });
        }
    }
    found
}

/// Whether no replica has everything for certain, wherever it is.
fn knows_nobody(partition: &Partition) -> bool {
    partition.isr.is_empty() && partition.elr.is_empty()
}

/// Whether a broker may lead.
pub(crate) fn is_serving(image: &Image, id: BrokerId) -> bool {
    image.broker(id).map(Broker::standing).is_some_and(|standing| standing.duty == Duty::Serving)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::controller::tests::{Brokers, image_of};

    const TOPIC: &str = "t";

    #[test]
    fn logs_are_asked_for_when_all_are_there_who_had_everything() {
        let brokers = Brokers::serving(3);
        let mut image = image_of(&brokers, TOPIC, &[&[1, 2, 3]]);
        // One machine after the other starts anew without having synced: nobody has everything for certain.
        for (id, boot) in [(1, 11), (2, 12), (3, 13)] {
            assert_eq!(unled(&image, |_| true), [], "somebody leads, or is waited for");
            image = brokers.register(&image, id, Uuid::from_u128(boot));
        }
        let found = |image: &Image, unclean: bool| -> Vec<(ElectBy, Vec<i32>)> {
            let ids = |unled: Unled| (unled.by, unled.of.iter().map(|id| id.0).collect());
            unled(image, |_| unclean).into_iter().map(ids).collect()
        };
        assert_eq!(found(&image, true), [], "none of them serves yet");
        let known: Vec<i32> = last_known(&image);
        image = brokers.unfence(&image, known[0]);
        if known.len() > 1 {
            assert_eq!(found(&image, false), []);
            assert_eq!(found(&image, true), [(ElectBy::Anyone, vec![known[0]])]);
        }
        for id in &known[1..] {
            image = brokers.unfence(&image, *id);
        }
        assert_eq!(found(&image, false), [(ElectBy::LastKnown, known)]);
    }

    fn last_known(image: &Image) -> Vec<i32> {
        let partition = &image.topic_by_name(TOPIC).expect("made").partitions[0];
        assert!(knows_nobody(partition) && partition.leader.is_none());
        partition.last_known.iter().map(|id| id.0).collect()
    }
}
