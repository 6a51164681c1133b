//! Leaders propose to the quorum who is in sync, and hear what it decided.
//!
//! Must not know: by what a leader judges its followers.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use cairn_metadata::{Answer, Command, IsrOutcome, IsrProposal};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Replication;
use crate::clock;
use crate::partitions::Partition;

/// How often leaders are asked.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Proposals that the quorum has not answered; the others wait for the next time.
const OPEN_MAX: usize = 256;

impl Replication {
    /// Asks leaders again and again until `stop`.
    pub(super) async fn propose_changes(self: Arc<Self>, stop: CancellationToken) {
        let mut asking = tokio::time::interval(ASK_EVERY);
        asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = asking.tick() => {}
                Some(()) = open.next(), if !open.is_empty() => continue,
                () = stop.cancelled() => return,
            }
            for partition in self.links.led() {
                if open.len() >= OPEN_MAX {
                    break;
                }
                if let Some(proposal) = partition.due_proposal(self.lag_max_ms, clock::ticks()) {
                    open.push(self.propose(partition, proposal));
                }
            }
        }
    }

    fn count_change(&self, before: usize, now: usize) {
        let counters = &self.metrics.replication;
        match now.cmp(&before) {
            Ordering::Less => counters.isr_shrinks.inc(),
            Ordering::Greater => counters.isr_expands.inc(),
            Ordering::Equal => 0,
        };
    }

    /// Nothing follows from a proposal that was not answered: it may have been decided, and is made again.
    async fn propose(&self, partition: Arc<Partition>, proposal: IsrProposal) {
        let before = usize::try_from(partition.in_sync_replicas()).unwrap_or(usize::MAX);
        let isr: Vec<i32> = proposal.isr.iter().map(|member| member.broker.0).collect();
        let command =
            Command::ProposeIsr { id: partition.topic_id, partition: partition.index, proposal: proposal.clone() };
        match self.cluster.quorum().propose(command).await {
            Ok(proposed) => {
                if let Answer::IsrDecided(outcome) = proposed.answer {
                    if let IsrOutcome::Accepted(_) = outcome {
                        self.count_change(before, isr.len());
                    }
                    let (topic, index) = (&*partition.topic, partition.index.0);
                    tracing::info!(topic, partition = index, ?isr, ?outcome, "who is in sync was decided");
                    partition.on_outcome(&proposal, outcome);
                }
            }
            Err(error) => {
                tracing::debug!(topic = &*partition.topic, partition = partition.index.0, %error, "not decided yet");
            }
        }
    }
}
