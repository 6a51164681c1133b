//! Whether a partition may be given other replicas, and what is shown of it while it gets them.
//!
//! What is accepted here is proposed as [`crate::Command::MovePartition`], which decides anew: the partition may be another one by
//! then.
//!
//! Must not know: requests, Kafka's error codes, where in its broker a replica lies.

use std::collections::BTreeSet;

use cairn_protocol::ids::BrokerId;

use crate::image::Image;
use crate::partition::Partition;

/// What is wanted of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reassignment<'a> {
    /// These replicas, the preferred leader first.
    To(&'a [BrokerId]),
    /// Those that it had before it was to get others.
    Cancel,
}

/// Whether there may be another number of replicas afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicationFactor {
    /// Any number.
    MayChange,
    /// As many as there are.
    Stays,
}

/// A partition's replicas stay as they are, although others are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReassignmentRefused {
    /// It is not being given other replicas.
    #[error("no reassignment of the partition is under way")]
    NotUnderWay,
    /// Nobody would have it.
    #[error("the list of replicas is empty")]
    NoReplicas,
    /// A broker that nobody knows.
    #[error("broker {0} is not registered")]
    UnknownBroker(BrokerId),
    /// A broker cannot keep it twice.
    #[error("broker {0} stands in the list of replicas more than once")]
    Repeated(BrokerId),
    /// There would be another number of them.
    #[error("there are {present} replicas, and {wanted} are wanted, which the request does not allow")]
    ReplicationFactor {
        /// How many there are.
        present: usize,
        /// How many there would be.
        wanted: usize,
    },
}

impl Image {
    /// Checks what is wanted of a partition. That its replicas are as they are wanted already is no error.
    ///
    /// # Errors
    /// When they cannot be so, whoever is in sync.
    pub fn check_reassignment(
        &self,
        partition: &Partition,
        wanted: Reassignment<'_>,
        replication_factor: ReplicationFactor,
    ) -> Result<(), ReassignmentRefused> {
        let replicas = match wanted {
            Reassignment::Cancel if partition.moving.is_none() => return Err(ReassignmentRefused::NotUnderWay),
            Reassignment::Cancel => return Ok(()),
            Reassignment::To([]) => return Err(ReassignmentRefused::NoReplicas),
            Reassignment::To(replicas) => replicas,
        };
        let mut sorted = replicas.to_vec();
        sorted.sort_unstable();
        let mut seen = BTreeSet::new();
        for broker in sorted {
            if self.broker(broker).is_none() {
                return Err(ReassignmentRefused::UnknownBroker(broker));
            }
            if !seen.insert(broker) {
                return Err(ReassignmentRefused::Repeated(broker));
            }
        }
        // As many as there shall be when it has arrived, where it is on its way.
        let present = partition.moving.as_ref().map_or(&partition.replicas, |moving| &moving.to).len();
        let count = replicas.len();
        if replication_factor == ReplicationFactor::Stays && present != count {
            return Err(ReassignmentRefused::ReplicationFactor { present, wanted: count });
        }
        Ok(())
    }
}

impl Partition {
    /// Its replicas in the order in which clients are told them: on its way to others those first, then who goes, as in Kafka.
    pub fn told_replicas(&self) -> impl Iterator<Item = BrokerId> {
        let to = self.moving.as_ref().map_or(&self.replicas, |moving| &moving.to);
        to.iter().copied().chain(self.removing())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::command::{Command, NewBroker};
    use crate::partition::Moving;

    fn image() -> Image {
        (1..=2).fold(Image::default(), |image, id| {
            let new = NewBroker {
                id: BrokerId(id),
                incarnation: Uuid::from_u128(7),
                endpoints: Vec::new(),
                rack: None,
                storage_ids: Vec::new(),
                boot_id: None,
                clean_shutdown: None,
            };
            image.apply(image.version() + 1, &Command::RegisterBroker(new)).unwrap().image
        })
    }

    fn ids(ids: &[i32]) -> Vec<BrokerId> {
        ids.iter().copied().map(BrokerId).collect()
    }

    #[test]
    fn a_list_of_replicas_names_registered_brokers_each_once() {
        use ReassignmentRefused as No;
        let one = BrokerId(1);
        let partition = Partition::new(vec![one], vec![one]);
        let changed = No::ReplicationFactor { present: 1, wanted: 2 };
        let table: [(&[i32], _, _); 8] = [
            (&[1], Ok(()), Ok(())),
            (&[], Err(No::NoReplicas), Err(No::NoReplicas)),
            (&[9], Err(No::UnknownBroker(BrokerId(9))), Err(No::UnknownBroker(BrokerId(9)))),
            (&[-1, 9], Err(No::UnknownBroker(BrokerId(-1))), Err(No::UnknownBroker(BrokerId(-1)))),
            (&[9, 1, 1], Err(No::Repeated(one)), Err(No::Repeated(one))),
            (&[1, 1], Err(No::Repeated(one)), Err(No::Repeated(one))),
            (&[2], Ok(()), Ok(())),
            (&[1, 2], Ok(()), Err(changed)),
        ];
        for (replicas, may_change, stays) in table {
            let wanted = ids(replicas);
            let check = |factor| image().check_reassignment(&partition, Reassignment::To(&wanted), factor);
            assert_eq!(check(ReplicationFactor::MayChange), may_change, "{replicas:?}");
            assert_eq!(check(ReplicationFactor::Stays), stays, "{replicas:?}");
        }
        for factor in [ReplicationFactor::MayChange, ReplicationFactor::Stays] {
            assert_eq!(image().check_reassignment(&partition, Reassignment::Cancel, factor), Err(No::NotUnderWay));
        }
    }

    #[test]
    fn on_its_way_a_partition_counts_as_many_replicas_as_it_shall_have() {
        use ReplicationFactor::{MayChange, Stays};
        let mut partition = Partition::new(ids(&[1]), ids(&[1]));
        partition.replicas = ids(&[1, 2]);
        partition.moving = Some(Moving { from: ids(&[1]), to: ids(&[2]) });
        assert_eq!(partition.told_replicas().collect::<Vec<_>>(), ids(&[2, 1]), "who goes comes last");
        assert_eq!(image().check_reassignment(&partition, Reassignment::Cancel, Stays), Ok(()));
        for (wanted, factor, accepted) in
            [(&[1][..], Stays, true), (&[2], Stays, true), (&[1, 2], Stays, false), (&[1, 2], MayChange, true)]
        {
            let checked = image().check_reassignment(&partition, Reassignment::To(&ids(wanted)), factor);
            assert_eq!(checked.is_ok(), accepted, "{wanted:?}");
        }
    }
}
