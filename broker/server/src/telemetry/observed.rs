//! What is looked up only when somebody asks: groups with their lag, and traffic by topic.
//!
//! Nothing is done for it while nobody asks, and several who ask at the same time share one look.
//!
//! Must not know: where it is looked up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use cairn_protocol::ids::{Timestamp, TopicId};
use cairn_storage::map_budget::MapUsage;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use serde::Serialize;
use tokio::sync::Mutex;

use super::flight::FlightRecorder;
use super::replication::Standings;
use crate::blocking::on_blocking_thread;

/// Groups that have series of their own: the first ones by name.
pub(crate) const GROUPS_MAX: usize = 1_000;
/// Pairs of a group and a topic that have series of their own.
pub(crate) const GROUP_TOPICS_MAX: usize = 5_000;
/// Topics that have series of their own: the first ones by name.
pub(crate) const TOPICS_MAX: usize = 2_000;
/// What was seen is shown for so long.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// What one look has found.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// Sorted by name.
    pub(crate) groups: Vec<ObservedGroup>,
    /// Some groups are still being read, and missing.
    pub(crate) is_loading: bool,
    /// Sorted by name.
    pub(crate) topics: Vec<(Arc<str>, Traffic)>,
    pub(crate) maps: MapUsage,
    pub(crate) standings: Standings,
}

/// A group.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ObservedGroup {
    pub(crate) group: Box<str>,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) protocol_type: Box<str>,
    pub(crate) state: &'static str,
    pub(crate) members: usize,
    #[serde(skip)]
    pub(crate) lags: Vec<Lag>,
}

impl ObservedGroup {
    /// Records behind in all, and the age of the oldest one.
    pub(crate) fn lag(&self) -> (i64, Option<f64>) {
        sum_of(&self.lags)
    }
}

/// Records behind in all, and the age of the oldest one; none where no age is known.
fn sum_of<'a>(lags: impl IntoIterator<Item = &'a Lag>) -> (i64, Option<f64>) {
    lags.into_iter().fold((0, None), |(records, seconds), lag| {
        let oldest = match (seconds, lag.lag_seconds) {
            (Some(a), Some(b)) => Some(f64::max(a, b)),
            (a, b) => a.or(b),
        };
        (records.saturating_add(lag.lag_records.unwrap_or(0)), oldest)
    })
}

/// How far a group is behind in one partition.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Lag {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) committed_offset: i64,
    /// None where the partition is not to be had here.
    pub(crate) end_offset: Option<i64>,
    pub(crate) lag_records: Option<i64>,
    /// How old the first record is that the group has not read; 0 when it has read all, none when that is not known.
    pub(crate) lag_seconds: Option<f64>,
    #[serde(skip)]
    pub(crate) topic_id: TopicId,
    /// The time of that record.
    #[serde(skip)]
    pub(crate) first_unread: Option<Timestamp>,
}

/// One group with all that is known of it.
#[derive(Debug, Serialize)]
pub(crate) struct GroupDetail {
    #[serde(flatten)]
    pub(crate) group: ObservedGroup,
    /// The generation, or the group epoch.
    pub(crate) generation: i32,
    /// The protocol, or the assignor, that was chosen.
    pub(crate) protocol: Box<str>,
    pub(crate) member_list: Vec<ObservedMember>,
    pub(crate) lag: Vec<Lag>,
}

/// A member of a group.
#[derive(Debug, Serialize)]
pub(crate) struct ObservedMember {
    pub(crate) member_id: Box<str>,
    pub(crate) instance_id: Option<Box<str>>,
    pub(crate) client_id: Box<str>,
    pub(crate) client_host: Box<str>,
}

/// What went in and out, since the broker was started or the topic was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) bytes_in: u64,
    pub(crate) records_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) records_out: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.bytes_in += other.bytes_in;
        self.records_in += other.records_in;
        self.bytes_out += other.bytes_out;
        self.records_out += other.records_out;
    }
}

