//! The coordinator of groups on whoever leads the partition of committed offsets: the product's own groups, read from the log when
//! a leader takes office; what is committed is told once it is durable. As `broker/server/src/coordinator`.
//!
//! Must not know: clients' reasons, connections, how records become durable.

use bytes::Bytes;
use cairn_groups::{Commit, CommitError, GroupCommit, Now, PartitionCommit, Record, Shard, Ticks};
use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_protocol::records::{BatchBuilder, BatchIter, DecompressLimits, NewRecord};

use crate::held::{Held, read_all};
use crate::message::Refused;
use crate::setup::{Groups, OFFSETS};
use crate::world::{World, partition_id, topic_name};

/// The groups as one leader has read them.
#[derive(Debug)]
pub(crate) struct Coordinator {
    epoch: LeaderEpoch,
    groups: Shard,
}

fn name_of(consumer: usize) -> String {
    format!("group-{consumer}")
}

impl Coordinator {
    /// Reads all that is committed.
    fn read(held: &Held, epoch: LeaderEpoch, now: Now) -> Result<Self, Refused> {
        let mut groups = Shard::new();
        for bytes in read_all(&held.log.reader(), held.replica.high_watermark()).map_err(|_| Refused::Storage)? {
            for batch in BatchIter::new(&bytes).filter_map(Result::ok) {
                let records = batch.records(&bytes, &DecompressLimits::default()).map_err(|_| Refused::Storage)?;
                for record in records.iter().filter_map(Result::ok) {
                    let value = record.value.map(Bytes::copy_from_slice);
                    let key = Bytes::copy_from_slice(record.key.unwrap_or_default());
                    groups.load(&key, value.as_ref()).map_err(|_| Refused::Storage)?;
                }
            }
        }
        // Nobody is a member.
        let _effects = groups.on_loaded(now);
        Ok(Self { epoch, groups })
    }

    /// What is durable by now is seen from now on.
    pub(crate) fn on_committed(&mut self, held: &Held) {
        if held.replica.leads() == Some(self.epoch) {
            self.groups.on_committed(held.replica.high_watermark());
        }
    }
}

impl World {
    fn now_of_groups(&self) -> Now {
        Now { wall: Timestamp(i64::try_from(self.now).expect("early")), ticks: Ticks(self.now) }
    }

    /// The groups, if this broker leads their partition and knows what is committed in it.
    fn coordinator(&mut self, at: usize) -> Result<&mut Coordinator, Refused> {
        let (now, has_lease, rule) = (self.now_of_groups(), self.holds_lease(at), self.setup.rules.groups);
        let process = self.machines[at].process.as_mut().filter(|_| has_lease).ok_or(Refused::NotLeader)?;
        let held = process.held.get(&OFFSETS).ok_or(Refused::NotLeader)?;
        let epoch = held.replica.leads().ok_or(Refused::NotLeader)?;
        let is_of_now = |known: &Coordinator| known.epoch == epoch || rule == Groups::KeptOverEpochs;
        if process.coordinator.as_ref().is_none_or(|known| !is_of_now(known)) {
            if !held.replica.knows_the_end() && rule != Groups::ReadEarly {
                return Err(Refused::NotKnownYet);
            }
            process.coordinator = Some(Coordinator::read(held, epoch, now)?);
        }
        let coordinator = process.coordinator.as_mut().ok_or(Refused::NotKnownYet)?;
        coordinator.epoch = epoch;
        Ok(coordinator)
    }

    /// A consumer commits: what to append for it.
    pub(crate) fn decide_commit(
        &mut self,
        at: usize,
        consumer: usize,
        partition: usize,
        offset: i64,
    ) -> Result<(Vec<Record>, Bytes), Refused> {
        let now = self.now_of_groups();
        let (topic_id, index) = partition_id(partition);
        let by = GroupCommit {
            group: &name_of(consumer),
            generation: -1,
            member: "",
            instance: None,
            retention_ms: -1,
            unknown_group: CommitError::IllegalGeneration,
            version: 9,
        };
        let (topic, offset) = (topic_name(partition), Offset(offset));
        let of = PartitionCommit { topic, topic_id, partition: index, offset, leader_epoch: -1, metadata: "" };
        let outcome = self.coordinator(at)?.groups.commit(&Commit { by, partitions: &[of] }, now);
        assert_eq!(outcome.results, [Ok(())], "nobody else is in the group");
        let mut builder = BatchBuilder::new();
        for record in &outcome.records {
            let value = record.value.as_deref();
            let new = NewRecord { timestamp: now.wall, key: Some(&record.key), value, headers: &[] };
            builder.append(&new).expect("a small record fits");
        }
        Ok((outcome.records, builder.finish(None).expect("a small batch is whole")))
    }

    /// It is in the log.
    pub(crate) fn on_commit_appended(&mut self, at: usize, base: Offset, end: Offset, records: Vec<Record>) {
        let rule = self.setup.rules.groups;
        let Some(process) = &mut self.machines[at].process else { return };
        let Some(coordinator) = &mut process.coordinator else { return };
        coordinator.groups.on_appended(base, records);
        if rule == Groups::SeenEarly {
            coordinator.groups.on_committed(end);
        }
    }

    /// What a consumer has committed, as this broker tells it.
    pub(crate) fn offset_of(&mut self, at: usize, consumer: usize, partition: usize) -> Result<Option<i64>, Refused> {
        let (topic_id, index) = partition_id(partition);
        let groups = &self.coordinator(at)?.groups;
        let committed = groups.fetch(&name_of(consumer), topic_name(partition), topic_id, index);
        Ok(committed.map(|committed| committed.offset.0))
    }
}
