use cairn_protocol::ids::{LeaderEpoch, Offset, TopicId};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::command::{CommandDecodeError, NewBroker};
use crate::features;
use crate::partition::{
    CannotCancel, CannotElect, ElectBy, IsrMember, IsrOutcome, IsrProposal, IsrRefused, LogTold, PartitionEpoch,
    ProposalSeq, SafeIn,
};
use crate::quotas::QuotaValue;
use crate::snapshot::SnapshotDecodeError;

const B1: BrokerId = BrokerId(1);
const B2: BrokerId = BrokerId(2);

/// A cluster as its log makes it: commands at rising indexes.
#[derive(Default)]
struct Cluster {
    image: Image,
    index: u64,
}

impl Cluster {
    fn with_brokers(brokers: &[BrokerId]) -> Self {
        let mut cluster = Self::default();
        for broker in brokers {
            let epoch = cluster.register(*broker, 1);
            cluster.ok(&Command::UnfenceBroker { broker: *broker, epoch });
        }
        cluster
    }

    fn apply(&mut self, command: &Command) -> Result<Applied, Rejected> {
        self.index += 1;
        let applied = self.image.apply(self.index, command)?;
        self.image = applied.image.clone();
        Ok(applied)
    }

    fn ok(&mut self, command: &Command) -> Applied {
        self.apply(command).unwrap_or_else(|rejected| panic!("{command:?}: {rejected}"))
    }

    fn register(&mut self, id: BrokerId, incarnation: u128) -> BrokerEpoch {
        match self.ok(&register(id, incarnation)).answer {
            Answer::BrokerRegistered(epoch) => epoch,
            other => panic!("{other:?}"),
        }
    }

    fn epoch(&self, id: BrokerId) -> BrokerEpoch {
        self.image.broker(id).expect("registered").epoch
    }

    fn partition(&self, name: &str, index: i32) -> &Partition {
        let topic = self.image.topic_by_name(name).expect("exists");
        topic.partition(PartitionIndex(index)).expect("exists")
    }
}

fn register(id: BrokerId, incarnation: u128) -> Command {
    Command::RegisterBroker(NewBroker {
        id,
        incarnation: Uuid::from_u128(incarnation),
        endpoints: Vec::new(),
        rack: None,
        storage_ids: Vec::new(),
        boot_id: None,
        clean_shutdown: None,
    })
}

