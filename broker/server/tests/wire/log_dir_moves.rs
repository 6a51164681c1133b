//! Partitions that move between log dirs while they are served, and what becomes of a move that is interrupted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_broker::Broker;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use cairn_protocol::messages::{AlterReplicaLogDirsRequest, DeleteTopicsRequest, DescribeLogDirsRequest};
use cairn_storage::disk::Disk;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::{Crash, MemoryDisk};

use crate::harness::{Client, config};
use crate::records::{batch, fetch, fetched, idempotent, make_topic, produce, produced, values};

/// So slow that nothing comes to its end.
const SLOW: (&str, &str) = ("replica.alter.log.dirs.io.max.bytes.per.second", "1");

async fn start_on(disk: &Arc<dyn Disk>, more: &[(&str, &str)]) -> (Broker, Client) {
    let mut set = vec![("log.dirs", "a,b"), ("offsets.topic.num.partitions", "1")];
    set.extend(more);
    let broker = Broker::start_on(Arc::clone(disk), config(Path::new("unused"), &set)).await.unwrap();
    let client = Client::connect(broker.addresses().kafka[0].1).await;
    (broker, client)
}

/// By the name of the dir: whether a partition 0 of the topic is there as the log (`false`) or as one that is to be it (`true`).
async fn whereabouts(client: &mut Client, topic: &str) -> BTreeMap<String, bool> {
    let mut found = BTreeMap::new();
    for dir in client.call(4, &DescribeLogDirsRequest { topics: None }).await.results {
        for told in dir.topics.iter().filter(|told| *told.name == *topic).flat_map(|told| &told.partitions) {
            let name = Path::new(&*dir.log_dir).file_name().unwrap().to_str().unwrap().to_owned();
            assert!(told.is_future_key || told.offset_lag == 0);
            found.insert(name, told.is_future_key);
        }
    }
    found
}

fn only(name: &str) -> BTreeMap<String, bool> {
    [(name.to_owned(), false)].into()
}

/// The dir that it is not in.
fn other(name: &str) -> &'static str {
    if name == "a" { "b" } else { "a" }
}

async fn home(client: &mut Client, topic: &str) -> String {
    let found = whereabouts(client, topic).await;
    found.into_iter().find(|(_, future)| !future).expect("it is somewhere").0
}

async fn alter(client: &mut Client, version: i16, topic: &str, partition: i32, path: &str) -> i16 {
    let topics = vec![AlterReplicaLogDirTopic { name: topic.into(), partitions: vec![partition] }];
    let request = AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path: path.into(), topics }] };
    let response = client.call(version, &request).await;
    response.results[0].partitions[0].error_code
}

fn path_of(name: &str) -> String {
    std::path::absolute(name).unwrap().to_str().unwrap().to_owned()
}

async fn move_to(client: &mut Client, topic: &str, name: &str) {
    assert_eq!(alter(client, 2, topic, 0, &path_of(name)).await, 0);
}

async fn moved(client: &mut Client, topic: &str, name: &str) {
    while whereabouts(client, topic).await != only(name) {}
}

async fn seen(client: &mut Client, topic: &str) -> Vec<String> {
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let data = fetched(client.call(11, &fetch(topic, 0, offset)).await);
        assert_eq!(data.error_code, 0);
        let found = values(&data);
        let Some((last, _)) = found.last() else { return all };
        offset = last + 1;
        all.extend(found.into_iter().map(|(_, value)| value));
    }
}

async fn put(client: &mut Client, topic: &str, value: &str) -> i16 {
    produced(client.call(9, &produce(topic, 0, -1, batch(&[value]))).await).error_code
}

