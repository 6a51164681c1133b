//! The client library against a real broker: Cairn in this process, or the one that `CAIRN_TEST_BOOTSTRAP` names.
//!
//! It stands here, since the library itself knows nothing of the server. With Apache Kafka:
//! `CAIRN_TEST_BOOTSTRAP=localhost:9092 cargo test -p cairn --test library`.

mod support;

use std::collections::HashMap;
use std::time::Duration;

use cairn_client::{
    Acks, AdminError, BrokerId, Client, Compression, ConfigChange, ConfigSource, ConsumerRecord, Election, ErrorCode,
    NewTopic, Offset, OffsetReset, ProduceError, ProducerRecord, Reassignment, RequestError, StartAt, Timestamp,
    TopicPartition,
};

use crate::support::place::{Place, unique};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

/// Asks until there is an answer.
async fn until<T>(within: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(within, asking).await.expect("it becomes so")
}

async fn read(client: &Client, topic: &str, count: usize) -> Vec<ConsumerRecord> {
    let consumer = client.consumer().build().expect("valid");
    consumer.assign_topic(topic, StartAt::Beginning).await.expect("the topic is there");
    let mut records = Vec::new();
    while records.len() < count {
        records.push(consumer.recv().await.expect("a record"));
    }
    records
}

#[test]
fn every_compression_and_acks_carries_all_parts_of_a_record() {
    let place = Place::new();
    block_on(async {
        let client = place.client();
        for compression in Compression::ALL {
            for acks in [Acks::All, Acks::Leader] {
                let topic = unique("parts");
                client.admin().create_topic(&NewTopic::new(&topic).partitions(3)).await.expect("created");
                let producer = client.producer().compression(compression).acks(acks).build().expect("valid");
                let mut deliveries = Vec::new();
                for number in 0..300 {
                    let record =
                        ProducerRecord::to(topic.as_str()).partition(number % 3).timestamp_ms(1_700_000_000_000);
                    let record = record.key(format!("k{number}")).header("a", "1").null_header("b").header("a", "2");
                    let record = if number == 5 { record } else { record.value(vec![b'v'; 100]) };
                    deliveries.push(producer.send(record).await.expect("sent"));
                }
                for (number, delivery) in (0..).zip(deliveries) {
                    let written = delivery.await.expect("written");
                    assert_eq!(
                        (written.partition.0, written.offset),
                        (number % 3, Some(Offset(i64::from(number / 3))))
                    );
                }
                let records = read(&client, &topic, 300).await;
                for record in records {
                    let number = record.offset.0 * 3 + i64::from(record.partition.0);
                    assert_eq!(record.key.as_deref(), Some(format!("k{number}").as_bytes()));
                    assert_eq!(record.value.is_none(), number == 5, "{compression:?}");
                    assert_eq!(record.timestamp, Timestamp(1_700_000_000_000));
                    let headers: Vec<_> =
                        record.headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
                    assert_eq!(headers, [(&b"a"[..], Some(&b"1"[..])), (b"b", None), (b"a", Some(b"2"))]);
                }
                client.admin().delete_topic(&topic).await.expect("deleted");
            }
        }
    });
}

#[test]
fn where_partitions_are_is_told_and_changed() {
    let place = Place::new();
    block_on(async {
        let admin = place.client().admin();
        let name = unique("placed");
        let new = NewTopic::new(&name).partitions(2).replication_factor(1).config("min.insync.replicas", "1");
        admin.create_topic(&new).await.expect("created");
        let described = until(Duration::from_secs(20), async || {
            let topics = admin.describe_all_topics().await.expect("described");
            let found = topics.into_iter().find(|topic| *topic.name == *name);
            found.filter(|topic| topic.partitions.iter().all(|it| it.leader.is_some()))
        });
        let described = described.await;
        assert_eq!(described.partitions.len(), 2);
        let replicas = described.partitions[0].replicas.clone();
        assert_eq!(replicas, described.partitions[0].in_sync);
        let cluster = admin.describe_cluster().await.expect("an answer");
        assert!(cluster.brokers.iter().any(|broker| broker.id == replicas[0] && !broker.is_fenced));
        let topics = [name.as_str().into(), unique("absent").as_str().into()];
        let told = admin.describe_config_of_topics(&topics, "min.insync.replicas").await.expect("an answer");
        assert_eq!(told.into_iter().collect::<Vec<_>>(), [(name.as_str().into(), "1".into())]);

        let partition = TopicPartition::new(name.as_str(), 0);
        let dirs = admin.describe_log_dirs(replicas[0]).await.expect("an answer");
        assert!(dirs.iter().flat_map(|dir| &dir.logs).any(|log| log.partition == partition && !log.is_future));

        let alter = async |wanted: Reassignment| {
            let wanted = [(partition.clone(), wanted)].into();
            let refused = admin.alter_partition_reassignments(&wanted).await.expect("an answer");
            refused.first().and_then(|(_, error)| error.code())
        };
        assert_eq!(alter(Reassignment::To(replicas)).await, None);
        assert_eq!(alter(Reassignment::To(vec![BrokerId(9_999)])).await, Some(ErrorCode::InvalidReplicaAssignment));
        assert_eq!(alter(Reassignment::Cancel).await, Some(ErrorCode::NoReassignmentInProgress));
        assert!(!admin.list_partition_reassignments().await.expect("an answer").contains_key(&partition));

        match admin.elect_leaders(Election::Preferred, &[partition]).await {
            // It leads already, which is no refusal.
            Ok(refused) => assert!(refused.is_empty(), "{refused:?}"),
            Err(AdminError::Request(RequestError::Unsupported { .. })) => {}
            Err(error) => panic!("{error}"),
        }
        admin.delete_topic(&name).await.expect("deleted");
    });
}

