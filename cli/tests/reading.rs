//! What a consumer of the client library reads, against a real broker: Cairn, or the one that `CAIRN_TEST_BOOTSTRAP` names.
//!
//! With Apache Kafka: `CAIRN_JUDGE_BROKER=kafka CAIRN_TEST_BOOTSTRAP=localhost:9092 cargo test -p cairn --test reading`, which also has what
//! Cairn does not serve yet: transactions, as Kafka's own producer writes them.

mod support;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_client::{
    Assignor, Client, Consumer, GroupProtocol, IsolationLevel, NewTopic, Offset, OffsetReset, ProducerRecord, StartAt,
    TopicPartition,
};

use crate::support::place::{Place, unique};

/// More than any of it takes, so that it only ends what hangs.
const LONG: Duration = Duration::from_secs(90);

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let bounded = async { tokio::time::timeout(LONG, work).await.expect("it does not hang") };
    runtime.expect("a runtime").block_on(bounded)
}

async fn topic(client: &Client, name: &str, partitions: i32) -> String {
    let topic = unique(name);
    client.admin().create_topic(&NewTopic::new(&topic).partitions(partitions)).await.expect("created");
    topic
}

async fn write(client: &Client, topic: &str, partitions: i32, values: std::ops::Range<i32>) {
    let producer = client.producer().build().expect("valid");
    for value in values {
        let record = ProducerRecord::to(topic).partition(value % partitions).value(value.to_string());
        drop(producer.send(record).await.expect("sent"));
    }
    producer.close(LONG).await.expect("written");
}

async fn value(consumer: &Consumer) -> String {
    let record = consumer.recv().await.expect("a record");
    String::from_utf8(record.value.expect("a value").to_vec()).expect("text")
}

#[test]
fn a_paused_partition_gives_nothing_and_goes_on_where_it_was() {
    let place = Place::new();
    block_on(async {
        let client = place.client();
        let topic = topic(&client, "paused", 2).await;
        write(&client, &topic, 2, 0..200).await;
        let (even, odd) = (TopicPartition::new(topic.as_str(), 0), TopicPartition::new(topic.as_str(), 1));
        let consumer = client.consumer().build().expect("valid");
        consumer.assign_topic(topic.as_str(), StartAt::Beginning).await.expect("there");
        let mut seen = vec![value(&consumer).await];
        let first = if seen[0] == "0" { &even } else { &odd };
        assert_eq!((consumer.position(first), consumer.lag(first)), (Some(Offset(1)), Some(99)));
        consumer.pause(std::slice::from_ref(&even));
        assert_eq!(consumer.paused(), std::slice::from_ref(&even));
        // All of the other one, and nothing of this one.
        while consumer.position(&odd) != Some(Offset(100)) {
            let value = value(&consumer).await;
            assert_eq!(value.parse::<i32>().expect("a number") % 2, 1, "{value} is of the paused partition");
            seen.push(value);
        }
        assert_eq!(consumer.lag(&odd), Some(0));
        consumer.resume(std::slice::from_ref(&even));
        while seen.len() < 200 {
            seen.push(value(&consumer).await);
        }
        let distinct: HashSet<&String> = seen.iter().collect();
        assert_eq!(distinct.len(), 200, "each once, whatever was fetched ahead");
        let odd_ones = |wanted| {
            let parity =
                seen.iter().map(|value| value.parse::<i32>().expect("a number")).filter(move |it| it % 2 == wanted);
            parity.collect::<Vec<_>>()
        };
        assert!(odd_ones(0).is_sorted() && odd_ones(1).is_sorted(), "in order");
    });
}

#[test]
fn what_is_assigned_by_hand_is_committed_by_itself() {
    let place = Place::new();
    block_on(async {
        let (client, group) = (place.client(), unique("by-hand"));
        let topic = topic(&client, "by-hand", 1).await;
        write(&client, &topic, 1, 0..20).await;
        let partition = TopicPartition::new(topic.as_str(), 0);
        let consumer = || {
            let consumer = client.consumer().group(&*group).offset_reset(OffsetReset::Earliest);
            let consumer = consumer.auto_commit(Duration::from_millis(20)).build().expect("valid");
            consumer.assign([(partition.clone(), StartAt::Committed)]);
            consumer
        };
        let first = consumer();
        for wanted in 0..10 {
            assert_eq!(value(&first).await, wanted.to_string());
        }
        // The tenth is not done with before another one is asked for, or the consumer closes.
        let committed = async || {
            let committed = first.committed(std::slice::from_ref(&partition)).await.expect("asked");
            committed.get(&partition).map(|committed| committed.offset)
        };
        while committed().await != Some(Offset(9)) {}
        first.close().await;
        assert_eq!(value(&consumer()).await, "10");
    });
}