/// Groups are still being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loading;

/// Looks. May block.
pub(crate) trait Observe: fmt::Debug + Send + Sync {
    /// Everything. What is found again as it was need not be looked up again.
    fn look(&self, before: &Observed) -> Observed;

    /// One group; none where there is no such group.
    fn look_at_group(&self, name: &str) -> Result<Option<GroupDetail>, Loading>;
}

/// The newest look, and the way to another one.
#[derive(Debug, Default)]
pub(crate) struct Observatory {
    observer: OnceLock<Arc<dyn Observe>>,
    latest: ArcSwap<Observed>,
    looked: Mutex<Option<Instant>>,
}

impl Observatory {
    /// From now on there is something to look at.
    pub(crate) fn open(&self, observer: Arc<dyn Observe>) {
        let is_first = self.observer.set(observer).is_ok();
        assert!(is_first, "one broker is observed");
    }

    pub(crate) fn latest(&self) -> Arc<Observed> {
        self.latest.load_full()
    }

    /// Looks, unless somebody did just now.
    pub(crate) async fn refresh(&self) {
        let Some(observer) = self.observer.get().cloned() else { return };
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|at| at.elapsed() < FRESH_FOR) {
            return;
        }
        let before = self.latest();
        self.latest.store(Arc::new(on_blocking_thread(move || observer.look(&before)).await));
        *looked = Some(Instant::now());
    }

    /// Looks at one group.
    pub(crate) async fn group(&self, name: String) -> Result<Option<GroupDetail>, Loading> {
        let observer = self.observer.get().cloned().ok_or(Loading)?;
        on_blocking_thread(move || observer.look_at_group(&name)).await
    }
}

