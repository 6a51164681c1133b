//! Histograms of a few hundred bytes, in the shape that openraft wants: one bucket per power of two.
//!
//! The library counts into fifteen of them, and only gives them out under a feature that we do not use. The crate that it
//! names for that job makes tables of 27 MB at its first histogram, more than the rest of a small broker, so the workspace
//! puts this one in its place.
//!
//! Must not know: what is counted.

use std::fmt;
use std::marker::PhantomData;

/// One for zero, one for each number of bits.
const BUCKETS: usize = 65;

/// Counts values by their number of bits. `T` is there for the library's spelling of the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; BUCKETS],
    kind: PhantomData<T>,
}

/// How the values are spread. Each percentile is the smallest value of the bucket that it falls into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values.
    pub samples: u64,
    /// 0.1 % are smaller.
    pub p0_1: u64,
    /// 1 % are smaller.
    pub p1: u64,
    /// 5 % are smaller.
    pub p5: u64,
    /// 10 % are smaller.
    pub p10: u64,
    /// Half of them are smaller.
    pub p50: u64,
    /// 90 % are smaller.
    pub p90: u64,
    /// 99 % are smaller.
    pub p99: u64,
    /// 99.9 % are smaller.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n={} p50={} p99={}", self.samples, self.p50, self.p99)
    }
}

impl<T> Histogram<T> {
    /// A histogram without values.
    #[must_use]
    pub fn new() -> Self {
        Self { counts: [0; BUCKETS], kind: PhantomData }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value `n` times.
    pub fn record_n(&mut self, value: u64, n: u64) {
        let bits = u64::BITS - value.leading_zeros();
        let count = &mut self.counts[usize::try_from(bits).expect("at most 64")];
        *count = count.saturating_add(n);
    }

    /// How the values are spread.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        let samples = self.counts.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
        let at = |permille: u64| self.value_at(u128::from(samples) * u128::from(permille) / 1000);
        PercentileStats {
            samples,
            p0_1: at(1),
            p1: at(10),
            p5: at(50),
            p10: at(100),
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p99_9: at(999),
        }
    }

    /// The smallest value of the bucket that holds the value before which `rank` values come.
    fn value_at(&self, rank: u128) -> u64 {
        let mut before = 0u128;
        for (bits, count) in self.counts.iter().enumerate() {
            before += u128::from(*count);
            if before > rank {
                return if bits == 0 { 0 } else { 1 << (bits - 1) };
            }
        }
        0
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Several histograms below each other as text.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    rows: Vec<(String, PercentileStats)>,
}

impl AsciiChart {
    /// A chart without rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The chart with one more row.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the library passes it so")]
    pub fn add<T>(mut self, name: &str, histogram: Histogram<T>) -> Self {
        self.rows.push((name.to_owned(), histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, stats) in &self.rows {
            writeln!(f, "{name}: {stats}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_bounds_of_buckets() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats(), PercentileStats::default());
        histogram.record_n(0, 10);
        histogram.record_n(1, 40);
        histogram.record_n(1000, 40);
        histogram.record_n(u64::MAX, 10);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p5, stats.p10, stats.p50), (100, 0, 1, 512));
        assert_eq!((stats.p90, stats.p99_9), (1 << 63, 1 << 63));
        let chart = AsciiChart::new().add("row", histogram);
        assert_eq!(chart.to_string(), "row: n=100 p50=512 p99=9223372036854775808\n");
    }
}
