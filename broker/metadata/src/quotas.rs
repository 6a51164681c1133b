//! What clients may use: limits by user, client id and address.
//!
//! Must not know: which quotas there are, who enforces them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which clients a quota is for: by Kafka's types (`user`, `client-id`, `ip`) a name, or none for all that have no quota of
/// their own.
pub type QuotaEntity = BTreeMap<Box<str>, Option<Box<str>>>;

/// The quotas of one entity by Kafka's names.
pub type Quotas = BTreeMap<Box<str>, QuotaValue>;

/// A limit: a number, never infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct QuotaValue(u64);

impl QuotaValue {
    /// Nothing for what is infinite or no number.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(value.to_bits()))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// Bits are no finite number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quota must be a finite number")]
pub struct NotFinite;

impl TryFrom<u64> for QuotaValue {
    type Error = NotFinite;

    fn try_from(bits: u64) -> Result<Self, NotFinite> {
        Self::new(f64::from_bits(bits)).ok_or(NotFinite)
    }
}

impl From<QuotaValue> for u64 {
    fn from(value: QuotaValue) -> Self {
        value.0
    }
}
