//! Partitions that this broker leads and cannot serve, because their log dir has failed or their log is damaged: another one leads that
//! is in sync. Each broker gives up its own; who follows and does not take what it is sent falls out of sync by itself.
//!
//! Must not know: when that is looked at.

use cairn_metadata::{Command, Image};
use cairn_protocol::ids::{BrokerId, PartitionIndex, TopicId};

use super::unled::is_serving;

/// As many change hands at once.
const AT_ONCE_MAX: usize = 1_000;

/// What has others lead what `own` leads and cannot serve.
pub(super) fn due(image: &Image, own: BrokerId, is_offline: impl Fn(TopicId, PartitionIndex) -> bool) -> Vec<Command> {
    let is_offline = &is_offline;
    let given_up = image.topics().flat_map(|topic| {
        let lost = topic.partitions().filter(move |(index, partition)| {
            partition.leader == Some(own) && partition.isr.len() > 1 && is_offline(topic.id, *index)
        });
        lost.filter_map(|(index, partition)| {
            let to = partition.isr.iter().find(|&&other| other != own && is_serving(image, other))?;
            Some(Command::TransferLeader { id: topic.id, partition: index, to: *to })
        })
    });
    given_up.take(AT_ONCE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::tests::{Brokers, image_of};

    #[test]
    fn what_cannot_be_served_is_led_by_another_one_in_sync() {
        let brokers = Brokers::serving(3);
        let image = image_of(&brokers, "t", &[&[1, 2, 3], &[2, 3, 1], &[1, 3], &[1]]);
        let of = |image: &Image, lost: &[i32]| -> Vec<(i32, i32)> {
            let due = due(image, BrokerId(1), |_, index| lost.contains(&index.0));
            let told = due.iter().map(|command| match command {
                Command::TransferLeader { partition, to, .. } => (partition.0, to.0),
                other => panic!("{other:?}"),
            });
            told.collect()
        };
        assert_eq!(of(&image, &[]), []);
        assert_eq!(of(&image, &[0, 1, 2, 3]), [(0, 2), (2, 3)], "what it leads, and others have");
        let image = brokers.fence(&image, 2);
        assert_eq!(of(&image, &[0]), [(0, 3)]);
        let image = brokers.fence(&image, 3);
        assert_eq!(of(&image, &[0, 2]), [], "nobody else has it");
    }
}
