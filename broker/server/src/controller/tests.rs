//! Clusters of brokers for the tests of the controller's decisions, made by commands as a real one is.

use std::cell::Cell;

use cairn_metadata::{
    Answer, BrokerEpoch, Command, Image, IsrMember, IsrOutcome, IsrProposal, NewBroker, NewTopic, ProposalSeq, SafeIn,
    features,
};
use cairn_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use uuid::Uuid;

/// What brokers do to a cluster of theirs.
pub(super) struct Brokers {
    count: i32,
    seq: Cell<u32>,
}

impl Brokers {
    /// Brokers from 1 on.
    pub(super) fn serving(count: i32) -> Self {
        Self { count, seq: Cell::new(0) }
    }

    pub(super) fn apply(&self, image: &Image, command: &Command) -> Image {
        image.apply(image.version() + 1, command).unwrap_or_else(|rejected| panic!("{command:?}: {rejected}")).image
    }

    fn epoch(image: &Image, id: i32) -> BrokerEpoch {
        image.broker(BrokerId(id)).expect("registered").epoch
    }

    /// A new life of the broker, after this boot of its machine.
    pub(super) fn register(&self, image: &Image, id: i32, boot: Uuid) -> Image {
        let new = NewBroker {
            id: BrokerId(id),
            incarnation: Uuid::from_u128(u128::from(image.version()) + 1),
            endpoints: Vec::new(),
            rack: None,
            storage_ids: vec![Uuid::from_u128(u128::from(id.unsigned_abs()))],
            boot_id: Some(boot),
            clean_shutdown: None,
        };
        self.apply(image, &Command::RegisterBroker(new))
    }

    pub(super) fn unfence(&self, image: &Image, id: i32) -> Image {
        self.apply(image, &Command::UnfenceBroker { broker: BrokerId(id), epoch: Self::epoch(image, id) })
    }

    pub(super) fn fence(&self, image: &Image, id: i32) -> Image {
        self.apply(image, &Command::FenceBroker { broker: BrokerId(id), epoch: Self::epoch(image, id) })
    }

    /// The leader has it agreed on who is in sync.
    pub(super) fn join_isr(&self, image: &Image, topic: &str, partition: i32, isr: &[i32]) -> Image {
        let id = image.topic_by_name(topic).expect("made").id;
        let of = image.topic(id).expect("made").partition(PartitionIndex(partition)).expect("made");
        let leader = of.leader.expect("somebody leads");
        self.seq.set(self.seq.get() + 1);
        let member = |id: &i32| IsrMember { broker: BrokerId(*id), epoch: Self::epoch(image, *id) };
        let proposal = IsrProposal {
            leader: member(&leader.0),
            leader_epoch: of.leader_epoch,
            partition_epoch: of.partition_epoch,
            seq: ProposalSeq(self.seq.get()),
            isr: isr.iter().map(member).collect(),
            safe_in: SafeIn::Memory,
        };
        let command = Command::ProposeIsr { id, partition: PartitionIndex(partition), proposal };
        let applied = image.apply(image.version() + 1, &command).expect("is decided");
        assert!(matches!(applied.answer, Answer::IsrDecided(IsrOutcome::Accepted(_))));
        applied.image
    }
}

/// A cluster with a topic of these replicas.
pub(super) fn image_of(brokers: &Brokers, topic: &str, replicas: &[&[i32]]) -> Image {
    let mut image = Image::default();
    for id in 1..=brokers.count {
        image = brokers.register(&image, id, Uuid::from_u128(1));
        image = brokers.unfence(&image, id);
    }
    let name = features::ELIGIBLE_LEADER_REPLICAS;
    image = brokers.apply(&image, &Command::SetFeature { name: name.into(), level: 1 });
    let ids = |ids: &&[i32]| ids.iter().copied().map(BrokerId).collect();
    let assignments = replicas.iter().map(ids).collect();
    let (name, id) = (topic.into(), TopicId(Uuid::from_u128(77)));
    brokers.apply(&image, &Command::CreateTopic(NewTopic { name, id, assignments, configs: Vec::new() }))
}
