//! Records on three brokers: committed when all in sync have them, and there whoever leads.

use bytes::Bytes;
use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::Timestamp;
use cairn_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use cairn_protocol::messages::metadata_response::MetadataResponsePartition;
use cairn_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use cairn_protocol::messages::{FetchRequest, ProduceRequest};
use cairn_protocol::records::{BatchBuilder, BatchView, DecompressLimits, NewRecord};

use super::{Member, eventually};

pub(super) const TOPIC: &str = "replicated";

impl Member {
    pub(super) async fn partition(&self) -> Option<MetadataResponsePartition> {
        let mut topics = self.metadata().await.topics;
        topics.retain(|topic| topic.name.as_deref() == Some(TOPIC));
        topics.pop()?.partitions.pop()
    }

    pub(super) async fn produce(&self, acks: i16, value: &str) -> (ErrorCode, i64) {
        let mut builder = BatchBuilder::new();
        let record = NewRecord { timestamp: Timestamp(1), key: None, value: Some(value.as_bytes()), headers: &[] };
        builder.append(&record).expect("fits");
        let records = Some(builder.finish(None).expect("a batch"));
        let partition_data = vec![PartitionProduceData { index: 0, records }];
        let topic = TopicProduceData { name: TOPIC.into(), partition_data, ..TopicProduceData::default() };
        let request = ProduceRequest { acks, timeout_ms: 10_000, topic_data: vec![topic], ..ProduceRequest::default() };
        let answer = self.ask(ApiKey::Produce, 9, &request).await;
        let partition = &answer.responses[0].partition_responses[0];
        (ErrorCode::from_code(partition.error_code).expect("a code"), partition.base_offset)
    }

    /// The values that may be read from an offset on, where this broker leads.
    pub(super) async fn values(&self, from: i64) -> Result<Vec<String>, ErrorCode> {
        let mut all = Vec::new();
        loop {
            // One answer ends where a segment ends, and one begins where a replica has cut off what its leader lacks.
            let next = from + i64::try_from(all.len()).expect("few");
            let (more, _) = self.fetch(10, next, "", 0).await?;
            if more.is_empty() {
                return Ok(all);
            }
            all.extend(more);
        }
    }

    /// What may be read from an offset on by who stands in a rack, and where that one shall rather read (-1: here).
    pub(super) async fn fetch(
        &self,
        version: i16,
        from: i64,
        rack: &str,
        max_wait_ms: i32,
    ) -> Result<(Vec<String>, i32), ErrorCode> {
        let partition = FetchPartition {
            partition: 0,
            fetch_offset: from,
            partition_max_bytes: 1 << 20,
            current_leader_epoch: -1,
            ..FetchPartition::default()
        };
        let topic = FetchTopic { topic: TOPIC.into(), partitions: vec![partition], ..FetchTopic::default() };
        let (max_bytes, topics, rack_id) = (1 << 20, vec![topic], rack.into());
        let request = FetchRequest { max_bytes, max_wait_ms, min_bytes: 1, topics, rack_id, ..FetchRequest::default() };
        let answer = self.ask(ApiKey::Fetch, version, &request).await;
        let partition = &answer.responses[0].partitions[0];
        match ErrorCode::from_code(partition.error_code).expect("a code") {
            ErrorCode::None => {
                Ok((values(&partition.records.clone().unwrap_or_default()), partition.preferred_read_replica))
            }
            error => Err(error),
        }
    }
}

fn values(records: &Bytes) -> Vec<String> {
    let mut values = Vec::new();
    let mut rest = records.clone();
    while let Ok(batch) = BatchView::parse_first(&rest) {
        let owner = rest.slice(..batch.as_bytes().len());
        let taken = batch.records(&owner, &DecompressLimits::default()).expect("records");
        for record in taken.iter() {
            values.push(String::from_utf8(record.expect("a record").value.expect("a value").to_vec()).expect("text"));
        }
        let length = batch.as_bytes().len();
        rest = rest.slice(length..);
    }
    values
}

