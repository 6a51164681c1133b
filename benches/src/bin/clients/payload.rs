//! The same values for both clients: random letters, or a stamp of when the record was due and letters behind it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Values are pieces of so many bytes.
const POOL_BYTES: usize = 64 * 1024;
/// Coprime with the pool's length, so that all places have their turn.
const STEP: usize = 7919;
const STAMP_BYTES: usize = 8;

/// Letters to cut values from.
pub(crate) fn pool(value_bytes: usize) -> Vec<u8> {
    // A generator of Marsaglia's: the same letters for both.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'A' + u8::try_from(state % 26).unwrap_or(0)
    };
    (0..POOL_BYTES + value_bytes).map(letter).collect()
}

/// Where the value of this record begins.
pub(crate) fn at(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0).wrapping_mul(STEP) % POOL_BYTES
}

/// Puts the time that a record is due in front.
pub(crate) fn stamp(value: &mut [u8], epoch: Instant, due: Instant) {
    let nanos = u64::try_from(due.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX);
    if let Some(stamp) = value.first_chunk_mut::<STAMP_BYTES>() {
        *stamp = nanos.to_be_bytes();
    }
}

/// When a record was due.
pub(crate) fn due(value: &[u8], epoch: Instant) -> Result<Instant> {
    let stamp = value.first_chunk::<STAMP_BYTES>().context("a record without a stamp")?;
    epoch.checked_add(Duration::from_nanos(u64::from_be_bytes(*stamp))).context("a stamp from nowhere")
}
