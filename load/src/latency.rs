//! Latencies in a histogram of fixed size, whatever their number.
//!
//! Must not know: what was waited for.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longer ones count as this long.
const LONGEST: Duration = Duration::from_secs(600);
/// Digits that are exact.
const DIGITS: u8 = 3;

/// Many latencies, in nanoseconds to three digits.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// None yet.
    ///
    /// # Panics
    /// Never: the bounds are constants.
    #[must_use]
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, nanos(LONGEST), DIGITS).expect("bounds of the histogram"))
    }

    /// One more.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(nanos(latency).max(1));
    }

    /// All of the others, too.
    pub fn add(&mut self, others: &Self) {
        // Both have the same bounds, so that every value fits.
        let _ = self.0.add(&others.0);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that such a part of all (0 to 1) does not exceed.
    #[must_use]
    pub fn at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// In a few numbers.
    #[must_use]
    pub fn summary(&self) -> LatencySummary {
        let at = |quantile| millis(self.at(quantile));
        LatencySummary {
            count: self.count(),
            mean_ms: self.0.mean() / 1e6,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            p9999_ms: at(0.9999),
            max_ms: millis(self.max()),
        }
    }

    /// Points of (quantile, milliseconds), closer together towards the longest; as far as there are latencies to tell.
    #[must_use]
    pub fn curve(&self) -> Vec<(f64, f64)> {
        /// Between two points, what is longer becomes this part of what it was: five points until it is half.
        const STEP: f64 = 0.870_550_563_296_124;
        let mut curve = Vec::new();
        if self.0.is_empty() {
            return curve;
        }
        #[expect(clippy::cast_precision_loss, reason = "for a plot: fewer than 2^53")]
        let one = 1.0 / self.count() as f64;
        let mut longer = 1.0;
        while longer >= one {
            curve.push((1.0 - longer, millis(self.at(1.0 - longer))));
            longer *= STEP;
        }
        curve
    }
}

/// Latencies in a few numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct LatencySummary {
    pub count: u64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub p9999_ms: f64,
    pub max_ms: f64,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() <= wanted / 500.0
    }

    #[test]
    fn quantiles_are_right_to_three_digits() {
        let mut latencies = Latencies::new();
        for millis in 1..=1_000 {
            latencies.record(Duration::from_millis(millis));
        }
        let summary = latencies.summary();
        assert_eq!(summary.count, 1_000);
        for (found, wanted) in
            [(summary.p50_ms, 500.0), (summary.p90_ms, 900.0), (summary.p99_ms, 990.0), (summary.max_ms, 1_000.0)]
        {
            assert!(close(found, wanted), "{found} is not {wanted}");
        }
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest_and_is_not_lost() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::ZERO);
        latencies.record(LONGEST * 5);
        assert_eq!(latencies.count(), 2);
        assert!(close(latencies.max().as_secs_f64(), LONGEST.as_secs_f64()));
    }

    #[test]
    fn the_curve_climbs_and_ends_before_one() {
        let mut latencies = Latencies::new();
        assert!(latencies.curve().is_empty());
        for micros in 1..100_000 {
            latencies.record(Duration::from_micros(micros));
        }
        let curve = latencies.curve();
        assert!(curve.len() > 20, "{curve:?}");
        assert!(curve.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1), "{curve:?}");
        assert!(curve.last().is_some_and(|(quantile, _)| *quantile > 0.9999 && *quantile < 1.0), "{curve:?}");
    }

    #[test]
    fn two_histograms_become_one() {
        let (mut one, mut other) = (Latencies::new(), Latencies::new());
        one.record(Duration::from_millis(1));
        other.record(Duration::from_millis(9));
        one.add(&other);
        assert_eq!(one.count(), 2);
        assert!(close(one.max().as_secs_f64() * 1e3, 9.0));
        one.clear();
        assert_eq!(one.count(), 0);
    }
}
