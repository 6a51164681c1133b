//! A histogram of times that costs two additions to observe, and no lock: every request observes several.
//!
//! Must not know: what is timed.

use std::fmt;
use std::iter::once;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The least bucket's bound, 25 us; each further one is four times the one before, up to 7 minutes.
const LEAST_NANOS: u64 = 25_000;
const LEAST_SECONDS: f64 = 0.000_025;
const FACTOR: f64 = 4.0;
/// Buckets that have a bound; one more takes what is longer.
const BOUNDED: u16 = 13;

/// Times, by how long they were. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    nanos: AtomicU64,
    buckets: [AtomicU64; BOUNDED as usize + 1],
}

impl Times {
    /// Counts one.
    pub(crate) fn observe(&self, time: Duration) {
        // A time of centuries is counted as the longest that there is.
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.0.buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
    }
}

/// The first bucket whose bound is not less.
fn bucket(nanos: u64) -> usize {
    let times_least = nanos.saturating_sub(1) / LEAST_NANOS;
    let at = times_least.checked_ilog2().map_or(0, |log| log / 2 + 1);
    at.min(BOUNDED.into()) as usize
}

impl TypedMetric for Times {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Times {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = exponential_buckets(LEAST_SECONDS, FACTOR, BOUNDED).chain(once(f64::INFINITY));
        let counts = self.0.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.0.nanos.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::Registry;

    use super::*;

    fn encoded(metric: impl prometheus_client::registry::Metric) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register("times", "Times", metric);
        text::encode(&mut text, &registry).unwrap();
        text
    }

    /// Everything that is told is what the library's own histogram tells, at the bounds and beside them.
    #[test]
    fn it_is_encoded_as_the_librarys_own() {
        let (ours, theirs) = (Times::default(), Histogram::new(exponential_buckets(LEAST_SECONDS, FACTOR, BOUNDED)));
        let mut total = 0;
        for power in 0..15 {
            let bound = LEAST_NANOS * 4_u64.pow(power);
            for nanos in [bound - 1, bound, bound + 1] {
                ours.observe(Duration::from_nanos(nanos));
                theirs.observe(Duration::from_nanos(nanos).as_secs_f64());
                total += nanos;
            }
        }
        ours.observe(Duration::ZERO);
        theirs.observe(0.0);
        let without_sum = |text: String| {
            let (sums, rest): (Vec<_>, Vec<_>) =
                text.lines().map(str::to_owned).partition(|line| line.contains("_sum"));
            (sums, rest)
        };
        let (sums, rest) = without_sum(encoded(ours));
        assert_eq!(sums, [format!("times_sum {}", Duration::from_nanos(total).as_secs_f64())]);
        assert_eq!(rest, without_sum(encoded(theirs)).1);
    }

    #[test]
    fn a_time_beyond_all_bounds_is_counted() {
        let times = Times::default();
        times.observe(Duration::MAX);
        assert_eq!(times.0.buckets.last().unwrap().load(Ordering::Relaxed), 1);
    }
}
