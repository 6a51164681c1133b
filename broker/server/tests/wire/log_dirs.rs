//! Several log dirs: where partitions go, where they are found again, and what becomes of those whose dir is lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_broker::{Broker, OpenLogDirsError, StartError};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::metadata_request::MetadataRequestTopic;
use cairn_protocol::messages::{
    DeleteTopicsRequest, DescribeLogDirsRequest, DescribeTopicPartitionsRequest, MetadataRequest,
};
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::MemoryDisk;
use tempfile::TempDir;

use crate::harness::{Client, TestBroker, config};
use crate::records::{batch, fetch, fetched, make_topic, produce, produced, values};

const PARTITIONS: i32 = 4;
pub(crate) const STORAGE_ERROR: i16 = 56;

/// A broker with log dirs of these names in one folder.
pub(crate) struct Dirs {
    folder: TempDir,
    names: Vec<&'static str>,
}

impl Dirs {
    pub(crate) fn new(names: &[&'static str]) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), names: names.to_vec() }
    }

    pub(crate) fn path(&self, rest: &str) -> PathBuf {
        self.folder.path().join(rest)
    }

    fn set(&self) -> String {
        let paths: Vec<_> = self.names.iter().map(|name| self.path(name).to_str().unwrap().to_owned()).collect();
        paths.join(",")
    }

    async fn try_start(&self) -> Result<Broker, StartError> {
        let set = self.set();
        let partitions = PARTITIONS.to_string();
        Broker::start(config(Path::new("unused"), &[("log.dirs", &set), ("num.partitions", &partitions)])).await
    }

    pub(crate) async fn start(&self) -> (Broker, Client) {
        let broker = self.try_start().await.unwrap();
        let client = Client::connect(broker.addresses().kafka[0].1).await;
        (broker, client)
    }

    /// The partitions of a topic whose folder lies in a dir.
    fn folders(&self, name: &str, topic: &str) -> Vec<i32> {
        (0..PARTITIONS).filter(|index| self.path(name).join(format!("{topic}-{index}")).is_dir()).collect()
    }
}

pub(crate) async fn fill(client: &mut Client, topic: &str) {
    for partition in 0..PARTITIONS {
        let text = format!("{topic}{partition}");
        let answer = produced(client.call(9, &produce(topic, partition, -1, batch(&[&text]))).await);
        assert_eq!((answer.error_code, answer.base_offset), (0, 0));
    }
}

/// What a fetch of each partition gives: its records, or the error.
pub(crate) async fn read(client: &mut Client, topic: &str) -> Vec<Result<Vec<String>, i16>> {
    let mut all = Vec::new();
    for partition in 0..PARTITIONS {
        let data = fetched(client.call(11, &fetch(topic, partition, 0)).await);
        all.push(match data.error_code {
            0 => Ok(values(&data).into_iter().map(|(_, value)| value).collect()),
            error => Err(error),
        });
    }
    all
}

/// What [`read`] gives of a topic that was filled, where these partitions are offline.
pub(crate) fn filled_but(topic: &str, offline: &[i32]) -> Vec<Result<Vec<String>, i16>> {
    let one = |index| if offline.contains(&index) { Err(STORAGE_ERROR) } else { Ok(vec![format!("{topic}{index}")]) };
    (0..PARTITIONS).map(one).collect()
}

/// By the end of its path: each dir's error and the partitions of a topic in it.
pub(crate) async fn described(client: &mut Client, topic: &str) -> BTreeMap<String, (i16, Vec<i32>)> {
    let response = client.call(4, &DescribeLogDirsRequest { topics: None }).await;
    let one = |dir: cairn_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult| {
        let name = Path::new(&*dir.log_dir).file_name().unwrap().to_str().unwrap().to_owned();
        let of_topic = dir.topics.iter().filter(|told| *told.name == *topic).flat_map(|told| &told.partitions);
        (name, (dir.error_code, of_topic.map(|told| told.partition_index).collect()))
    };
    response.results.into_iter().map(one).collect()
}

/// The leader and the offline replicas of each partition.
async fn led(client: &mut Client, topic: &str) -> Vec<(i16, i32, Vec<i32>)> {
    let named = MetadataRequestTopic { name: Some(topic.into()), ..MetadataRequestTopic::default() };
    let request = MetadataRequest { topics: Some(vec![named]), ..MetadataRequest::default() };
    let mut response = client.call(12, &request).await;
    let of = response.topics.remove(0).partitions;
    let metadata: Vec<_> = of.into_iter().map(|it| (it.error_code, it.leader_id, it.offline_replicas)).collect();
    let request = DescribeTopicPartitionsRequest { response_partition_limit: 100, ..Default::default() };
    let response = client.call(0, &request).await;
    let of = &response.topics.iter().find(|told| told.name.as_deref() == Some(topic)).unwrap().partitions;
    let same: Vec<_> = of.iter().map(|it| (it.error_code, it.leader_id, it.offline_replicas.clone())).collect();
    assert_eq!(metadata, same, "both tell the same");
    metadata
}

fn led_but(offline: &[i32]) -> Vec<(i16, i32, Vec<i32>)> {
    let leaderless = ErrorCode::LeaderNotAvailable.code();
    let one = |index| if offline.contains(&index) { (leaderless, -1, vec![1]) } else { (0, 1, Vec::new()) };
    (0..PARTITIONS).map(one).collect()
}

#[tokio::test]
async fn partitions_go_where_the_fewest_are_and_are_found_again() {
    let mut dirs = Dirs::new(&["a", "b"]);
    let (broker, mut client) = dirs.start().await;
    make_topic(&mut client, "t").await;
    fill(&mut client, "t").await;
    let before = described(&mut client, "t").await;
    assert_eq!((before["a"].1.len(), before["b"].1.len()), (2, 2));
    for name in ["a", "b"] {
        assert_eq!(dirs.folders(name, "t"), before[name].1);
    }
    broker.shutdown().await;

    // A new one takes the partitions of the next topics until it has as many.
    dirs.names.push("c");
    let (broker, mut client) = dirs.start().await;
    assert_eq!(read(&mut client, "t").await, filled_but("t", &[]));
    make_topic(&mut client, "u").await;
    let after = described(&mut client, "u").await;
    assert_eq!((after["a"].1.len(), after["b"].1.len(), after["c"].1.len()), (1, 1, 2));
    broker.shutdown().await;
    assert!(["a", "b", "c"].iter().all(|name| dirs.path(name).join("clean-shutdown").is_file()));
}

#[tokio::test]
async fn a_dir_that_is_missing_at_the_start_takes_its_partitions_with_it_and_brings_them_back() {
    let dirs = Dirs::new(&["a", "b"]);
    let (broker, mut client) = dirs.start().await;
    make_topic(&mut client, "t").await;
    make_topic(&mut client, "gone").await;
    fill(&mut client, "t").await;
    let lost = described(&mut client, "t").await["b"].1.clone();
    broker.shutdown().await;
    fs::rename(dirs.path("b"), dirs.path("unmounted")).unwrap();

    for _ in 0..2 {
        let (broker, mut client) = dirs.start().await;
        assert_eq!(read(&mut client, "t").await, filled_but("t", &lost));
        assert_eq!(led(&mut client, "t").await, led_but(&lost));
        let told = described(&mut client, "t").await;
        assert_eq!(told["b"], (STORAGE_ERROR, Vec::new()));
        assert_eq!((told["a"].0, told["a"].1.len()), (0, 2));
        let refused = produced(client.call(9, &produce("t", lost[0], -1, batch(&["x"]))).await);
        assert_eq!(refused.error_code, STORAGE_ERROR);
        broker.shutdown().await;
        assert!(!dirs.path("b").exists(), "nothing is made in its place");
    }

    // What is new goes to the other dir; what is deleted is gone when its dir comes back.
    let (broker, mut client) = dirs.start().await;
    make_topic(&mut client, "u").await;
    fill(&mut client, "u").await;
    let delete = DeleteTopicsRequest { topic_names: vec!["gone".into()], ..DeleteTopicsRequest::default() };
    assert_eq!(client.call(5, &delete).await.responses[0].error_code, 0);
    broker.shutdown().await;
    fs::rename(dirs.path("unmounted"), dirs.path("b")).unwrap();
    let (broker, mut client) = dirs.start().await;
    for topic in ["t", "u"] {
        assert_eq!(read(&mut client, topic).await, filled_but(topic, &[]));
        assert_eq!(led(&mut client, topic).await, led_but(&[]));
    }
    make_topic(&mut client, "gone").await;
    assert_eq!(read(&mut client, "gone").await, vec![Ok(Vec::new()); 4]);
    broker.shutdown().await;
}

/// Nothing empty hides what was lost, however often the broker is started.
#[tokio::test]
async fn an_empty_dir_in_the_place_of_a_lost_one_is_used_and_hides_nothing() {
    let dirs = Dirs::new(&["a", "b"]);
    let (broker, mut client) = dirs.start().await;
    make_topic(&mut client, "t").await;
    fill(&mut client, "t").await;
    let lost = described(&mut client, "t").await["b"].1.clone();
    broker.shutdown().await;
    fs::remove_dir_all(dirs.path("b")).unwrap();
    fs::create_dir(dirs.path("b")).unwrap();
    for round in 0..3 {
        let (broker, mut client) = dirs.start().await;
        assert_eq!(read(&mut client, "t").await, filled_but("t", &lost), "round {round}");
        assert_eq!(described(&mut client, "t").await["b"], (0, Vec::new()));
        broker.shutdown().await;
    }
    // Deleted and made anew it is whole.
    let (broker, mut client) = dirs.start().await;
    let delete = DeleteTopicsRequest { topic_names: vec!["t".into()], ..DeleteTopicsRequest::default() };
    assert_eq!(client.call(5, &delete).await.responses[0].error_code, 0);
    make_topic(&mut client, "t").await;
    fill(&mut client, "t").await;
    assert_eq!(described(&mut client, "t").await["b"].1.len(), 2);
    broker.shutdown().await;
}

#[tokio::test]
async fn a_partition_that_a_person_has_moved_is_served_where_it_is() {
    let dirs = Dirs::new(&["a", "b"]);
    let (broker, mut client) = dirs.start().await;
    make_topic(&mut client, "t").await;
    fill(&mut client, "t").await;
    let there = described(&mut client, "t").await["b"].1.clone();
    broker.shutdown().await;
    for (from, to) in [("b", "a"), ("a", "b")] {
        for index in &there {
            fs::rename(dirs.path(from).join(format!("t-{index}")), dirs.path(to).join(format!("t-{index}"))).unwrap();
        }
        let (broker, mut client) = dirs.start().await;
        assert_eq!(read(&mut client, "t").await, filled_but("t", &[]), "from {from} to {to}");
        assert!(there.iter().all(|index| dirs.folders(to, "t").contains(index)));
        broker.shutdown().await;
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn of_two_copies_the_one_that_is_noted_is_served_and_without_a_note_neither() {
    let dirs = Dirs::new(&["a", "b"]);
    let (broker, mut client) = dirs.start().await;
    make_topic(&mut client, "t").await;
    fill(&mut client, "t").await;
    let twice = described(&mut client, "t").await["b"].1[0];
    broker.shutdown().await;
    let folder = |name| dirs.path(name).join(format!("t-{twice}"));
    copy_folder(&folder("b"), &folder("a"));
    let (broker, mut client) = dirs.start().await;
    assert_eq!(read(&mut client, "t").await, filled_but("t", &[]));
    broker.shutdown().await;
    assert!(folder("b").is_dir() && !folder("a").is_dir());

    copy_folder(&folder("b"), &folder("a"));
    fs::write(dirs.path("a/log-dir-assignments"), b"damaged").unwrap();
    let (broker, mut client) = dirs.start().await;
    assert_eq!(read(&mut client, "t").await, filled_but("t", &[twice]));
    broker.shutdown().await;
    assert!(folder("b").is_dir() && folder("a").is_dir(), "nothing was touched");
    fs::remove_dir_all(folder("a")).unwrap();
    let (broker, mut client) = dirs.start().await;
    assert_eq!(read(&mut client, "t").await, filled_but("t", &[]));
    broker.shutdown().await;
}

#[tokio::test]
async fn a_new_dir_before_the_one_with_the_metadata_is_no_new_cluster() {
    let mut dirs = Dirs::new(&["a"]);
    let (broker, mut client) = dirs.start().await;
    make_topic(&mut client, "t").await;
    fill(&mut client, "t").await;
    broker.shutdown().await;
    dirs.names = vec!["new", "a"];
    let error = dirs.try_start().await.unwrap_err();
    assert!(matches!(&error, StartError::LogDirs(OpenLogDirsError::MetadataElsewhere { .. })), "{error}");
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains(&format!("metadata.log.dir={}", dirs.path("a").display())), "{error}");

    let (set, metadata) = (dirs.set(), dirs.path("a"));
    let set = [("log.dirs", &*set), ("metadata.log.dir", metadata.to_str().unwrap())];
    let broker = Broker::start(config(Path::new("unused"), &set)).await.unwrap();
    let mut client = Client::connect(broker.addresses().kafka[0].1).await;
    assert_eq!(read(&mut client, "t").await, filled_but("t", &[]));
    broker.shutdown().await;
}

/// The metadata may have a dir of its own, which takes no partitions.
#[tokio::test]
async fn a_dir_of_the_metadata_alone_holds_no_partition() {
    let dirs = Dirs::new(&["a", "b"]);
    let (set, metadata) = (dirs.set(), dirs.path("m"));
    let set = [("log.dirs", &*set), ("metadata.log.dir", metadata.to_str().unwrap()), ("num.partitions", "4")];
    for round in 0..2 {
        let broker = Broker::start(config(Path::new("unused"), &set)).await.unwrap();
        let mut client = Client::connect(broker.addresses().kafka[0].1).await;
        if round == 0 {
            make_topic(&mut client, "t").await;
            fill(&mut client, "t").await;
        }
        assert_eq!(read(&mut client, "t").await, filled_but("t", &[]));
        let told = described(&mut client, "t").await;
        assert_eq!(told.keys().collect::<Vec<_>>(), ["a", "b"]);
        broker.shutdown().await;
        assert!(metadata.join("clean-shutdown").is_file() && dirs.folders("m", "t").is_empty());
    }
}

#[tokio::test]
async fn a_dir_that_fails_while_it_serves_takes_only_its_own_partitions_with_it() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let set = [("log.dirs", "a,b"), ("num.partitions", "4"), ("log.durability", "synced")];
    let broker = TestBroker::on(Arc::new(disk.clone()), &set).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    fill(&mut client, "t").await;
    let lost = described(&mut client, "t").await["b"].1.clone();
    assert_eq!(lost.len(), 2);
    assert!(broker.get("/readyz").await.starts_with("HTTP/1.1 200"));

    disk.inject(Rule::nth(Call::Sync, 1, Fault::Io).only(&format!("b/t-{}/00000000000000000000.log", lost[0])));
    let refused = produced(client.call(9, &produce("t", lost[0], -1, batch(&["x"]))).await);
    assert_eq!(refused.error_code, STORAGE_ERROR);
    broker.wait_for_metric("cairn_log_dirs_offline 1").await;
    broker.wait_for_metric("cairn_partitions_offline 2").await;
    assert_eq!(led(&mut client, "t").await, led_but(&lost));
    assert_eq!(read(&mut client, "t").await, filled_but("t", &lost));
    assert_eq!(described(&mut client, "t").await["b"], (STORAGE_ERROR, Vec::new()));
    let ready = broker.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("/b is offline"), "{ready}");
    // The others go on, and so do new ones.
    for partition in (0..PARTITIONS).filter(|index| !lost.contains(index)) {
        let answer = produced(client.call(9, &produce("t", partition, -1, batch(&["more"]))).await);
        assert_eq!((answer.error_code, answer.base_offset), (0, 1));
    }
    make_topic(&mut client, "u").await;
    fill(&mut client, "u").await;
    broker.broker.shutdown().await;

    // Its disk is well again at the next start.
    let broker = TestBroker::on(Arc::new(disk), &set).await;
    let mut client = broker.connect().await;
    assert_eq!(led(&mut client, "t").await, led_but(&[]));
    assert!(read(&mut client, "t").await.iter().all(Result::is_ok));
    broker.broker.shutdown().await;
}

/// A dir that another process has is offline; the lock of the metadata's dir is the broker's end.
#[tokio::test]
async fn a_dir_that_another_has_is_offline() {
    let dirs = Dirs::new(&["a", "b"]);
    let (broker, mut client) = dirs.start().await;
    make_topic(&mut client, "t").await;
    fill(&mut client, "t").await;
    let lost = described(&mut client, "t").await["b"].1.clone();
    broker.shutdown().await;
    let other = Broker::start(config(&dirs.path("b"), &[])).await.unwrap();
    let (broker, mut client) = dirs.start().await;
    assert_eq!(read(&mut client, "t").await, filled_but("t", &lost));
    let in_use = dirs.try_start().await.unwrap_err();
    assert_eq!(in_use.exit_code(), 3, "{in_use}");
    broker.shutdown().await;
    other.shutdown().await;
}
