//! A group of many members that rebalances again and again, by the classic protocol: each member on a connection of its own,
//! with heartbeats, rejoining when it is told to. A rebalance begins when the leader joins anew, and ends when the last member has
//! its assignment.
//!
//! Must not know: which broker it meets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use cairn_protocol::Message;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::consumer_protocol_assignment::TopicPartition;
use cairn_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use cairn_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use cairn_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, FindCoordinatorRequest, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, SyncGroupRequest,
};
use clap::Args;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use crate::wire::Wire;

// Versions that both brokers have.
const FIND_VERSION: i16 = 4;
const JOIN_VERSION: i16 = 9;
const SYNC_VERSION: i16 = 5;
const HEARTBEAT_VERSION: i16 = 4;
/// The topic that the members say they want. Nobody asks whether it is there.
const TOPIC: &str = "members";
/// When a rebalance is given up.
const REBALANCE_MAX: Duration = Duration::from_secs(60);
/// Between two questions for a coordinator that is not there yet.
const LOOK: Duration = Duration::from_millis(100);

/// The group.
#[derive(Args, Debug)]
pub(crate) struct Group {
    /// Members.
    #[arg(long, default_value_t = 100)]
    members: usize,
    /// Rebalances that are measured.
    #[arg(long, default_value_t = 30)]
    rebalances: usize,
    /// Rebalances before that.
    #[arg(long, default_value_t = 10)]
    warm_up: usize,
    /// Milliseconds between two heartbeats of a member.
    #[arg(long, default_value_t = 50)]
    heartbeat_ms: u64,
    /// Its name.
    #[arg(long, default_value = "members")]
    group: String,
}

/// A member has its assignment.
struct Stable {
    member: usize,
    generation: i32,
    is_leader: bool,
}

/// Says how long forming the group took, and how long rebalances took.
pub(crate) async fn run(bootstrap: &str, load: &Group) -> Result<()> {
    find_coordinator(bootstrap, &load.group).await?;
    let (told, mut stable) = mpsc::unbounded_channel();
    let mut wires = Vec::with_capacity(load.members);
    for _ in 0..load.members {
        wires.push(Wire::connect(bootstrap).await?);
    }
    let began = Instant::now();
    let mut rejoin = Vec::with_capacity(load.members);
    for (number, wire) in wires.into_iter().enumerate() {
        let again = Arc::new(Notify::new());
        rejoin.push(Arc::clone(&again));
        let member = Member {
            number,
            wire,
            group: load.group.as_str().into(),
            id: "".into(),
            heartbeat: Duration::from_millis(load.heartbeat_ms),
            again,
            told: told.clone(),
        };
        tokio::spawn(async move {
            if let Err(error) = member.live().await {
                eprintln!("member {number}: {error:#}");
                std::process::exit(1);
            }
        });
    }
    let mut group = Watched { generations: vec![-1; load.members], leader: 0 };
    group.settle(&mut stable).await?;
    let formed = began.elapsed();
    println!("formed_ms={:.1}", formed.as_secs_f64() * 1e3);
    let mut took = Vec::with_capacity(load.rebalances);
    for number in 0..load.warm_up + load.rebalances {
        if number == load.warm_up {
            println!("measuring");
        }
        // Members stand at other points of their heartbeats each time.
        sleep(Duration::from_millis(load.heartbeat_ms + u64::try_from(number)? % load.heartbeat_ms.max(1))).await;
        let began = Instant::now();
        rejoin[group.leader].notify_one();
        group.settle(&mut stable).await?;
        if number >= load.warm_up {
            took.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    println!("measured");
    took.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| took.get(index(took.len(), part)).copied().unwrap_or_default();
    println!(
        "members={} rebalances={} p50_ms={:.2} p90_ms={:.2} max_ms={:.2}",
        load.members,
        took.len(),
        at(0.5),
        at(0.9),
        at(1.0)
    );
    Ok(())
}

/// Where in a sorted list of this length such a part of it ends.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a few hundred rebalances at most"
)]
fn index(length: usize, part: f64) -> usize {
    ((length.saturating_sub(1)) as f64 * part).round() as usize
}

async fn find_coordinator(bootstrap: &str, group: &str) -> Result<()> {
    let mut wire = Wire::connect(bootstrap).await?;
    let request = FindCoordinatorRequest { coordinator_keys: vec![group.into()], ..FindCoordinatorRequest::default() };
    timeout(REBALANCE_MAX, async {
        loop {
            let found = wire.call(FIND_VERSION, &request).await?;
            if found.coordinators.first().is_some_and(|coordinator| coordinator.error_code == 0) {
                return Ok(());
            }
            sleep(LOOK).await;
        }
    })
    .await
    .context("no coordinator")?
}