fn id(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn create(name: &str, number: u128, assignments: &[&[BrokerId]]) -> Command {
    let assignments = assignments.iter().map(|replicas| replicas.to_vec()).collect();
    Command::CreateTopic(NewTopic { name: name.into(), id: id(number), assignments, configs: Vec::new() })
}

#[test]
fn a_topic_is_made_changed_and_deleted() {
    let mut cluster = Cluster::with_brokers(&[B1]);
    let made = cluster.ok(&create("a.b", 7, &[&[B1], &[B1]]));
    assert_eq!(made.answer, Answer::Done);
    assert_eq!(made.delta.changes, [Change::TopicCreated { id: id(7), name: "a.b".into() }]);
    assert_eq!((made.image.version(), made.delta.version), (cluster.index, cluster.index));
    assert_eq!((made.image.topic_count(), made.image.partition_count()), (1, 2));
    let expected = Partition {
        leader_epoch: LeaderEpoch(0),
        partition_epoch: PartitionEpoch(0),
        ..Partition::new(vec![B1], vec![B1])
    };
    assert_eq!(cluster.partition("a.b", 1), &expected);

    let set = |name: &str, value: Option<&str>| Command::SetTopicConfigs {
        id: id(7),
        changes: vec![ConfigChange { name: name.into(), value: value.map(Into::into) }],
    };
    let changed = cluster.ok(&set("retention.ms", Some("5")));
    assert_eq!(changed.delta.changes, [Change::TopicConfigsChanged { id: id(7), name: "a.b".into() }]);
    let version = cluster.image.version();
    let again = cluster.ok(&set("retention.ms", Some("5")));
    assert_eq!((again.delta.changes.len(), again.image.version()), (0, version), "nothing changed");
    cluster.ok(&set("retention.ms", None));
    assert!(cluster.image.topic(id(7)).is_some_and(|topic| topic.configs.is_empty()));

    let more = Command::CreatePartitions { id: id(7), expected: 2, assignments: vec![vec![B1]] };
    let added = cluster.ok(&more);
    let first = PartitionIndex(2);
    assert_eq!(added.delta.changes, [Change::PartitionsAdded { id: id(7), name: "a.b".into(), first }]);
    assert_eq!(cluster.apply(&more), Err(Rejected::PartitionCountChanged { partitions: 3, expected: 2 }));

    let gone = cluster.ok(&Command::DeleteTopic { id: id(7) });
    assert_eq!(gone.delta.changes, [Change::TopicDeleted { id: id(7), name: "a.b".into(), partitions: 3 }]);
    assert_eq!((cluster.image.topic_count(), cluster.image.partition_count()), (0, 0));
    assert_eq!(cluster.apply(&Command::DeleteTopic { id: id(7) }), Err(Rejected::UnknownTopic(id(7))));
    cluster.ok(&create("a_b", 8, &[&[B1]]));
}

#[test]
fn topics_that_may_not_be_are_rejected_and_change_nothing() {
    let mut cluster = Cluster::with_brokers(&[B1]);
    cluster.register(B2, 1);
    cluster.ok(&create("a.b", 1, &[&[B1]]));
    let before = cluster.image.clone();
    let index = PartitionIndex;
    let name = |reason: &str| Rejected::TopicName { reason: reason.into() };
    let too_many = vec![&[B1][..]; PARTITIONS_PER_COMMAND_MAX + 1];
    let count = too_many.len();
    let many_brokers: Vec<_> = (0..65).map(BrokerId).collect();
    let cases = [
        (create("", 2, &[&[B1]]), name("topic name must not be empty")),
        (create("..", 2, &[&[B1]]), name("topic name must not be '.' or '..'")),
        (create("a.b", 2, &[&[B1]]), Rejected::TopicExists { name: "a.b".into() }),
        (create("a_b", 2, &[&[B1]]), Rejected::TopicNameCollision { name: "a_b".into(), with: "a.b".into() }),
        (create("c", 1, &[&[B1]]), Rejected::TopicIdTaken(id(1))),
        (create("c", 0, &[&[B1]]), Rejected::TopicIdTaken(TopicId::ZERO)),
        (create("c", 2, &[]), Rejected::PartitionCount { count: 0, min: 1, max: 10_000 }),
        (create("c", 2, &too_many), Rejected::PartitionCount { count, min: 1, max: 10_000 }),
        (create("c", 2, &[&[B1], &[]]), Rejected::ReplicaAssignment(index(1))),
        (create("c", 2, &[&[B1, B1]]), Rejected::ReplicaAssignment(index(0))),
        (create("c", 2, &[&many_brokers]), Rejected::ReplicaAssignment(index(0))),
        (create("c", 2, &[&[B1, BrokerId(9)]]), Rejected::UnknownBroker(BrokerId(9))),
        (create("c", 2, &[&[B2]]), Rejected::NoLiveReplica(index(0))),
    ];
    for (command, rejection) in cases {
        assert_eq!(cluster.apply(&command), Err(rejection));
        assert_eq!(cluster.image, before);
    }
}

#[test]
fn a_topic_grows_up_to_its_limit() {
    let mut cluster = Cluster::with_brokers(&[B1]);
    let step = vec![vec![B1]; PARTITIONS_PER_COMMAND_MAX];
    cluster.ok(&Command::CreateTopic(NewTopic {
        name: "wide".into(),
        id: id(1),
        assignments: step.clone(),
        configs: Vec::new(),
    }));
    for steps in 1..PARTITIONS_PER_TOPIC_MAX / PARTITIONS_PER_COMMAND_MAX {
        let expected = steps * PARTITIONS_PER_COMMAND_MAX;
        cluster.ok(&Command::CreatePartitions { id: id(1), expected, assignments: step.clone() });
    }
    let one_more =
        Command::CreatePartitions { id: id(1), expected: PARTITIONS_PER_TOPIC_MAX, assignments: vec![vec![B1]] };
    let max = PARTITIONS_PER_TOPIC_MAX;
    assert_eq!(cluster.apply(&one_more), Err(Rejected::PartitionCount { count: max + 1, min: max + 1, max }));
}

#[test]
fn the_cluster_gets_its_id_once() {
    let mut cluster = Cluster::default();
    assert_eq!(cluster.image.cluster_id(), None);
    cluster.ok(&Command::InitCluster { cluster_id: Uuid::from_u128(1) });
    assert_eq!(cluster.apply(&Command::InitCluster { cluster_id: Uuid::from_u128(2) }), Err(Rejected::ClusterIdExists));
    assert_eq!(cluster.image.cluster_id().map(|id| id.to_string()), Some("AAAAAAAAAAAAAAAAAAAAAQ".into()));
}

#[test]
fn producer_ids_are_given_out_in_blocks() {
    let mut cluster = Cluster::with_brokers(&[B1]);
    let allocate = Command::AllocateProducerIds { broker: B1, epoch: cluster.epoch(B1) };
    for first in [0, 1000, 2000] {
        let block = ProducerIdBlock { first: ProducerId(first), len: 1000 };
        assert_eq!(cluster.ok(&allocate).answer, Answer::ProducerIds(block));
    }
    cluster.image.next_producer_id = ProducerId(i64::MAX - 999);
    assert_eq!(cluster.apply(&allocate), Err(Rejected::ProducerIdsExhausted));
    let stale = Command::AllocateProducerIds { broker: B1, epoch: BrokerEpoch(0) };
    let epoch = cluster.epoch(B1);
    assert_eq!(cluster.apply(&stale), Err(Rejected::StaleBrokerEpoch { broker: B1, epoch }));
    let unknown = Command::AllocateProducerIds { broker: B2, epoch };
    assert_eq!(cluster.apply(&unknown), Err(Rejected::UnknownBroker(B2)));
}

#[test]
fn a_restarted_broker_leads_again_under_a_higher_epoch() {
    let mut cluster = Cluster::with_brokers(&[B1]);
    cluster.ok(&create("a", 1, &[&[B1]]));
    let first_epoch = cluster.epoch(B1);

    let registered = cluster.ok(&register(B1, 2));
    let lost = Partition {
        leader: None,
        leader_epoch: LeaderEpoch(1),
        partition_epoch: PartitionEpoch(1),
        last_leader: Some(B1),
        ..Partition::new(vec![B1], vec![B1])
    };
    assert_eq!(cluster.partition("a", 0), &lost);
    let partitions = vec![PartitionIndex(0)];
    assert_eq!(
        registered.delta.changes,
        [Change::PartitionsChanged { id: id(1), name: "a".into(), partitions }, Change::BrokerChanged(B1)]
    );
    let retried = cluster.ok(&register(B1, 2));
    assert_eq!((retried.answer, retried.delta.changes.len()), (registered.answer, 0), "the same process asks again");

    let epoch = cluster.epoch(B1);
    assert!(epoch > first_epoch);
    let stale = Command::UnfenceBroker { broker: B1, epoch: first_epoch };
    assert_eq!(cluster.apply(&stale), Err(Rejected::StaleBrokerEpoch { broker: B1, epoch }));
    cluster.ok(&Command::UnfenceBroker { broker: B1, epoch });
    let back = Partition {
        leader: Some(B1),
        leader_epoch: LeaderEpoch(2),
        partition_epoch: PartitionEpoch(2),
        last_leader: None,
        ..lost
    };
    assert_eq!(cluster.partition("a", 0), &back);
    assert_eq!(cluster.ok(&Command::UnfenceBroker { broker: B1, epoch }).delta.changes, []);
}

#[test]
fn leadership_goes_to_the_next_in_sync_replica_that_serves() {
    let mut cluster = Cluster::with_brokers(&[B1, B2]);
    cluster.ok(&create("a", 1, &[&[B1, B2], &[B2, B1], &[B2]]));
    cluster.ok(&Command::FenceBroker { broker: B1, epoch: cluster.epoch(B1) });
    let state = |cluster: &Cluster, index| {
        let p = cluster.partition("a", index);
        (p.leader, p.isr.clone(), p.leader_epoch.0, p.partition_epoch.0)
    };
    assert_eq!(state(&cluster, 0), (Some(B2), vec![B2], 1, 1));
    assert_eq!(state(&cluster, 1), (Some(B2), vec![B2], 0, 1));
    assert_eq!(state(&cluster, 2), (Some(B2), vec![B2], 0, 0));
    cluster.ok(&Command::FenceBroker { broker: B2, epoch: cluster.epoch(B2) });
    assert_eq!(state(&cluster, 0), (None, vec![B2], 2, 2), "the last in-sync replica stays the only one that may lead");
    cluster.ok(&Command::UnfenceBroker { broker: B1, epoch: cluster.epoch(B1) });
    assert_eq!(state(&cluster, 0), (None, vec![B2], 2, 2), "B1 may lack what B2 acknowledged");
    cluster.ok(&Command::UnfenceBroker { broker: B2, epoch: cluster.epoch(B2) });
    assert_eq!(state(&cluster, 0), (Some(B2), vec![B2], 3, 3));
}

#[test]
fn brokers_have_configs_and_clients_quotas() {
    let mut cluster = Cluster::default();
    let set = |resource: ConfigResource, name: &'static str, value: Option<&str>| Command::SetConfigs {
        resource,
        changes: vec![config_change((name, value.map(str::to_owned)))],
    };
    let all = cluster.ok(&set(ConfigResource::Brokers, "k", Some("1")));
    assert_eq!(all.delta.changes, [Change::ConfigsChanged(ConfigResource::Brokers)]);
    cluster.ok(&set(ConfigResource::Broker(B2), "k", Some("2")));
    let of = |cluster: &Cluster, resource| cluster.image.configs(&resource).get("k").map(|value| value.to_string());
    assert_eq!(of(&cluster, ConfigResource::Brokers).as_deref(), Some("1"));
    assert_eq!(of(&cluster, ConfigResource::Broker(B2)).as_deref(), Some("2"));
    assert_eq!(of(&cluster, ConfigResource::Broker(B1)), None);
    assert!(cluster.ok(&set(ConfigResource::Broker(B1), "k", None)).delta.changes.is_empty(), "nothing to delete");
    cluster.ok(&set(ConfigResource::Brokers, "k", None));
    assert_eq!(cluster.image.config_resources().collect::<Vec<_>>(), [&ConfigResource::Broker(B2)]);

    let entity = QuotaEntity::from([("user".into(), None)]);
    let limited = cluster.ok(&set_quota("user", None, "consumer_byte_rate", Some(0.5)));
    assert_eq!(limited.delta.changes, [Change::QuotasChanged(entity.clone())]);
    assert_eq!(cluster.image.quotas()[&entity]["consumer_byte_rate"].get(), 0.5);
    assert_eq!(Image::decode(&cluster.image.encode()), Ok(cluster.image.clone()));
    cluster.ok(&set_quota("user", None, "consumer_byte_rate", None));
    assert!(cluster.image.quotas().is_empty());
}

