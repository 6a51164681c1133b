use std::collections::BTreeSet;
use std::path::Path;

use cairn_metadata::{Answer, BrokerEpoch, Change, NewBroker, NewTopic, Rejected};
use cairn_storage::dir::DirConfig;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::{Crash, CrashUnit, MemoryDisk};
use futures::future::join_all;

use super::*;

const PATH: &str = "/data";

fn config() -> NodeConfig {
    NodeConfig::new(BrokerId(1), Uuid::from_u128(77), || Timestamp(1))
}

/// Starts a node on what is on the disk, as a new process would.
async fn start_with(disk: Arc<dyn Disk>, config: NodeConfig) -> (Arc<DataDir>, MetadataNode) {
    let dir = Arc::new(DataDir::open(Arc::clone(&disk), Path::new(PATH), &DirConfig::default()).expect("opens"));
    let node = MetadataNode::start(config, Arc::clone(&dir), disk).await.expect("starts");
    (dir, node)
}

async fn start(disk: &MemoryDisk) -> (Arc<DataDir>, MetadataNode) {
    start_with(Arc::new(disk.clone()), config()).await
}

fn register(incarnation: u128) -> Command {
    Command::RegisterBroker(NewBroker {
        id: BrokerId(1),
        incarnation: Uuid::from_u128(incarnation),
        endpoints: Vec::new(),
        rack: None,
        storage_ids: Vec::new(),
        boot_id: None,
        clean_shutdown: None,
    })
}

/// Registers and unfences broker 1, so that topics can be made.
async fn with_broker(node: &MetadataNode, incarnation: u128) -> BrokerEpoch {
    let registered = node.propose(register(incarnation)).await.expect("registers");
    let Answer::BrokerRegistered(epoch) = registered.answer else { panic!("{registered:?}") };
    node.propose(Command::UnfenceBroker { broker: BrokerId(1), epoch }).await.expect("unfences");
    epoch
}

