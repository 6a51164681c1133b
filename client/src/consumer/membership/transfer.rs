//! Partitions change hands: committed, dropped, begun, with the application's word in between.
//!
//! While they do, no record is given out. Must not know: why they do, the protocol.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::handover::Handover;
use super::{Rebalance, RebalanceKind};
use crate::consumer::assignment::StartAt;
use crate::consumer::config::OffsetReset;
use crate::consumer::offsets::{self, CommittedOffset};
use crate::consumer::{OffsetsError, Shared};
use crate::topic_partition::TopicPartition;

/// Nothing is given out as long as this lives.
struct Held<'a>(&'a Handover);

impl<'a> Held<'a> {
    fn of(handover: &'a Handover) -> Self {
        handover.hold();
        Self(handover)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// How long the application may take, and what cuts that short.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    pub(super) bound: Duration,
    pub(super) leaving: CancellationToken,
}

impl Patience {
    async fn wait(&self, waiting: impl Future<Output = ()>) {
        let bounded = tokio::time::timeout(self.bound, waiting);
        if let Some(Err(_)) = self.leaving.run_until_cancelled(bounded).await {
            tracing::warn!(bound = ?self.bound, "the application did not let partitions go in time");
        }
    }
}

/// Lets partitions go, after what was read of them is committed.
pub(super) async fn revoke(shared: &Shared, partitions: &[TopicPartition], patience: &Patience) {
    let _held = Held::of(&shared.handover);
    if !tell(shared, RebalanceKind::Revoked, partitions, patience).await {
        // Who processes a record has to be done with it, or it would be processed by another as well.
        patience.wait(shared.handover.asked()).await;
    }
    if shared.config.member.auto_commit.is_some()
        && let Err(error) = commit(shared, Some(partitions)).await
    {
        tracing::warn!(%error, "offsets of revoked partitions are not committed: some records will be read again");
    }
    shared.assignment.lock().remove(partitions);
    shared.news.notify_one();
}

/// Drops partitions that may be another's already.
pub(super) async fn lose(shared: &Shared, partitions: &[TopicPartition], patience: &Patience) {
    let _held = Held::of(&shared.handover);
    shared.assignment.lock().remove(partitions);
    shared.news.notify_one();
    tell(shared, RebalanceKind::Lost, partitions, patience).await;
}

/// Begins to read partitions where the group has committed.
pub(super) async fn assign(shared: &Shared, partitions: &[TopicPartition], patience: &Patience) {
    let begin = begin(shared, partitions).await;
    let _held = Held::of(&shared.handover);
    shared.assignment.lock().add(begin);
    tell(shared, RebalanceKind::Assigned, partitions, patience).await;
    shared.news.notify_one();
}

/// Where each begins. One question for all; what it does not answer is looked up partition by partition, with retries.
async fn begin(shared: &Shared, partitions: &[TopicPartition]) -> Vec<(TopicPartition, StartAt)> {
    let Some(group) = shared.config.group.as_ref().filter(|_| !partitions.is_empty()) else { return Vec::new() };
    let committed = offsets::committed(&shared.client, group, Some(partitions)).await;
    let by_policy = match (&committed, shared.config.offset_reset) {
        (Err(error), _) => {
            tracing::debug!(%error, "committed offsets are not known yet");
            StartAt::Committed
        }
        (Ok(_), OffsetReset::Earliest) => StartAt::Beginning,
        (Ok(_), OffsetReset::Latest) => StartAt::End,
        (Ok(_), OffsetReset::Fail) => StartAt::Committed,
    };
    let committed: HashMap<TopicPartition, CommittedOffset> = committed.unwrap_or_default();
    let place = |of: &TopicPartition| committed.get(of).map_or(by_policy, |found| StartAt::Offset(found.offset));
    partitions.iter().map(|partition| (partition.clone(), place(partition))).collect()
}

/// Tells the application, and waits until it is done with it. Gives whether anybody listens.
async fn tell(shared: &Shared, kind: RebalanceKind, partitions: &[TopicPartition], patience: &Patience) -> bool {
    let Some(listener) = shared.membership.listener.lock().clone() else { return false };
    let (done, is_done) = oneshot::channel();
    if listener.send(Rebalance { kind, partitions: partitions.to_vec(), _done: done }).is_err() {
        return false;
    }
    patience
        .wait(async {
            // An error says that it is dropped: done.
            let _ = is_done.await;
        })
        .await;
    true
}

/// Commits what the application is done with, of these partitions or of all.
pub(in super::super) async fn commit(shared: &Shared, of: Option<&[TopicPartition]>) -> Result<(), OffsetsError> {
    let Some(group) = &shared.config.group else { return Ok(()) };
    let mut due = shared.assignment.lock().to_commit();
    if let Some(of) = of {
        due.retain(|(partition, ..)| of.contains(partition));
    }
    let offsets: HashMap<TopicPartition, CommittedOffset> =
        due.iter().map(|(partition, _, offset)| (partition.clone(), (*offset).into())).collect();
    let by = || shared.membership.committer(group);
    offsets::commit(&shared.client, group, by, &offsets).await?;
    for (_, progress, offset) in due {
        progress.on_committed(offset);
    }
    Ok(())
}

/// The same for a task that owns its part.
pub(in super::super) async fn commit_all(shared: Arc<Shared>) {
    match commit(&shared, None).await {
        Ok(()) => {}
        // The next one tells whether it went better; until then nothing is lost but time.
        Err(error) => tracing::debug!(%error, "not committed yet"),
    }
}
