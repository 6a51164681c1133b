//! What groups decide is carried out: answers go to who waits for them, records to the log, and what may take long to a thread
//! of its own.
//!
//! Must not know: which requests there are, what is decided.

use std::sync::Arc;
use std::time::Instant;

use cairn_groups::{Assigning, Effects, Record, Split, Then};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::Timestamp;
use cairn_protocol::records::{BatchBuilder, BatchView, FinishError, NewRecord, ProduceLimits};
use cairn_replication::{AppendRefused as Refused, CommitState};
use cairn_storage::log::AppendError;

use super::{Groups, State};
use crate::blocking::{Panicked, try_on_blocking_thread};
use crate::clock;
use crate::partitions::{AckWait, AppendRefused, Appended, Required};

/// How many bytes of keys and values go into one of several batches: half of what a batch may have. A record that is longer is
/// alone in its batch.
const PART_BYTES_MAX: usize = 512 * 1024;

/// What was decided did not become durable: whether it will be found after a restart is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitFailed {
    #[error("records do not fit into a batch")]
    TooLarge,
    #[error("append records of groups: {0}")]
    Append(#[from] AppendRefused),
    #[error("the log failed before the records were durable")]
    NotDurable,
}

impl CommitFailed {
    /// What members are told whose group could not be written.
    fn code_for_members(&self) -> ErrorCode {
        match self {
            Self::TooLarge | Self::Append(AppendRefused::Log(AppendError::TooLarge { .. })) => {
                ErrorCode::UnknownServerError
            }
            Self::Append(AppendRefused::Closed | AppendRefused::Replica(Refused::NotLeader)) => {
                ErrorCode::NotCoordinator
            }
            Self::Append(AppendRefused::Replica(Refused::NotEnoughReplicas { .. })) => {
                ErrorCode::CoordinatorNotAvailable
            }
            Self::Append(AppendRefused::Log(_)) | Self::NotDurable => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

impl Groups {
    /// Sends the replies, appends the records, and does what follows from that, until nothing does.
    pub(super) fn carry_out(self: &Arc<Self>, state: &mut State, effects: Effects) {
        let mut left = vec![effects];
        while let Some(effects) = left.pop() {
            for (waiter, reply) in effects.replies {
                if let Some(waiting) = state.waiters.remove(&waiter) {
                    // Whose connection is gone does not hear it.
                    let _ = waiting.send(reply);
                }
            }
            for event in &effects.events {
                self.shared.metrics.group_event(event, clock::for_groups());
            }
            for assigning in effects.assignments {
                self.assign(assigning);
            }
            for write in effects.writes {
                let now = clock::for_groups();
                match self.write(state, write.records, write.split, now.wall) {
                    Ok(Some((appended, wait))) if appended.waits => self.follow(appended, wait, write.then),
                    Ok(_) => left.push(state.groups.on_written(write.then, Ok(()), now)),
                    Err(failed) => {
                        tracing::warn!(partition = self.partition.index.0, %failed, "a group was not written");
                        left.push(state.groups.on_written(write.then, Err(failed.code_for_members()), now));
                    }
                }
            }
        }
        if let Some(next) = state.groups.next_deadline()
            && state.asleep_until.is_none_or(|until| next < until)
        {
            state.asleep_until = Some(next);
            self.earlier.notify_one();
        }
    }

    /// Has an assignment worked out on a thread that may take its time.
    fn assign(self: &Arc<Self>, assigning: Assigning) {
        let groups = Arc::clone(self);
        tokio::spawn(async move {
            let _permit = groups.shared.assignments.acquire().await.expect("it is never closed");
            let failed = assigning.failed();
            let assigned = try_on_blocking_thread(move || assigning.run()).await;
            let mut state = groups.lock();
            let now = clock::for_groups();
            match assigned {
                Ok(assigned) => {
                    let effects = state.groups.on_assigned(assigned, now);
                    groups.carry_out(&mut state, effects);
                }
                Err(Panicked(panic)) => {
                    tracing::error!(group = failed.group(), %panic, "an assignment could not be worked out");
                    state.groups.on_not_assigned(&failed, now);
                }
            }
            groups.assigned.notify_waiters();
        });
    }

    /// Goes on with a write once it is durable.
    fn follow(self: &Arc<Self>, appended: Appended, wait: AckWait, then: Then) {
        let groups = Arc::clone(self);
        tokio::spawn(async move {
            let written = groups.finish(Some(appended), wait).await.map_err(|failed| failed.code_for_members());
            let mut state = groups.lock();
            let effects = state.groups.on_written(then, written, clock::for_groups());
            groups.carry_out(&mut state, effects);
        });
    }

    /// Appends the records of a write, as one batch or as several; gives the last one, which is durable after the others.
    fn write(
        &self,
        state: &mut State,
        records: Vec<Record>,
        split: Split,
        now: Timestamp,
    ) -> Result<Option<(Appended, AckWait)>, CommitFailed> {
        let parts = match split {
            Split::Never => vec![records],
            Split::BetweenRecords => in_parts(records),
        };
        let mut last = None;
        for part in parts {
            let wait = AckWait::default();
            last = self.append(state, part, now, &wait)?.map(|appended| (appended, wait));
        }
        Ok(last)
    }

    /// Appends records as one batch. The lock that the caller holds keeps groups and log in the same order.
    pub(super) fn append(
        &self,
        state: &mut State,
        records: Vec<Record>,
        now: Timestamp,
        wait: &AckWait,
    ) -> Result<Option<Appended>, CommitFailed> {
        if records.is_empty() {
            return Ok(None);
        }
        // Whoever keeps the groups from now on has looked where the log ends.
        if state.is_stopped {
            return Err(CommitFailed::Append(AppendRefused::Replica(Refused::NotLeader)));
        }
        let begun = Instant::now();
        let bytes = build(&records, now)?;
        let batch = BatchView::parse(&bytes).expect("what was built is a batch");
        let produced = batch.validate_produced(&ProduceLimits::default()).expect("what was built is valid");
        let (required, only_in) = (Required::InSyncReplicas, Some(self.epoch));
        let appended = self.partition.append((&batch, &produced), now, required, only_in, || wait.ticket())?;
        state.groups.on_appended(appended.base_offset, records);
        state.appending += begun.elapsed();
        Ok(Some(appended))
    }

    pub(super) async fn finish(&self, appended: Option<Appended>, wait: AckWait) -> Result<(), CommitFailed> {
        let Some(appended) = appended else { return Ok(()) };
        wait.await;
        let committed = self.partition.commit_state(appended.epoch, appended.end) == CommitState::Committed;
        self.state.lock().groups.on_committed(self.partition.high_watermark());
        if committed { Ok(()) } else { Err(CommitFailed::NotDurable) }
    }
}

/// Records in their order, in parts that a batch has room for: what is deleted at once, and what all members of a large group
/// are to have, has no bound of its own.
pub(super) fn in_parts(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut parts: Vec<Vec<Record>> = Vec::new();
    let mut bytes = 0;
    for record in records {
        let len = record.key.len() + record.value.as_ref().map_or(0, |value| value.len());
        match parts.last_mut() {
            Some(part) if bytes + len <= PART_BYTES_MAX => {
                bytes += len;
                part.push(record);
            }
            _ => {
                bytes = len;
                parts.push(vec![record]);
            }
        }
    }
    parts
}

fn build(records: &[Record], now: Timestamp) -> Result<bytes::Bytes, CommitFailed> {
    let mut builder = BatchBuilder::new();
    for record in records {
        let new = NewRecord { timestamp: now, key: Some(&record.key), value: record.value.as_deref(), headers: &[] };
        builder.append(&new).map_err(|_| CommitFailed::TooLarge)?;
    }
    builder.finish(None).map_err(|error| match error {
        FinishError::TooLarge => CommitFailed::TooLarge,
        FinishError::Empty | FinishError::Compress(_) => unreachable!("there are records, and they are not compressed"),
    })
}

#[cfg(test)]
mod tests {
    use cairn_groups::{Commit, CommitError, GroupCommit, Now, PartitionCommit, Ticks};
    use cairn_protocol::ids::{Offset, PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn what_is_deleted_at_once_fits_into_batches() {
        let now = Now { wall: Timestamp(1), ticks: Ticks(1) };
        let mut groups = cairn_groups::Shard::new();
        let topic = "t".repeat(200);
        for index in 0..8_000 {
            let by = GroupCommit {
                group: "g",
                generation: -1,
                member: "",
                instance: None,
                retention_ms: -1,
                unknown_group: CommitError::IllegalGeneration,
                version: 9,
            };
            let commit = PartitionCommit {
                topic: &topic,
                topic_id: TopicId::ZERO,
                partition: PartitionIndex(index),
                offset: Offset(1),
                leader_epoch: -1,
                metadata: "",
            };
            let records = groups.commit(&Commit { by, partitions: &[commit] }, now).records;
            groups.on_appended(Offset(i64::from(index)), records);
        }
        groups.on_committed(Offset(8_000));
        let records = groups.expire(Timestamp(i64::MAX), 0);
        assert!(records.iter().map(|record| record.key.len()).sum::<usize>() > 1 << 20, "more than a batch may have");
        let parts = in_parts(records.clone());
        assert!(parts.len() > 2);
        assert_eq!(parts.concat(), records);
        for part in parts {
            assert!(build(&part, Timestamp(1)).expect("it fits").len() < 1 << 20);
        }
        assert!(in_parts(Vec::new()).is_empty());
    }
}
