//! Leaders that somebody asks for.

use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::ElectLeadersRequest;
use cairn_protocol::messages::elect_leaders_request::TopicPartitions;

use super::moved::{stop_all, three};
use super::replicated::TOPIC;
use super::{Member, eventually};

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

impl Member {
    /// What becomes of an election for the only partition of the topic; none where nothing is told of it.
    async fn elect(&self, election_type: i8, topics: Option<&[&str]>) -> Option<ErrorCode> {
        let topic = |name: &&str| TopicPartitions { topic: (*name).into(), partitions: vec![0] };
        let topic_partitions = topics.map(|topics| topics.iter().map(topic).collect());
        let request = ElectLeadersRequest { election_type, topic_partitions, ..ElectLeadersRequest::default() };
        let mut answer = self.ask(ApiKey::ElectLeaders, 2, &request).await;
        let mut of_topic = answer.replica_election_results.pop()?;
        ErrorCode::from_code(of_topic.partition_result.pop()?.error_code)
    }

    pub(super) async fn leader_of_it(&self) -> i32 {
        self.partition().await.map_or(-1, |partition| partition.leader_id)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_preferred_replica_leads_when_it_is_asked_for_and_in_sync() {
    let mut members = three().await;
    let third = members[2].as_ref().expect("it serves");
    assert_eq!(third.create_on(&[1, 2]).await, ErrorCode::None);
    eventually("it is made", || async { third.leader_of_it().await == 1 }).await;
    assert_eq!(third.elect(PREFERRED, Some(&[TOPIC])).await, Some(ErrorCode::ElectionNotNeeded));
    assert_eq!(third.elect(UNCLEAN, Some(&[TOPIC])).await, Some(ErrorCode::ElectionNotNeeded));
    assert_eq!(third.elect(PREFERRED, None).await, None, "of all partitions those are told that change");
    assert_eq!(third.elect(PREFERRED, Some(&["missing"])).await, Some(ErrorCode::UnknownTopicOrPartition));
    let folder = members[0].take().expect("it serves").stop().await;
    let third = members[2].as_ref().expect("it serves");
    eventually("the other one leads", || async { third.leader_of_it().await == 2 }).await;
    assert_eq!(third.elect(PREFERRED, Some(&[TOPIC])).await, Some(ErrorCode::PreferredLeaderNotAvailable));
    members[0] = Some(Member::start(folder, &[]).await);
    let third = members[2].as_ref().expect("it serves");
    eventually("it is in sync again", || third.is_on(&[1, 2])).await;
    assert_eq!(third.elect(PREFERRED, None).await, Some(ErrorCode::None));
    eventually("it leads again", || async { third.leader_of_it().await == 1 }).await;
    stop_all(members).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_there_leads_when_that_is_asked_for_and_what_it_lacks_is_lost() {
    let mut members = three().await;
    let [Some(first), _, Some(third)] = &members[..] else { panic!("three serve") };
    assert_eq!(third.create_on(&[1, 2]).await, ErrorCode::None);
    eventually("both are in sync", || first.is_on(&[1, 2])).await;
    assert_eq!(first.produce(-1, "at both").await, (ErrorCode::None, 0));
    let follower = members[1].take().expect("it serves").stop().await;
    let [Some(first), _, Some(third)] = &members[..] else { panic!("two serve") };
    eventually("one is left", || async { third.partition().await.is_some_and(|it| it.isr_nodes == [1]) }).await;
    assert_eq!(first.produce(-1, "at the leader alone").await, (ErrorCode::None, 1));
    // Who has everything goes, and who lacks something comes back.
    let everything = members[0].take().expect("it serves").stop().await;
    members[1] = Some(Member::start(follower, &[]).await);
    let [_, Some(second), Some(third)] = &members[..] else { panic!("two serve") };
    eventually("nobody leads", || async { third.leader_of_it().await == -1 }).await;
    assert_eq!(third.elect(PREFERRED, Some(&[TOPIC])).await, Some(ErrorCode::PreferredLeaderNotAvailable));
    assert_eq!(third.elect(UNCLEAN, Some(&[TOPIC])).await, Some(ErrorCode::None));
    eventually("it shows what it has", || async { second.values(0).await == Ok(vec!["at both".into()]) }).await;
    assert_eq!(second.produce(-1, "goes on").await, (ErrorCode::None, 1));

    // Who comes back follows, whatever it had.
    members[0] = Some(Member::start(everything, &[]).await);
    let [_, Some(second), Some(third)] = &members[..] else { panic!("three serve") };
    eventually("both are in sync", || third.is_on(&[1, 2])).await;
    assert_eq!(second.values(0).await, Ok(vec!["at both".into(), "goes on".into()]));
    stop_all(members).await;
}