/// Shows the newest look as metrics.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) observatory: Arc<Observatory>,
    pub(crate) recorder: Arc<FlightRecorder>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfGroup {
    group: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfGroupState {
    group: String,
    r#type: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfGroupTopic {
    group: String,
    topic: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfGroupCause {
    group: String,
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfTopic {
    topic: String,
}

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let observed = self.observatory.latest();
        let groups = &observed.groups[..observed.groups.len().min(GROUPS_MAX)];
        let mut out = Family { encoder: &mut encoder };
        out.gauge("groups", "Groups that this broker coordinates", None, observed.groups.len() as u64)?;
        let of = |group: &ObservedGroup| OfGroup { group: group.group.as_ref().to_owned() };
        let members = groups.iter().map(|group| (of(group), group.members as u64));
        out.gauges("group_members", "Members of the group", None, members)?;
        let state = |group: &ObservedGroup| OfGroupState {
            group: group.group.as_ref().to_owned(),
            r#type: group.kind,
            state: group.state,
        };
        let help = "1 for the state that the group is in";
        out.gauges("group_state", help, None, groups.iter().map(|group| (state(group), 1_u64)))?;
        let lags = by_topic(groups);
        let records = lags.iter().map(|(of, lag)| (of.clone(), lag.0));
        let help = "Records behind the committed offsets, of all partitions of the topic";
        out.gauges("group_lag_records", help, None, records)?;
        let seconds = lags.into_iter().filter_map(|(of, lag)| Some((of, lag.1?)));
        let help = "Age of the oldest record that the group has not committed, of all partitions of the topic; 0 when there is none";
        out.gauges("group_lag", help, Some(&Unit::Seconds), seconds)?;
        let causes = self.recorder.causes();
        let causes = causes.iter().flat_map(|(group, causes)| {
            causes.iter().map(|(cause, count)| (OfGroupCause { group: (**group).to_owned(), cause }, *count))
        });
        out.counters("group_rebalances_of_group", "Rebalances of the group begun, by cause", None, causes)?;
        encode_topics(&observed, &mut out)?;
        for (name, help, value) in observed.standings.gauges() {
            out.gauge(name, help, None, value)?;
        }
        encode_maps(observed.maps, &mut out)
    }
}

fn encode_topics(observed: &Observed, out: &mut Family<'_, '_>) -> fmt::Result {
    let topics = &observed.topics[..observed.topics.len().min(TOPICS_MAX)];
    let each = |of: fn(&Traffic) -> u64| {
        topics.iter().map(move |(topic, traffic)| (OfTopic { topic: (**topic).to_owned() }, of(traffic)))
    };
    let bytes = Some(&Unit::Bytes);
    out.counters("topic_in", "Bytes of batches appended to the topic", bytes, each(|t| t.bytes_in))?;
    out.counters("topic_records_in", "Records appended to the topic", None, each(|t| t.records_in))?;
    out.counters("topic_out", "Bytes of batches given to consumers of the topic", bytes, each(|t| t.bytes_out))?;
    let help = "Offsets given to consumers of the topic: records, and those that compaction has removed in between";
    out.counters("topic_records_out", help, None, each(|t| t.records_out))
}

fn encode_maps(maps: MapUsage, out: &mut Family<'_, '_>) -> fmt::Result {
    let bytes = Some(&Unit::Bytes);
    let counts = [
        ("storage_append_maps", "Maps of files that take appends", None, maps.append_maps),
        (
            "storage_append_reserved",
            "Address space of these maps; it costs no memory",
            bytes,
            maps.append_reserved_bytes,
        ),
        ("storage_append_prepared", "Bytes of these maps that can be resident", bytes, maps.append_prepared_bytes),
        ("storage_sealed_maps", "Maps of files that no longer change", None, maps.sealed_maps),
        ("storage_sealed_mapped", "Bytes of these maps", bytes, maps.sealed_bytes),
        ("storage_descriptors", "Descriptors of files that are kept open", None, maps.descriptors),
    ];
    for (name, help, unit, value) in counts {
        out.gauge(name, help, unit, value)?;
    }
    let help = "Reads of files that no longer change that went to a buffer because all maps were taken";
    let value = ConstCounter::new(maps.sealed_reads_unmapped);
    value.encode(out.describe("storage_reads_unmapped", help, None, value.metric_type())?)
}

/// Records behind, and the age of the oldest one, by group and topic.
fn by_topic(groups: &[ObservedGroup]) -> Vec<(OfGroupTopic, (i64, Option<f64>))> {
    let of_group = |group: &ObservedGroup| {
        let mut topics: BTreeMap<&str, Vec<&Lag>> = BTreeMap::new();
        for lag in group.lags.iter().filter(|lag| lag.lag_records.is_some()) {
            topics.entry(&*lag.topic).or_default().push(lag);
        }
        let of = |topic: &str| OfGroupTopic { group: group.group.as_ref().to_owned(), topic: topic.to_owned() };
        topics.into_iter().map(|(topic, lags)| (of(topic), sum_of(lags))).collect::<Vec<_>>()
    };
    groups.iter().flat_map(of_group).take(GROUP_TOPICS_MAX).collect()
}

/// Writes families of numbers.
struct Family<'a, 'b> {
    encoder: &'a mut DescriptorEncoder<'b>,
}

impl Family<'_, '_> {
    /// A sentence, as the registry makes one of what is registered.
    fn describe<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.encoder.encode_descriptor(name, &format!("{help}."), unit, kind)
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.describe(name, help, unit, gauge.metric_type())?)
    }

    fn gauges<L: EncodeLabelSet, N>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (L, N)>,
    ) -> fmt::Result
    where
        ConstGauge<N>: EncodeMetric,
    {
        self.write(name, help, unit, values.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value))))
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.write(name, help, unit, values.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value))))
    }

    fn write<L: EncodeLabelSet, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        metrics: impl Iterator<Item = (L, M)>,
    ) -> fmt::Result {
        let mut metrics = metrics.peekable();
        let Some((_, first)) = metrics.peek() else { return Ok(()) };
        let mut family = self.describe(name, help, unit, first.metric_type())?;
        for (labels, metric) in metrics {
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