/// What is known of the members.
struct Watched {
    generations: Vec<i32>,
    leader: usize,
}

impl Watched {
    /// Waits until all members are in one generation that is later than the one before.
    async fn settle(&mut self, stable: &mut mpsc::UnboundedReceiver<Stable>) -> Result<()> {
        let before = self.generations.iter().copied().max().unwrap_or(-1);
        loop {
            let Stable { member, generation, is_leader } = timeout(REBALANCE_MAX, stable.recv())
                .await
                .context("a rebalance that does not end")?
                .context("no member")?;
            self.generations[member] = generation;
            if is_leader {
                self.leader = member;
            }
            if generation > before && self.generations.iter().all(|of_member| *of_member == generation) {
                return Ok(());
            }
        }
    }
}

/// One member.
struct Member {
    number: usize,
    wire: Wire,
    group: Box<str>,
    id: Box<str>,
    heartbeat: Duration,
    again: Arc<Notify>,
    told: mpsc::UnboundedSender<Stable>,
}

impl Member {
    async fn live(mut self) -> Result<()> {
        loop {
            let joined = self.join().await?;
            if !self.sync(&joined).await? {
                continue;
            }
            let is_leader = joined.leader == joined.member_id;
            self.told.send(Stable { member: self.number, generation: joined.generation_id, is_leader })?;
            self.beat(joined.generation_id).await?;
        }
    }

    async fn join(&mut self) -> Result<JoinGroupResponse> {
        loop {
            let request = JoinGroupRequest {
                group_id: self.group.clone(),
                session_timeout_ms: 45_000,
                rebalance_timeout_ms: 60_000,
                member_id: self.id.clone(),
                protocol_type: "consumer".into(),
                protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata: subscription()? }],
                ..JoinGroupRequest::default()
            };
            let joined = self.wire.call(JOIN_VERSION, &request).await?;
            self.id = joined.member_id.clone();
            match joined.error_code {
                0 => return Ok(joined),
                code if code == ErrorCode::MemberIdRequired.code() => {}
                code if ErrorCode::from_code(code).is_some_and(ErrorCode::is_retriable) => sleep(LOOK).await,
                code => bail!("JoinGroup: error {code}"),
            }
        }
    }

    /// Whether there is an assignment; else another rebalance has begun.
    async fn sync(&mut self, joined: &JoinGroupResponse) -> Result<bool> {
        let assignment = assignment()?;
        let given = joined.members.iter().map(|member| SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: assignment.clone(),
        });
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: joined.generation_id,
            member_id: self.id.clone(),
            protocol_type: joined.protocol_type.clone(),
            protocol_name: joined.protocol_name.clone(),
            assignments: given.collect(),
            ..SyncGroupRequest::default()
        };
        match self.wire.call(SYNC_VERSION, &request).await?.error_code {
            0 => Ok(true),
            code if code == ErrorCode::RebalanceInProgress.code() => Ok(false),
            code => bail!("SyncGroup: error {code}"),
        }
    }

    /// Sends heartbeats until a rebalance begins, or this member is to begin one.
    async fn beat(&mut self, generation_id: i32) -> Result<()> {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id,
            member_id: self.id.clone(),
            ..HeartbeatRequest::default()
        };
        loop {
            tokio::select! {
                () = sleep(self.heartbeat) => {}
                () = self.again.notified() => return Ok(()),
            }
            match self.wire.call(HEARTBEAT_VERSION, &request).await?.error_code {
                0 => {}
                code if code == ErrorCode::RebalanceInProgress.code() => return Ok(()),
                code => bail!("Heartbeat: error {code}"),
            }
        }
    }
}

/// What a consumer says of itself.
fn subscription() -> Result<Bytes> {
    let wanted = ConsumerProtocolSubscription { topics: vec![TOPIC.into()], ..ConsumerProtocolSubscription::default() };
    Ok(wanted.to_prefixed_bytes(0, 0)?)
}

/// What a consumer is given.
fn assignment() -> Result<Bytes> {
    let partitions = TopicPartition { topic: TOPIC.into(), partitions: vec![0] };
    let given =
        ConsumerProtocolAssignment { assigned_partitions: vec![partitions], ..ConsumerProtocolAssignment::default() };
    Ok(given.to_prefixed_bytes(0, 0)?)
}
