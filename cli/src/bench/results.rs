//! The runs of one bench: of one cluster, or of two in turn.
//!
//! Must not know: how they are shown.

use std::num::NonZeroUsize;

use cairn_client::Acks;
use cairn_load::{LaneReport, Outcome, Plan};
use serde::Serialize;
use serde_json::{Value, json};

/// Which cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Side {
    /// `--bootstrap`
    A,
    /// `--compare`
    B,
}

/// All runs.
pub(crate) struct Results {
    pub(crate) plan: Plan,
    bootstrap: String,
    compare: Option<String>,
    runs: Vec<(Side, Outcome)>,
}

/// What is told of a run, and of which comparing makes sense.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) digits: usize,
    pub(crate) of: fn(&Outcome) -> Option<f64>,
}

fn acked(outcome: &Outcome, of: fn(&LaneReport) -> Option<f64>) -> Option<f64> {
    of(outcome.acked.as_ref()?)
}

fn read(outcome: &Outcome, of: fn(&LaneReport) -> Option<f64>) -> Option<f64> {
    of(outcome.read.as_ref()?)
}

/// In the order in which they are shown. The names are those of the JSON.
pub(crate) const MEASURES: [Measure; 13] = [
    Measure { name: "acked_per_second", digits: 0, of: |it| acked(it, |lane| Some(lane.records_per_second)) },
    Measure { name: "acked_mb_per_second", digits: 1, of: |it| acked(it, |lane| Some(lane.mb_per_second)) },
    Measure { name: "ack_p50_ms", digits: 3, of: |it| acked(it, |lane| Some(lane.latency?.p50_ms)) },
    Measure { name: "ack_p99_ms", digits: 3, of: |it| acked(it, |lane| Some(lane.latency?.p99_ms)) },
    Measure { name: "ack_p999_ms", digits: 3, of: |it| acked(it, |lane| Some(lane.latency?.p999_ms)) },
    Measure { name: "ack_max_ms", digits: 3, of: |it| acked(it, |lane| Some(lane.latency?.max_ms)) },
    Measure { name: "read_per_second", digits: 0, of: |it| read(it, |lane| Some(lane.records_per_second)) },
    Measure { name: "read_mb_per_second", digits: 1, of: |it| read(it, |lane| Some(lane.mb_per_second)) },
    Measure { name: "end_to_end_p50_ms", digits: 3, of: |it| read(it, |lane| Some(lane.latency?.p50_ms)) },
    Measure { name: "end_to_end_p99_ms", digits: 3, of: |it| read(it, |lane| Some(lane.latency?.p99_ms)) },
    Measure { name: "end_to_end_p999_ms", digits: 3, of: |it| read(it, |lane| Some(lane.latency?.p999_ms)) },
    Measure { name: "end_to_end_max_ms", digits: 3, of: |it| read(it, |lane| Some(lane.latency?.max_ms)) },
    Measure { name: "client_cpu_s_per_million", digits: 2, of: Outcome::cpu_seconds_per_million },
];

impl Results {
    pub(crate) fn new(plan: Plan, bootstrap: &str, compare: Option<&str>) -> Self {
        Self { plan, bootstrap: bootstrap.to_owned(), compare: compare.map(str::to_owned), runs: Vec::new() }
    }

    pub(crate) fn push(&mut self, side: Side, outcome: Outcome) {
        self.runs.push((side, outcome));
    }

    /// Where the cluster is.
    pub(crate) fn name(&self, side: Side) -> &str {
        match side {
            Side::A => &self.bootstrap,
            Side::B => self.compare.as_deref().unwrap_or_default(),
        }
    }

    /// The sides that are there.
    pub(crate) fn sides(&self) -> Vec<Side> {
        if self.compare.is_some() { vec![Side::A, Side::B] } else { vec![Side::A] }
    }

    /// The runs of one cluster, in their order.
    pub(crate) fn of(&self, side: Side) -> impl Iterator<Item = &Outcome> {
        self.runs.iter().filter(move |(of, _)| *of == side).map(|(_, outcome)| outcome)
    }

    /// The median of a cluster's runs.
    pub(crate) fn median(&self, side: Side, measure: &Measure) -> Option<f64> {
        median(self.of(side).filter_map(measure.of).collect())
    }

    /// A by B: the median of the pairs' ratios.
    pub(crate) fn ratio(&self, measure: &Measure) -> Option<f64> {
        self.compare.as_ref()?;
        let pairs = self.of(Side::A).zip(self.of(Side::B));
        let ratios = pairs.filter_map(|(a, b)| Some((measure.of)(a)? / (measure.of)(b)?));
        median(ratios.filter(|ratio| ratio.is_finite()).collect())
    }

    /// How many records failed, and why the first of them did.
    pub(crate) fn first_error(&self) -> Option<(u64, &str)> {
        let failed = self.runs.iter().map(|(_, outcome)| outcome.failed).sum();
        let first = self.runs.iter().find_map(|(_, outcome)| outcome.first_error.as_deref())?;
        Some((failed, first))
    }

