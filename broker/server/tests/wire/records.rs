//! Record batches for tests, and the produces and fetches that carry them.

use bytes::Bytes;
use cairn_protocol::ids::{Offset, ProducerEpoch, ProducerId, Timestamp};
use cairn_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use cairn_protocol::messages::fetch_response::PartitionData;
use cairn_protocol::messages::metadata_request::MetadataRequestTopic;
use cairn_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use cairn_protocol::messages::produce_response::PartitionProduceResponse;
use cairn_protocol::messages::{FetchRequest, FetchResponse, MetadataRequest, ProduceRequest, ProduceResponse};
use cairn_protocol::records::{BatchBuilder, BatchIter, BatchProducer, Compression, DecompressLimits, NewRecord};

use crate::harness::Client;

/// A batch with these values, all at time `at`.
pub(crate) fn batch_at(at: i64, values: &[&str]) -> Bytes {
    built(BatchBuilder::new(), at, values, None)
}

/// A batch with these values, now.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_at(now(), values)
}

pub(crate) fn compressed(codec: Compression, values: &[&str]) -> Bytes {
    built(BatchBuilder::new().with_compression(codec, None).unwrap(), now(), values, None)
}

/// A batch of records with keys, now.
pub(crate) fn keyed(records: &[(&str, &str)]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (key, value) in records {
        let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
        builder.append(&NewRecord { timestamp: Timestamp(now()), key, value, headers: &[] }).unwrap();
    }
    builder.finish(None).unwrap()
}

/// A batch of an idempotent producer.
pub(crate) fn idempotent(id: i64, epoch: i16, base_sequence: i32, values: &[&str]) -> Bytes {
    let producer = BatchProducer { id: ProducerId(id), epoch: ProducerEpoch(epoch), base_sequence };
    built(BatchBuilder::new(), now(), values, Some(producer))
}

pub(crate) fn transactional(values: &[&str]) -> Bytes {
    let producer = BatchProducer { id: ProducerId(1), epoch: ProducerEpoch(0), base_sequence: 0 };
    built(BatchBuilder::new().transactional(), now(), values, Some(producer))
}

fn built(mut builder: BatchBuilder, at: i64, values: &[&str], producer: Option<BatchProducer>) -> Bytes {
    for value in values {
        let value = Some(value.as_bytes());
        builder.append(&NewRecord { timestamp: Timestamp(at), value, ..NewRecord::default() }).unwrap();
    }
    builder.finish(producer).unwrap()
}

pub(crate) fn now() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since_epoch.as_millis()).unwrap()
}

/// A produce of one batch.
pub(crate) fn produce(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![PartitionProduceData { index: partition, records: Some(records) }],
            ..TopicProduceData::default()
        }],
    }
}

/// The only partition of an answer.
pub(crate) fn produced(response: ProduceResponse) -> PartitionProduceResponse {
    let [mut topic] = <[_; 1]>::try_from(response.responses).unwrap();
    topic.partition_responses.remove(0)
}

/// A fetch of one partition, outside a session, that waits for nothing.
pub(crate) fn fetch(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 64 << 20,
        topics: vec![fetch_topic(topic, partition, offset)],
        ..FetchRequest::default()
    }
}

pub(crate) fn fetch_topic(topic: &str, partition: i32, fetch_offset: i64) -> FetchTopic {
    let partition =
        FetchPartition { partition, fetch_offset, partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    FetchTopic { topic: topic.into(), partitions: vec![partition], ..FetchTopic::default() }
}

/// The only partition of an answer.
pub(crate) fn fetched(response: FetchResponse) -> PartitionData {
    assert_eq!(response.error_code, 0);
    let [mut topic] = <[_; 1]>::try_from(response.responses).unwrap();
    topic.partitions.remove(0)
}

/// Offsets and values of all records of an answer.
pub(crate) fn values(data: &PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.clone().unwrap();
    let mut values = Vec::new();
    for batch in BatchIter::new(&bytes) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        let records = batch.records(&bytes, &DecompressLimits::default()).unwrap();
        for record in records.iter() {
            let record = record.unwrap();
            let Offset(offset) = record.offset;
            values.push((offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
        }
    }
    values
}

/// Makes a topic as the broker's configuration says; gives its id.
pub(crate) async fn make_topic(client: &mut Client, name: &str) -> uuid::Uuid {
    let topic = MetadataRequestTopic { name: Some(name.into()), ..MetadataRequestTopic::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() };
    let response = client.call(12, &request).await;
    assert_eq!(response.topics[0].error_code, 0);
    response.topics[0].topic_id
}

/// Appends one batch; gives its base offset.
pub(crate) async fn append(client: &mut Client, topic: &str, records: Bytes) -> i64 {
    let response = produced(client.call(9, &produce(topic, 0, -1, records)).await);
    assert_eq!((response.error_code, response.error_message), (0, None));
    response.base_offset
}
