//! A broker of several whose log dir fails, and not the dir of its metadata.

use std::sync::Arc;

use cairn_broker::Broker;
use cairn_protocol::error_code::ErrorCode;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::MemoryDisk;

use super::moved::stop_all;
use super::replicated::TOPIC;
use super::{GIVE_UP, Member, config, eventually};

/// Who does not take what it is sent is soon out of sync.
const LAG: (&str, &str) = ("replica.lag.time.max.ms", "1000");

impl Member {
    async fn joining_on(disk: &FaultyDisk, other: &Self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let joined = other.address().to_string();
        let set = [("cluster.join", joined.as_str()), ("log.dirs", "records"), ("metadata.log.dir", "quorum"), LAG];
        let starting = Broker::start_on(Arc::new(disk.clone()), config(&folder, &set));
        let started = tokio::time::timeout(GIVE_UP, starting).await.expect("in time");
        Self { broker: started.expect("starts"), folder }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_one_leads_what_a_broker_has_lost_with_a_log_dir() {
    let first = Member::start(tempfile::tempdir().unwrap(), &[LAG]).await;
    let joined = first.address().to_string();
    let second = Member::start(tempfile::tempdir().unwrap(), &[("cluster.join", &joined), LAG]).await;
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let third = Member::joining_on(&disk, &first).await;
    eventually("all know each other", || async { first.told().await.0 == [1, 2, 3] }).await;
    assert_eq!(first.create_on(&[3, 1, 2]).await, ErrorCode::None);
    eventually("all are in sync, and it has heard of that", || third.is_on(&[3, 1, 2])).await;
    assert_eq!(third.produce(-1, "before").await, (ErrorCode::None, 0));

    disk.inject(Rule::always(Call::Sync, Fault::Io).only(&format!("{TOPIC}-0/00000000000000000000.log")));
    // What becomes of it nobody knows: it lies on the disk that fails, and perhaps on the others.
    third.produce(-1, "at that time").await;
    eventually("another one leads", || async { matches!(first.leader_of_it().await, 1 | 2) }).await;
    let leader = if first.leader_of_it().await == 1 { &first } else { &second };
    eventually("who cannot take it is out of sync", || async {
        first.partition().await.is_some_and(|partition| !partition.isr_nodes.contains(&3))
    })
    .await;
    assert_eq!(leader.produce(-1, "after").await.0, ErrorCode::None);
    let values = leader.values(0).await.expect("is read");
    assert_eq!(
        (values.first().map(String::as_str), values.last().map(String::as_str)),
        (Some("before"), Some("after"))
    );
    stop_all([first, second, third].map(Some).into()).await;
}
