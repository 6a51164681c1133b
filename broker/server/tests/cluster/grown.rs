//! What the controller does without being asked.

use cairn_protocol::ApiKey;
use cairn_protocol::messages::FindCoordinatorRequest;
use cairn_protocol::messages::MetadataRequest;
use cairn_protocol::messages::metadata_request::MetadataRequestTopic;

use super::replicated::TOPIC;
use super::{Member, eventually};

const GROUPS: &str = "__consumer_offsets";
const FEW: (&str, &str) = ("offsets.topic.num.partitions", "6");

impl Member {
    /// The number of replicas and of those in sync of each partition of a topic; nothing where there is no such topic.
    async fn replicas_of(&self, topic: &str) -> Vec<(usize, usize)> {
        let wanted = MetadataRequestTopic { name: Some(topic.into()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: Some(vec![wanted]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let answer = self.ask(ApiKey::Metadata, 12, &request).await;
        let count = |partition: &cairn_protocol::messages::metadata_response::MetadataResponsePartition| {
            (partition.replica_nodes.len(), partition.isr_nodes.len())
        };
        answer.topics[0].partitions.iter().map(count).collect()
    }

    async fn finds_the_coordinator(&self) -> bool {
        let request = FindCoordinatorRequest { key: "g".into(), ..FindCoordinatorRequest::default() };
        self.ask(ApiKey::FindCoordinator, 3, &request).await.error_code == 0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topic_of_groups_grows_with_the_cluster_and_other_topics_do_not() {
    let first = Member::start(tempfile::tempdir().unwrap(), &[FEW]).await;
    eventually("there is a coordinator", || first.finds_the_coordinator()).await;
    assert_eq!(first.create(TOPIC, 1, 1).await, cairn_protocol::error_code::ErrorCode::None);
    assert_eq!(first.replicas_of(GROUPS).await, [(1, 1); 6]);
    let second = Member::joining(&first).await;
    eventually("two keep it", || async { second.replicas_of(GROUPS).await == [(2, 2); 6] }).await;
    let third = Member::joining(&first).await;
    eventually("three keep it", || async { third.replicas_of(GROUPS).await == [(3, 3); 6] }).await;
    assert_eq!(third.replicas_of(TOPIC).await, [(1, 1)]);
    for member in [third, second, first] {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_preferred_leads_again() {
    let often: &[(&str, &str)] = &[("leader.imbalance.check.interval.seconds", "1")];
    let first = Member::start(tempfile::tempdir().unwrap(), often).await;
    let join = first.address().to_string();
    let settings = [often, &[("cluster.join", join.as_str())]].concat();
    let second = Member::start(tempfile::tempdir().unwrap(), &settings).await;
    let third = Member::start(tempfile::tempdir().unwrap(), &settings).await;
    eventually("all three vote", || async { first.voters().await == 3 }).await;
    assert_eq!(first.create(TOPIC, 1, 3).await, cairn_protocol::error_code::ErrorCode::None);
    let mut members = vec![Some(first), Some(second), Some(third)];
    let at = |id: i32| usize::try_from(id).expect("an id") - 1;
    let before = members[0].as_ref().expect("serves").partition().await.expect("made");
    let preferred = before.replica_nodes[0];
    assert_eq!(before.leader_id, preferred);
    let folder = members[at(preferred)].take().expect("serves").stop().await;
    let other = members.iter().flatten().next().expect("two are left");
    eventually("another one leads", || async {
        other.partition().await.is_some_and(|now| now.leader_id > 0 && now.leader_id != preferred)
    })
    .await;
    let back = Member::start(folder, often).await;
    eventually("it leads again", || async { back.partition().await.is_some_and(|now| now.leader_id == preferred) })
        .await;
    members[at(preferred)] = Some(back);
    for member in members.into_iter().flatten() {
        member.stop().await;
    }
}
