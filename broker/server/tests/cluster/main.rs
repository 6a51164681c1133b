//! Three brokers in one process, found and joined as a person would do it, and spoken to in raw frames.

mod clean;
mod cut_off;
mod elected;
mod failed;
mod grown;
mod moved;
mod nearby;
mod quorum;
mod removed;
mod replicated;
mod seeded;
mod uncommitted;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cairn_broker::Broker;
use cairn_broker::config::{BrokerConfig, Sources};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::frame::request_frame;
use cairn_protocol::header::ResponseHeader;
use cairn_protocol::messages::create_topics_request::CreatableTopic;
use cairn_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use cairn_protocol::messages::{CreateTopicsRequest, ListOffsetsRequest, MetadataRequest, MetadataResponse};
use cairn_protocol::{ApiKey, Message, Reader, Request};
use futures::future::join_all;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const GIVE_UP: Duration = Duration::from_secs(60);

struct Member {
    broker: Broker,
    folder: TempDir,
}

impl Member {
    async fn start(folder: TempDir, set: &[(&str, &str)]) -> Self {
        let config = config(&folder, set);
        let started = tokio::time::timeout(GIVE_UP, Broker::start(config)).await.expect("in time");
        Self { broker: started.expect("starts"), folder }
    }

    async fn first() -> Self {
        Self::start(tempfile::tempdir().unwrap(), &[]).await
    }

    async fn joining(other: &Self) -> Self {
        Self::start(tempfile::tempdir().unwrap(), &[("cluster.join", &other.address().to_string())]).await
    }

    async fn stop(self) -> TempDir {
        self.broker.shutdown().await;
        self.folder
    }

    fn address(&self) -> SocketAddr {
        self.broker.addresses().kafka[0].1
    }

    async fn ask<R: Request>(&self, key: ApiKey, version: i16, request: &R) -> R::Response {
        let mut stream = TcpStream::connect(self.address()).await.expect("connects");
        let frame = request_frame(version, 7, Some("test"), request).expect("encodes");
        for segment in frame.segments() {
            stream.write_all(segment).await.expect("writes");
        }
        let length = stream.read_u32().await.expect("is answered");
        let mut answer = vec![0; usize::try_from(length).expect("small")];
        stream.read_exact(&mut answer).await.expect("is answered whole");
        let mut reader = Reader::new(Bytes::from(answer));
        ResponseHeader::decode(&mut reader, key, version).expect("a header");
        R::Response::decode(&mut reader, version).expect("an answer")
    }

    async fn metadata(&self) -> MetadataResponse {
        let request = MetadataRequest { topics: None, ..MetadataRequest::default() };
        self.ask(ApiKey::Metadata, 12, &request).await
    }

    /// The brokers and the controller, as this broker tells them.
    async fn told(&self) -> (Vec<i32>, i32) {
        let metadata = self.metadata().await;
        (metadata.brokers.iter().map(|broker| broker.node_id).collect(), metadata.controller_id)
    }

    /// How many members vote, as a joining broker is told.
    async fn voters(&self) -> usize {
        let mut stream = TcpStream::connect(self.address()).await.expect("connects");
        stream.write_all(&[0, 0, 0, 8, 0x4e, 0x21, 0, 0, 0, 0, 0, 1]).await.expect("writes");
        let length = stream.read_u32().await.expect("is answered");
        let mut answer = vec![0; usize::try_from(length).expect("small")];
        stream.read_exact(&mut answer).await.expect("is answered whole");
        let members: Vec<(i32, String, u16, bool)> = postcard::from_bytes(&answer[4..]).expect("members");
        members.iter().filter(|member| member.3).count()
    }

    async fn create(&self, name: &str, partitions: i32, replicas: i16) -> ErrorCode {
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: replicas,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..CreateTopicsRequest::default() };
        let answer = self.ask(ApiKey::CreateTopics, 7, &request).await;
        ErrorCode::from_code(answer.topics[0].error_code).expect("a code")
    }

    /// What this broker says to whom asks for the end of a partition.
    async fn end_of(&self, topic: &str, index: i32) -> ErrorCode {
        let partition =
            ListOffsetsPartition { partition_index: index, timestamp: -1, ..ListOffsetsPartition::default() };
        let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![partition] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
        let answer = self.ask(ApiKey::ListOffsets, 7, &request).await;
        ErrorCode::from_code(answer.topics[0].partitions[0].error_code).expect("a code")
    }
}

