//! Consumers that read from the replica in their own rack (KIP-392).

use cairn_protocol::error_code::ErrorCode;

use super::replicated::{TOPIC, leader};
use super::{Member, eventually};

/// Does not wait.
const AT_ONCE: i32 = 0;
/// Longer than any test lasts.
const FOR_LONG: i32 = 300_000;
/// The first version in which followers answer, and the last one before.
const FROM_FOLLOWERS: i16 = 11;
const FROM_LEADERS: i16 = 10;

const SELECTOR: (&str, &str) = ("replica.selector.class", "org.apache.kafka.common.replica.RackAwareReplicaSelector");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_reads_from_the_follower_in_its_own_rack() {
    let first = Member::start(tempfile::tempdir().unwrap(), &[SELECTOR, ("broker.rack", "a")]).await;
    let join = first.address().to_string();
    let second = [SELECTOR, ("broker.rack", "b"), ("cluster.join", &join)];
    let second = Member::start(tempfile::tempdir().unwrap(), &second).await;
    eventually("both vote", || async { first.voters().await == 2 }).await;
    assert_eq!(first.create(TOPIC, 1, 2).await, ErrorCode::None);
    let both = [&first, &second];
    eventually("both are in sync", || async { leader(&both).await.is_some_and(|(_, in_sync)| in_sync == 2) }).await;
    let (leads, _) = leader(&both).await.expect("a leader");
    let (led_by, other, other_id) = if leads == 1 { (&first, &second, 2) } else { (&second, &first, 1) };
    let (own, others) = if leads == 1 { ("a", "b") } else { ("b", "a") };
    let it_leads = || async { leader(&[led_by]).await.is_some_and(|(now, _)| now == leads) };
    eventually("whoever leads has heard of it", it_leads).await;
    assert_eq!(led_by.produce(-1, "one").await, (ErrorCode::None, 0));
    let one = vec!["one".to_owned()];

    // Who does not say where it stands, stands beside the leader, or where nobody is, reads from the leader.
    for rack in ["", own, "nowhere"] {
        assert_eq!(led_by.fetch(FROM_FOLLOWERS, 0, rack, AT_ONCE).await, Ok((one.clone(), -1)), "{rack}");
    }
    // A client of before knows no other replica than the leader.
    assert_eq!(led_by.fetch(FROM_LEADERS, 0, "", AT_ONCE).await, Ok((one.clone(), -1)));
    assert_eq!(other.fetch(FROM_LEADERS, 0, "", AT_ONCE).await, Err(ErrorCode::NotLeaderOrFollower));

    // Who stands beside the follower is sent there at once, also where there is nothing to read.
    for from in [0, 1] {
        assert_eq!(led_by.fetch(FROM_FOLLOWERS, from, others, FOR_LONG).await, Ok((Vec::new(), other_id)), "{from}");
    }
    eventually("the follower shows what is committed", || async {
        other.fetch(FROM_FOLLOWERS, 0, others, AT_ONCE).await == Ok((one.clone(), -1))
    })
    .await;
    assert_eq!(other.fetch(FROM_FOLLOWERS, 7, others, AT_ONCE).await, Err(ErrorCode::OffsetOutOfRange));

    // What is committed later wakes who waits there.
    let (read, produced) = tokio::join!(other.fetch(FROM_FOLLOWERS, 1, others, FOR_LONG), led_by.produce(-1, "two"));
    assert_eq!((read, produced), (Ok((vec!["two".to_owned()], -1)), (ErrorCode::None, 1)));

    // A follower that stops is nobody to read from.
    let (stays, goes) = if leads == 1 { (first, second) } else { (second, first) };
    goes.stop().await;
    eventually("the leader serves all", || async {
        stays.fetch(FROM_FOLLOWERS, 1, others, AT_ONCE).await == Ok((vec!["two".to_owned()], -1))
    })
    .await;
    stays.stop().await;
}
