//! What a load gave: counts, latencies, and how both went second by second.
//!
//! Must not know: what was done.

use std::time::Instant;

use serde::Serialize;

use crate::latency::{Latencies, LatencySummary};

/// Records that came to one end: acknowledged, or read.
#[derive(Debug)]
pub struct Lane {
    begin: Instant,
    last: Instant,
    records: u64,
    bytes: u64,
    all: Latencies,
    seconds: Vec<Second>,
    /// The latencies of the second that is not over.
    current: Latencies,
}

/// One second of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Second {
    /// Records that came in it.
    pub records: u64,
    /// Half of them took no longer than this.
    pub p50_ms: f64,
    /// 99 of 100 took no longer than this.
    pub p99_ms: f64,
}

impl Lane {
    /// Counts from `begin` on.
    #[must_use]
    pub fn new(begin: Instant) -> Self {
        Self {
            begin,
            last: begin,
            records: 0,
            bytes: 0,
            all: Latencies::new(),
            seconds: vec![Second::default()],
            current: Latencies::new(),
        }
    }

    /// One record came at `now`, and was due at `due`.
    pub fn on_record(&mut self, now: Instant, due: Instant, bytes: usize) {
        let latency = now.saturating_duration_since(due);
        self.on_records(now, 1, bytes);
        self.all.record(latency);
        self.current.record(latency);
    }

    /// Records came that were due at no time of their own.
    pub fn on_records(&mut self, now: Instant, records: u64, bytes: usize) {
        self.turn_to(now);
        self.last = self.last.max(now);
        self.records += records;
        self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        if let Some(second) = self.seconds.last_mut() {
            second.records += records;
        }
    }

    /// How many came.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    fn turn_to(&mut self, now: Instant) {
        let second = usize::try_from(now.saturating_duration_since(self.begin).as_secs()).unwrap_or(usize::MAX);
        if second < self.seconds.len() {
            return;
        }
        self.close_second();
        self.seconds.resize(second + 1, Second::default());
    }

    fn close_second(&mut self) {
        if self.current.count() > 0
            && let Some(over) = self.seconds.last_mut()
        {
            let summary = self.current.summary();
            (over.p50_ms, over.p99_ms) = (summary.p50_ms, summary.p99_ms);
            self.current.clear();
        }
    }

    /// The end.
    #[must_use]
    pub fn report(mut self) -> LaneReport {
        self.close_second();
        let took = self.last.saturating_duration_since(self.begin).as_secs_f64();
        let per_second = |count: u64| if took > 0.0 { as_f64(count) / took } else { 0.0 };
        LaneReport {
            records: self.records,
            bytes: self.bytes,
            took_seconds: took,
            records_per_second: per_second(self.records),
            mb_per_second: per_second(self.bytes) / 1e6,
            latency: (self.all.count() > 0).then(|| self.all.summary()),
            curve: self.all.curve(),
            seconds: self.seconds,
        }
    }
}

/// What came to one end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LaneReport {
    /// Records that came.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// From when the first was due until the last came.
    pub took_seconds: f64,
    /// Records by that time.
    pub records_per_second: f64,
    /// Millions of bytes by that time.
    pub mb_per_second: f64,
    /// From when records were due; none where they were due at no time of their own.
    pub latency: Option<LatencySummary>,
    /// Points of (quantile, milliseconds).
    pub curve: Vec<(f64, f64)>,
    /// Second by second; the last one may be short.
    pub seconds: Vec<Second>,
}

/// What a load gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Records that were handed to the producer.
    pub sent: u64,
    /// Records that were not acknowledged in the end.
    pub failed: u64,
    /// Why the first of them was not.
    pub first_error: Option<String>,
    /// What was acknowledged; none where nothing was written in the time that counts.
    pub acked: Option<LaneReport>,
    /// What was read; none where nothing was.
    pub read: Option<LaneReport>,
    /// Records of the backlog that was read.
    pub backlog_records: u64,
    /// Processor time of this process, writing and reading together.
    pub cpu_seconds: f64,
    /// Whether it was stopped before its time.
    pub stopped: bool,
}

impl Outcome {
    /// What the workload is judged by: what was read where something was, else what was acknowledged.
    #[must_use]
    pub fn main(&self) -> Option<&LaneReport> {
        self.read.as_ref().or(self.acked.as_ref())
    }

    /// Processor time of this process for a million records.
    #[must_use]
    pub fn cpu_seconds_per_million(&self) -> Option<f64> {
        let main = self.main().filter(|lane| lane.records > 0)?;
        Some(self.cpu_seconds * 1e6 / as_f64(main.records))
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people: fewer than 2^53 of anything")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(begin: Instant, millis: u64) -> Instant {
        begin + Duration::from_millis(millis)
    }

    #[test]
    fn a_lane_tells_each_second_apart() {
        let begin = Instant::now();
        let mut lane = Lane::new(begin);
        lane.on_record(at(begin, 100), at(begin, 90), 50);
        lane.on_record(at(begin, 900), at(begin, 890), 50);
        // Nothing in the second second.
        lane.on_record(at(begin, 2_000), at(begin, 1_000), 50);
        let report = lane.report();
        let records: Vec<u64> = report.seconds.iter().map(|second| second.records).collect();
        assert_eq!(records, [2, 0, 1]);
        assert!((report.seconds[0].p99_ms - 10.0).abs() < 0.1, "{report:?}");
        assert!((report.seconds[2].p50_ms - 1_000.0).abs() < 5.0, "{report:?}");
        assert_eq!((report.records, report.bytes), (3, 150));
        assert!((report.records_per_second - 1.5).abs() < 1e-9, "{report:?}");
        assert_eq!(report.latency.expect("some").count, 3);
    }

    #[test]
    fn records_without_a_time_of_their_own_have_no_latency() {
        let begin = Instant::now();
        let mut lane = Lane::new(begin);
        lane.on_records(at(begin, 500), 1_000, 100_000);
        let report = lane.report();
        assert_eq!((report.records, report.latency), (1_000, None));
        assert!((report.mb_per_second - 0.2).abs() < 1e-9, "{report:?}");
    }

    #[test]
    fn a_lane_that_nothing_came_to_is_all_zero() {
        let report = Lane::new(Instant::now()).report();
        assert_eq!((report.records, report.latency, report.records_per_second.to_bits()), (0, None, 0));
    }
}