fn config(folder: &TempDir, set: &[(&str, &str)]) -> BrokerConfig {
    let mut sources =
        Sources::none().set("log.dirs", &folder.path().to_string_lossy()).set("listeners", "PLAINTEXT://127.0.0.1:0");
    for (key, value) in set {
        sources = sources.set(key, value);
    }
    BrokerConfig::load(&sources).expect("a config")
}

async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let looking = async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while !is_so().await {
            looks.tick().await;
        }
    };
    tokio::time::timeout(GIVE_UP, looking).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_are_one_cluster() {
    let first = Member::first().await;
    let second = Member::joining(&first).await;
    // Any member can be asked, not only the first.
    let third = Member::joining(&second).await;
    let all = [&first, &second, &third];
    for member in all {
        eventually("all know each other", || async { member.told().await == (vec![1, 2, 3], 1) }).await;
    }
    let one = second.metadata().await.cluster_id;
    assert_eq!(first.metadata().await.cluster_id, one);

    // A broker that is not the controller forwards.
    assert_eq!(third.create("spread", 6, 1).await, ErrorCode::None);
    assert_eq!(second.create("too-many", 1, 4).await, ErrorCode::InvalidReplicationFactor);
    for member in all {
        eventually("all know the topic", || async { member.metadata().await.topics.len() == 1 }).await;
    }
    let topic = first.metadata().await.topics.remove(0);
    let leaders: Vec<i32> = topic.partitions.iter().map(|partition| partition.leader_id).collect();
    for id in 1..=3 {
        assert_eq!(leaders.iter().filter(|leader| **leader == id).count(), 2, "{leaders:?}");
    }
    for partition in &topic.partitions {
        for (id, member) in (1..).zip(all) {
            let expected = if id == partition.leader_id { ErrorCode::None } else { ErrorCode::NotLeaderOrFollower };
            assert_eq!(member.end_of("spread", partition.partition_index).await, expected, "{partition:?} on {id}");
        }
    }

    eventually("all three vote", || async { first.voters().await == 3 }).await;
    // The controller goes: another one decides, and it finds back under its own id.
    let folder = first.stop().await;
    eventually("another controller", || async { matches!(second.told().await.1, 2 | 3) }).await;
    assert_eq!(third.create("without-the-first", 1, 1).await, ErrorCode::None);
    let mut first = Member::start(folder, &[]).await;
    eventually("it is back", || async { second.told().await.0 == [1, 2, 3] }).await;
    eventually("it knows what it missed", || async { first.metadata().await.topics.len() == 2 }).await;
    // All stop, and all start at once: none of them can be registered before two are there.
    let mut folders = Vec::new();
    for member in [first, second, third] {
        folders.push(member.stop().await);
    }
    let mut back = join_all(folders.into_iter().map(|folder| Member::start(folder, &[]))).await;
    first = back.remove(0);
    eventually("all are back", || async { first.told().await.0 == [1, 2, 3] }).await;
    for partition in &topic.partitions {
        let leader = [&first, &back[0], &back[1]][usize::try_from(partition.leader_id - 1).expect("an id")];
        let index = partition.partition_index;
        eventually("the same one keeps it", || async { leader.end_of("spread", index).await == ErrorCode::None }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_asks_until_the_one_that_it_joins_is_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let joining = tokio::spawn(async move {
        Member::start(tempfile::tempdir().unwrap(), &[("cluster.join", &free.to_string())]).await
    });
    // Its first tries find nobody.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!joining.is_finished());
    let first = Member::start(tempfile::tempdir().unwrap(), &[("listeners", &format!("PLAINTEXT://{free}"))]).await;
    let second = joining.await.expect("starts");
    eventually("both know each other", || async { second.told().await.0 == [1, 2] }).await;
    second.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_refused() {
    let first = Member::first().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "ab".repeat(32)).unwrap();
    let data = tempfile::tempdir().unwrap();
    let set = [("cluster.join", &*first.address().to_string()), ("cluster.join.secret.file", &*file.to_string_lossy())];
    let refused = Broker::start(config(&data, &set)).await.expect_err("is refused").to_string();
    assert!(refused.contains("join secret"), "{refused}");
    let open = [("listeners", "PLAINTEXT://0.0.0.0:0"), ("cluster.join", &*first.address().to_string())];
    let refused = Broker::start(config(&data, &open)).await.expect_err("has no address").to_string();
    assert!(refused.contains("0.0.0.0") && refused.contains("advertised.listeners"), "{refused}");
    first.stop().await;
}
