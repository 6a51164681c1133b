//! A leader whose log goes on behind what is committed.

use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::OffsetForLeaderEpochRequest;
use cairn_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};

use super::replicated::{TOPIC, leader};
use super::{Member, eventually};

impl Member {
    /// The epoch that the partition is led in, and where that ends by what this broker says.
    async fn end_of_epoch(&self) -> (ErrorCode, i64) {
        let leader_epoch = self.partition().await.expect("the partition").leader_epoch;
        let current_leader_epoch = leader_epoch;
        let partitions = vec![OffsetForLeaderPartition { partition: 0, current_leader_epoch, leader_epoch }];
        let topics = vec![OffsetForLeaderTopic { topic: TOPIC.into(), partitions }];
        let request = OffsetForLeaderEpochRequest { topics, ..OffsetForLeaderEpochRequest::default() };
        let answer = self.ask(ApiKey::OffsetForLeaderEpoch, 4, &request).await;
        let partition = &answer.topics[0].partitions[0];
        (ErrorCode::from_code(partition.error_code).expect("a code"), partition.end_offset)
    }
}

/// A consumer that hears of a new leader asks it so, and begins anew from an end that lies before where it has read. A leader that has just
/// come knows where its log ends, and not yet what of it is committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_ends_where_the_log_does_and_not_where_it_is_committed() {
    // Its own file asks for two in sync, so that nothing is committed by one.
    let first = Member::start(tempfile::tempdir().unwrap(), &[("min.insync.replicas", "2")]).await;
    let second = Member::joining(&first).await;
    let third = Member::joining(&first).await;
    eventually("all three vote", || async { first.voters().await == 3 }).await;
    assert_eq!(first.create_on(&[1, 2]).await, ErrorCode::None);
    let both_in_sync = || async { leader(&[&first]).await == Some((1, 2)) };
    eventually("both are in sync", both_in_sync).await;
    eventually("it leads", || async { first.produce(-1, "committed").await.0 == ErrorCode::None }).await;
    second.stop().await;
    eventually("one is in sync", || async { leader(&[&first]).await == Some((1, 1)) }).await;
    let (error, offset) = first.produce(1, "not committed").await;
    assert_eq!(error, ErrorCode::None);
    let read = first.values(0).await.expect("it leads");
    assert_eq!(read.len(), usize::try_from(offset).expect("few"), "what is not committed is not read: {read:?}");
    assert_eq!(first.end_of_epoch().await, (ErrorCode::None, offset + 1));
    third.stop().await;
    first.stop().await;
}