#[test]
fn many_partitions_are_read_in_sessions_through_seeks_and_pauses() {
    let place = Place::new();
    block_on(async {
        let client = place.client();
        let topic = topic(&client, "sessions", 16).await;
        let consumer = client.consumer().fetch_max_wait(Duration::from_millis(50)).build().expect("valid");
        consumer.assign_topic(topic.as_str(), StartAt::Beginning).await.expect("there");
        let all: Vec<TopicPartition> = (0..16).map(|index| TopicPartition::new(topic.as_str(), index)).collect();
        let mut next = 0;
        for round in 0..6_usize {
            // What is told of a session changes each time: some are paused, some are new, one is sought in.
            let paused: Vec<TopicPartition> = all.iter().skip(round).step_by(3).cloned().collect();
            consumer.pause(&paused);
            write(&client, &topic, 16, next..next + 64).await;
            next += 64;
            consumer.resume(&paused);
            let mut wanted: HashSet<String> = (next - 64..next).map(|value| value.to_string()).collect();
            let back = all[round].clone();
            let begin = Offset(4 * i64::try_from(round).expect("few"));
            while !wanted.is_empty() {
                assert!(wanted.remove(&value(&consumer).await), "each once");
            }
            assert!(consumer.seek(&back, StartAt::Offset(begin)));
            for _ in 0..4 {
                let again: i32 = value(&consumer).await.parse().expect("a number");
                assert_eq!(again % 16, back.partition.0);
            }
        }
    });
}

#[test]
fn topics_are_subscribed_by_pattern_as_they_come() {
    let place = Place::new();
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        block_on(async {
            let client =
                Client::builder(&place.bootstrap).metadata_max_age(Duration::from_millis(200)).build().expect("valid");
            let prefix = unique("pattern");
            let create = async |name: &str| {
                let name = format!("{prefix}-{name}");
                client.admin().create_topic(&NewTopic::new(&name)).await.expect("created");
                write(&client, &name, 1, 0..3).await;
                name
            };
            create("other").await;
            let first = create("orders-1").await;
            let consumer = client.consumer().group(&*unique("group")).group_protocol(protocol);
            // Who joins again gives up what it has, and goes on where it was.
            let consumer = consumer.offset_reset(OffsetReset::Earliest).auto_commit(Duration::from_millis(100));
            let consumer = consumer.build().expect("valid");
            assert!(consumer.subscribe_pattern("(").is_err());
            consumer.subscribe_pattern(&format!("{prefix}-orders-[0-9]+")).expect("a pattern");
            let read = async |wanted: &str| {
                for _ in 0..3 {
                    assert_eq!(&*consumer.recv().await.expect("a record").topic, wanted);
                }
            };
            read(&first).await;
            let second = create("orders-2").await;
            read(&second).await;
            consumer.close().await;
        });
    }
}

/// Kafka's own tools and jars; CI has them.
fn kafka_script() -> Command {
    Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/kafka"))
}

/// The class path of Kafka's jars; without it, and outside of CI, nothing of Java is tested.
fn jars() -> Option<String> {
    let said = kafka_script().arg("jars").output().expect("the script runs");
    if !said.status.success() {
        assert!(std::env::var("CI").is_err(), "CI has Kafka's jars: {}", String::from_utf8_lossy(&said.stderr));
        eprintln!("SKIP: no Kafka: {}", String::from_utf8_lossy(&said.stderr));
        return None;
    }
    Some(String::from_utf8(said.stdout).expect("text").trim().to_owned())
}

/// Reads so many records from the beginning. Gives where the log ends for this isolation, too.
async fn read(
    client: &Client,
    partition: &TopicPartition,
    isolation: IsolationLevel,
    count: usize,
) -> (Vec<String>, Offset) {
    let consumer = client.consumer().isolation_level(isolation).build().expect("valid");
    let end = consumer.end_offsets(std::slice::from_ref(partition)).await.expect("asked")[partition];
    consumer.assign([(partition.clone(), StartAt::Beginning)]);
    let mut values = Vec::new();
    while values.len() < count {
        values.push(value(&consumer).await);
    }
    // Behind the last record may be the markers of both producers' last transactions: they are written after a producer is answered.
    assert!(consumer.lag(partition).is_some_and(|lag| lag <= 2), "there is more: {:?}", consumer.lag(partition));
    (values, end)
}

/// KIP-98, as Kafka's own producer writes it.
#[test]
fn who_reads_what_is_committed_sees_no_aborted_and_no_open_transaction() {
    // Cairn serves no transactions yet.
    let (Some(place), Some(jars)) = (Place::kafka(), jars()) else { return };
    block_on(async {
        let client = place.client();
        let topic = topic(&client, "transactions", 1).await;
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/Transactions.java");
        let mut java = Command::new("java");
        java.args(["-cp", &jars]).arg(program).args([&place.bootstrap, &topic]).stdout(Stdio::null());
        assert!(java.status().expect("java runs").success());

        let partition = TopicPartition::new(topic.as_str(), 0);
        let (committed, stable_end) = read(&client, &partition, IsolationLevel::ReadCommitted, 15).await;
        let (all, end) = read(&client, &partition, IsolationLevel::ReadUncommitted, 26).await;
        assert!(stable_end < end, "a transaction is open");
        let of = |values: &[String], kind: &str| values.iter().filter(|value| value.starts_with(kind)).count();
        assert_eq!([of(&all, "committed"), of(&all, "aborted"), of(&all, "plain")], [10, 10, 5]);
        assert_eq!([of(&committed, "committed"), of(&committed, "aborted"), of(&committed, "open")], [10, 0, 0]);
        assert_eq!(of(&committed, "plain"), 5);

        // The same in whole batches.
        let consumer = client.consumer().isolation_level(IsolationLevel::ReadCommitted).build().expect("valid");
        consumer.assign([(partition.clone(), StartAt::Beginning)]);
        let mut values = Vec::new();
        while values.len() < committed.len() {
            let batches = consumer.recv_batches().await.expect("batches");
            batches
                .for_each(|it| values.push(String::from_utf8_lossy(it.value.unwrap_or_default()).into_owned()))
                .expect("whole");
        }
        assert_eq!(values, committed);
    });
}

