//! Conversions between lengths in memory and lengths on disk, which are the same on the 64-bit machines that we run on.
//!
//! Must not know: what is counted.

/// A length in memory as a length on disk.
pub(crate) fn as_u64(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits into 64 bits")
}

/// A length on disk as a length in memory.
pub(crate) fn as_usize(len: u64) -> usize {
    usize::try_from(len).expect("64-bit machines only")
}

/// Milliseconds of a setting as a difference of timestamps.
pub(crate) fn as_millis(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}
