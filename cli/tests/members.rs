//! Members of groups in the client library, against a real broker: Cairn, or the one that `CAIRN_TEST_BOOTSTRAP` names.
//!
//! With Apache Kafka: `CAIRN_TEST_BOOTSTRAP=localhost:9092 cargo test -p cairn --test members`.

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_client::{
    Assignor, Client, Consumer, ConsumerBuilder, ErrorCode, GroupProtocol, GroupState, GroupType, NewTopic,
    OffsetReset, OffsetsError, ProducerRecord, RebalanceKind, TopicPartition,
};

use crate::support::place::{Place, unique};
use crate::support::{Served, terminate};

/// More than any of it takes, so that it only ends what hangs.
const LONG: Duration = Duration::from_secs(90);
/// The shortest that brokers allow by default.
const SHORT_SESSION: Duration = Duration::from_secs(6);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Asks until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            // What is waited for happens in other tasks and processes, which need the processor.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, asking).await.unwrap_or_else(|_| panic!("not within {LONG:?}: {what}"));
}

async fn topic_of_four(client: &Client) -> String {
    let topic = unique("shared");
    client.admin().create_topic(&NewTopic::new(&topic).partitions(4)).await.expect("created");
    topic
}

/// Writes to all four partitions in turn.
async fn write(client: &Client, topic: &str, values: std::ops::Range<i32>) {
    let producer = client.producer().build().expect("valid");
    for value in values {
        let record = ProducerRecord::to(topic).partition(value % 4).value(value.to_string());
        drop(producer.send(record).await.expect("sent"));
    }
    producer.close(LONG).await.expect("written");
}

/// How often each value was read, by any member.
type Seen = Arc<Mutex<HashMap<String, usize>>>;

fn distinct(seen: &Seen) -> usize {
    seen.lock().expect("whole").len()
}

fn total(seen: &Seen) -> usize {
    seen.lock().expect("whole").values().sum()
}

/// Reads until the consumer is closed or dropped.
fn read_into(consumer: &Consumer, seen: &Seen) -> tokio::task::JoinHandle<()> {
    let (consumer, seen) = (consumer.clone(), Arc::clone(seen));
    tokio::spawn(async move {
        while let Ok(record) = consumer.recv().await {
            let value = String::from_utf8(record.value.expect("a value").to_vec()).expect("text");
            *seen.lock().expect("whole").entry(value).or_default() += 1;
        }
    })
}

fn member(client: &Client, group: &str) -> ConsumerBuilder {
    client.consumer().group(group).offset_reset(OffsetReset::Earliest).auto_commit(Duration::from_millis(100))
}

fn assigned(consumer: &Consumer) -> usize {
    consumer.assigned().len()
}

/// Whether the broker serves KIP-848. Says so when it does not.
async fn serves(client: &Client, protocol: GroupProtocol) -> bool {
    if protocol == GroupProtocol::Classic {
        return true;
    }
    let consumer = client.consumer().group(unique("probe")).group_protocol(protocol).build().expect("valid");
    let mut rebalances = consumer.rebalances();
    consumer.subscribe([unique("nothing")]).expect("it has a group");
    let served = tokio::select! {
        rebalance = rebalances.next() => rebalance.is_some(),
        refused = consumer.recv() => {
            let refused = refused.expect_err("there is nothing to read").to_string();
            assert!(refused.contains("does not serve"), "{refused}");
            false
        }
    };
    consumer.close().await;
    if !served {
        eprintln!("SKIP: the broker does not serve ConsumerGroupHeartbeat");
    }
    served
}

