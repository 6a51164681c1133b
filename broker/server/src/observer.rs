//! Looks at a running broker for whoever watches it: its groups, how far they are behind, and what each topic moves.
//!
//! How old a group's first unread record is, the header of that record's batch tells, without the records being read. It is
//! looked up only where the committed offset has changed since the last look, and on disk only so often in one look.
//!
//! Must not know: how it is shown.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cairn_groups::{
    DescribedConsumerGroup, DescribedConsumerMember, DescribedGroup, DescribedMember, ListedGroup, ListedState,
};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{Offset, PartitionIndex, Timestamp, TopicId};
use cairn_protocol::records::{BatchHeader, TimestampType};
use cairn_storage::disk::Disk;
use cairn_storage::log::{FirstBatch, HotRead, Limits};

use crate::clock;
use crate::coordinator::LoadedShard;
use crate::node::Node;
use crate::partitions::Partition;
use crate::telemetry::{
    GroupDetail, Lag, Loading, Observe, Observed, ObservedGroup, ObservedMember, Standings, Traffic,
};

/// Committed offsets that one look goes through; groups beyond are shown without lag.
const LAGS_MAX: usize = 100_000;
/// Batches that one look may have to read from disk; the others' age is known at a later look.
const DISK_READS_MAX: usize = 200;

/// What members of groups of the consumer protocol have in common, as ListGroups tells it.
const CONSUMER: &str = "consumer";

/// Looks at one broker as long as that is there.
#[derive(Debug)]
pub(crate) struct Observer {
    node: Weak<Node>,
    disk: Arc<dyn Disk>,
}

impl Observer {
    pub(crate) fn new(node: &Arc<Node>, disk: Arc<dyn Disk>) -> Self {
        Self { node: Arc::downgrade(node), disk }
    }
}

impl Observe for Observer {
    fn look(&self, before: &Observed) -> Observed {
        let Some(node) = self.node.upgrade() else { return Observed::default() };
        let (shards, is_loading) = node.coordinator.loaded(&node.cluster);
        let mut look = Look::new(&node, before);
        let mut groups: Vec<ObservedGroup> = shards.iter().flat_map(|shard| look.groups(shard)).collect();
        groups.sort_unstable_by(|a, b| a.group.cmp(&b.group));
        for group in &mut groups {
            group.lags.iter_mut().for_each(|lag| look.measure(lag));
        }
        Observed { groups, is_loading, topics: topics(&node), maps: self.disk.usage(), standings: standings(&node) }
    }

    fn look_at_group(&self, name: &str) -> Result<Option<GroupDetail>, Loading> {
        let node = self.node.upgrade().ok_or(Loading)?;
        let shard = node.coordinator.of_group(&node.cluster, name).map_or_else(
            |error| if error == ErrorCode::CoordinatorLoadInProgress { Err(Loading) } else { Ok(None) },
            |shard| Ok(Some(shard)),
        )?;
        let Some(shard) = shard else { return Ok(None) };
        let before = Observed::default();
        let mut look = Look::new(&node, &before);
        let Some(mut detail) = shard.look(|groups| look.group(groups, name)) else { return Ok(None) };
        detail.lag.iter_mut().for_each(|lag| look.measure(lag));
        Ok(Some(detail))
    }
}

/// What went in and out of each topic.
fn topics(node: &Node) -> Vec<(Arc<str>, Traffic)> {
    let mut topics: BTreeMap<Arc<str>, Traffic> = BTreeMap::new();
    for partition in node.partitions.all() {
        *topics.entry(Arc::clone(&partition.topic)).or_default() += partition.traffic.counts();
    }
    topics.into_iter().collect()
}

/// Where the cluster is, and the replicas of what is led here.
fn standings(node: &Node) -> Standings {
    let image = node.image();
    let is_controller = node.cluster.controller() == Some(node.id);
    let mut found = Standings { is_controller, ..Standings::default() };
    for broker in image.brokers() {
        found.brokers += 1;
        found.fenced_brokers += u64::from(broker.fenced);
    }
    for topic in image.topics() {
        let policy = image.policy(topic);
        for partition in &topic.partitions {
            found.leaderless += u64::from(is_controller && partition.leader.is_none());
            if partition.leader == Some(node.id) {
                let (in_sync, least) = (partition.isr.len(), partition.min_isr(&policy));
                found.led += 1;
                found.under_replicated += u64::from(in_sync + partition.adding().count() < partition.replicas.len());
                found.under_min_isr += u64::from(in_sync < least);
                found.at_min_isr += u64::from(in_sync == least);
            }
        }
    }
    let lags = node.partitions.all().into_iter().filter_map(|partition| partition.max_lag());
    found.max_lag = lags.max().unwrap_or(0);
    found.catch_up_rate = node.catch_up.rate();
    found
}

/// One look at groups.
struct Look<'a> {
    node: &'a Node,
    now: Timestamp,
    /// The times of first unread records that are known already.
    known: HashMap<(TopicId, i32, i64), Timestamp>,
    lags_left: usize,
    disk_reads_left: usize,
}

impl<'a> Look<'a> {
    fn new(node: &'a Node, before: &Observed) -> Self {
        let lags = before.groups.iter().flat_map(|group| &group.lags);
        let known =
            lags.filter_map(|lag| Some(((lag.topic_id, lag.partition, lag.committed_offset), lag.first_unread?)));
        let known = known.collect();
        Self { node, now: clock::now(), known, lags_left: LAGS_MAX, disk_reads_left: DISK_READS_MAX }
    }