/// Whoever leads, and the number of those in sync.
pub(super) async fn leader(of: &[&Member]) -> Option<(usize, usize)> {
    let partition = of[0].partition().await?;
    let leader = usize::try_from(partition.leader_id).ok()?;
    Some((leader, partition.isr_nodes.len()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_whoever_leads() {
    let first = Member::first().await;
    let second = Member::joining(&first).await;
    let third = Member::joining(&first).await;
    eventually("all three vote", || async { first.voters().await == 3 }).await;
    assert_eq!(first.create(TOPIC, 1, 3).await, ErrorCode::None);
    let mut members = vec![Some(first), Some(second), Some(third)];
    let mut expected = Vec::new();
    for round in 0..3 {
        let there: Vec<&Member> = members.iter().flatten().collect();
        eventually("all are in sync", || async { leader(&there).await.is_some_and(|(_, in_sync)| in_sync == 3) }).await;
        let (leads, _) = leader(&there).await.expect("a leader");
        let led_by = members[leads - 1].as_ref().expect("it serves");
        let it_leads = || async { leader(&[led_by]).await.is_some_and(|(now, _)| now == leads) };
        eventually("whoever leads has heard of it", it_leads).await;
        for number in 0..20 {
            let value = format!("{round}-{number}");
            let offset = i64::try_from(expected.len()).expect("few");
            assert_eq!(led_by.produce(-1, &value).await, (ErrorCode::None, offset));
            expected.push(value);
        }
        assert_eq!(led_by.values(0).await, Ok(expected.clone()), "what is acknowledged may be read");
        let other = &there.iter().find(|member| member.address() != led_by.address()).expect("two others");
        assert_eq!(other.values(0).await, Err(ErrorCode::NotLeaderOrFollower));
        assert_eq!(other.produce(-1, "nobody").await.0, ErrorCode::NotLeaderOrFollower);

        // The leader stops: another one has everything, and goes on.
        let folder = members[leads - 1].take().expect("it serves").stop().await;
        let left: Vec<&Member> = members.iter().flatten().collect();
        eventually("another one leads", || async {
            leader(&left).await.is_some_and(|(now, _)| now != leads && now > 0)
        })
        .await;
        let (now, _) = leader(&left).await.expect("a leader");
        let led_by = members[now - 1].as_ref().expect("it serves");
        eventually("it takes records", || async { led_by.produce(-1, "after").await.0 == ErrorCode::None }).await;
        expected.push("after".into());
        eventually("it shows all", || async { led_by.values(0).await == Ok(expected.clone()) }).await;
        members[leads - 1] = Some(Member::start(folder, &[]).await);
    }
    for member in members.into_iter().flatten() {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_larger_than_any_other_message_is_replicated() {
    let large = ("message.max.bytes", "33554432");
    let first = Member::start(tempfile::tempdir().unwrap(), &[large]).await;
    let join = first.address().to_string();
    let second = Member::start(tempfile::tempdir().unwrap(), &[large, ("cluster.join", &join)]).await;
    assert_eq!(first.create(TOPIC, 1, 2).await, ErrorCode::None);
    let both = [&first, &second];
    eventually("both are in sync", || async { leader(&both).await.is_some_and(|(_, in_sync)| in_sync == 2) }).await;
    let (leads, _) = leader(&both).await.expect("a leader");
    let led_by = both[leads - 1];
    let it_leads = || async { leader(&[led_by]).await.is_some_and(|(now, _)| now == leads) };
    eventually("whoever leads has heard of it", it_leads).await;
    // The bodies of messages between brokers end at 16 MiB.
    let value = "v".repeat(17 << 20);
    assert_eq!(led_by.produce(-1, &value).await, (ErrorCode::None, 0));
    assert_eq!(led_by.produce(-1, "after").await, (ErrorCode::None, 1));
    let read = led_by.values(0).await.expect("served");
    assert!(read.first() == Some(&value), "{} values", read.len());
    assert_eq!(leader(&both).await, Some((leads, 2)), "both have it");
    for member in [second, first] {
        member.stop().await;
    }
}