/// Two members; `with` is what they have beyond what is usual.
fn share_and_take_over(kind: GroupType, assignor: &str, with: impl Fn(ConsumerBuilder) -> ConsumerBuilder) {
    let place = Place::new();
    runtime().block_on(async {
        let client = place.client();
        let protocol = if kind == GroupType::Consumer { GroupProtocol::Consumer } else { GroupProtocol::Classic };
        if !serves(&client, protocol).await {
            return;
        }
        let (topic, group) = (topic_of_four(&client).await, unique("group"));
        let seen = Seen::default();
        write(&client, &topic, 0..400).await;
        let first = with(member(&client, &group)).build().expect("valid");
        first.subscribe([topic.as_str()]).expect("it has a group");
        let reading = read_into(&first, &seen);
        until("the first has all and reads all", async || assigned(&first) == 4 && distinct(&seen) == 400).await;

        let second = with(member(&client, &group)).build().expect("valid");
        second.subscribe([topic.as_str()]).expect("it has a group");
        let second_reading = read_into(&second, &seen);
        until("they share", async || assigned(&first) == 2 && assigned(&second) == 2).await;
        write(&client, &topic, 400..800).await;
        until("both read", async || distinct(&seen) == 800).await;
        until("all have what they are to have", async || {
            client.admin().describe_group(&group).await.is_ok_and(|it| it.state == GroupState::Stable)
        })
        .await;
        let described = client.admin().describe_group(&group).await.expect("described");
        assert_eq!(described.members.len(), 2);
        assert_eq!((described.kind, described.assignor.as_deref()), (kind, Some(assignor)));
        let theirs: Vec<TopicPartition> = described.members.iter().flat_map(|it| it.assigned.clone()).collect();
        assert_eq!(theirs.len(), 4, "{theirs:?}");

        second_reading.abort();
        let _ = second_reading.await;
        second.close().await;
        until("the first has all again", async || assigned(&first) == 4).await;
        write(&client, &topic, 800..900).await;
        until("it reads all", async || distinct(&seen) == 900).await;
        reading.abort();
        let _ = reading.await;
        first.close().await;
        // Partitions went from hand to hand only between two records, and after a commit.
        assert_eq!(total(&seen), 900, "records were read twice");
        let offsets = client.admin().group_offsets(&group).await.expect("told");
        assert_eq!(offsets.values().map(|committed| committed.offset.0).sum::<i64>(), 900);
        let described = client.admin().describe_group(&group).await.expect("described");
        assert_eq!((described.state, described.members.len()), (GroupState::Empty, 0));
    });
}

#[test]
fn eager_members_share_and_take_over() {
    share_and_take_over(GroupType::Classic, "range", |it| it);
}

#[test]
fn cooperative_members_share_and_take_over() {
    let only = [Assignor::CooperativeSticky];
    share_and_take_over(GroupType::Classic, only[0].name(), |it| it.assignors(&only));
}

#[test]
fn members_of_the_next_generation_share_and_take_over() {
    share_and_take_over(GroupType::Consumer, "uniform", |it| it.group_protocol(GroupProtocol::Consumer));
}

#[test]
fn a_cooperative_member_gives_up_no_more_than_it_must() {
    let place = Place::new();
    runtime().block_on(async {
        let client = place.client();
        let (topic, group) = (topic_of_four(&client).await, unique("group"));
        let build = || member(&client, &group).assignors(&[Assignor::CooperativeSticky]).build().expect("valid");
        let first = build();
        let mut rebalances = first.rebalances();
        first.subscribe([topic.as_str()]).expect("it has a group");
        // A broker may need a moment until it knows the topic; then there is nothing to give at first.
        while first.assigned().len() < 4 {
            let rebalance = rebalances.next().await.expect("an event");
            assert_eq!(rebalance.kind(), RebalanceKind::Assigned);
        }
        let second = build();
        second.subscribe([topic.as_str()]).expect("it has a group");
        let reading = read_into(&second, &Seen::default());
        let mut revoked = 0;
        while revoked < 2 {
            let rebalance = rebalances.next().await.expect("an event");
            assert_ne!(rebalance.kind(), RebalanceKind::Lost);
            if rebalance.kind() == RebalanceKind::Revoked {
                revoked += rebalance.partitions().len();
                assert_eq!(first.assigned().len(), 4, "they are there until the event is dropped");
                assert_eq!(assigned(&second), 0, "nobody has them meanwhile");
            }
        }
        assert_eq!(revoked, 2);
        // Nothing is read here but the group goes on while the events are heeded.
        let heeding = tokio::spawn(async move { while rebalances.next().await.is_some() {} });
        until("they share", async || assigned(&first) == 2 && assigned(&second) == 2).await;
        heeding.abort();
        reading.abort();
    });
}

