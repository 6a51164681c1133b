//! A broker as the cluster knows it.
//!
//! Must not know: topics.

use std::fmt;

use cairn_protocol::ids::BrokerId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::partition::{Duty, Standing};

/// Counts the incarnations of one broker: every start of its process gets a higher one (KIP-903).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(transparent)]
pub struct BrokerEpoch(pub i64);

impl fmt::Display for BrokerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a listener is spoken to. New kinds go to the end: the order is part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityProtocol {
    /// TCP, nobody proves who they are.
    Plaintext,
    /// TLS.
    Ssl,
    /// TCP, SASL.
    SaslPlaintext,
    /// TLS, SASL.
    SaslSsl,
}

/// Where a broker is reached under one of its listeners' names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The listener's name, such as `PLAINTEXT` or `INTERNAL`.
    pub listener: Box<str>,
    /// A name or an address, IPv6 without brackets.
    pub host: Box<str>,
    /// Never 0.
    pub port: u16,
    /// How it is spoken to.
    pub security: SecurityProtocol,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    /// Its node id.
    pub id: BrokerId,
    /// Its present incarnation.
    pub epoch: BrokerEpoch,
    /// The id that this incarnation's process chose: tells a retried registration from a second process.
    pub incarnation: Uuid,
    /// Where clients and brokers reach it. None: it is known only under the address that a client reached it by.
    pub endpoints: Vec<Endpoint>,
    /// Its rack, for replica placement and fetching from the nearest replica.
    pub rack: Option<Box<str>>,
    /// The identities of its data directories: one that changes is another disk.
    pub storage_ids: Vec<Uuid>,
    /// The kernel's boot id at registration: unchanged, what had been appended was still in the page cache.
    pub boot_id: Option<Uuid>,
    /// A fenced broker leads nothing and is left out of Metadata.
    pub fenced: bool,
    /// It is about to stop: it leads nothing and is not in sync, and still answers (KIP-841).
    pub shutting_down: bool,
}

impl Broker {
    /// What decisions about partitions see of it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let duty = match (self.fenced, self.shutting_down) {
            (true, _) => Duty::Fenced,
            (false, true) => Duty::ShuttingDown,
            (false, false) => Duty::Serving,
        };
        Standing { epoch: self.epoch, duty }
    }
}
