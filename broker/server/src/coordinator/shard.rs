//! The groups of one partition of `__consumer_offsets`, which may have to be read from its log first.
//!
//! Must not know: which requests there are, how groups are kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex};
use cairn_storage::log::ReadError;
use tokio::sync::{Notify, OnceCell};

use super::groups::Groups;
use super::{Shared, load, timers};
use crate::blocking::on_blocking_thread;
use crate::clock;
use crate::partitions::Partition;

/// Groups that may have to be read first.
#[derive(Debug)]
pub(crate) struct Shard {
    partition: Arc<Partition>,
    /// In which this broker leads the partition. In the next one the groups are read anew: another broker has led between.
    epoch: LeaderEpoch,
    /// Where the log ended when this began. What lies before that and is not committed yet has been appended by those who kept these
    /// groups before, in this epoch too where the broker had no lease for some time: it is answered when it is committed, and has to be
    /// known here by then.
    begun_at: Offset,
    shared: Arc<Shared>,
    groups: OnceCell<LoadedShard>,
    /// Somebody sees to it that they are read.
    is_loading: AtomicBool,
}

/// Groups that are in memory.
pub(crate) type LoadedShard = Arc<Groups>;

impl Shard {
    pub(super) fn new(partition: Arc<Partition>, epoch: LeaderEpoch, shared: Arc<Shared>) -> Self {
        let begun_at = partition.reader().end_offset();
        Self { partition, epoch, begun_at, shared, groups: OnceCell::new(), is_loading: AtomicBool::new(false) }
    }

    pub(super) fn is_of(&self, partition: &Arc<Partition>) -> bool {
        Arc::ptr_eq(&self.partition, partition)
    }

    pub(super) fn index(&self) -> PartitionIndex {
        self.partition.index
    }

    /// The partition is deleted, or somebody else leads it by now, or has in between.
    pub(super) fn is_over(&self) -> bool {
        self.partition.is_closed() || self.partition.leads_in() != Some(self.epoch)
    }

    /// Whether it is known where the groups' records end: a new leader has to hear from the others what was committed, and nothing
    /// may be under way any more that was appended before.
    pub(super) fn knows_the_end(&self) -> bool {
        self.partition.knows_the_end() && self.partition.high_watermark() >= self.begun_at
    }

    /// The groups, if they are there; otherwise somebody sees to it that they will be.
    pub(super) fn get(self: &Arc<Self>) -> Result<LoadedShard, ErrorCode> {
        if let Some(groups) = self.groups.get() {
            return Ok(Arc::clone(groups));
        }
        if !self.knows_the_end() {
            return Err(ErrorCode::CoordinatorLoadInProgress);
        }
        if self.partition.reader().start_offset() == self.partition.high_watermark() {
            // There is nothing to read: nobody has to wait for that.
            let groups = self.begin(cairn_groups::Shard::with(self.shared.settings()));
            if self.groups.set(Arc::clone(&groups)).is_ok() {
                return Ok(groups);
            }
        } else if !self.is_loading.swap(true, Ordering::AcqRel) {
            let shard = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = shard.loaded().await {
                    tracing::error!(partition = shard.index().0, %error, "groups could not be read");
                    shard.is_loading.store(false, Ordering::Release);
                }
            });
        }
        Err(ErrorCode::CoordinatorLoadInProgress)
    }

    /// Reads the groups from the log, once; who comes meanwhile waits.
    pub(super) async fn loaded(&self) -> Result<LoadedShard, ReadError> {
        let read = || async {
            let _permit = self.shared.loads.acquire().await.expect("it is never closed");
            let (partition, settings) = (Arc::clone(&self.partition), self.shared.settings());
            let groups = on_blocking_thread(move || load::read(&partition, settings)).await?;
            Ok(self.begin(groups))
        };
        self.groups.get_or_try_init(read).await.map(Arc::clone)
    }

    /// Members have to be heard of from now on.
    fn begin(&self, mut groups: cairn_groups::Shard) -> LoadedShard {
        let effects = groups.on_loaded(clock::for_groups());
        let earlier: Arc<Notify> = Arc::default();
        let (partition, shared) = (Arc::clone(&self.partition), Arc::clone(&self.shared));
        let groups = Groups::begin((partition, self.epoch), shared, groups, effects, Arc::clone(&earlier));
        tokio::spawn(timers::run(Arc::downgrade(&groups), earlier));
        groups
    }

    pub(super) fn stop(&self) {
        if let Some(groups) = self.groups.get() {
            groups.stop();
        }
    }
}