fn three_replicas(configs: &[(&str, &str)]) -> Cluster {
    let mut cluster = Cluster::with_brokers(&[B1, B2, BrokerId(3)]);
    cluster.ok(&Command::SetFeature { name: features::ELIGIBLE_LEADER_REPLICAS.into(), level: 1 });
    let mut command = create("a", 1, &[&[B1, B2, BrokerId(3)]]);
    if let Command::CreateTopic(new) = &mut command {
        new.configs = configs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    }
    cluster.ok(&command);
    cluster
}

impl Cluster {
    fn fence(&mut self, id: BrokerId) {
        self.ok(&Command::FenceBroker { broker: id, epoch: self.epoch(id) });
    }

    fn unfence(&mut self, id: BrokerId) {
        self.ok(&Command::UnfenceBroker { broker: id, epoch: self.epoch(id) });
    }

    fn restart(&mut self, id: BrokerId, disk: u128, boot: u128, is_clean: bool) {
        let Command::RegisterBroker(mut new) = register(id, self.index.into()) else { unreachable!("as made") };
        new.storage_ids = vec![Uuid::from_u128(disk)];
        new.boot_id = Some(Uuid::from_u128(boot));
        new.clean_shutdown = is_clean.then(|| self.epoch(id));
        self.ok(&Command::RegisterBroker(new));
    }

    /// Who leads, who is in sync, who is eligible.
    fn roles(&self) -> (Option<i32>, Vec<i32>, Vec<i32>) {
        let numbers = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
        let partition = self.partition("a", 0);
        (partition.leader.map(|id| id.0), numbers(&partition.isr), numbers(&partition.elr))
    }

    fn propose(&mut self, seq: u32, isr: &[i32]) -> IsrOutcome {
        self.propose_safe(seq, isr, SafeIn::Memory)
    }

