//! Brokers that are gone for good: removed from the cluster, replaced, and kept out.

use cairn_broker::Broker;
use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::UnregisterBrokerRequest;

use super::moved::{stop_all, three};
use super::{Member, config, eventually};

impl Member {
    async fn unregister(&self, broker_id: i32) -> ErrorCode {
        let answer = self.ask(ApiKey::UnregisterBroker, 0, &UnregisterBrokerRequest { broker_id }).await;
        ErrorCode::from_code(answer.error_code).expect("a code")
    }

    /// Who votes, and who does not, as this broker tells it.
    async fn quorum_is(&self, voters: &[i32], observers: &[i32]) -> bool {
        let Some(told) = self.quorum().await else { return false };
        super::quorum::ids(&told.current_voters) == voters && super::quorum::ids(&told.observers) == observers
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_broker_votes_in_the_place_of_one_that_was_removed() {
    let mut members = three().await;
    let fourth = Member::joining(members[0].as_ref().expect("it serves")).await;
    members.push(Some(fourth));
    let one = members[0].as_ref().expect("it serves");
    eventually("the fourth is told", || async { one.quorum_is(&[1, 2, 3], &[4]).await }).await;
    assert_eq!(one.create_on(&[2, 3, 4]).await, ErrorCode::None);
    eventually("it is in sync", || async { one.is_on(&[2, 3, 4]).await }).await;
    assert_eq!(one.unregister(3).await, ErrorCode::InvalidRequest, "it serves");
    assert_eq!(one.unregister(9).await, ErrorCode::BrokerIdNotRegistered);

    let folder = members[2].take().expect("it served").stop().await;
    let two = members[1].as_ref().expect("it serves");
    eventually("it is fenced", || async { two.told().await.0 == [1, 2, 4] }).await;
    // Fenced it may be a member still, until the controller comes to it.
    let is_gone = |error| matches!(error, ErrorCode::None | ErrorCode::BrokerIdNotRegistered);
    eventually("it is removed", || async { is_gone(two.unregister(3).await) }).await;
    let one = members[0].as_ref().expect("it serves");
    eventually("another one votes", || async { one.quorum_is(&[1, 2, 4], &[]).await }).await;
    assert_eq!(one.unregister(3).await, ErrorCode::BrokerIdNotRegistered);

    // It comes back with its data: nobody knows it, and it says so.
    let refused = Broker::start(config(&folder, &[])).await.expect_err("was removed").to_string();
    assert!(refused.contains("broker 3 was removed from the cluster"), "{refused}");
    assert!(one.quorum_is(&[1, 2, 4], &[]).await);
    // With an empty directory it is another broker, which may have the id that is free.
    let at = one.address().to_string();
    let third = Member::start(tempfile::tempdir().unwrap(), &[("cluster.join", &at), ("node.id", "3")]).await;
    members[2] = Some(third);
    let one = members[0].as_ref().expect("it serves");
    eventually("it is a member that does not vote", || async { one.quorum_is(&[1, 2, 4], &[3]).await }).await;
    eventually("it has what the lost one had", || async { one.is_on(&[2, 3, 4]).await }).await;

    // The quorum stands the loss of the next one, here of the controller.
    members[0].take().expect("it served").stop().await;
    let two = members[1].as_ref().expect("it serves");
    eventually("another controller", || async { matches!(two.told().await.1, 2 | 4) }).await;
    let is_made = |error| matches!(error, ErrorCode::None | ErrorCode::TopicAlreadyExists);
    eventually("it decides", || async { is_made(two.create("after", 1, 1).await) }).await;
    stop_all(members).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_taken_is_refused_with_what_to_do() {
    let first = Member::first().await;
    let folder = tempfile::tempdir().unwrap();
    let set = [("cluster.join", &*first.address().to_string()), ("node.id", "1")];
    let refused = Broker::start(config(&folder, &set)).await.expect_err("is taken").to_string();
    assert!(refused.contains("cairn cluster remove"), "{refused}");
    first.stop().await;
}
