use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::ListOffsetsRequest;
use cairn_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};

use crate::harness::TestBroker;
use crate::records::{append, batch_at, make_topic};

fn asked(topic: &str, timestamp: i64) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: topic.into(),
            partitions: vec![ListOffsetsPartition { partition_index: 0, timestamp, ..ListOffsetsPartition::default() }],
        }],
        ..ListOffsetsRequest::default()
    }
}

#[tokio::test]
async fn special_and_real_times() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    for (at, values) in [(1000, ["a", "b"]), (3000, ["c", "d"]), (2000, ["e", "f"])] {
        append(&mut client, "t", batch_at(at, &values)).await;
    }
    for version in 1..=11 {
        let cases = [
            (-1, (-1, 6)),
            (-2, (-1, 0)),
            (-3, (3000, 2)),
            (-4, (-1, 0)),
            (-5, (-1, -1)),
            (0, (1000, 0)),
            (1000, (1000, 0)),
            (1001, (3000, 2)),
            (3000, (3000, 2)),
            (3001, (-1, -1)),
        ];
        for (timestamp, expected) in cases {
            let response = client.call(version, &asked("t", timestamp)).await;
            let found = &response.topics[0].partitions[0];
            assert_eq!((found.error_code, found.timestamp, found.offset), (0, expected.0, expected.1), "{timestamp}");
            let known = version >= 4 && expected.1 != -1;
            assert_eq!(found.leader_epoch, if known { 0 } else { -1 }, "{timestamp} version {version}");
        }
    }
}

#[tokio::test]
async fn nothing_is_found_where_nothing_is() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    for (timestamp, offset) in [(-1, 0), (-2, 0), (-3, -1), (5, -1)] {
        let response = client.call(7, &asked("t", timestamp)).await;
        assert_eq!((response.topics[0].partitions[0].error_code, response.topics[0].partitions[0].offset), (0, offset));
    }
    let response = client.call(7, &asked("missing", -1)).await;
    assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    let response = client.call(7, &asked("t", -9)).await;
    assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::InvalidRequest.code());
}