    /// All groups of a partition of `__consumer_offsets`, their lags not measured yet.
    fn groups(&mut self, shard: &LoadedShard) -> Vec<ObservedGroup> {
        shard.look(|groups| {
            let listed: Vec<ListedGroup> = groups.list().collect();
            listed.into_iter().map(|listed| self.observed(groups, listed)).collect()
        })
    }

    fn observed(&mut self, groups: &cairn_groups::Shard, listed: ListedGroup) -> ObservedGroup {
        let lags = self.lags(groups, &listed.name);
        ObservedGroup { lags, ..observed(&listed.name, listed.state, listed.protocol_type, listed.members) }
    }

    fn group(&mut self, groups: &cairn_groups::Shard, name: &str) -> Option<GroupDetail> {
        let mut detail = match groups.describe_consumer(name) {
            Ok(described) => of_consumers(name, described),
            Err(_) => of_classic(name, groups.describe(name)?),
        };
        detail.lag = self.lags(groups, name);
        Some(detail)
    }

    /// What the group has committed.
    fn lags(&mut self, groups: &cairn_groups::Shard, name: &str) -> Vec<Lag> {
        let mut lags = Vec::new();
        for (topic, partitions) in groups.fetch_all(name) {
            let topic: Arc<str> = topic.into();
            for (partition, committed) in partitions.take(self.lags_left) {
                self.lags_left -= 1;
                lags.push(Lag {
                    topic: Arc::clone(&topic),
                    partition: partition.0,
                    committed_offset: committed.offset.0,
                    end_offset: None,
                    lag_records: None,
                    lag_seconds: None,
                    topic_id: committed.topic_id,
                    first_unread: None,
                });
            }
        }
        lags
    }

    /// Compares what is committed with what there is.
    fn measure(&mut self, lag: &mut Lag) {
        let Ok(partition) = self.node.partitions.by_name(&lag.topic, PartitionIndex(lag.partition)) else { return };
        if !lag.topic_id.is_zero() && lag.topic_id != partition.topic_id {
            // Committed for a topic that is gone; this one has only the same name.
            return;
        }
        lag.topic_id = partition.topic_id;
        let end = partition.high_watermark();
        let next = partition.reader().start_offset().max(Offset(lag.committed_offset)).min(end);
        lag.end_offset = Some(end.0);
        lag.lag_records = Some(end.0 - next.0);
        if next == end {
            lag.lag_seconds = Some(0.0);
            return;
        }
        // Where the log begins behind what is committed, its beginning may have moved since.
        let known = self.known.get(&(lag.topic_id, lag.partition, next.0)).copied();
        lag.first_unread = known.or_else(|| self.time_at(&partition, next, end));
        lag.lag_seconds = lag.first_unread.map(|time| seconds_between(time, self.now));
    }

    /// The time of the batch that holds the record at `offset`, or the next one.
    fn time_at(&mut self, partition: &Partition, offset: Offset, end: Offset) -> Option<Timestamp> {
        let limits = Limits { max_bytes: 1, first_batch: FirstBatch::AtLeastOne, end };
        let batches = match partition.reader().read_hot(offset, limits) {
            Ok(HotRead::Ready(batches)) => batches,
            Ok(HotRead::Cold) => {
                self.disk_reads_left = self.disk_reads_left.checked_sub(1)?;
                partition.reader().read(offset, limits).ok()?
            }
            Err(_) => return None,
        };
        let header = BatchHeader::decode(&batches.bytes).ok()?;
        let attributes = header.attributes;
        // In these the base is not the first record's time.
        let is_max = attributes.timestamp_type() == TimestampType::LogAppendTime || attributes.has_delete_horizon();
        let time = if is_max { header.max_timestamp } else { header.base_timestamp };
        (time.0 >= 0).then_some(time)
    }
}

fn of_classic(name: &str, described: DescribedGroup) -> GroupDetail {
    let member = |member: DescribedMember| ObservedMember {
        member_id: member.id,
        instance_id: member.instance,
        client_id: member.client_id,
        client_host: member.client_host,
    };
    let member_list: Vec<ObservedMember> = described.members.into_iter().map(member).collect();
    let state = ListedState::Classic(described.state);
    let group = observed(name, state, described.protocol_type, member_list.len());
    GroupDetail { group, generation: described.generation, protocol: described.protocol, member_list, lag: Vec::new() }
}

fn of_consumers(name: &str, described: DescribedConsumerGroup) -> GroupDetail {
    let member = |member: DescribedConsumerMember| ObservedMember {
        member_id: member.id,
        instance_id: member.instance,
        client_id: member.client_id,
        client_host: member.client_host,
    };
    let member_list: Vec<ObservedMember> = described.members.into_iter().map(member).collect();
    let group = observed(name, ListedState::Consumer(described.state), CONSUMER.into(), member_list.len());
    GroupDetail { group, generation: described.epoch, protocol: described.assignor, member_list, lag: Vec::new() }
}

fn observed(name: &str, state: ListedState, protocol_type: Box<str>, members: usize) -> ObservedGroup {
    let (kind, state) = (state.group_type(), state.name());
    ObservedGroup { group: name.into(), kind, protocol_type, state, members, lags: Vec::new() }
}

fn seconds_between(earlier: Timestamp, later: Timestamp) -> f64 {
    let millis = later.0.saturating_sub(earlier.0);
    Duration::from_millis(u64::try_from(millis).unwrap_or(0)).as_secs_f64()
}
