//! What the environment asks of a judge: how long, how much.
//!
//! It must not know what is judged.

use anyhow::Context;

/// The number that a variable says, else the default.
pub fn parameter(name: &str, default: u64) -> anyhow::Result<u64> {
    std::env::var(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("{name}={text}")))
}
