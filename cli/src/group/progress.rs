//! How far a group has come in each partition, in records and in time.
//!
//! Must not know: members, output.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use cairn_client::{Client, CommittedOffset, Offset, OffsetReset, StartAt, Timestamp, TopicPartition};
use tokio::time::Instant;

/// How long the oldest unread records are waited for, those of all partitions together.
const OLDEST_WAIT: Duration = Duration::from_secs(3);

/// How far a group has come in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The next offset that it reads; none was committed otherwise.
    pub(super) committed: Option<Offset>,
    /// What it committed beside it.
    pub(super) metadata: Option<Box<str>>,
    /// The partition's end; none when there is no such partition any more.
    pub(super) end: Option<Offset>,
    /// How old the oldest record is that the group has not read; none when that is not known.
    pub(super) behind: Option<Duration>,
}

impl Progress {
    /// How many records are left to read, by their offsets.
    pub(super) fn lag(&self) -> Option<i64> {
        Some((self.end?.0 - self.committed?.0).max(0))
    }
}

/// Looks it up, for all partitions that were committed or that members have.
pub(super) async fn look_up(
    client: &Client,
    committed: BTreeMap<TopicPartition, CommittedOffset>,
    assigned: impl Iterator<Item = TopicPartition>,
) -> anyhow::Result<BTreeMap<TopicPartition, Progress>> {
    let partitions: BTreeSet<TopicPartition> = committed.keys().cloned().chain(assigned).collect();
    let mut ends = ends(client, &partitions).await?;
    let mut progress = BTreeMap::new();
    for partition in partitions {
        let (offset, metadata) = match committed.get(&partition) {
            Some(committed) => (Some(committed.offset), Some(committed.metadata.clone())),
            None => (None, None),
        };
        let end = ends.remove(&partition);
        progress.insert(partition, Progress { committed: offset, metadata, end, behind: None });
    }
    measure_behind(client, &mut progress).await?;
    Ok(progress)
}

/// The ends of the partitions that are still there.
async fn ends(
    client: &Client,
    partitions: &BTreeSet<TopicPartition>,
) -> anyhow::Result<HashMap<TopicPartition, Offset>> {
    let topics = client.admin().list_topics().await.context("cannot list topics")?;
    let counts: HashMap<&str, usize> = topics.iter().map(|topic| (&*topic.name, topic.partitions)).collect();
    let is_there = |partition: &&TopicPartition| {
        let index = usize::try_from(partition.partition.0).ok();
        index.zip(counts.get(&*partition.topic)).is_some_and(|(index, count)| index < *count)
    };
    let there: Vec<TopicPartition> = partitions.iter().filter(is_there).cloned().collect();
    let consumer = client.consumer().build()?;
    consumer.end_offsets(&there).await.context("cannot find the ends of the partitions")
}

/// Reads the oldest record that the group has not read, of each partition where there is one.
async fn measure_behind(client: &Client, progress: &mut BTreeMap<TopicPartition, Progress>) -> anyhow::Result<()> {
    let mut waiting: HashMap<TopicPartition, Offset> = HashMap::new();
    for (partition, of) in progress.iter_mut() {
        match (of.lag(), of.committed) {
            (Some(0), _) => of.behind = Some(Duration::ZERO),
            (Some(_), Some(committed)) => {
                waiting.insert(partition.clone(), committed);
            }
            _ => {}
        }
    }
    // The first batch comes however small the bounds are, and more is not wanted. What retention took away begins where the log
    // begins.
    let consumer = client.consumer().offset_reset(OffsetReset::Earliest).partition_max_bytes(1).build()?;
    consumer.assign(waiting.iter().map(|(partition, offset)| (partition.clone(), StartAt::Offset(*offset))));
    let until = Instant::now() + OLDEST_WAIT;
    while !waiting.is_empty() {
        let Ok(next) = tokio::time::timeout_at(until, consumer.recv_batches()).await else { break };
        let partition = match next {
            Err(error) => match error.partition() {
                Some(partition) => partition.clone(),
                None => continue,
            },
            Ok(batches) => {
                let mut oldest = None;
                // What cannot be read has no age; `cairn consume` says why.
                let _ = batches.for_each(|record| oldest = oldest.or(Some(record.timestamp)));
                let partition = batches.partition().clone();
                if let Some(of) = progress.get_mut(&partition) {
                    of.behind = oldest.and_then(age);
                }
                // Only markers of transactions: what follows them is waited for.
                if oldest.is_none() {
                    continue;
                }
                partition
            }
        };
        waiting.remove(&partition);
        consumer.seek(&partition, StartAt::End);
    }
    Ok(())
}

fn age(of: Timestamp) -> Option<Duration> {
    let written = UNIX_EPOCH + Duration::from_millis(u64::try_from(of.0).ok()?);
    // Clocks differ: a record of the future has no age yet.
    Some(SystemTime::now().duration_since(written).unwrap_or_default())
}