#[test]
fn what_a_killed_member_did_not_commit_is_read_by_another() {
    let place = Place::new();
    let client = place.client();
    let (topic, group, seen) = (runtime().block_on(topic_of_four(&client)), unique("group"), Seen::default());
    let doomed = runtime();
    doomed.block_on(async {
        let client = place.client();
        write(&client, &topic, 0..100).await;
        let consumer = member(&client, &group).session_timeout(SHORT_SESSION).auto_commit(LONG).build().expect("valid");
        consumer.subscribe([topic.as_str()]).expect("it has a group");
        read_into(&consumer, &seen);
        until("it reads all", async || distinct(&seen) == 100).await;
        // With the runtime its tasks end in the middle of whatever they do: nobody says that it leaves.
        std::mem::forget(consumer);
    });
    doomed.shutdown_background();
    runtime().block_on(async {
        let client = place.client();
        let survivor = member(&client, &group).session_timeout(SHORT_SESSION).build().expect("valid");
        survivor.subscribe([topic.as_str()]).expect("it has a group");
        read_into(&survivor, &seen);
        until("the other's session ends and all is read", async || total(&seen) >= 200).await;
        assert_eq!(assigned(&survivor), 4);
        assert_eq!(total(&seen), 200, "nothing was committed: all is read again, once");
        survivor.close().await;
    });
}

#[test]
fn who_does_not_ask_makes_way_and_cannot_commit() {
    makes_way(GroupProtocol::Classic);
}

#[test]
fn who_does_not_ask_makes_way_in_the_next_generation_too() {
    makes_way(GroupProtocol::Consumer);
}

fn makes_way(protocol: GroupProtocol) {
    let place = Place::new();
    runtime().block_on(async {
        let client = place.client();
        if !serves(&client, protocol).await {
            return;
        }
        let (topic, group) = (topic_of_four(&client).await, unique("group"));
        write(&client, &topic, 0..100).await;
        let slow = client.consumer().group(group.as_str()).offset_reset(OffsetReset::Earliest);
        let slow = slow.group_protocol(protocol).max_poll_interval(Duration::from_secs(2)).build().expect("valid");
        slow.subscribe([topic.as_str()]).expect("it has a group");
        let record = slow.recv().await.expect("a record");
        let mut rebalances = slow.rebalances();
        // It works on the record for ever so long.
        let lost = rebalances.next().await.expect("an event");
        assert_eq!((lost.kind(), lost.partitions().len()), (RebalanceKind::Lost, 4));
        drop(lost);
        let offsets = HashMap::from([(
            TopicPartition { topic: record.topic, partition: record.partition },
            record.offset.into(),
        )]);
        let refused = slow.commit_offsets(&offsets).await.expect_err("others may have the partition");
        assert!(matches!(refused, OffsetsError::NoMember { .. }), "{refused}");
        // It asks again.
        let asking = slow.clone();
        let asked = tokio::spawn(async move { asking.recv().await });
        let given = rebalances.next().await.expect("an event");
        assert_eq!((given.kind(), given.partitions().len()), (RebalanceKind::Assigned, 4));
        drop(given);
        asked.await.expect("no panic").expect("a record");
        slow.commit().await.expect("it is a member again");
        slow.close().await;
    });
}