    fn propose_safe(&mut self, seq: u32, isr: &[i32], safe_in: SafeIn) -> IsrOutcome {
        let partition = self.partition("a", 0).clone();
        let named = |id: BrokerId| member(id, self.epoch(id));
        let proposal = IsrProposal {
            leader: named(partition.leader.expect("leads")),
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            seq: ProposalSeq(seq),
            isr: isr.iter().map(|id| named(BrokerId(*id))).collect(),
            safe_in,
        };
        match self.ok(&Command::ProposeIsr { id: id(1), partition: PartitionIndex(0), proposal }).answer {
            Answer::IsrDecided(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn whoever_leaves_too_few_in_sync_is_eligible_to_lead() {
    let mut cluster = three_replicas(&[]);
    cluster.fence(B1);
    assert_eq!(cluster.roles(), (Some(2), vec![2, 3], vec![]), "two are enough: 1 will miss what they commit");
    cluster.fence(B2);
    assert_eq!(cluster.roles(), (Some(3), vec![3], vec![2]));
    cluster.fence(BrokerId(3));
    assert_eq!(cluster.roles(), (None, vec![], vec![2, 3]));
    cluster.unfence(B1);
    assert_eq!(cluster.roles(), (None, vec![], vec![2, 3]), "1 may lack something");
    cluster.unfence(B2);
    assert_eq!(cluster.roles(), (Some(2), vec![2], vec![3]));
    assert_eq!(cluster.propose(1, &[2, 1]), IsrOutcome::Accepted(cluster.partition("a", 0).partition_epoch));
    assert_eq!(cluster.roles(), (Some(2), vec![1, 2], vec![]), "they commit without 3 from here on");
}

#[test]
fn who_may_have_lost_something_is_not_eligible() {
    let cases = [
        ("replicated", 1, 1, false, vec![2]), // the same boot: the page cache was there all the time
        ("replicated", 1, 2, false, vec![]),
        ("replicated", 1, 2, true, vec![2]),
        ("replicated", 2, 1, true, vec![]), // another disk
        ("synced", 1, 2, false, vec![2]),
        ("synced", 2, 1, true, vec![]),
    ];
    for (durability, disk, boot, is_clean, eligible) in cases {
        let mut cluster = three_replicas(&[("durability", durability)]);
        cluster.restart(B2, 1, 1, false);
        cluster.unfence(B2);
        let two = [1, 2];
        assert!(matches!(cluster.propose(1, &two), IsrOutcome::Accepted(_)));
        cluster.fence(B2);
        assert_eq!(cluster.roles(), (Some(1), vec![1], vec![2]));
        cluster.restart(B2, disk, boot, is_clean);
        assert_eq!(cluster.roles(), (Some(1), vec![1], eligible), "{durability} {disk} {boot} {is_clean}");
    }
}

#[test]
fn a_mark_of_an_older_incarnation_says_nothing() {
    for (incarnations_ago, eligible) in [(0, vec![2]), (1, vec![])] {
        let mut cluster = three_replicas(&[]);
        let older = cluster.epoch(B2);
        cluster.restart(B2, 1, 1, false);
        cluster.unfence(B2);
        assert!(matches!(cluster.propose(1, &[1, 2]), IsrOutcome::Accepted(_)));
        cluster.fence(B2);
        let mark = if incarnations_ago == 0 { cluster.epoch(B2) } else { older };
        let Command::RegisterBroker(mut new) = register(B2, 77) else { unreachable!("as made") };
        new.storage_ids = vec![Uuid::from_u128(1)];
        (new.boot_id, new.clean_shutdown) = (Some(Uuid::from_u128(2)), Some(mark));
        cluster.ok(&Command::RegisterBroker(new));
        assert_eq!(cluster.roles(), (Some(1), vec![1], eligible), "{incarnations_ago}");
    }
}

#[test]
fn what_a_removed_broker_had_is_not_counted_on_and_its_disks_are_not_taken_again() {
    let mut cluster = three_replicas(&[]);
    cluster.restart(B2, 1, 1, false);
    cluster.unfence(B2);
    assert!(matches!(cluster.propose(1, &[1, 2]), IsrOutcome::Accepted(_)));
    cluster.fence(B2);
    assert_eq!(cluster.roles(), (Some(1), vec![1], vec![2]));
    let before = cluster.image.clone();
    let gone = cluster.ok(&Command::UnregisterBroker { broker: B2 });
    assert_eq!(cluster.roles(), (Some(1), vec![1], vec![]));
    assert!(cluster.image.broker(B2).is_none());
    assert!(gone.delta.changes.contains(&Change::BrokerChanged(B2)));
    assert!(Delta::between(&before, &cluster.image).changes.contains(&Change::BrokerChanged(B2)));
    assert_eq!(cluster.partition("a", 0).replicas, [B1, B2, BrokerId(3)], "as in Kafka");
    assert_eq!(cluster.apply(&Command::UnregisterBroker { broker: B2 }), Err(Rejected::UnknownBroker(B2)));

    let with_disk = |disk: u128, incarnation: u128| {
        let Command::RegisterBroker(mut new) = register(B2, incarnation) else { unreachable!("as made") };
        new.storage_ids = vec![Uuid::from_u128(disk)];
        Command::RegisterBroker(new)
    };
    cluster.image = Image::decode(&cluster.image.encode()).expect("its own bytes");
    assert_eq!(cluster.apply(&with_disk(1, 7)), Err(Rejected::BrokerRemoved(B2)), "its process comes back");
    cluster.ok(&with_disk(2, 8));
    assert_eq!(cluster.apply(&with_disk(1, 7)), Err(Rejected::BrokerRemoved(B2)), "another broker has its id");
    assert_eq!(cluster.epoch(B2).0, i64::try_from(cluster.index).expect("small") - 1);
}

#[test]
fn a_removed_leader_leads_nothing_and_nobody_waits_for_it() {
    let mut cluster = three_replicas(&[]);
    cluster.ok(&Command::UnregisterBroker { broker: B1 });
    assert_eq!(cluster.roles(), (Some(2), vec![2, 3], vec![]));
}

/// How far the log of a broker goes, by its present incarnation.
fn told(cluster: &Cluster, broker: i32, last_epoch: i32, end: i64) -> LogTold {
    let (broker, last_epoch, end) = (BrokerId(broker), Some(LeaderEpoch(last_epoch)), Offset(end));
    LogTold { broker, epoch: cluster.epoch(broker), last_epoch, start: Offset(0), end }
}

fn elect(by: ElectBy, told: &[LogTold]) -> Command {
    Command::ElectByLogs { id: id(1), partition: PartitionIndex(0), by, told: told.to_vec() }
}

#[test]
fn the_longest_log_leads_when_nobody_has_everything_for_certain() {
    let mut cluster = three_replicas(&[]);
    for lost in [B1, B2, BrokerId(3)] {
        cluster.restart(lost, 9, 9, false);
    }
    assert_eq!(cluster.roles(), (None, vec![], vec![]));
    let partition = cluster.partition("a", 0);
    assert_eq!((&*partition.last_known, partition.last_leader), (&[B2, BrokerId(3)][..], Some(BrokerId(3))));
    cluster.unfence(B1);
    cluster.unfence(BrokerId(3));
    assert_eq!(cluster.roles(), (None, vec![], vec![]), "2 may have more");
    let no = |reason| Err(Rejected::CannotElect { partition: PartitionIndex(0), reason });
    let (one, three) = (told(&cluster, 1, 7, 90), told(&cluster, 3, 1, 5));
    let two = told(&cluster, 2, 1, 6);
    assert_eq!(cluster.apply(&elect(ElectBy::LastKnown, &[one, two, three])), no(CannotElect::NotTold), "2 is fenced");
    cluster.unfence(B2);
    assert_eq!(cluster.apply(&elect(ElectBy::LastKnown, &[one, three])), no(CannotElect::NotTold));
    let stale = LogTold { epoch: BrokerEpoch(1), ..two };
    assert_eq!(cluster.apply(&elect(ElectBy::LastKnown, &[stale, three])), no(CannotElect::NotTold));
    let before = cluster.partition("a", 0).leader_epoch;
    for (by, leader) in [(ElectBy::LastKnown, 2), (ElectBy::LastLeader, 3), (ElectBy::Anyone, 1)] {
        let mut chosen = Cluster { image: cluster.image.clone(), index: cluster.index };
        chosen.ok(&elect(by, &[one, two, three]));
        assert_eq!(chosen.roles(), (Some(leader), vec![leader], vec![]));
        let partition = chosen.partition("a", 0);
        assert_eq!(partition.unclean_epoch, Some(LeaderEpoch(before.0 + 1)));
        assert_eq!((partition.leader_epoch, partition.last_known.len()), (LeaderEpoch(before.0 + 1), 0));
        assert_eq!(chosen.apply(&elect(by, &[one, two, three])), no(CannotElect::Led));
    }
    // All of it is deleted, and it was more than the other has.
    let deleted = LogTold { last_epoch: None, start: Offset(7), end: Offset(7), ..three };
    cluster.ok(&elect(ElectBy::LastKnown, &[two, deleted]));
    assert_eq!(cluster.roles(), (Some(3), vec![3], vec![]));
}

#[test]
fn an_eligible_replica_is_waited_for_unless_anyone_may_lead() {
    let mut cluster = three_replicas(&[]);
    cluster.restart(B2, 1, 1, true);
    for gone in [B1, BrokerId(3)] {
        cluster.fence(gone);
    }
    cluster.unfence(B2);
    assert_eq!(cluster.roles(), (None, vec![], vec![1, 3]));
    let two = told(&cluster, 2, 1, 6);
    for by in [ElectBy::LastKnown, ElectBy::LastLeader] {
        let reason = CannotElect::Eligible;
        let rejected = Rejected::CannotElect { partition: PartitionIndex(0), reason };
        assert_eq!(cluster.apply(&elect(by, &[two])), Err(rejected));
    }
    cluster.ok(&elect(ElectBy::Anyone, &[two]));
    assert_eq!(cluster.roles(), (Some(2), vec![2], vec![]), "what the others have counts no more");
}

#[test]
fn a_single_replica_that_may_have_lost_something_leads_again() {
    let mut cluster = Cluster::with_brokers(&[B1]);
    cluster.ok(&Command::SetFeature { name: features::ELIGIBLE_LEADER_REPLICAS.into(), level: 1 });
    cluster.ok(&create("a", 1, &[&[B1]]));
    cluster.restart(B1, 9, 9, false);
    assert_eq!(cluster.roles(), (None, vec![], vec![]));
    cluster.unfence(B1);
    assert_eq!(cluster.roles(), (Some(1), vec![1], vec![]));
    let partition = cluster.partition("a", 0);
    assert_eq!(partition.unclean_epoch, Some(partition.leader_epoch), "and it is told");
}

fn move_to(to: Option<&[i32]>) -> Command {
    let to = to.map(|to| to.iter().copied().map(BrokerId).collect());
    Command::MovePartition { id: id(1), partition: PartitionIndex(0), to }
}

fn cannot_cancel<T>(reason: CannotCancel) -> Result<T, Rejected> {
    Err(Rejected::CannotCancelMove { partition: PartitionIndex(0), reason })
}

/// Who keeps it, who is new, who goes.
fn replicas(cluster: &Cluster) -> (Vec<i32>, Vec<i32>, Vec<i32>) {
    let partition = cluster.partition("a", 0);
    let numbers = |ids: &mut dyn Iterator<Item = BrokerId>| ids.map(|id| id.0).collect();
    let (mut adding, mut removing) = (partition.adding(), partition.removing());
    (numbers(&mut partition.replicas.iter().copied()), numbers(&mut adding), numbers(&mut removing))
}

fn five_brokers() -> Cluster {
    let mut cluster = three_replicas(&[]);
    for new in [BrokerId(4), BrokerId(5)] {
        cluster.register(new, 1);
        cluster.unfence(new);
    }
    cluster
}

#[test]
fn a_partition_moves_once_everyone_who_is_new_is_in_sync() {
    let mut cluster = five_brokers();
    assert_eq!(cluster.apply(&move_to(Some(&[]))), Err(Rejected::ReplicaAssignment(PartitionIndex(0))));
    assert_eq!(cluster.apply(&move_to(Some(&[4, 4]))), Err(Rejected::ReplicaAssignment(PartitionIndex(0))));
    assert_eq!(cluster.apply(&move_to(Some(&[9]))), Err(Rejected::UnknownBroker(BrokerId(9))));
    assert_eq!(cluster.apply(&move_to(None)), cannot_cancel(CannotCancel::NotMoving));
    cluster.ok(&move_to(Some(&[4, 5, 2])));
    assert_eq!(replicas(&cluster), (vec![1, 2, 3, 4, 5], vec![4, 5], vec![1, 3]));
    let partition = cluster.partition("a", 0);
    assert_eq!((partition.leader, partition.leader_epoch.0, partition.partition_epoch.0), (Some(B1), 1, 1));
    assert!(cluster.ok(&move_to(Some(&[4, 5, 2]))).delta.changes.is_empty(), "it is under way");
    assert!(matches!(cluster.propose(1, &[1, 2, 3, 4]), IsrOutcome::Accepted(_)));
    assert_eq!(replicas(&cluster).0.len(), 5);
    // Somebody changes their mind: 4 goes as well, and stays until then.
    cluster.ok(&move_to(Some(&[2, 5])));
    assert_eq!(replicas(&cluster), (vec![1, 2, 3, 5, 4], vec![5], vec![1, 3, 4]));
    assert!(matches!(cluster.propose(2, &[1, 2, 3, 4, 5]), IsrOutcome::Accepted(_)));
    assert_eq!(replicas(&cluster), (vec![2, 5], vec![], vec![]));
    assert_eq!(cluster.roles(), (Some(2), vec![2, 5], vec![]));
    let partition = cluster.partition("a", 0);
    assert_eq!((partition.leader_epoch.0, partition.decided), (2, None), "nobody counts by who kept it before");
}

#[test]
fn a_move_is_cancelled_while_enough_of_before_are_in_sync() {
    let mut cluster = five_brokers();
    cluster.ok(&move_to(Some(&[4, 5])));
    assert!(matches!(cluster.propose(1, &[1, 2, 4]), IsrOutcome::Accepted(_)));
    cluster.fence(B1);
    assert_eq!(cluster.roles(), (Some(2), vec![2, 4], vec![]));
    assert_eq!(cluster.apply(&move_to(None)), cannot_cancel(CannotCancel::TooFewInSync));
    assert!(matches!(cluster.propose(1, &[2, 3, 4]), IsrOutcome::Accepted(_)));
    let epoch = cluster.partition("a", 0).leader_epoch;
    cluster.ok(&move_to(None));
    assert_eq!(replicas(&cluster), (vec![1, 2, 3], vec![], vec![]));
    assert_eq!(cluster.roles(), (Some(2), vec![2, 3], vec![]));
    assert_eq!(cluster.partition("a", 0).leader_epoch.0, epoch.0 + 1);
    // Another order is no move: only another preferred leader.
    cluster.ok(&move_to(Some(&[3, 2, 1])));
    assert_eq!(replicas(&cluster), (vec![3, 2, 1], vec![], vec![]));
    assert_eq!((cluster.partition("a", 0).leader, cluster.partition("a", 0).leader_epoch.0), (Some(B2), epoch.0 + 1));
}

#[test]
fn a_partition_that_grows_commits_as_before_until_it_has_grown() {
    let mut cluster = five_brokers();
    cluster.ok(&Command::DeleteTopic { id: id(1) });
    cluster.ok(&create("a", 1, &[&[B1]]));
    let min = |cluster: &Cluster| {
        let policy = cluster.image.policy(cluster.image.topic(id(1)).expect("there"));
        cluster.partition("a", 0).min_isr(&policy)
    };
    cluster.ok(&move_to(Some(&[1, 2, 3])));
    assert_eq!((cluster.roles(), min(&cluster)), ((Some(1), vec![1], vec![]), 1));
    assert!(matches!(cluster.propose(1, &[1, 2]), IsrOutcome::Accepted(_)));
    assert_eq!(min(&cluster), 1);
    assert!(matches!(cluster.propose(2, &[1, 2, 3]), IsrOutcome::Accepted(_)));
    assert_eq!((replicas(&cluster).0, min(&cluster)), (vec![1, 2, 3], 2));
}

#[test]
fn what_was_committed_in_memory_is_safe_on_disk_once_the_leader_says_so() {
    let mut cluster = three_replicas(&[("durability", "synced")]);
    let safe = |cluster: &Cluster| cluster.partition("a", 0).safe_in;
    let set = |value: &str| Command::SetTopicConfigs {
        id: id(1),
        changes: vec![config_change(("durability", Some(value.to_owned())))],
    };
    assert_eq!(safe(&cluster), SafeIn::Disk, "nothing is committed");
    cluster.ok(&set("replicated"));
    assert_eq!(safe(&cluster), SafeIn::Memory);
    cluster.propose_safe(1, &[1, 2, 3], SafeIn::Disk);
    assert_eq!(safe(&cluster), SafeIn::Memory, "the next commit may not be");
    let epoch = cluster.partition("a", 0).partition_epoch.0;
    cluster.ok(&set("synced"));
    assert_eq!((safe(&cluster), cluster.partition("a", 0).partition_epoch.0), (SafeIn::Memory, epoch + 1));
    cluster.propose_safe(2, &[1], SafeIn::Disk);
    assert_eq!(safe(&cluster), SafeIn::Memory, "who is eligible was not asked");
    cluster.propose_safe(3, &[1, 2], SafeIn::Memory);
    assert_eq!(safe(&cluster), SafeIn::Memory);
    cluster.propose_safe(4, &[1, 2], SafeIn::Disk);
    assert_eq!(safe(&cluster), SafeIn::Disk);
}

#[test]
fn a_proposal_is_decided_once() {
    let mut cluster = three_replicas(&[]);
    let stale = Command::ProposeIsr {
        id: id(1),
        partition: PartitionIndex(0),
        proposal: IsrProposal {
            leader: member(B1, cluster.epoch(B1)),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            seq: ProposalSeq(1),
            isr: vec![member(B1, cluster.epoch(B1)), member(B2, cluster.epoch(B2))],
            safe_in: SafeIn::Memory,
        },
    };
    let first = cluster.ok(&stale);
    assert_eq!(first.answer, Answer::IsrDecided(IsrOutcome::Accepted(PartitionEpoch(1))));
    let again = cluster.ok(&stale);
    assert_eq!((again.answer, again.delta.changes.len()), (first.answer, 0), "a copy hears the same");

    cluster.ok(&Command::ShutDownBroker { broker: BrokerId(3), epoch: cluster.epoch(BrokerId(3)) });
    let refused = IsrOutcome::Refused(IsrRefused::MemberNotServing);
    assert_eq!(cluster.propose(2, &[1, 2, 3]), refused);
    cluster.restart(BrokerId(3), 1, 1, true);
    cluster.unfence(BrokerId(3));
    assert_eq!(cluster.propose(2, &[1, 2, 3]), refused, "though it would be accepted now");
    assert_eq!(cluster.propose(1, &[1, 2, 3]), IsrOutcome::Refused(IsrRefused::Superseded));
    assert_eq!(cluster.propose(3, &[2, 3]), IsrOutcome::Refused(IsrRefused::Members), "the leader is left out");
    assert_eq!(cluster.propose(4, &[1, 2, 3]), IsrOutcome::Accepted(PartitionEpoch(2)));
    assert_eq!(cluster.propose(5, &[1]), IsrOutcome::Accepted(PartitionEpoch(3)));
    assert_eq!(cluster.roles(), (Some(1), vec![1], vec![2, 3]));
}

#[test]
fn leadership_moves_to_whoever_is_in_sync() {
    let mut cluster = three_replicas(&[]);
    let transfer = |to| Command::TransferLeader { id: id(1), partition: PartitionIndex(0), to };
    cluster.ok(&transfer(B2));
    let partition = cluster.partition("a", 0);
    assert_eq!((partition.leader, partition.leader_epoch, partition.partition_epoch.0), (Some(B2), LeaderEpoch(1), 1));
    cluster.fence(B1);
    let partition = PartitionIndex(0);
    assert_eq!(cluster.apply(&transfer(B1)), Err(Rejected::CannotLead { partition, broker: B1 }));
    cluster.ok(&Command::ShutDownBroker { broker: B2, epoch: cluster.epoch(B2) });
    assert_eq!(cluster.roles(), (Some(3), vec![3], vec![2]));
}

#[test]
fn partitions_follow_how_many_must_be_in_sync() {
    let mut cluster = three_replicas(&[]);
    cluster.fence(B1);
    cluster.fence(B2);
    assert_eq!(cluster.roles(), (Some(3), vec![3], vec![2]));
    let epoch = cluster.partition("a", 0).partition_epoch.0;
    let set = |value: &str| Command::SetTopicConfigs {
        id: id(1),
        changes: vec![config_change(("min.insync.replicas", Some(value.to_owned())))],
    };
    cluster.ok(&set("1"));
    assert_eq!(cluster.roles(), (Some(3), vec![3], vec![]), "3 commits alone from here on");
    cluster.ok(&set("2"));
    assert_eq!(cluster.partition("a", 0).partition_epoch.0, epoch + 2, "no proposal of before is accepted");
    assert_eq!(cluster.roles(), (Some(3), vec![3], vec![]));
    let everywhere = Command::SetConfigs {
        resource: ConfigResource::Brokers,
        changes: vec![config_change(("min.insync.replicas", Some("3".to_owned())))],
    };
    assert_eq!(
        cluster.ok(&everywhere).delta.changes,
        [Change::ConfigsChanged(ConfigResource::Brokers)],
        "the topic has its own"
    );
}

#[test]
fn a_snapshot_of_version_1_has_neither_configs_nor_quotas() {
    let old = [
        &[5, 0, 0, 0][..],         // version of the image, no cluster id, producer ids, features
        &[1, 2, 6, 16],            // one broker, id 1, epoch 3
        &[7; 16],                  // incarnation
        &[0, 0, 0, 0, 1],          // endpoints, rack, disks, boot, fenced
        &[1],                      // one topic
        &[9; 16],                  // its id
        &[1, b'a', 0, 1],          // name, configs, one partition
        &[1, 2, 1, 2, 1, 2, 4, 8], // replicas, in-sync replicas, leader, epochs 2 and 4
    ]
    .concat();
    for (version, behind) in [(1, &[][..]), (2, &[0, 0])] {
        let image = Image::decode(&[&[version], &old[..], behind].concat()).expect("a snapshot of before");
        let broker = image.broker(B1).expect("there");
        assert_eq!((broker.epoch, broker.fenced, broker.shutting_down), (BrokerEpoch(3), true, false));
        let topic = image.topic_by_name("a").expect("there");
        let partition = Partition {
            leader_epoch: LeaderEpoch(2),
            partition_epoch: PartitionEpoch(4),
            ..Partition::new(vec![B1], vec![B1])
        };
        assert_eq!(topic.partitions, [partition]);
        assert_eq!(Image::decode(&image.encode()), Ok(image));
    }
}

#[test]
fn snapshots_that_are_none_are_refused() {
    let mut cluster = Cluster::with_brokers(&[B1]);
    cluster.ok(&create("a", 1, &[&[B1]]));
    let bytes = cluster.image.encode();
    assert_eq!(Image::decode(&bytes).as_ref(), Ok(&cluster.image));
    assert_eq!(Image::decode(&[]), Err(SnapshotDecodeError::Empty));
    assert_eq!(Image::decode(&[&[5], &bytes[1..]].concat()), Err(SnapshotDecodeError::Version(5)));
    for cut in 1..bytes.len() {
        assert_eq!(Image::decode(&bytes[..cut]), Err(SnapshotDecodeError::Malformed), "{cut}");
    }
    assert_eq!(Image::decode(&[&bytes[..], &[0]].concat()), Err(SnapshotDecodeError::Malformed));
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x5a;
        // The checksum around it finds the damage; here it only must not panic.
        let _ = Image::decode(&flipped);
    }
}

const NAMES: [&str; 6] = ["a", "a.b", "a_b", "x-1", "__consumer_offsets", "bad/name"];

fn any_replicas() -> impl Strategy<Value = Vec<BrokerId>> {
    prop::collection::vec((1..=3i32).prop_map(BrokerId), 0..4)
}

fn config_change((name, value): (&str, Option<String>)) -> ConfigChange {
    ConfigChange { name: name.into(), value: value.map(Into::into) }
}

fn set_quota(kind: &str, of: Option<&str>, name: &str, value: Option<f64>) -> Command {
    let entity = QuotaEntity::from([(kind.into(), of.map(Into::into))]);
    let value = value.map(|value| QuotaValue::new(value).expect("finite"));
    Command::SetClientQuotas { entity, changes: vec![QuotaChange { name: name.into(), value }] }
}

fn any_proposal() -> impl Strategy<Value = IsrProposal> {
    let member = || (1..=3i32, 0..40i64).prop_map(|(id, epoch)| member(BrokerId(id), BrokerEpoch(epoch)));
    let isr = prop::collection::vec(member(), 0..4);
    (member(), 0..5i32, 0..5i32, 0..4u32, isr).prop_map(|(leader, leader_epoch, partition_epoch, seq, isr)| {
        IsrProposal {
            leader,
            leader_epoch: LeaderEpoch(leader_epoch),
            partition_epoch: PartitionEpoch(partition_epoch),
            seq: ProposalSeq(seq),
            isr,
            safe_in: if seq % 2 == 0 { SafeIn::Disk } else { SafeIn::Memory },
        }
    })
}

fn member(broker: BrokerId, epoch: BrokerEpoch) -> IsrMember {
    IsrMember { broker, epoch }
}

fn any_command() -> impl Strategy<Value = Command> {
    let assignments = || prop::collection::vec(any_replicas(), 0..4);
    let broker = || (1..=3i32).prop_map(BrokerId);
    // Epochs are indexes: small ones hit, and miss.
    let epoch = || (0..40i64).prop_map(BrokerEpoch);
    let topic = || (0..8u128).prop_map(id);
    let config = || (prop::sample::select(vec!["retention.ms", "durability"]), prop::option::of("[a-c]"));
    prop_oneof![
        1 => any::<u128>().prop_map(|n| Command::InitCluster { cluster_id: Uuid::from_u128(n) }),
        3 => (broker(), 0..3u128).prop_map(|(broker, incarnation)| register(broker, incarnation)),
        5 => (broker(), epoch()).prop_map(|(broker, epoch)| Command::UnfenceBroker { broker, epoch }),
        2 => (broker(), epoch()).prop_map(|(broker, epoch)| Command::FenceBroker { broker, epoch }),
        6 => (prop::sample::select(NAMES.to_vec()), topic(), assignments()).prop_map(|(name, id, assignments)| {
            Command::CreateTopic(NewTopic { name: name.into(), id, assignments, configs: Vec::new() })
        }),
        2 => topic().prop_map(|id| Command::DeleteTopic { id }),
        2 => (topic(), 0..5usize, assignments()).prop_map(|(id, expected, assignments)| {
            Command::CreatePartitions { id, expected, assignments }
        }),
        3 => (topic(), prop::collection::vec(config(), 0..3)).prop_map(|(id, changes)| {
            Command::SetTopicConfigs { id, changes: changes.into_iter().map(config_change).collect() }
        }),
        1 => (broker(), epoch()).prop_map(|(broker, epoch)| Command::AllocateProducerIds { broker, epoch }),
        2 => (prop::option::of(broker()), prop::collection::vec(config(), 0..3)).prop_map(|(broker, changes)| {
            let resource = broker.map_or(ConfigResource::Brokers, ConfigResource::Broker);
            Command::SetConfigs { resource, changes: changes.into_iter().map(config_change).collect() }
        }),
        2 => Just(Command::SetFeature { name: features::ELIGIBLE_LEADER_REPLICAS.into(), level: 1 }),
        2 => (broker(), epoch()).prop_map(|(broker, epoch)| Command::ShutDownBroker { broker, epoch }),
        1 => broker().prop_map(|broker| Command::UnregisterBroker { broker }),
        2 => (topic(), 0..3i32, broker()).prop_map(|(id, partition, to)| {
            Command::TransferLeader { id, partition: PartitionIndex(partition), to }
        }),
        4 => (topic(), 0..3i32, prop::option::weighted(0.7, any_replicas())).prop_map(|(id, partition, to)| {
            Command::MovePartition { id, partition: PartitionIndex(partition), to }
        }),
        2 => (topic(), 0..3i32, broker(), epoch(), 0..3usize).prop_map(|(id, partition, broker, epoch, by)| {
            let by = [ElectBy::LastKnown, ElectBy::LastLeader, ElectBy::Anyone][by];
            let told = vec![LogTold { broker, epoch, last_epoch: None, start: Offset(0), end: Offset(1) }];
            Command::ElectByLogs { id, partition: PartitionIndex(partition), by, told }
        }),
        6 => (topic(), 0..3i32, any_proposal()).prop_map(|(id, partition, proposal)| {
            Command::ProposeIsr { id, partition: PartitionIndex(partition), proposal }
        }),
        2 => ("[ab]", prop::option::of("[ab]"), prop::option::of(0..3i32)).prop_map(|(kind, name, value)| {
            set_quota(&kind, name.as_deref(), "q", value.map(f64::from))
        }),
    ]
}

/// Commands in a row, where most epochs are the ones that the brokers have at that point.
fn fold(commands: &mut [Command], honest: u64) -> Vec<(u64, Result<Applied, Rejected>)> {
    let mut image = Image::default();
    let mut outcomes = Vec::new();
    for (index, command) in (1u64..).zip(commands) {
        if let Command::UnfenceBroker { broker, epoch }
        | Command::FenceBroker { broker, epoch }
        | Command::ShutDownBroker { broker, epoch }
        | Command::AllocateProducerIds { broker, epoch } = command
            && index % 4 != honest % 4
            && let Some(known) = image.broker(*broker)
        {
            *epoch = known.epoch;
        }
        if let Command::ProposeIsr { id, partition, proposal } = command
            && index % 4 != honest % 4
            && let Some(known) = image.topic(*id).and_then(|topic| topic.partition(*partition))
        {
            // What the leader would propose, as far as it knows.
            (proposal.leader_epoch, proposal.partition_epoch) = (known.leader_epoch, known.partition_epoch);
            proposal.leader.broker = known.leader.unwrap_or(proposal.leader.broker);
            proposal.isr.insert(0, proposal.leader);
            for named in proposal.isr.iter_mut().chain([&mut proposal.leader]) {
                named.epoch = image.broker(named.broker).map_or(named.epoch, |broker| broker.epoch);
            }
        }
        let outcome = image.apply(index, command);
        if let Ok(applied) = &outcome {
            image = applied.image.clone();
        }
        outcomes.push((index, outcome));
    }
    outcomes
}

fn check_invariants(image: &Image) {
    let mut partitions = 0;
    for topic in image.topics() {
        assert!(!topic.partitions.is_empty());
        assert_eq!(image.topic_by_name(&topic.name), Some(topic));
        assert_eq!(image.colliding_topic(&topic.name), None);
        partitions += topic.partitions.len();
        for partition in &topic.partitions {
            assert!(!partition.isr.is_empty() || image.feature(features::ELIGIBLE_LEADER_REPLICAS) > 0);
            assert!(partition.isr.iter().chain(&partition.elr).all(|id| partition.replicas.contains(id)));
            assert!(!partition.isr.iter().any(|id| partition.elr.contains(id)));
            let known = &partition.last_known;
            assert!(known.iter().all(|id| partition.replicas.contains(id) && !partition.isr.contains(id)));
            assert!(!known.iter().any(|id| partition.elr.contains(id)));
            if let Some(moving) = &partition.moving {
                assert!(moving.from.iter().chain(&moving.to).all(|id| partition.replicas.contains(id)));
                assert!(!moving.to.is_empty());
            }
            assert!(partition.leader.is_none() || partition.last_leader.is_none());
            if let Some(leader) = partition.leader {
                assert!(partition.isr.contains(&leader));
                assert!(image.broker(leader).is_some_and(|broker| !broker.fenced && !broker.shutting_down));
            }
        }
    }
    assert_eq!((image.topics.len(), image.partition_count()), (image.names.len(), partitions));
}

/// Epochs never fall, and rise with what they count.
fn check_step(before: &Image, after: &Image) {
    assert!(after.next_producer_id() >= before.next_producer_id());
    // One that is not there any more was unregistered, alone.
    assert!(before.brokers().filter(|old| after.broker(old.id).is_none()).count() <= 1);
    for (old, new) in before.brokers().filter_map(|old| Some((old, after.broker(old.id)?))) {
        assert!(new.epoch > old.epoch || (new.epoch == old.epoch && new.incarnation == old.incarnation));
    }
    for (old, new) in before.topics().filter_map(|old| Some((old, after.topic(old.id)?))) {
        for (old, new) in old.partitions.iter().zip(&new.partitions) {
            let is_raised = old.leader != new.leader || sorted(&old.replicas) != sorted(&new.replicas);
            let step = new.leader_epoch.0 - old.leader_epoch.0;
            assert!(if is_raised { step > 0 } else { step == 0 }, "{old:?} -> {new:?}");
            // A refused proposal is recorded, and is no change.
            let same = Partition { decided: new.decided, ..old.clone() } == *new;
            assert!(new.partition_epoch.0 == old.partition_epoch.0 + i32::from(!same), "{old:?} -> {new:?}");
        }
    }
}

fn sorted(ids: &[BrokerId]) -> Vec<BrokerId> {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_fold_holds_its_invariants(mut commands in prop::collection::vec(any_command(), 1..60), honest: u64) {
        let outcomes = fold(&mut commands, honest);
        let mut before = Image::default();
        for (index, outcome) in &outcomes {
            let Ok(applied) = outcome else { continue };
            check_invariants(&applied.image);
            check_step(&before, &applied.image);
            prop_assert_eq!(&applied.delta, &Delta::between(&before, &applied.image), "at {}", index);
            prop_assert_eq!(applied.delta.changes.is_empty(), applied.image == before);
            before = applied.image.clone();
        }
    }

    #[test]
    fn the_fold_is_the_same_again_and_from_any_snapshot(
        mut commands in prop::collection::vec(any_command(), 1..60),
        honest: u64,
        cut: prop::sample::Index,
    ) {
        let outcomes = fold(&mut commands, honest);
        let cut = cut.index(commands.len());
        let mut image = Image::default();
        for ((index, outcome), command) in outcomes.iter().zip(&commands) {
            // Through bytes, as a log keeps them.
            let decoded: Result<Command, CommandDecodeError> = Command::decode(&command.encode());
            let again = image.apply(*index, &decoded.expect("encoded"));
            prop_assert_eq!(&again, outcome);
            if let Ok(applied) = again {
                image = applied.image;
            }
            if usize::try_from(*index).expect("small") == cut {
                let bytes = image.encode();
                let restored = Image::decode(&bytes).expect("encoded");
                prop_assert_eq!(&restored, &image);
                prop_assert_eq!(restored.encode(), bytes, "equal images have equal bytes");
                image = restored;
            }
        }
    }

    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (Command::decode(&bytes), Image::decode(&bytes));
        for version in [1, 2, 3] {
            let versioned = [&[version][..], &bytes].concat();
            let _ = (Command::decode(&versioned), Image::decode(&versioned));
        }
    }
}