#[test]
fn admin_calls_do_what_they_say() {
    let place = Place::new();
    block_on(async {
        let client = place.client();
        let admin = client.admin();
        let cluster = admin.describe_cluster().await.expect("an answer");
        assert!(!cluster.brokers.is_empty() && !cluster.id.is_empty());

        let name = unique("admin");
        let new = NewTopic::new(&name).partitions(2).replication_factor(1).config("retention.ms", "3600000");
        admin.create_topic(&new).await.expect("created");
        let error = admin.create_topic(&new).await.expect_err("it is there");
        assert_eq!(error.code(), Some(ErrorCode::TopicAlreadyExists));
        let error = admin.create_topic(&NewTopic::new("not/allowed")).await.expect_err("a bad name");
        assert_eq!(error.code(), Some(ErrorCode::InvalidTopicException));
        until(Duration::from_secs(20), async || {
            let topics = admin.list_topics().await.expect("an answer");
            topics.iter().any(|it| *it.name == *name && it.partitions == 2).then_some(())
        })
        .await;

        admin.create_partitions(&name, 5).await.expect("grown");
        let error = admin.create_partitions(&name, 3).await.expect_err("fewer");
        assert_eq!(error.code(), Some(ErrorCode::InvalidPartitions));
        let described = until(Duration::from_secs(20), async || {
            let described = admin.describe_topic(&name).await.expect("described");
            (described.partitions.len() == 5).then_some(described)
        });
        let described = described.await;
        assert!(!described.id.is_zero() && described.partitions.iter().all(|it| it.leader.is_some()));

        let set = ConfigChange::Set { key: "max.message.bytes".into(), value: "2000".into() };
        let delete = ConfigChange::Delete { key: "retention.ms".into() };
        admin.alter_topic_configs(&name, &[set, delete]).await.expect("altered");
        // Another broker than the one that took the change may need a moment to hear of it.
        let own = until(Duration::from_secs(20), async || {
            let configs = admin.describe_topic_configs(&name).await.expect("described");
            let own = configs.into_iter().filter(|it| it.source == ConfigSource::Topic);
            let own: Vec<_> = own.map(|it| (it.name.to_string(), it.value.unwrap_or_default().to_string())).collect();
            let is_new = own.iter().all(|(key, _)| key != "retention.ms");
            is_new.then_some(own)
        });
        assert_eq!(own.await, [("max.message.bytes".to_owned(), "2000".to_owned())]);
        let wrong = ConfigChange::Set { key: "retention.ms".into(), value: "soon".into() };
        let error = admin.alter_topic_configs(&name, &[wrong]).await.expect_err("no number");
        assert_eq!(error.code(), Some(ErrorCode::InvalidConfig));

        admin.delete_topic(&name).await.expect("deleted");
        let error = until(Duration::from_secs(20), async || admin.describe_topic(&name).await.err()).await;
        assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
    });
}

