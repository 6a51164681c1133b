//! The groups of one partition of `__consumer_offsets`: decided in memory, kept in its log.
//!
//! Must not know: which requests there are.

use std::sync::Arc;

use cairn_groups::{Commit, CommitError, Record};
use cairn_protocol::ids::Timestamp;
use cairn_protocol::records::{BatchBuilder, BatchView, FinishError, NewRecord, ProduceLimits};
use cairn_storage::log::ReadError;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OnceCell;

use super::load;
use crate::blocking::on_blocking_thread;
use crate::partitions::{AckWait, AppendRefused, Appended, Partition, Required};

/// Groups that may have to be read first.
#[derive(Debug)]
pub(crate) struct Shard {
    partition: Arc<Partition>,
    groups: OnceCell<Arc<Mutex<cairn_groups::Shard>>>,
}

/// Groups that are in memory.
#[derive(Clone, Debug)]
pub(crate) struct LoadedShard {
    partition: Arc<Partition>,
    groups: Arc<Mutex<cairn_groups::Shard>>,
}

/// What was decided did not become durable: whether it will be found after a restart is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitFailed {
    #[error("records do not fit into a batch")]
    TooLarge,
    #[error("append offsets: {0}")]
    Append(#[from] AppendRefused),
    #[error("the log failed before the offsets were durable")]
    NotDurable,
}

impl Shard {
    pub(super) fn new(partition: Arc<Partition>) -> Self {
        Self { partition, groups: OnceCell::new() }
    }

    pub(super) fn is_of(&self, partition: &Arc<Partition>) -> bool {
        Arc::ptr_eq(&self.partition, partition)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.partition.is_closed()
    }

    /// Reads the groups from the log, once; who comes meanwhile waits.
    pub(super) async fn loaded(&self) -> Result<LoadedShard, ReadError> {
        let read = || {
            let partition = Arc::clone(&self.partition);
            on_blocking_thread(move || load::read(&partition).map(|groups| Arc::new(Mutex::new(groups))))
        };
        let groups = self.groups.get_or_try_init(read).await?;
        Ok(LoadedShard { partition: Arc::clone(&self.partition), groups: Arc::clone(groups) })
    }
}

impl LoadedShard {
    /// What is committed, to be looked at for a moment.
    pub(crate) fn groups(&self) -> MutexGuard<'_, cairn_groups::Shard> {
        self.groups.lock()
    }

    /// Commits: one result per partition of the commit, once all accepted ones are as durable as the topic promises.
    pub(crate) async fn commit(
        &self,
        commit: &Commit<'_>,
        now: Timestamp,
    ) -> Result<Vec<Result<(), CommitError>>, CommitFailed> {
        let wait = AckWait::default();
        let (results, appended) = {
            let mut groups = self.groups.lock();
            let outcome = groups.commit(commit, now);
            (outcome.results, self.append(&mut groups, outcome.records, now, &wait)?)
        };
        self.finish(appended, wait).await?;
        Ok(results)
    }

    /// Makes records that delete something durable.
    pub(super) async fn delete(
        &self,
        now: Timestamp,
        records: impl Fn(&cairn_groups::Shard) -> Vec<Record>,
    ) -> Result<(), CommitFailed> {
        let wait = AckWait::default();
        let appended = {
            let mut groups = self.groups.lock();
            let records = records(&groups);
            self.append(&mut groups, records, now, &wait)?
        };
        self.finish(appended, wait).await
    }

    /// Appends records as one batch. The lock that the caller holds keeps groups and log in the same order.
    fn append(
        &self,
        groups: &mut cairn_groups::Shard,
        records: Vec<Record>,
        now: Timestamp,
        wait: &AckWait,
    ) -> Result<Option<Appended>, CommitFailed> {
        if records.is_empty() {
            return Ok(None);
        }
        let bytes = build(&records, now)?;
        let batch = BatchView::parse(&bytes).expect("what was built is a batch");
        let produced = batch.validate_produced(&ProduceLimits::default()).expect("what was built is valid");
        let appended = self.partition.append(&batch, &produced, now, Required::InSyncReplicas, || wait.ticket())?;
        groups.on_appended(appended.base_offset, records);
        self.partition.publish(&appended, bytes.len());
        Ok(Some(appended))
    }

    async fn finish(&self, appended: Option<Appended>, wait: AckWait) -> Result<(), CommitFailed> {
        let Some(appended) = appended else { return Ok(()) };
        wait.await;
        let readable = self.partition.high_watermark();
        self.groups.lock().on_committed(readable);
        if readable < appended.end { Err(CommitFailed::NotDurable) } else { Ok(()) }
    }
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