fn id(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn create(name: &str, number: u128) -> Command {
    let assignments = vec![vec![BrokerId(1)]];
    Command::CreateTopic(NewTopic { name: name.into(), id: id(number), assignments, configs: Vec::new() })
}

#[tokio::test]
async fn a_fresh_node_leads_and_has_a_cluster_id() {
    let (_dir, node) = start(&MemoryDisk::new()).await;
    assert_eq!(node.image().cluster_id().map(|id| id.0), Some(Uuid::from_u128(77)));
    with_broker(&node, 1).await;
    let made = node.propose(create("a", 1)).await.expect("makes");
    assert_eq!((made.answer, made.index), (Answer::Done, node.image().version()));
    assert!(made.image.topic_by_name("a").is_some());
    let again = node.propose(create("a", 2)).await;
    assert_eq!(again, Err(Rejected::TopicExists { name: "a".into() }.into()));
    node.shutdown().await;
}

#[tokio::test]
async fn updates_tell_what_changed() {
    let (_dir, node) = start(&MemoryDisk::new()).await;
    with_broker(&node, 1).await;
    let mut updates = node.updates(node.image());
    node.propose(create("a", 1)).await.expect("makes");
    let (image, delta) = updates.next().await.expect("an update");
    let created = |name: &str, number| Change::TopicCreated { id: id(number), name: name.into() };
    assert_eq!((delta.version, delta.changes), (image.version(), vec![created("a", 1)]));
    for (name, number) in [("b", 2), ("c", 3)] {
        node.propose(create(name, number)).await.expect("makes");
    }
    let (_, delta) = updates.next().await.expect("an update");
    assert_eq!(delta.changes, [created("b", 2), created("c", 3)], "slow followers see one change");
    let mut from_nothing = node.updates(Arc::default());
    let (_, delta) = from_nothing.next().await.expect("an update");
    assert_eq!(delta.changes.len(), 5, "cluster id, three topics, a broker: {delta:?}");
    node.shutdown().await;
    assert_eq!(updates.next().await, None);
    assert!(matches!(node.propose(create("d", 4)).await, Err(ProposeError::Unknown(_))));
}

#[tokio::test]
async fn a_restart_finds_the_same_image() {
    let disk = MemoryDisk::new();
    let mut number = 0;
    for round in 0..4 {
        let (dir, node) = start(&disk).await;
        with_broker(&node, round).await;
        for _ in 0..10 {
            number += 1;
            node.propose(create(&format!("topic-{number}"), number)).await.expect("makes");
        }
        let image = node.image();
        assert_eq!(image.topic_count(), usize::try_from(number).expect("small"));
        node.shutdown().await;
        drop((node, dir));
        let (_dir, node) = start(&disk).await;
        assert_eq!(*node.image(), *image);
        node.shutdown().await;
    }
}

#[tokio::test]
async fn another_node_does_not_start_on_the_same_data() {
    let disk = MemoryDisk::new();
    let (dir, node) = start(&disk).await;
    node.shutdown().await;
    drop((node, dir));
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let dir = Arc::new(DataDir::open(Arc::clone(&disk), Path::new(PATH), &DirConfig::default()).expect("opens"));
    let other = NodeConfig { node: BrokerId(2), ..config() };
    let refused = MetadataNode::start(other, dir, disk).await;
    assert!(matches!(refused, Err(StartError::OtherNode { node: BrokerId(2), voter: 1 })), "{refused:?}");
}

#[tokio::test]
async fn proposals_at_once_are_decided_one_after_the_other() {
    let (_dir, node) = start(&MemoryDisk::new()).await;
    let epoch = with_broker(&node, 1).await;
    let allocate = || node.propose(Command::AllocateProducerIds { broker: BrokerId(1), epoch });
    let answers = join_all((0..200).map(|_| allocate())).await;
    let mut firsts = BTreeSet::new();
    for proposed in answers {
        match proposed.expect("allocates").answer {
            Answer::ProducerIds(block) => assert!(firsts.insert(block.first.0)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(firsts, (0..200).map(|block| block * 1000).collect());
    node.shutdown().await;
}

#[tokio::test]
async fn checkpoints_let_the_log_go() {
    let disk = MemoryDisk::new();
    let few = NodeConfig { checkpoint_every: 10, ..config() };
    let (dir, node) = start_with(Arc::new(disk.clone()), few.clone()).await;
    with_broker(&node, 1).await;
    for number in 1..=1500u128 {
        let (command, gone) = if number % 2 == 1 {
            (create("on-and-off", number), false)
        } else {
            (Command::DeleteTopic { id: id(number - 1) }, true)
        };
        let proposed = node.propose(command).await.expect("changes");
        assert_eq!(proposed.image.topic_by_name("on-and-off").is_none(), gone);
    }
    node.checkpoint().await.expect("makes a checkpoint");
    let image = node.image();
    node.shutdown().await;
    drop((node, dir));
    let dir = DataDir::open(Arc::new(disk.clone()), PATH, &DirConfig::default()).expect("opens");
    let (_, mut store, _) = open(&dir, Arc::new(disk.clone()), few.clock).expect("opens");
    let purged = openraft::storage::RaftLogStorage::get_log_state(&mut store).await.expect("reads").last_purged_log_id;
    assert!(purged.is_some_and(|purged| purged.index() > 100), "{purged:?}");
    disk.crash(Crash::KeepAll);
    let (_dir, node) = start_with(Arc::new(disk), few).await;
    assert_eq!(*node.image(), *image);
    node.shutdown().await;
}

/// Proposals that were answered are there after the machine lost everything that was not synced.
#[tokio::test]
async fn what_was_answered_survives_any_crash() {
    for seed in 0..40u64 {
        let disk = MemoryDisk::new();
        let config = NodeConfig { checkpoint_every: 7, ..config() };
        let mut answered: BTreeSet<u128> = BTreeSet::new();
        let mut proposed: BTreeSet<u128> = BTreeSet::new();
        for round in 0..5u64 {
            let (_dir, node) = start_with(Arc::new(disk.until_crash()), config.clone()).await;
            let image = node.image();
            let found: BTreeSet<u128> = image.topics().map(|topic| topic.id.0.as_u128()).collect();
            assert!(answered.is_subset(&found), "seed {seed}, round {round}: lost {:?}", answered.difference(&found));
            assert!(found.is_subset(&proposed), "seed {seed}, round {round}: nobody proposed what is there");
            assert_eq!(image.cluster_id().map(|id| id.0), Some(Uuid::from_u128(77)));

            with_broker(&node, u128::from(round)).await;
            let first = u128::from(round) * 100 + 1;
            let last = first + u128::from(seed % 13);
            for number in first..=last {
                proposed.insert(number);
                node.propose(create(&format!("topic-{number}"), number)).await.expect("makes");
                answered.insert(number);
            }
            // Some are under way while the plug is pulled: they may be there, or not.
            let node = Arc::new(node);
            for number in last + 1..=last + 5 {
                proposed.insert(number);
                let node = Arc::clone(&node);
                tokio::spawn(async move { node.propose(create(&format!("topic-{number}"), number)).await });
            }
            for _ in 0..seed % 7 {
                tokio::task::yield_now().await;
            }
            let unit = if seed % 2 == 0 { CrashUnit::Sector } else { CrashUnit::Page };
            disk.crash(match seed % 5 {
                0 => Crash::LoseUnsynced,
                1 => Crash::KeepAll,
                _ => Crash::Random { seed: seed * 10 + round, unit },
            });
            // What the old process still does reaches nothing of the next one.
            node.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_sync_that_fails_is_no_answer() {
    let memory = MemoryDisk::new();
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    let (dir, node) = start_with(Arc::new(disk.clone()), config()).await;
    with_broker(&node, 1).await;
    node.propose(create("before", 1)).await.expect("makes");
    assert_eq!(node.failure(), None);
    disk.inject(Rule::always(Call::Sync, Fault::Io));
    let failed = node.propose(create("lost", 2)).await;
    assert!(matches!(failed, Err(ProposeError::Unknown(_))), "{failed:?}");
    assert!(node.image().topic_by_name("lost").is_none(), "nothing is published that is not durable");
    assert!(node.failure().is_some());
    disk.heal();
    let after = node.propose(create("after", 3)).await;
    assert!(matches!(after, Err(ProposeError::Unknown(_))), "nothing is tried again on the same pages: {after:?}");
    node.shutdown().await;
    drop((node, dir));
    memory.crash(Crash::LoseUnsynced);
    let (_dir, node) = start(&memory).await;
    let image = node.image();
    let names: Vec<_> = image.topics().map(|topic| &*topic.name).collect();
    assert_eq!(names, ["before"]);
    node.shutdown().await;
}

#[tokio::test]
async fn a_full_disk_makes_commands_wait() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let (_dir, node) = start_with(Arc::new(disk.clone()), config()).await;
    with_broker(&node, 1).await;
    disk.inject(Rule::always(Call::Prepare, Fault::Full));
    let node = Arc::new(node);
    let large = |number: u128| {
        let assignments = vec![vec![BrokerId(1)]; 10_000];
        let name = format!("topic-{number}").into();
        Command::CreateTopic(NewTopic { name, id: id(number), assignments, configs: Vec::new() })
    };
    let proposals: Vec<_> = (1..40)
        .map(|number| {
            let (node, command) = (Arc::clone(&node), large(number));
            tokio::spawn(async move { node.propose(command).await })
        })
        .collect();
    while disk.injected() == 0 {
        tokio::task::yield_now().await;
    }
    disk.heal();
    for proposal in proposals {
        proposal.await.expect("runs").expect("makes");
    }
    assert_eq!(node.image().topic_count(), 39);
    node.shutdown().await;
}

#[tokio::test]
async fn a_full_disk_does_not_keep_a_node_from_stopping() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let (_dir, node) = start_with(Arc::new(disk.clone()), config()).await;
    with_broker(&node, 1).await;
    disk.inject(Rule::always(Call::Prepare, Fault::Full));
    let node = Arc::new(node);
    let assignments = vec![vec![BrokerId(1)]; 10_000];
    for number in 1..40u128 {
        let (node, name) = (Arc::clone(&node), format!("topic-{number}").into());
        let new = NewTopic { name, id: id(number), assignments: assignments.clone(), configs: Vec::new() };
        tokio::spawn(async move { node.propose(Command::CreateTopic(new)).await });
    }
    while disk.injected() == 0 {
        tokio::task::yield_now().await;
    }
    node.shutdown().await;
}

/// Starts on what is on the disk, and tells why that is refused.
async fn refusal(disk: &MemoryDisk) -> StartError {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let dir = Arc::new(DataDir::open(Arc::clone(&disk), Path::new(PATH), &DirConfig::default()).expect("opens"));
    MetadataNode::start(config(), dir, disk).await.expect_err("refused")
}

#[tokio::test]
async fn a_lost_vote_is_not_replaced_by_an_empty_one() {
    let disk = MemoryDisk::new();
    let (dir, node) = start(&disk).await;
    node.shutdown().await;
    drop((node, dir));
    disk.remove_file(&Path::new(PATH).join(FOLDER).join(MARKS_FILE)).expect("removes");
    let refused = refusal(&disk).await;
    assert!(
        matches!(&refused, StartError::Storage(error) if error.to_string().contains("the vote is lost")),
        "{refused}"
    );
}

/// The log is of an earlier time than the mark: as after a backup of only a part was restored.
#[tokio::test]
async fn a_log_without_what_was_committed_is_refused() {
    let disk = MemoryDisk::new();
    let (dir, node) = start(&disk).await;
    node.shutdown().await;
    drop((node, dir));
    let path = Path::new(PATH).join(FOLDER).join(MARKS_FILE);
    let (mut file, marks) = MarksFile::open(Arc::new(disk.clone()), path, Past::Some).expect("opens");
    let committed = marks.committed.expect("the end of the node has noted it");
    let beyond = crate::bytes::new_log_id(crate::bytes::term_of(&committed), committed.index() + 1000);
    file.write(&crate::marks::Marks { committed: Some(beyond), ..marks }).expect("writes");
    let refused = refusal(&disk).await;
    assert!(
        matches!(&refused, StartError::Storage(error) if error.to_string().contains("entries are lost")),
        "{refused}"
    );
}