    /// Everything, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let runs: Vec<Value> = self
            .runs
            .iter()
            .map(|(side, outcome)| json!({"side": side, "bootstrap": self.name(*side), "outcome": outcome}))
            .collect();
        let table = |of: &dyn Fn(&Measure) -> Option<f64>| -> serde_json::Map<String, Value> {
            MEASURES.iter().filter_map(|measure| Some((measure.name.to_owned(), json!(of(measure)?)))).collect()
        };
        let medians: serde_json::Map<String, Value> = self
            .sides()
            .into_iter()
            .map(|side| (format!("{side:?}"), table(&|measure| self.median(side, measure)).into()))
            .collect();
        json!({
            "plan": plan_json(&self.plan),
            "bootstrap": self.bootstrap,
            "compare": self.compare,
            "runs": runs,
            "medians": medians,
            "ratios": table(&|measure| self.ratio(measure)),
        })
    }
}

/// The plan by the names of the flags.
fn plan_json(plan: &Plan) -> Value {
    json!({
        "workload": plan.workload.name(),
        "seconds": plan.seconds.as_secs(),
        "warm_up_seconds": plan.warm_up.as_secs(),
        "record_size": plan.record_bytes,
        "partitions": plan.partitions,
        "replication_factor": plan.replication_factor,
        "batch_size": plan.batch_bytes,
        "linger_ms": plan.linger.as_millis(),
        "acks": acks(plan.acks),
        "compression": format!("{:?}", plan.compression).to_lowercase(),
        "rate": plan.rate.to_string(),
    })
}

fn acks(acks: Acks) -> &'static str {
    match acks {
        Acks::None => "0",
        Acks::Leader => "1",
        Acks::All => "all",
    }
}

/// The plan in one line, for people.
pub(crate) fn headline(plan: &Plan) -> String {
    let Value::Object(fields) = plan_json(plan) else { return String::new() };
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rest =
        fields.iter().filter(|(name, _)| *name != "workload").map(|(name, value)| format!("{name}={}", word(value)));
    format!("{}: {}", plan.workload.name(), rest.collect::<Vec<_>>().join(" "))
}

/// The one in the middle, or what lies between the two.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let count = NonZeroUsize::new(values.len())?.get();
    Some(f64::midpoint(values[(count - 1) / 2], values[count / 2]))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use cairn_client::Compression;
    use cairn_load::{Lane, Rate, Workload};

    use super::*;

    pub(crate) fn plan() -> Plan {
        Plan {
            workload: Workload::Produce,
            seconds: Duration::from_secs(10),
            warm_up: Duration::ZERO,
            record_bytes: 100,
            partitions: 1,
            replication_factor: 1,
            batch_bytes: 16_384,
            linger: Duration::ZERO,
            acks: Acks::Leader,
            compression: Compression::None,
            rate: Rate::Max,
            backlog_bytes: 0,
        }
    }

    /// One record a latency, in one second.
    fn outcome(records: u64, millis: u64) -> Outcome {
        let begin = Instant::now();
        let mut lane = Lane::new(begin);
        for _ in 0..records {
            lane.on_record(begin + Duration::from_secs(1), begin + Duration::from_millis(1_000 - millis), 100);
        }
        Outcome {
            sent: records,
            failed: 0,
            first_error: None,
            acked: Some(lane.report()),
            read: None,
            backlog_records: 0,
            cpu_seconds: 0.5,
            stopped: false,
        }
    }

    fn measure(name: &str) -> &'static Measure {
        MEASURES.iter().find(|measure| measure.name == name).expect("known")
    }

    #[test]
    fn ratios_are_of_pairs_and_the_median_counts() {
        let mut results = Results::new(plan(), "a:1", Some("b:1"));
        for (a, b) in [(100, 50), (300, 100), (40, 40)] {
            results.push(Side::A, outcome(a, 10));
            results.push(Side::B, outcome(b, 20));
        }
        let ratio = |name| results.ratio(measure(name)).expect("pairs");
        assert!((ratio("acked_per_second") - 2.0).abs() < 1e-9);
        assert!((ratio("ack_p50_ms") - 0.5).abs() < 0.01);
        assert_eq!(results.median(Side::A, measure("acked_per_second")), Some(100.0));
        assert_eq!(results.ratio(measure("read_per_second")), None);
    }

    #[test]
    fn without_another_cluster_there_is_no_ratio() {
        let mut results = Results::new(plan(), "a:1", None);
        results.push(Side::A, outcome(10, 1));
        assert_eq!(results.ratio(measure("acked_per_second")), None);
        assert_eq!(results.to_json()["runs"][0]["outcome"]["acked"]["records"], 10);
        assert_eq!(results.to_json()["ratios"], json!({}));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
