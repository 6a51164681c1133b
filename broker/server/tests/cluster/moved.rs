//! Partitions that move to other brokers: what was acknowledged goes with them, and nothing stays behind.

use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use cairn_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use cairn_protocol::messages::{
    AlterPartitionReassignmentsRequest, CreateTopicsRequest, ListPartitionReassignmentsRequest,
};
use futures::future::join_all;

use super::replicated::TOPIC;
use super::{Member, eventually};

/// Who keeps a partition, who is new, who goes.
type UnderWay = (Vec<i32>, Vec<i32>, Vec<i32>);

impl Member {
    pub(super) async fn create_on(&self, brokers: &[i32]) -> ErrorCode {
        let assignment = CreatableReplicaAssignment { partition_index: 0, broker_ids: brokers.to_vec() };
        let topic = CreatableTopic {
            name: TOPIC.into(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: vec![assignment],
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..CreateTopicsRequest::default() };
        let answer = self.ask(ApiKey::CreateTopics, 7, &request).await;
        ErrorCode::from_code(answer.topics[0].error_code).expect("a code")
    }

    /// Wants the partition to be on these brokers; none: on those of before.
    async fn reassign(&self, replicas: Option<&[i32]>) -> ErrorCode {
        let partition = ReassignablePartition { partition_index: 0, replicas: replicas.map(<[i32]>::to_vec) };
        let topic = ReassignableTopic { name: TOPIC.into(), partitions: vec![partition] };
        let request =
            AlterPartitionReassignmentsRequest { topics: vec![topic], ..AlterPartitionReassignmentsRequest::default() };
        let answer = self.ask(ApiKey::AlterPartitionReassignments, 1, &request).await;
        ErrorCode::from_code(answer.responses[0].partitions[0].error_code).expect("a code")
    }

    async fn under_way(&self) -> Option<UnderWay> {
        let request =
            ListPartitionReassignmentsRequest { topics: None, ..ListPartitionReassignmentsRequest::default() };
        let mut answer = self.ask(ApiKey::ListPartitionReassignments, 0, &request).await;
        let one = answer.topics.pop()?.partitions.pop()?;
        Some((one.replicas, one.adding_replicas, one.removing_replicas))
    }

    /// Whether it is kept by these and all of them are in sync.
    pub(super) async fn is_on(&self, brokers: &[i32]) -> bool {
        let Some(partition) = self.partition().await else { return false };
        let mut in_sync = partition.isr_nodes.clone();
        in_sync.sort_unstable();
        let mut all = brokers.to_vec();
        all.sort_unstable();
        partition.replica_nodes == brokers && in_sync == all
    }

    fn has_folder(&self) -> bool {
        std::fs::read_dir(self.folder.path())
            .expect("a log dir")
            .any(|entry| entry.expect("an entry").file_name().to_string_lossy().starts_with(&format!("{TOPIC}-0")))
    }

    async fn leads(&self) -> Option<usize> {
        usize::try_from(self.partition().await?.leader_id).ok()
    }
}

pub(super) async fn three() -> Vec<Option<Member>> {
    let first = Member::first().await;
    let second = Member::joining(&first).await;
    let third = Member::joining(&first).await;
    eventually("all three vote", || async { first.voters().await == 3 }).await;
    vec![Some(first), Some(second), Some(third)]
}

pub(super) async fn stop_all(members: Vec<Option<Member>>) {
    join_all(members.into_iter().flatten().map(Member::stop)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_moves_while_it_is_written() {
    let mut members = three().await;
    let fourth = Member::joining(members[0].as_ref().expect("it serves")).await;
    members.push(Some(fourth));
    let all: Vec<&Member> = members.iter().flatten().collect();
    for member in &all {
        eventually("all know each other", || async { member.told().await.0 == [1, 2, 3, 4] }).await;
    }
    assert_eq!(all[0].create_on(&[1, 2]).await, ErrorCode::None);
    eventually("it is in sync", || async { all[0].is_on(&[1, 2]).await }).await;

    // What was acknowledged, by offset.
    let mut acked = Vec::new();
    let mut after_the_move = 0;
    let mut number = 0;
    while after_the_move < 20 {
        let value = number.to_string();
        number += 1;
        if number == 50 {
            assert_eq!(all[2].reassign(Some(&[3, 4])).await, ErrorCode::None);
        }
        let Some(leads) = all[0].leads().await.filter(|leads| *leads > 0) else { continue };
        let (error, offset) = all[leads - 1].produce(-1, &value).await;
        if error == ErrorCode::None {
            acked.push((usize::try_from(offset).expect("an offset"), value));
            after_the_move += usize::from(leads > 2);
        }
    }
    assert!(acked.len() >= 60, "{}", acked.len());
    eventually("it has arrived", || async { all[1].is_on(&[3, 4]).await }).await;
    assert_eq!(all[1].under_way().await, None);
    for (id, member) in (1..).zip(&all) {
        eventually("its files are where it is", || async { member.has_folder() == (id > 2) }).await;
    }
    let leads = all[0].leads().await.expect("a leader");
    let shown = all[leads - 1].values(0).await.expect("it leads");
    assert!(acked.iter().all(|(offset, value)| shown[*offset] == *value), "{shown:?}");

    // The other one has everything as well.
    members[leads - 1].take().expect("it serves").stop().await;
    let other = 7 - leads;
    let (left, first) = (members[other - 1].as_ref().expect("it serves"), members[0].as_ref().expect("it serves"));
    eventually("the other one leads", || async { first.leads().await == Some(other) }).await;
    eventually("it shows all", || async { left.values(0).await.as_ref() == Ok(&shown) }).await;
    stop_all(members).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_say_how_many_replicas_has_three_in_different_racks() {
    let rack = |name| ("broker.rack", name);
    let first = Member::start(tempfile::tempdir().unwrap(), &[rack("a")]).await;
    assert_eq!(first.create("alone", 1, -1).await, ErrorCode::None);
    let join = first.address().to_string();
    let mut members = vec![first];
    for name in ["a", "b", "c"] {
        let folder = tempfile::tempdir().unwrap();
        members.push(Member::start(folder, &[("cluster.join", &join), rack(name)]).await);
    }
    let first = &members[0];
    eventually("all are there", || async { first.told().await.0 == [1, 2, 3, 4] }).await;
    assert_eq!(first.create("spread", 8, -1).await, ErrorCode::None);
    for topic in first.metadata().await.topics {
        for partition in topic.partitions {
            let mut replicas = partition.replica_nodes;
            replicas.sort_unstable();
            match topic.name.as_deref() {
                Some("alone") => assert_eq!(replicas, [1], "what was made before stays"),
                _ => assert!([[1, 3, 4], [2, 3, 4]].iter().any(|expected| *expected == replicas[..]), "{replicas:?}"),
            }
        }
    }
    join_all(members.into_iter().map(Member::stop)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_down_takes_part_in_a_move_when_it_is_back() {
    let mut members = three().await;
    let first = members[0].as_ref().expect("it serves");
    assert_eq!(first.create_on(&[1, 2]).await, ErrorCode::None);
    eventually("it is in sync", || async { first.is_on(&[1, 2]).await }).await;
    assert_eq!(first.produce(-1, "before").await, (ErrorCode::None, 0));

    // Nobody can take it over: it stays under way, and can be taken back.
    let folder = members[2].take().expect("it serves").stop().await;
    let first = members[0].as_ref().expect("it serves");
    assert_eq!(first.reassign(None).await, ErrorCode::NoReassignmentInProgress);
    assert_eq!(first.reassign(Some(&[3, 9])).await, ErrorCode::InvalidReplicaAssignment);
    assert_eq!(first.reassign(Some(&[3, 1])).await, ErrorCode::None);
    assert_eq!(first.under_way().await, Some((vec![3, 1, 2], vec![3], vec![2])));
    assert_eq!(first.partition().await.expect("it is there").replica_nodes, [3, 1, 2]);
    assert_eq!(first.produce(-1, "under way").await, (ErrorCode::None, 1));
    assert_eq!(first.reassign(None).await, ErrorCode::None);
    assert_eq!(first.under_way().await, None);
    assert!(first.is_on(&[1, 2]).await);

    // It finds at its start that it is a new replica, and its log is made.
    assert_eq!(first.reassign(Some(&[3, 1])).await, ErrorCode::None);
    members[2] = Some(Member::start(folder, &[]).await);
    let first = members[0].as_ref().expect("it serves");
    eventually("it has arrived", || async { first.is_on(&[3, 1]).await }).await;
    let (second, third) = (members[1].as_ref().expect("it serves"), members[2].as_ref().expect("it serves"));
    eventually("who goes has removed it", || async { !second.has_folder() }).await;
    let all = ["before".to_owned(), "under way".to_owned()];
    eventually("one of them shows it", || async {
        first.values(0).await.as_deref() == Ok(&all[..]) || third.values(0).await.as_deref() == Ok(&all[..])
    })
    .await;

    // Who goes is down when it arrives, and removes it when it is back.
    let folder = members[0].take().expect("it serves").stop().await;
    let third = members[2].as_ref().expect("it serves");
    eventually("there is a controller", || async { matches!(third.told().await.1, 2 | 3) }).await;
    assert_eq!(third.reassign(Some(&[3, 2])).await, ErrorCode::None);
    eventually("it has arrived", || async { third.is_on(&[3, 2]).await }).await;
    assert!(folder.path().join(format!("{TOPIC}-0")).exists());
    let first = Member::start(folder, &[]).await;
    assert!(!first.has_folder());
    // It comes back to where it was lost for good, and that is no loss.
    assert_eq!(third.reassign(Some(&[1, 2, 3])).await, ErrorCode::None);
    eventually("it is back", || async { third.is_on(&[1, 2, 3]).await }).await;
    members[0] = Some(first);
    stop_all(members).await;
}
