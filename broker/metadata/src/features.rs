//! What the whole cluster has agreed to do in a new way. A fold of before the agreement gives what it always gave.
//!
//! Must not know: how brokers find out that all of them can.

/// Eligible leader replicas (KIP-966), by Kafka's name: from level 1 on the last in-sync replica leaves like any other, and is
/// eligible to lead unless it may have lost something.
pub const ELIGIBLE_LEADER_REPLICAS: &str = "eligible.leader.replicas.version";
