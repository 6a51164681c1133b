//! What has configs of its own beside topics.
//!
//! Must not know: which configs these are.

use cairn_protocol::ids::BrokerId;
use serde::{Deserialize, Serialize};

/// Whose configs they are. New kinds go to the end: the order is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConfigResource {
    /// All brokers, where they have nothing of their own.
    Brokers,
    /// One broker, which need not be registered.
    Broker(BrokerId),
    /// A group.
    Group(Box<str>),
    /// A subscription to clients' metrics.
    ClientMetrics(Box<str>),
}
