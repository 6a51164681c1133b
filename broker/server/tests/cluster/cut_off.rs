//! A leader of which the others hear nothing any more: what it knows holds for no longer than its lease.

use cairn_protocol::error_code::ErrorCode;

use super::moved::{stop_all, three};
use super::replicated::TOPIC;
use super::{Member, eventually};

const NOT_HERE: ErrorCode = ErrorCode::NotLeaderOrFollower;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_has_lost_the_others_leads_no_longer_than_its_lease() {
    let mut members = three().await;
    let one = members[0].as_ref().expect("it serves");
    // It needs nobody else to take records: only the lease forbids it.
    assert_eq!(one.create_on(&[1]).await, ErrorCode::None);
    eventually("it leads", || async { one.produce(-1, "before").await == (ErrorCode::None, 0) }).await;
    let second = members[1].take().expect("it served").stop().await;
    members[2].take().expect("it served").stop().await;

    let one = members[0].as_ref().expect("it serves");
    eventually("it takes no records", || async { one.produce(1, "cut off").await.0 == NOT_HERE }).await;
    assert_eq!(one.values(0).await, Err(NOT_HERE), "nor gives any");
    assert_eq!(one.end_of(TOPIC, 0).await, NOT_HERE, "nor tells where they end");

    members[1] = Some(Member::start(second, &[]).await);
    let one = members[0].as_ref().expect("it serves");
    eventually("it leads again", || async { one.values(0).await.is_ok() }).await;
    assert_eq!(one.values(0).await.expect("it leads")[0], "before");
    stop_all(members).await;
}