fn folders(disk: &Arc<dyn Disk>, dir: &str, topic: &str) -> Vec<String> {
    let entries = disk.list(Path::new(dir)).unwrap();
    entries.into_iter().map(|entry| entry.name).filter(|name| name.starts_with(&format!("{topic}-0"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_moves_is_told_to_be_served_in_one_dir_at_any_time() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (broker, mut client) = start_on(&disk, &[]).await;
    make_topic(&mut client, "t").await;
    assert_eq!(put(&mut client, "t", "value").await, 0);
    for _ in 0..20 {
        let to = other(&home(&mut client, "t").await);
        move_to(&mut client, "t", to).await;
        loop {
            let found = whereabouts(&mut client, "t").await;
            let served = found.values().filter(|is_future| !**is_future).count();
            assert_eq!(served, 1, "{found:?}");
            if found == only(to) {
                break;
            }
        }
    }
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_moves_to_and_fro_under_produce_and_fetch() {
    for durability in ["replicated", "synced"] {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let set = [("log.durability", durability), ("log.segment.bytes", "1048576")];
        let (broker, mut client) = start_on(&disk, &set).await;
        make_topic(&mut client, "t").await;
        let large = "x".repeat(30_000);
        for number in 0..100 {
            assert_eq!(put(&mut client, "t", &format!("before {number} {large}")).await, 0);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let address = broker.addresses().kafka[0].1;
        let producing = tokio::spawn({
            let stop = Arc::clone(&stop);
            async move {
                let mut client = Client::connect(address).await;
                let mut acked = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let value = format!("during {}", acked.len());
                    let records = idempotent(7, 0, i32::try_from(acked.len()).unwrap(), &[&value]);
                    let answer = produced(client.call(9, &produce("t", 0, -1, records)).await);
                    assert_eq!((answer.error_code, answer.error_message), (0, None));
                    acked.push(value);
                }
                acked
            }
        });
        let fetching = tokio::spawn({
            let stop = Arc::clone(&stop);
            async move {
                let mut client = Client::connect(address).await;
                let mut offset = 0;
                while !stop.load(Ordering::Relaxed) {
                    let data = fetched(client.call(11, &fetch("t", 0, offset)).await);
                    assert_eq!(data.error_code, 0, "a reader notices nothing");
                    for (at, _) in values(&data) {
                        assert_eq!(at, offset, "nothing is left out, nothing comes twice");
                        offset += 1;
                    }
                }
            }
        });
        for _ in 0..3 {
            let to = other(&home(&mut client, "t").await);
            move_to(&mut client, "t", to).await;
            moved(&mut client, "t", to).await;
        }
        stop.store(true, Ordering::Relaxed);
        let acked = producing.await.unwrap();
        fetching.await.unwrap();
        let there = seen(&mut client, "t").await;
        assert_eq!(there[100..], acked);
        // A retry of the last batch is known in the new dir as well.
        let sequence = i32::try_from(acked.len() - 1).unwrap();
        let again = idempotent(7, 0, sequence, &[acked.last().unwrap()]);
        let answer = produced(client.call(9, &produce("t", 0, -1, again)).await);
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::try_from(there.len() - 1).unwrap()));
        let name = home(&mut client, "t").await;
        broker.shutdown().await;
        assert_eq!(folders(&disk, &name, "t"), ["t-0"]);
        assert_eq!(folders(&disk, other(&name), "t"), Vec::<String>::new());
        let (broker, mut client) = start_on(&disk, &set).await;
        assert_eq!(seen(&mut client, "t").await, there);
        broker.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_told_given_up_and_goes_with_its_topic() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (broker, mut client) = start_on(&disk, &[SLOW]).await;
    for topic in ["t", "u"] {
        make_topic(&mut client, topic).await;
        let large = "x".repeat(900_000);
        for _ in 0..4 {
            assert_eq!(put(&mut client, topic, &large).await, 0);
        }
    }
    let from = home(&mut client, "t").await;
    let both = [(from.clone(), false), (other(&from).to_owned(), true)].into();
    move_to(&mut client, "t", other(&from)).await;
    while folders(&disk, other(&from), "t").is_empty() {}
    assert_eq!(whereabouts(&mut client, "t").await, both);
    // The same once more changes nothing.
    move_to(&mut client, "t", other(&from)).await;
    assert_eq!(whereabouts(&mut client, "t").await, both);
    assert!(folders(&disk, other(&from), "t")[0].ends_with("-future"));
    // To where it is: given up.
    move_to(&mut client, "t", &from).await;
    assert_eq!(whereabouts(&mut client, "t").await, only(&from));
    assert_eq!(folders(&disk, other(&from), "t"), Vec::<String>::new());

    let from = home(&mut client, "u").await;
    move_to(&mut client, "u", other(&from)).await;
    while folders(&disk, other(&from), "u").is_empty() {}
    let delete = DeleteTopicsRequest { topic_names: vec!["u".into()], ..DeleteTopicsRequest::default() };
    assert_eq!(client.call(5, &delete).await.responses[0].error_code, 0);
    for name in ["a", "b"] {
        assert_eq!(folders(&disk, name, "u"), Vec::<String>::new());
    }
    assert_eq!(seen(&mut client, "t").await.len(), 4);
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_a_stop_or_a_crash_interrupts_begins_anew() {
    for crash in [None, Some(Crash::KeepAll), Some(Crash::LoseUnsynced)] {
        let memory = MemoryDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let set = [SLOW, ("log.durability", "synced")];
        let until_crash: Arc<dyn Disk> = Arc::new(memory.until_crash());
        let (broker, mut client) = start_on(&until_crash, &set).await;
        make_topic(&mut client, "t").await;
        for number in 0..3 {
            assert_eq!(put(&mut client, "t", &format!("{number}{}", "x".repeat(900_000))).await, 0);
        }
        let from = home(&mut client, "t").await;
        move_to(&mut client, "t", other(&from)).await;
        // With its first file the copy's folder is on disk, which has to outlive the crash.
        let begun =
            |folder: &String| disk.list(&Path::new(other(&from)).join(folder)).is_ok_and(|files| !files.is_empty());
        while !folders(&disk, other(&from), "t").iter().any(begun) {}
        assert_eq!(put(&mut client, "t", "last").await, 0);
        match crash {
            None => broker.shutdown().await,
            Some(crash) => {
                memory.crash(crash);
                broker.shutdown().await;
            }
        }
        let (broker, mut client) = start_on(&disk, &[]).await;
        moved(&mut client, "t", other(&from)).await;
        assert_eq!(seen(&mut client, "t").await.len(), 4, "{crash:?}");
        broker.shutdown().await;
        assert_eq!(folders(&disk, &from, "t"), Vec::<String>::new());
        assert_eq!(folders(&disk, other(&from), "t"), ["t-0"]);
    }
}

#[tokio::test]
async fn what_cannot_be_moved_is_refused_as_kafka_does() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let disk_of: Arc<dyn Disk> = Arc::new(disk.clone());
    let (broker, mut client) = start_on(&disk_of, &[("log.durability", "synced")]).await;
    make_topic(&mut client, "t").await;
    make_topic(&mut client, "u").await;
    let long = "x".repeat(249);
    let a = path_of("a");
    for version in 1..=2 {
        for (topic, partition, path, error) in [
            ("t", 0, "/no/such/dir", ErrorCode::LogDirNotFound),
            ("t", 0, "a", ErrorCode::LogDirNotFound),
            ("missing", 0, &*a, ErrorCode::UnknownTopicOrPartition),
            ("t", 5, &a, ErrorCode::UnknownTopicOrPartition),
            (&long, 0, &a, ErrorCode::InvalidTopicException),
        ] {
            assert_eq!(alter(&mut client, version, topic, partition, path).await, error.code(), "{topic} {path}");
        }
    }
    // To a dir that is offline, and of a partition that is.
    let (of_a, of_b) = if home(&mut client, "t").await == "a" { ("t", "u") } else { ("u", "t") };
    assert_eq!(home(&mut client, of_b).await, "b");
    disk.inject(Rule::nth(Call::Sync, 1, Fault::Io).only(&format!("b/{of_b}-0/00000000000000000000.log")));
    assert_eq!(put(&mut client, of_b, "lost").await, ErrorCode::KafkaStorageError.code());
    assert_eq!(alter(&mut client, 2, of_a, 0, &path_of("b")).await, ErrorCode::KafkaStorageError.code());
    while alter(&mut client, 2, of_b, 0, &a).await != ErrorCode::KafkaStorageError.code() {}
    broker.shutdown().await;
}

/// Whatever fails while it moves, the partition is served, or it is said that it is not; and all is there after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_in_a_move_loses_nothing() {
    let faults = [
        (Call::CreateAppend, Fault::Io, "-future/00000000000000000000.log"),
        (Call::Append, Fault::Io, "-future/00000000000000000000.log"),
        (Call::Sync, Fault::Io, "-future/00000000000000000000.log"),
        (Call::Seal, Fault::Io, "-future/00000000000000000000.log"),
        (Call::Rename, Fault::Io, "-future"),
        (Call::OpenAppend, Fault::Io, "b/t-0/00000000000000000000.log"),
        (Call::Replace, Fault::Io, "b/checkpoint"),
        (Call::Replace, Fault::Io, "a/log-dir-assignments"),
        (Call::Replace, Fault::Full, "a/log-dir-assignments"),
        (Call::Rename, Fault::Io, "a/t-0"),
    ];
    for (call, fault, place) in faults {
        let context = format!("{call:?} {fault:?} {place}");
        let memory = MemoryDisk::new();
        let disk = FaultyDisk::new(Arc::new(memory.clone()));
        let set = [("log.durability", "synced")];
        let (broker, mut client) = start_on(&(Arc::new(disk.clone()) as Arc<dyn Disk>), &set).await;
        make_topic(&mut client, "t").await;
        if home(&mut client, "t").await == "b" {
            move_to(&mut client, "t", "a").await;
            moved(&mut client, "t", "a").await;
        }
        for value in ["1", "2", "3"] {
            assert_eq!(put(&mut client, "t", value).await, 0);
        }
        disk.inject(Rule::nth(call, 1, fault).only(place));
        move_to(&mut client, "t", "b").await;
        while disk.injected() == 0 {}
        let mut acked = vec!["1", "2", "3"];
        if put(&mut client, "t", "after").await == 0 {
            acked.push("after");
        }
        memory.crash(Crash::LoseUnsynced);
        broker.shutdown().await;
        let (broker, mut client) = start_on(&(Arc::new(memory) as Arc<dyn Disk>), &set).await;
        let there = seen(&mut client, "t").await;
        assert!(there.len() <= 4 && there[..acked.len()] == acked, "{context}: {there:?}, acked {acked:?}");
        broker.shutdown().await;
    }
}

/// The metadata's disk fails while it is noted that the partition has moved. Nobody knows what the note says; so the copy goes, and the
/// partition is served where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_note_that_fails_is_undone_where_the_copy_can_be_removed() {
    for crash in [Crash::KeepAll, Crash::LoseUnsynced] {
        let memory = MemoryDisk::new();
        let disk = FaultyDisk::new(Arc::new(memory.clone()));
        let set = [("log.durability", "synced"), ("metadata.log.dir", "m")];
        let (broker, mut client) = start_on(&(Arc::new(disk.clone()) as Arc<dyn Disk>), &set).await;
        make_topic(&mut client, "t").await;
        assert_eq!(put(&mut client, "t", "before").await, 0);
        let from = home(&mut client, "t").await;
        disk.inject(Rule::nth(Call::Replace, 1, Fault::Io).only("m/log-dir-assignments"));
        move_to(&mut client, "t", other(&from)).await;
        while disk.injected() == 0 {}
        moved(&mut client, "t", &from).await;
        assert_eq!(put(&mut client, "t", "after").await, 0);
        assert_eq!(seen(&mut client, "t").await, ["before", "after"]);
        memory.crash(crash);
        broker.shutdown().await;
        let disk: Arc<dyn Disk> = Arc::new(memory);
        let (broker, mut client) = start_on(&disk, &set).await;
        assert_eq!(
            (home(&mut client, "t").await, seen(&mut client, "t").await),
            (from.clone(), vec!["before".to_owned(), "after".to_owned()])
        );
        broker.shutdown().await;
        assert_eq!(folders(&disk, other(&from), "t"), Vec::<String>::new());
    }
}
