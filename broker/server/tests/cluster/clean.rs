//! Brokers that stopped in good order have everything, also after their machines were started anew.

use cairn_broker::Broker;
use cairn_protocol::error_code::ErrorCode;
use futures::future::join_all;
use tempfile::TempDir;
use uuid::Uuid;

use super::moved::three;
use super::{GIVE_UP, Member, config, eventually};

impl Member {
    /// Starts after another boot of the machine.
    async fn start_after_boot(folder: TempDir, boot: u128) -> Self {
        let starting = Broker::start_in_boot(Uuid::from_u128(boot), config(&folder, &[]));
        let broker = tokio::time::timeout(GIVE_UP, starting).await.expect("in time").expect("starts");
        Self { broker, folder }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stopped_in_good_order_leads_after_another_boot_without_asking_the_others() {
    let mut members = three().await;
    let [Some(first), _, Some(third)] = &members[..] else { panic!("three serve") };
    assert_eq!(third.create_on(&[1, 2, 3]).await, ErrorCode::None);
    eventually("all are in sync", || first.is_on(&[1, 2, 3])).await;
    assert_eq!(first.produce(-1, "at all").await, (ErrorCode::None, 0));

    let mut folders = Vec::new();
    for (stops, left) in [(0, vec![2, 3]), (1, vec![3])] {
        folders.push(members[stops].take().expect("it serves").stop().await);
        let third = members[2].as_ref().expect("it serves");
        eventually("it is out of sync", || async {
            third.partition().await.is_some_and(|partition| partition.isr_nodes == left)
        })
        .await;
    }
    // Nothing was committed since the second one went: it has everything, as has the third.
    let third = members[2].take().expect("it serves").stop().await;
    let starting = folders.into_iter().zip(7..).map(|(folder, boot)| Member::start_after_boot(folder, boot));
    let mut back = join_all(starting).await;
    let (second, first) = (back.pop().expect("two"), back.pop().expect("two"));
    eventually("the second one leads", || async {
        second.partition().await.is_some_and(|partition| partition.leader_id == 2)
    })
    .await;
    eventually("it shows what it has", || async { second.values(0).await == Ok(vec!["at all".into()]) }).await;
    eventually("the first one is in sync", || async {
        second.partition().await.is_some_and(|partition| partition.isr_nodes.contains(&1))
    })
    .await;
    assert_eq!(second.produce(-1, "goes on").await, (ErrorCode::None, 1));
    drop(third);
    first.stop().await;
    second.stop().await;
}