/// One of Kafka's own consumers as a member of a group, for as long as this lives.
struct JavaMember {
    process: std::process::Child,
    read: Arc<Mutex<HashSet<String>>>,
}

impl JavaMember {
    fn start(bootstrap: &str, topic: &str, group: &str, assignor: Assignor) -> Self {
        let class = match assignor {
            Assignor::Range => "RangeAssignor",
            Assignor::RoundRobin => "RoundRobinAssignor",
            Assignor::Sticky => "StickyAssignor",
            Assignor::CooperativeSticky => "CooperativeStickyAssignor",
        };
        let mut command = kafka_script();
        command.args(["tool", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", bootstrap]);
        command.args(["--topic", topic, "--group", group]);
        for property in [
            format!("partition.assignment.strategy=org.apache.kafka.clients.consumer.{class}"),
            "auto.offset.reset=earliest".to_owned(),
            "heartbeat.interval.ms=500".to_owned(),
        ] {
            command.args(["--command-property", &property]);
        }
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let (output, read) = (process.stdout.take().expect("piped"), Arc::<Mutex<HashSet<String>>>::default());
        let seen = Arc::clone(&read);
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(output)).map_while(Result::ok) {
                seen.lock().expect("whole").insert(line);
            }
        });
        Self { process, read }
    }

    fn read(&self) -> HashSet<String> {
        self.read.lock().expect("whole").clone()
    }
}

impl Drop for JavaMember {
    fn drop(&mut self) {
        // The script and its JVM are a group of processes.
        drop(Command::new("kill").args(["-KILL", "--", &format!("-{}", self.process.id())]).status());
        drop(self.process.wait());
    }
}

/// The leader of the group is whoever came first: each of the two is it once.
fn share_with_java(assignor: Assignor) {
    if jars().is_none() {
        return;
    }
    let place = Place::new();
    block_on(async {
        let client = place.client();
        let (topic, group) = (topic(&client, "beside-java", 4).await, unique("beside-java"));
        let consumer = || {
            let consumer = client.consumer().group(&*group).assignors(&[assignor]).offset_reset(OffsetReset::Earliest);
            let consumer =
                consumer.auto_commit(Duration::from_millis(100)).heartbeat_interval(Duration::from_millis(300));
            let consumer = consumer.build().expect("valid");
            consumer.subscribe([topic.as_str()]).expect("a group");
            consumer
        };
        let mut written = 0;
        // Writes until this member and the other have read some of one round, and all of it was read.
        let mut both_read = async |ours: &Consumer, java: &JavaMember| {
            loop {
                write(&client, &topic, 4, written..written + 40).await;
                let round: HashSet<String> = (written..written + 40).map(|value| value.to_string()).collect();
                written += 40;
                let mut here = HashMap::<String, usize>::new();
                loop {
                    let read = java.read();
                    if round.iter().all(|value| read.contains(value) || here.contains_key(value)) {
                        break;
                    }
                    if let Ok(value) = tokio::time::timeout(Duration::from_millis(50), value(ours)).await {
                        *here.entry(value).or_default() += 1;
                    }
                }
                let (read, assigned) = (java.read(), ours.assigned().len());
                if assigned == 2
                    && round.iter().any(|value| read.contains(value))
                    && round.iter().any(|it| here.contains_key(it))
                {
                    return;
                }
            }
        };
        let ours = consumer();
        let asking = tokio::time::timeout(Duration::from_millis(1), ours.recv()).await;
        assert!(asking.is_err(), "there is nothing yet");
        while ours.assigned().len() < 4 {
            let _ = tokio::time::timeout(Duration::from_millis(50), ours.recv()).await;
        }
        let java = JavaMember::start(&place.bootstrap, &topic, &group, assignor);
        both_read(&ours, &java).await;
        // We go, and come back to a group that Java leads.
        ours.close().await;
        let ours = consumer();
        both_read(&ours, &java).await;
        drop(java);
        ours.close().await;
    });
}

#[test]
fn java_members_share_by_range() {
    share_with_java(Assignor::Range);
}

#[test]
fn java_members_share_by_round_robin() {
    share_with_java(Assignor::RoundRobin);
}

#[test]
fn java_members_share_by_sticky() {
    share_with_java(Assignor::Sticky);
}

#[test]
fn java_members_share_by_cooperative_sticky() {
    share_with_java(Assignor::CooperativeSticky);
}
