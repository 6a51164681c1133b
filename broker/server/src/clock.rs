//! The time by which records are stamped and kept.
//!
//! Must not know: who asks.

use std::time::{SystemTime, UNIX_EPOCH};

use cairn_protocol::ids::Timestamp;

/// Milliseconds since the Unix epoch, as the system's clock has them.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
