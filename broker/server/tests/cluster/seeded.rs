//! Brokers that are started with one list, and are one cluster whatever becomes of any of them.

use futures::future::join_all;

use super::moved::stop_all;
use super::{Member, eventually};

/// Client addresses that are free, as a list.
fn three_addresses() -> Vec<String> {
    let bound: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    bound.iter().map(|socket| socket.local_addr().expect("bound").to_string()).collect()
}

async fn start(folder: tempfile::TempDir, seeds: &[String], own: usize) -> Member {
    let listeners = format!("PLAINTEXT://{}", seeds[own]);
    Member::start(folder, &[("listeners", &listeners), ("cluster.seeds", &seeds.join(","))]).await
}

async fn cluster_of(member: &Member) -> Option<Box<str>> {
    member.metadata().await.cluster_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeds_are_one_cluster_and_stay_one_when_the_first_of_them_has_lost_its_data() {
    let seeds = three_addresses();
    let starting = (0..3).map(|own| start(tempfile::tempdir().expect("a folder"), &seeds, own));
    let mut members: Vec<Option<Member>> = join_all(starting).await.into_iter().map(Some).collect();
    for member in members.iter().flatten() {
        eventually("all know each other", || async { member.told().await.0 == [1, 2, 3] }).await;
    }
    let first = members[0].as_ref().expect("it serves");
    let one = cluster_of(first).await;
    for member in members.iter().flatten() {
        assert_eq!(cluster_of(member).await, one);
    }
    eventually("all three vote", || async { first.voters().await == 3 }).await;

    // With its data it is who it was.
    let folder = members[0].take().expect("it served").stop().await;
    members[0] = Some(start(folder, &seeds, 0).await);
    let second = members[1].as_ref().expect("it serves");
    eventually("it is back", || async { second.told().await.0 == [1, 2, 3] }).await;

    // Without, the first of the list is the one that would found a cluster if there were none: it joins instead.
    drop(members[0].take().expect("it served").stop().await);
    members[0] = Some(start(tempfile::tempdir().expect("a folder"), &seeds, 0).await);
    let (first, second) = (members[0].as_ref().expect("it serves"), members[1].as_ref().expect("it serves"));
    assert_eq!(cluster_of(first).await, one);
    eventually("it is another broker of the same cluster", || async { second.told().await.0 == [2, 3, 4] }).await;
    stop_all(members).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_that_comes_late_is_waited_for() {
    let seeds = three_addresses();
    let early: Vec<_> = [0, 1]
        .map(|own| {
            let seeds = seeds.clone();
            tokio::spawn(async move { start(tempfile::tempdir().expect("a folder"), &seeds, own).await })
        })
        .into();
    // Both wait: each says so, and the first has not founded a cluster without the third.
    for seed in &seeds[..2] {
        eventually("it waits", || async { says_that_it_waits(seed).await }).await;
    }
    assert!(early.iter().all(|start| !start.is_finished()));
    let third = start(tempfile::tempdir().expect("a folder"), &seeds, 2).await;
    let mut members = vec![Some(third)];
    for member in early {
        members.push(Some(member.await.expect("starts")));
    }
    for member in members.iter().flatten() {
        eventually("all know each other", || async { member.told().await.0 == [1, 2, 3] }).await;
        assert_eq!(cluster_of(member).await, cluster_of(members[0].as_ref().expect("it serves")).await);
    }
    stop_all(members).await;
}

/// As another seed asks it.
async fn says_that_it_waits(seed: &str) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = tokio::net::TcpStream::connect(seed).await else { return false };
    let asked = stream.write_all(&[0, 0, 0, 8, 0x4e, 0x22, 0, 0, 0, 0, 0, 1]).await;
    asked.is_ok() && stream.read_u32().await.is_ok_and(|length| length > 20)
}
