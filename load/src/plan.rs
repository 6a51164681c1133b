//! What is to be done to a cluster.
//!
//! Must not know: how it is done.

use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use cairn_client::{Acks, Compression};

/// The stamp of when a record was due, at the beginning of its value.
pub(crate) const STAMP_BYTES: usize = 8;

/// Which way records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Records are written; a latency is that of an acknowledgement.
    Produce,
    /// A backlog is read, again and again.
    Consume,
    /// Records are written and read at once; a latency ends when the record is read.
    EndToEnd,
    /// The same, as fast as it goes unless a rate is given.
    Mixed,
}

impl Workload {
    /// Whether records are read while they are written.
    #[must_use]
    pub fn is_read_along(self) -> bool {
        matches!(self, Self::EndToEnd | Self::Mixed)
    }

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Consume => "consume",
            Self::EndToEnd => "end-to-end",
            Self::Mixed => "mixed",
        }
    }
}

/// How many records are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// So many a second, whatever the broker does.
    PerSecond(NonZeroU64),
    /// As many as the producer has room for.
    Max,
}

/// More could not be told apart on the clock.
const RATE_MAX: u64 = 100_000_000;

impl FromStr for Rate {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let rate = text.parse().ok().filter(|rate: &NonZeroU64| rate.get() <= RATE_MAX);
        rate.map(Self::PerSecond).ok_or(PlanError::Rate)
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PerSecond(rate) => write!(f, "{rate}"),
            Self::Max => f.write_str("max"),
        }
    }
}

/// A load.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the flags of `cairn bench` tell them")]
pub struct Plan {
    pub workload: Workload,
    pub seconds: Duration,
    pub warm_up: Duration,
    pub record_bytes: usize,
    pub partitions: i32,
    pub replication_factor: i16,
    pub batch_bytes: usize,
    pub linger: Duration,
    pub acks: Acks,
    pub compression: Compression,
    pub rate: Rate,
    /// What is written before it is read, by [`Workload::Consume`] alone.
    pub backlog_bytes: usize,
}

impl Plan {
    /// How many records the backlog has: at least one.
    #[must_use]
    pub fn backlog_records(&self) -> u64 {
        u64::try_from(self.backlog_bytes / self.record_bytes.max(1)).unwrap_or(u64::MAX).max(1)
    }

    /// Looks whether it can be done.
    ///
    /// # Errors
    /// When it can not.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.workload.is_read_along() && self.record_bytes < STAMP_BYTES {
            return Err(PlanError::RecordSize { bytes: self.record_bytes });
        }
        if self.workload == Workload::Consume && self.rate != Rate::Max {
            return Err(PlanError::RateOfConsume);
        }
        Ok(())
    }
}

/// A load that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No number, zero, or too many.
    #[error("expected records a second, from 1 to {RATE_MAX}, or max")]
    Rate,
    /// No room for a stamp.
    #[error(
        "a record of {bytes} bytes has no room for the time that it was due: --record-size must be {STAMP_BYTES} or more"
    )]
    RecordSize {
        /// What was asked for.
        bytes: usize,
    },
    /// Reading has no schedule.
    #[error("a backlog is read as fast as it comes: consume takes no --rate")]
    RateOfConsume,
}
