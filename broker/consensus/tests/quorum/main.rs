//! Several nodes in one process, over real sockets and with disks that lose what was not synced.

mod cluster;
mod proxy;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cairn_consensus::{ProposeError, Role};
use cairn_protocol::ids::BrokerId;
use cairn_storage::disk::memory::Crash;
use futures::future::join_all;
use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::cluster::{Cluster, Started, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_vote_the_fourth_learns_and_any_takes_commands() {
    let cluster = Cluster::start(4).await;
    let roles: Vec<_> = cluster.node(2).members().into_iter().map(|member| (member.node.0, member.role)).collect();
    assert_eq!(roles, [(1, Role::Voter), (2, Role::Voter), (3, Role::Voter), (4, Role::Learner)]);
    for id in 1..=4 {
        cluster.create(id, u128::from(id.unsigned_abs())).await.expect("takes commands");
        // Whoever asked sees it in its own image.
        assert!(cluster.has(id, u128::from(id.unsigned_abs())), "node {id}");
    }
    let twice = cluster.create(4, 1).await;
    assert!(matches!(twice, Err(ProposeError::Rejected(_))), "a rejection comes back as one: {twice:?}");
    cluster.agree().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_leads_when_the_leader_is_lost_and_the_lost_one_catches_up_from_the_log() {
    let mut cluster = Cluster::start(3).await;
    cluster.create(2, 1).await.expect("makes");
    let lost = cluster.leader();
    cluster.kill(lost, Crash::LoseUnsynced).await;
    let other = cluster.running()[0];
    for number in 2..20 {
        cluster.create_for_sure(other, number).await;
    }
    assert_ne!(cluster.leader(), lost);
    cluster.begin(lost, Started::AsBefore).await;
    cluster.agree().await;
    assert!((1..20).all(|number| cluster.has(lost, number)));
    assert!(!cluster.has_checkpoint(lost), "the log was there to be told");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_knows_that_the_leader_is_gone_takes_over_without_waiting() {
    let mut cluster = Cluster::start_patient(4).await;
    cluster.create(2, 1).await.expect("makes");
    let lost = cluster.leader();
    let others = || cluster.running().into_iter().filter(|id| *id != lost);
    let learner = others().find(|id| !cluster.votes(*id)).expect("the fourth");
    let [first, second] = others().filter(|id| cluster.votes(*id)).collect::<Vec<_>>()[..] else {
        panic!("three vote")
    };
    let take_over = |id: i32, gone: i32| {
        let node = cluster.node(id);
        async move { node.take_over(BrokerId(gone)).await.expect("runs") }
    };
    // Who does not vote, or takes somebody else for gone, changes nothing.
    take_over(learner, lost).await;
    take_over(first, second).await;
    cluster.create(first, 2).await.expect("the same one leads");
    assert_eq!(cluster.leader(), lost);

    cluster.kill(lost, Crash::LoseUnsynced).await;
    cluster.node(first).take_over(BrokerId(lost)).await.expect("runs");
    cluster.create_for_sure(second, 3).await;
    assert_eq!(cluster.leader(), first);
    cluster.begin(lost, Started::AsBefore).await;
    cluster.agree().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_resigns_leaves_behind_all_that_was_committed() {
    // Of two that vote neither can find out alone what the other one has committed last.
    let cluster = Cluster::start_patient(2).await;
    assert!(cluster.votes(1) && cluster.votes(2));
    for number in 1..10 {
        let leads = cluster.leader();
        let other = 3 - leads;
        cluster.create(leads, number).await.expect("makes");
        cluster.node(leads).resign(|_| false).await.expect("runs");
        cluster.node(other).resign(|_| true).await.expect("runs");
        assert_eq!(cluster.leader(), leads, "nobody stays, or another one leads");
        cluster.node(leads).resign(|id| id.0 == other).await.expect("runs");
        assert!(cluster.has(other, number) && cluster.node(other).is_leader(), "{number}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lacks_what_the_log_has_let_go_gets_a_checkpoint() {
    // Node 4 makes none itself.
    let mut cluster = Cluster::start_with(3, |id| if id < 4 { 50 } else { 1 << 40 }).await;
    cluster.kill(3, Crash::LoseUnsynced).await;
    for chunk in (1..=1_600u128).collect::<Vec<_>>().chunks(200) {
        join_all(chunk.iter().map(|number| cluster.create_for_sure(1, *number))).await;
    }
    cluster.join(4).await;
    cluster.agree().await;
    assert!(cluster.has_checkpoint(4), "the log begins behind what node 4 has");
    // What was installed is what it starts on, and what comes after it follows on.
    cluster.kill(4, Crash::LoseUnsynced).await;
    cluster.create_for_sure(2, 5_000).await;
    cluster.begin(4, Started::AsBefore).await;
    cluster.begin(3, Started::AsBefore).await;
    cluster.agree().await;
    assert!([3, 4].into_iter().all(|id| cluster.has(id, 1) && cluster.has(id, 1_600) && cluster.has(id, 5_000)));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_decides_nothing() {
    let cluster = Cluster::start(3).await;
    cluster.create(1, 1).await.expect("makes");
    let old = cluster.leader();
    let others: Vec<i32> = cluster.running().into_iter().filter(|id| *id != old).collect();
    for other in &others {
        cluster.net.cut(old, *other);
        cluster.net.cut(other.to_owned(), old);
    }
    let undecided = cluster.create_later(old, 2);
    eventually("the others elect one of them", || {
        others.iter().all(|id| cluster.node(*id).leader().is_some_and(|leader| leader.0 != old))
    })
    .await;
    cluster.create_for_sure(others[0], 3).await;
    assert!(!undecided.is_finished(), "nothing is decided by one of three");
    assert!(cluster.running().iter().all(|id| !cluster.has(*id, 2)));
    cluster.net.heal();
    cluster.agree().await;
    assert!(cluster.has(old, 1) && cluster.has(old, 3));
    // It was taken by the old leader, and is gone with its term, or waited, and is taken by the new one.
    let decided = undecided.await.expect("runs");
    assert_eq!(decided.is_ok(), cluster.has(old, 2), "{decided:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_hears_nothing_but_is_heard_disturbs_nobody() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader();
    let deaf = cluster.running().into_iter().find(|id| *id != leader).expect("a follower");
    for id in cluster.running() {
        cluster.net.cut(id, deaf);
    }
    // As long as it takes it to miss the leader, more than once.
    let until = Instant::now() + Duration::from_secs(6);
    let mut number = 0;
    while Instant::now() < until {
        number += 1;
        cluster.create(leader, number).await.expect("makes");
        assert_eq!(cluster.node(leader).leader().map(|id| id.0), Some(leader), "nobody took its lead");
    }
    cluster.net.heal();
    cluster.agree().await;
    assert!(cluster.has(deaf, number));
    cluster.stop().await;
}

/// Nodes are killed, one, two or all at once, and lose what was not synced; links are cut and healed; commands come all the time. What
/// was answered is there in the end, and nothing is there that nobody proposed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kills_and_partitions() {
    for seed in 0..3u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut cluster = Cluster::start(3).await;
        let (mut answered, mut proposed) = (BTreeSet::new(), BTreeSet::new());
        for round in 0..6u128 {
            let numbers: Vec<u128> = (1..=20).map(|number| round * 100 + number).collect();
            proposed.extend(&numbers);
            let running = cluster.running();
            let to_kill: Vec<i32> = match random.random_range(0..4) {
                0 => running.clone(),
                1 => running.iter().copied().filter(|_| random.random_bool(0.6)).collect(),
                _ => vec![running[random.random_range(0..running.len())]],
            };
            if random.random_bool(0.3) {
                cluster.net.cut(random.random_range(1..=3), random.random_range(1..=3));
            }
            let by = running[random.random_range(0..running.len())];
            let (early, late) = numbers.split_at(10);
            for number in early {
                if cluster.create(by, *number).await.is_ok() {
                    answered.insert(*number);
                }
                cluster.net.heal();
            }
            // Some are under way while nodes die.
            let under_way: Vec<_> = late.iter().map(|number| cluster.create_later(by, *number)).collect();
            for _ in 0..random.random_range(0..30) {
                tokio::task::yield_now().await;
            }
            for id in &to_kill {
                let crash = if random.random_bool(0.5) { Crash::LoseUnsynced } else { Crash::KeepAll };
                cluster.kill(*id, crash).await;
            }
            for id in to_kill {
                cluster.begin(id, Started::AsBefore).await;
            }
            for (number, made) in late.iter().zip(join_all(under_way).await) {
                if made.expect("runs").is_ok() {
                    answered.insert(*number);
                }
            }
        }
        cluster.agree().await;
        let there = cluster.topics(1);
        let lost: Vec<_> = answered.difference(&there).collect();
        assert!(lost.is_empty(), "seed {seed}: answered and lost: {lost:?}");
        assert!(there.is_subset(&proposed), "seed {seed}: nobody proposed {:?}", there.difference(&proposed));
        cluster.stop().await;
    }
}