#[test]
fn a_static_member_keeps_its_place_and_a_second_of_its_name_takes_it() {
    let place = Place::new();
    runtime().block_on(async {
        let client = place.client();
        let (topic, group) = (topic_of_four(&client).await, unique("group"));
        let build = || member(&client, &group).group_instance_id("one").build().expect("valid");
        let first = build();
        first.subscribe([topic.as_str()]).expect("it has a group");
        let reading = read_into(&first, &Seen::default());
        until("it has all", async || assigned(&first) == 4).await;
        reading.abort();
        let _ = reading.await;
        first.close().await;
        let described = client.admin().describe_group(&group).await.expect("described");
        assert_eq!(described.members.len(), 1, "its place is kept");
        let second = build();
        second.subscribe([topic.as_str()]).expect("it has a group");
        let _reading = read_into(&second, &Seen::default());
        until("it has all again", async || assigned(&second) == 4).await;

        let third = build();
        third.subscribe([topic.as_str()]).expect("it has a group");
        let _reading = read_into(&third, &Seen::default());
        until("the newer one has all", async || assigned(&third) == 4).await;
        until("the older one is fenced", async || assigned(&second) == 0).await;
        third.close().await;
    });
}

#[test]
fn a_member_that_can_never_be_one_says_so() {
    let place = Place::new();
    runtime().block_on(async {
        let client = place.client();
        let (topic, group) = (topic_of_four(&client).await, unique("group"));
        let build = |assignor| member(&client, &group).assignors(&[assignor]).build().expect("valid");
        let first = build(Assignor::Range);
        first.subscribe([topic.as_str()]).expect("it has a group");
        until("it has all", async || assigned(&first) == 4).await;
        let other = build(Assignor::CooperativeSticky);
        other.subscribe([topic.as_str()]).expect("it has a group");
        let error = other.recv().await.expect_err("no assignor in common");
        assert!(error.to_string().contains(ErrorCode::InconsistentGroupProtocol.name()), "{error}");
        assert_eq!(assigned(&first), 4, "the others go on");
        let none = client.consumer().build().expect("valid").subscribe(["t"]).expect_err("whose member?");
        assert!(matches!(none, OffsetsError::NoGroup));
    });
}

#[test]
fn members_go_on_after_the_broker_was_killed() {
    go_on(GroupProtocol::Classic);
}

#[test]
fn members_of_the_next_generation_go_on_after_the_broker_was_killed() {
    go_on(GroupProtocol::Consumer);
}

fn go_on(protocol: GroupProtocol) {
    if std::env::var("CAIRN_TEST_BOOTSTRAP").is_ok() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let set = ["--set", "offsets.topic.num.partitions=2"];
    let mut served = Served::start(folder.path(), &set);
    let address = served.address().to_owned();
    runtime().block_on(async {
        let client = Client::new(&address).expect("an address");
        if !serves(&client, protocol).await {
            return;
        }
        let (topic, group, seen) = (topic_of_four(&client).await, unique("group"), Seen::default());
        let build = || member(&client, &group).group_protocol(protocol).build().expect("valid");
        let members = [build(), build()];
        for member in &members {
            member.subscribe([topic.as_str()]).expect("it has a group");
            read_into(member, &seen);
        }
        let share = || assigned(&members[0]) == 2 && assigned(&members[1]) == 2;
        write(&client, &topic, 0..400).await;
        until("they share and read", async || share() && distinct(&seen) == 400).await;
        for round in 1..=2 {
            served.child.kill().expect("killed");
            served.child.wait().expect("ends");
            served = Served::start_at(folder.path(), &address, &set);
            write(&client, &topic, round * 400..round * 400 + 400).await;
            let wanted = usize::try_from(round * 400 + 400).expect("small");
            until("they go on", async || share() && distinct(&seen) == wanted).await;
        }
        let [first, second] = members;
        first.close().await;
        second.close().await;
    });
    terminate(served.child.id());
    assert!(served.child.wait().expect("ends").success());
}