#[test]
fn what_a_topic_does_not_take_is_refused_alone() {
    let place = Place::new();
    block_on(async {
        let client = place.client();
        let topic = unique("small");
        let new = NewTopic::new(&topic).partitions(1).config("max.message.bytes", "1000");
        client.admin().create_topic(&new).await.expect("created");
        let producer = client.producer().linger(Duration::ZERO).build().expect("valid");
        let record = |bytes: usize| ProducerRecord::to(topic.as_str()).value(vec![b'x'; bytes]);
        producer.send_and_wait(record(10)).await.expect("written");
        let error = producer.send_and_wait(record(5_000)).await.expect_err("too large");
        assert!(matches!(error, ProduceError::Refused { code: ErrorCode::MessageTooLarge, .. }), "{error}");
        let written = producer.send_and_wait(record(10)).await.expect("written");
        assert_eq!(written.offset, Some(Offset(1)));

        // Many small records gather in a batch that the topic does not take: it goes in parts.
        let producer = client.producer().linger(Duration::from_millis(50)).build().expect("valid");
        let mut deliveries = Vec::new();
        for _ in 0..200 {
            deliveries.push(producer.send(record(50)).await.expect("sent"));
        }
        for (offset, delivery) in (2..).zip(deliveries) {
            assert_eq!(delivery.await.expect("written").offset, Some(Offset(offset)));
        }
    });
}

#[test]
fn offsets_are_found_committed_and_deleted() {
    let place = Place::new();
    block_on(async {
        let client = place.client();
        let (topic, group) = (unique("offsets"), unique("group"));
        client.admin().create_topic(&NewTopic::new(&topic).partitions(1)).await.expect("created");
        let producer = client.producer().linger(Duration::ZERO).build().expect("valid");
        for number in 0..50_i64 {
            let record = ProducerRecord::to(topic.as_str()).timestamp_ms(1_700_000_000_000 + number).value("v");
            producer.send_and_wait(record).await.expect("written");
        }
        let partition = TopicPartition::new(topic.as_str(), 0);
        let consumer =
            client.consumer().group(group.as_str()).offset_reset(OffsetReset::Earliest).build().expect("valid");
        let at = |time| HashMap::from([(partition.clone(), Timestamp(time))]);
        let found = consumer.offsets_for_times(&at(1_700_000_000_020)).await.expect("an answer");
        assert_eq!(found[&partition], Some(Offset(20)));
        let found = consumer.offsets_for_times(&at(1_800_000_000_000)).await.expect("an answer");
        assert_eq!(found[&partition], None);

        consumer.assign([(partition.clone(), StartAt::Committed)]);
        for _ in 0..30 {
            consumer.recv().await.expect("a record");
        }
        consumer.commit().await.expect("committed");
        let committed = consumer.committed(std::slice::from_ref(&partition)).await.expect("an answer");
        assert_eq!(committed[&partition].offset, Offset(30));
        drop(consumer);

        let first = client.admin().delete_records(&partition, Some(Offset(40))).await.expect("deleted");
        assert_eq!(first, Offset(40));
        let consumer =
            client.consumer().group(group.as_str()).offset_reset(OffsetReset::Earliest).build().expect("valid");
        consumer.assign([(partition.clone(), StartAt::Committed)]);
        let record = consumer.recv().await.expect("a record");
        assert_eq!(record.offset, Offset(40), "what was committed is gone: the policy says earliest");
        assert_eq!(
            consumer.beginning_offsets(std::slice::from_ref(&partition)).await.expect("an answer")[&partition],
            Offset(40)
        );
    });
}

#[test]
fn many_partitions_and_concurrent_senders_lose_nothing() {
    let place = Place::new();
    block_on(async {
        let client = place.client();
        let topic = unique("many");
        client.admin().create_topic(&NewTopic::new(&topic).partitions(12)).await.expect("created");
        let producer = client.producer().batch_bytes(4096).build().expect("valid");
        let mut senders = tokio::task::JoinSet::new();
        for sender in 0..8 {
            let (producer, topic) = (producer.clone(), std::sync::Arc::<str>::from(topic.as_str()));
            senders.spawn(async move {
                for number in 0..1_000 {
                    let value = format!("{sender}:{number}");
                    let record = ProducerRecord::to(std::sync::Arc::clone(&topic)).key(format!("{sender}"));
                    drop(producer.send(record.value(value)).await.expect("sent"));
                }
            });
        }
        while let Some(done) = senders.join_next().await {
            done.expect("no panic");
        }
        producer.close(Duration::from_secs(60)).await.expect("all delivered");
        let mut next = HashMap::new();
        for record in read(&client, &topic, 8_000).await {
            let text = String::from_utf8(record.value.expect("a value").to_vec()).expect("text");
            let (sender, number) = text.split_once(':').expect("two numbers");
            let next = next.entry(sender.to_owned()).or_insert(0);
            assert_eq!(number.parse::<u32>().ok(), Some(*next), "sender {sender} in order");
            *next += 1;
        }
        assert!(next.len() == 8 && next.values().all(|count| *count == 1_000));
    });
}
