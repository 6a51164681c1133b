//! Whether a partition may be given other replicas.
//!
//! As long as nothing is replicated, a partition's replicas are what they are: only the ones that it has can be asked for, and that
//! changes nothing. So no partition is ever on its way to others.
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
    /// All is well with the list, but no broker copies from another one.
    #[error("the partition cannot go to other brokers: brokers do not replicate yet")]
    NotReplicated,
}

impl Image {
    /// Checks what is wanted of a partition. What is accepted is so already.
    ///
    /// # Errors
    /// When its replicas would have to change, or cannot be as they are wanted.
    pub fn check_reassignment(
        &self,
        partition: &Partition,
        wanted: Reassignment<'_>,
        replication_factor: ReplicationFactor,
    ) -> Result<(), ReassignmentRefused> {
        let replicas = match wanted {
            Reassignment::Cancel => return Err(ReassignmentRefused::NotUnderWay),
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
        let (present, count) = (partition.replicas.len(), replicas.len());
        if replication_factor == ReplicationFactor::Stays && present != count {
            return Err(ReassignmentRefused::ReplicationFactor { present, wanted: count });
        }
        if replicas == partition.replicas { Ok(()) } else { Err(ReassignmentRefused::NotReplicated) }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::command::{Command, NewBroker};

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

    #[test]
    fn only_the_replicas_that_it_has_are_accepted() {
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
            (&[2], Err(No::NotReplicated), Err(No::NotReplicated)),
            (&[1, 2], Err(No::NotReplicated), Err(changed)),
        ];
        for (replicas, may_change, stays) in table {
            let ids: Vec<BrokerId> = replicas.iter().copied().map(BrokerId).collect();
            let check = |factor| image().check_reassignment(&partition, Reassignment::To(&ids), factor);
            assert_eq!(check(ReplicationFactor::MayChange), may_change, "{replicas:?}");
            assert_eq!(check(ReplicationFactor::Stays), stays, "{replicas:?}");
        }
        for factor in [ReplicationFactor::MayChange, ReplicationFactor::Stays] {
            assert_eq!(image().check_reassignment(&partition, Reassignment::Cancel, factor), Err(No::NotUnderWay));
        }
    }
}
