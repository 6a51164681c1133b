//! How far ahead of a file's end to prepare: a pure function of how fast the file grew.
//!
//! Must not know: threads, files, clocks.

use std::time::{Duration, Instant};

use super::AllocatorConfig;
use crate::disk::PrepareChunk;

/// One file's speed and distance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    chunk: PrepareChunk,
    /// How far ahead the last plan went.
    distance_bytes: u64,
    last: Option<(Instant, u64)>,
}

/// What to do now, and when to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Prepare up to here.
    pub(super) prepare_to: u64,
    /// Ask again once this much is written.
    pub(super) wake_at: u64,
}

/// How much further a plan may go than the one before it: a burst must last before much is zeroed for it.
const MAX_GROWTH: u64 = 4;

/// Shorter times say nothing about a speed.
const MIN_ELAPSED: Duration = Duration::from_micros(100);

impl Pace {
    /// Begins with one chunk.
    pub(super) fn new(chunk: PrepareChunk) -> Self {
        Self { chunk, distance_bytes: 0, last: None }
    }

    /// Begins at the distance that the file before this one had.
    pub(super) fn following(self, chunk: PrepareChunk) -> Self {
        Self { chunk, distance_bytes: self.distance_bytes, last: None }
    }

    /// How far ahead the last plan went.
    pub(super) fn distance_bytes(&self) -> u64 {
        self.distance_bytes
    }

    /// The file has `written` bytes at `now`.
    pub(super) fn plan(&mut self, written: u64, now: Instant, config: &AllocatorConfig) -> Plan {
        let wanted = match self.last {
            None => self.distance_bytes,
            Some((at, before)) => {
                let elapsed = now.saturating_duration_since(at).max(MIN_ELAPSED);
                let grown = u128::from(written.saturating_sub(before));
                let wanted = grown * config.ahead.as_nanos() / elapsed.as_nanos();
                u64::try_from(wanted).unwrap_or(u64::MAX).min(self.distance_bytes.saturating_mul(MAX_GROWTH))
            }
        };
        let chunk = u64::from(self.chunk.bytes());
        let max = config.max_ahead_bytes.max(chunk);
        self.distance_bytes = wanted.clamp(chunk, max).next_multiple_of(chunk);
        self.last = Some((now, written));
        // Steps end where large pieces do, so that the next one can begin with one. No piece is longer than half of the
        // distance, which is what a plan usually adds.
        let piece = self.chunk.within(self.distance_bytes / 2);
        Plan {
            prepare_to: (written + self.distance_bytes).next_multiple_of(piece),
            // Half of the distance is left for the time that the preparing takes.
            wake_at: written + self.distance_bytes.div_ceil(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = 64 * 1024;

    fn config() -> AllocatorConfig {
        AllocatorConfig { ahead: Duration::from_millis(40), max_ahead_bytes: 8 << 20 }
    }

    /// Distances of a file that grows by `bytes` every `millis`, one plan each.
    fn distances(pace: &mut Pace, start: Instant, steps: &[(u64, u64)]) -> Vec<u64> {
        let (mut now, mut written) = pace.last.unwrap_or((start, 0));
        steps
            .iter()
            .map(|(millis, bytes)| {
                now += Duration::from_millis(*millis);
                written += bytes;
                pace.plan(written, now, &config());
                pace.distance_bytes()
            })
            .collect()
    }

    #[test]
    fn distance_follows_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(PrepareChunk::REPLICATED);
        assert_eq!(
            pace.plan(0, start, &config()),
            Plan { prepare_to: CHUNK, wake_at: CHUNK / 2 },
            "the first step is one chunk"
        );
        // 32 KiB in 1 ms are 32 MiB/s: 1.25 MiB in 40 ms, reached by fours.
        let rising = distances(&mut pace, start, &[(1, CHUNK / 2), (4, 2 * CHUNK), (16, 8 * CHUNK), (32, 16 * CHUNK)]);
        assert_eq!(rising, [4 * CHUNK, 16 * CHUNK, 20 * CHUNK, 20 * CHUNK]);
        // Then 64 KiB a second: back to one chunk at once.
        assert_eq!(distances(&mut pace, start, &[(1000, CHUNK)]), [CHUNK]);
    }

    #[test]
    fn fast_files_are_prepared_in_whole_large_pieces() {
        let start = Instant::now();
        let mut pace = Pace::new(PrepareChunk::REPLICATED);
        distances(&mut pace, start, &[(1, 1 << 20); 8]);
        let (at, written) = pace.last.unwrap();
        let written = written + (1 << 20) + 12_345;
        let plan = pace.plan(written, at + Duration::from_millis(1), &config());
        assert_eq!(pace.distance_bytes(), 8 << 20);
        assert_eq!(plan.prepare_to, 18 << 20, "behind 9 MiB and a little, by 8 MiB, up to a multiple of 2 MiB");
        assert_eq!(plan.wake_at, written + (4 << 20));
    }

    #[test]
    fn distance_has_a_bound() {
        let start = Instant::now();
        let mut pace = Pace::new(PrepareChunk::REPLICATED);
        let steps = [(1, 1 << 30); 8];
        assert_eq!(distances(&mut pace, start, &steps).last(), Some(&(8 << 20)));
        let next = pace.following(PrepareChunk::SYNCED).plan(0, start, &config());
        assert_eq!(next, Plan { prepare_to: 8 << 20, wake_at: 4 << 20 }, "the next file begins where this one was");
    }

    #[test]
    fn no_time_between_two_plans_is_no_infinite_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(PrepareChunk::REPLICATED);
        assert_eq!(distances(&mut pace, start, &[(0, 0), (0, 1), (0, 0)]), [CHUNK; 3]);
    }
}
