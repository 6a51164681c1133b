//! Partitions that their preferred replica could lead, and does not: after a fault who took over goes on leading, until all is spread
//! again as it was meant to be.
//!
//! Must not know: when that is wanted.

use cairn_metadata::{Command, Image, Partition};

use super::unled::is_serving;

/// As many change hands at once, as in Kafka.
const AT_ONCE_MAX: usize = 1_000;

/// What has preferred replicas lead that are in sync.
pub(super) fn due(image: &Image) -> Vec<Command> {
    let transfers = image.topics().flat_map(|topic| {
        let away = topic.partitions().filter(|(_, partition)| is_away(image, partition));
        away.map(|(index, partition)| Command::TransferLeader {
            id: topic.id,
            partition: index,
            to: partition.replicas[0],
        })
    });
    transfers.take(AT_ONCE_MAX).collect()
}

/// Whether another one leads than could and should.
fn is_away(image: &Image, partition: &Partition) -> bool {
    let preferred = partition.replicas[0];
    partition.leader.is_some_and(|leader| leader != preferred)
        && partition.isr.contains(&preferred)
        && partition.moving.is_none()
        && is_serving(image, preferred)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::tests::{Brokers, image_of};

    #[test]
    fn whoever_is_preferred_leads_again_once_it_is_in_sync() {
        let brokers = Brokers::serving(3);
        let image = image_of(&brokers, "t", &[&[1, 2, 3], &[2, 3, 1]]);
        assert_eq!(due(&image), []);
        let image = brokers.fence(&image, 1);
        assert_eq!(due(&image), [], "it is away");
        let image = brokers.unfence(&image, 1);
        assert_eq!(due(&image), [], "it is not in sync yet");
        let image = brokers.join_isr(&image, "t", 0, &[1, 2, 3]);
        let [Command::TransferLeader { partition, to, .. }] = due(&image)[..] else { panic!("one is due") };
        assert_eq!((partition.0, to.0), (0, 1));
    }
}
