//! The quorum as any broker tells it.

use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use cairn_protocol::messages::describe_quorum_response::PartitionData as Told;
use cairn_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

use super::moved::{stop_all, three};
use super::{Member, eventually};

impl Member {
    async fn quorum_of(&self, topic: &str) -> DescribeQuorumResponse {
        self.quorum_in(2, topic).await
    }

    async fn quorum_in(&self, version: i16, topic: &str) -> DescribeQuorumResponse {
        let partitions = vec![PartitionData { partition_index: 0 }];
        let request = DescribeQuorumRequest { topics: vec![TopicData { topic_name: topic.into(), partitions }] };
        self.ask(ApiKey::DescribeQuorum, version, &request).await
    }

    pub(super) async fn quorum(&self) -> Option<Told> {
        self.quorum_of("__cluster_metadata").await.topics.pop()?.partitions.pop()
    }
}

pub(super) fn ids(states: &[cairn_protocol::messages::describe_quorum_response::ReplicaState]) -> Vec<i32> {
    states.iter().map(|state| state.replica_id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_broker_tells_who_votes_and_how_far_they_are() {
    let mut members = three().await;
    let fourth = Member::joining(members[0].as_ref().expect("it serves")).await;
    members.push(Some(fourth));
    for member in members.iter().flatten() {
        let is_told = || async {
            let Some(told) = member.quorum().await else { return false };
            let of = |id: i32| told.current_voters.iter().find(|state| state.replica_id == id);
            let leader = of(told.leader_id).expect("the leader votes");
            told.high_watermark > 0
                && leader.log_end_offset >= told.high_watermark
                && ids(&told.current_voters) == [1, 2, 3]
                && ids(&told.observers) == [4]
                && told
                    .current_voters
                    .iter()
                    .chain(&told.observers)
                    .all(|state| state.log_end_offset == leader.log_end_offset)
                && told.current_voters.iter().all(|state| state.last_caught_up_timestamp > 0)
        };
        eventually("all have everything", is_told).await;
    }
    let one = members[0].as_ref().expect("it serves");
    assert_eq!(one.quorum_of("t").await.error_code, ErrorCode::UnknownTopicOrPartition.code());
    for (version, nodes) in [(0, 0), (1, 0), (2, 3)] {
        let told = one.quorum_in(version, "__cluster_metadata").await;
        assert_eq!((told.error_code, told.topics.len(), told.nodes.len()), (0, 1, nodes), "version {version}");
    }
    stop_all(members).await;
}
