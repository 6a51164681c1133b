//! Bytes that were put together by hand from Kafka's protocol description, against what the codecs make and read.

use bytes::Bytes;
use cairn_protocol::codec::{DecodeError, EncodeError, Message, Reader, Writer};
use cairn_protocol::header::{RequestHeader, ResponseHeader};
use cairn_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use cairn_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use cairn_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, ConsumerGroupMemberMetadataValue, DescribeTopicPartitionsRequest,
    FetchRequest, MetadataRequest, ProduceRequest,
};
use cairn_protocol::{ApiKey, Request};
use uuid::Uuid;

fn check<M: Message>(message: &M, version: i16, bytes: &[u8]) {
    assert_eq!(message.to_bytes(version).as_deref(), Ok(bytes), "{} {version} written", M::NAME);
    assert_eq!(
        M::decode_all(Bytes::copy_from_slice(bytes), version).as_ref(),
        Ok(message),
        "{} {version} read",
        M::NAME
    );
}

#[test]
fn fixed_lengths() {
    let request = MetadataRequest {
        topics: Some(vec![cairn_protocol::messages::metadata_request::MetadataRequestTopic {
            name: Some("ab".into()),
            ..Default::default()
        }]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    check(&request, 4, b"\0\0\0\x01\0\x02ab\0");
    check(&MetadataRequest { topics: None, ..MetadataRequest::default() }, 4, b"\xff\xff\xff\xff\x01");
}

#[test]
fn compact_lengths_and_tagged_fields() {
    let request = ApiVersionsRequest { client_software_name: "kcat".into(), client_software_version: "1".into() };
    check(&request, 3, b"\x05kcat\x021\0");
    let response = ApiVersionsResponse { finalized_features_epoch: 7, zk_migration_ready: true, ..Default::default() };
    // error, no keys, throttle; two tagged fields: 1 (eight bytes) and 3 (one byte).
    check(&response, 3, b"\0\0\x01\0\0\0\0\x02\x01\x08\0\0\0\0\0\0\0\x07\x03\x01\x01");
}

#[test]
fn produce_keeps_its_records_as_a_segment() {
    let records = Bytes::from(vec![7; 2000]);
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: "t".into(),
            partition_data: vec![PartitionProduceData { index: 3, records: Some(records.clone()) }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let segments = request.to_segments(9).unwrap();
    let [before, taken, after] = segments.segments() else { panic!("expected three segments") };
    assert_eq!(taken.as_ptr(), records.as_ptr(), "the records were copied");
    assert_eq!(before, &b"\0\xff\xff\0\0\x75\x30\x02\x02t\x02\0\0\0\x03\xd1\x0f"[..]);
    assert_eq!(after, &b"\0\0\0"[..]);
    let frame = segments.clone().into_bytes();
    let read = ProduceRequest::decode_all(frame.clone(), 9).unwrap();
    let read_records = read.topic_data[0].partition_data[0].records.as_ref().unwrap();
    assert_eq!(read_records.as_ptr(), frame[before.len()..].as_ptr(), "reading copied the records");
    assert_eq!(read, request);
}

#[test]
fn nullable_structs() {
    let request = DescribeTopicPartitionsRequest { response_partition_limit: 2000, ..Default::default() };
    check(&request, 0, b"\x01\0\0\x07\xd0\xff\0");
    let cursor = cairn_protocol::messages::describe_topic_partitions_request::Cursor {
        topic_name: "t".into(),
        partition_index: 1,
    };
    check(
        &DescribeTopicPartitionsRequest { cursor: Some(cursor), ..request },
        0,
        b"\x01\0\0\x07\xd0\x01\x02t\0\0\0\x01\0\0",
    );
    // In a tagged field the marker is a variable-length number, and here the default is an empty struct, not null.
    let value = ConsumerGroupMemberMetadataValue { rebalance_timeout_ms: 1, ..Default::default() };
    let start = b"\x01\x01\x01\x01\x01\x01\0\0\0\x01\x01";
    check(&value, 0, &[&start[..], b"\0"].concat());
    let value = ConsumerGroupMemberMetadataValue { classic_member_metadata: None, ..value };
    check(&value, 0, &[&start[..], b"\x01\0\x01\0"].concat());
}

#[test]
fn fields_that_a_version_lacks() {
    let topic_id = Uuid::from_u128(1);
    let topic = FetchTopic { topic_id, partitions: vec![FetchPartition::default()], ..Default::default() };
    let fetch = FetchRequest { topics: vec![topic], ..Default::default() };
    // Kafka may leave a topic's id out, because it is marked so.
    let read = FetchRequest::decode_all(fetch.to_bytes(12).unwrap(), 12).unwrap();
    assert!(read.topics[0].topic_id.is_nil());
    let request = ProduceRequest { transactional_id: Some("t".into()), ..Default::default() };
    assert!(request.to_bytes(3).is_ok());
    let request = MetadataRequest { allow_auto_topic_creation: false, ..Default::default() };
    let field = "AllowAutoTopicCreation";
    assert_eq!(request.to_bytes(3), Err(EncodeError::UnsupportedField { field, version: 3 }));
    assert_eq!(MetadataRequest { topics: None, ..Default::default() }.to_bytes(0), {
        Err(EncodeError::UnexpectedNull { field: "Topics", version: 0 })
    });
    let message = "ProduceRequest";
    assert_eq!(request.to_bytes(14), Err(EncodeError::UnsupportedVersion { message: "MetadataRequest", version: 14 }));
    assert_eq!(
        ProduceRequest::decode_all(Bytes::new(), 2),
        Err(DecodeError::UnsupportedVersion { message, version: 2 })
    );
}

#[test]
fn headers() {
    let header =
        RequestHeader { api_key: ApiKey::ApiVersions, api_version: 3, correlation_id: 5, client_id: Some("me".into()) };
    let mut writer = Writer::new();
    header.encode(&mut writer).unwrap();
    let bytes = writer.finish().into_bytes();
    // The client id keeps its fixed length in the flexible header.
    assert_eq!(bytes, &b"\0\x12\0\x03\0\0\0\x05\0\x02me\0"[..]);
    assert_eq!(RequestHeader::decode(&mut Reader::new(bytes)), Ok(header));
    for (key, version, expected) in [
        (ApiKey::ApiVersions, 4, &b"\0\0\0\x05"[..]),
        (ApiKey::Metadata, 8, b"\0\0\0\x05"),
        (ApiKey::Metadata, 9, b"\0\0\0\x05\0"),
        (ApiKey::OffsetDelete, 0, b"\0\0\0\x05"),
    ] {
        let mut writer = Writer::new();
        ResponseHeader { correlation_id: 5 }.encode(&mut writer, key, version).unwrap();
        assert_eq!(writer.finish().into_bytes(), expected, "{key} {version}");
    }
}

macro_rules! defaults {
    ($($name:ident),* $(,)?) => {
        [$(defaults_round_trip::<cairn_protocol::messages::$name>()),*]
    };
}

/// Also: what a default is, every version can say (Kafka's rule for fields that a version lacks).
fn defaults_round_trip<M: Message>() -> usize {
    for version in M::VERSIONS {
        let bytes = M::default().to_bytes(version).unwrap_or_else(|error| panic!("{} {version}: {error}", M::NAME));
        M::decode_all(bytes, version).unwrap_or_else(|error| panic!("{} {version}: {error}", M::NAME));
    }
    M::VERSIONS.count()
}

#[test]
fn defaults_of_every_version_are_read_again() {
    let versions: usize = cairn_protocol::every_message!(defaults).into_iter().sum();
    assert!(versions > 500, "only {versions}");
}

#[test]
fn requests_know_their_answers() {
    fn names<R: Request>() -> (ApiKey, &'static str) {
        (R::KEY, R::Response::NAME)
    }
    assert_eq!(names::<ProduceRequest>(), (ApiKey::Produce, "ProduceResponse"));
}
