//! DeleteRecords.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::DeleteRecordsRequest;
use cairn_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};

use crate::harness::TestBroker;
use crate::records::{append, batch, make_topic};

fn asked(topic: &str, partition_index: i32, offset: i64) -> DeleteRecordsRequest {
    let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
    let topics = vec![DeleteRecordsTopic { name: topic.into(), partitions }];
    DeleteRecordsRequest { topics, timeout_ms: 10_000 }
}

#[tokio::test]
async fn the_start_moves_and_stays_moved() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    for _ in 0..4 {
        append(&mut client, "t", batch(&["a", "b", "c"])).await;
    }
    let (out_of_range, unknown) = (ErrorCode::OffsetOutOfRange.code(), ErrorCode::UnknownTopicOrPartition.code());
    #[rustfmt::skip]
    let table = [
        (0, asked("t", 0, 4),  (0, 4)),
        (1, asked("t", 0, 2),  (0, 4)),
        (2, asked("t", 0, 13), (out_of_range, -1)),
        (2, asked("t", 0, -2), (out_of_range, -1)),
        (2, asked("t", 1, 0),  (unknown, -1)),
        (2, asked("x", 0, 0),  (unknown, -1)),
        (2, asked("__consumer_offsets", 0, -1), (ErrorCode::InvalidTopicException.code(), -1)),
        (2, asked("t", 0, 11), (0, 11)),
    ];
    for (version, request, expected) in table {
        let answer = client.call(version, &request).await;
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.low_watermark), expected, "{request:?}");
    }
    let broker = broker.restart(&[]).await;
    let mut client = broker.connect().await;
    let answer = client.call(2, &asked("t", 0, 0)).await;
    assert_eq!(answer.topics[0].partitions[0].low_watermark, 11);
    let answer = client.call(2, &asked("t", 0, -1)).await;
    assert_eq!(answer.topics[0].partitions[0].low_watermark, 12);
}
