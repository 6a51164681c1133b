//! Kafka's listeners: where to listen, under which name, and what to tell clients about it.
//!
//! Must not know: sockets.

use std::net::IpAddr;
use std::str::FromStr;

use super::rules::{HostPort, ParseHostPortError};

/// The name of the listener that exists when nothing is configured.
pub const DEFAULT_LISTENER: &str = "PLAINTEXT";

/// One entry of `listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Upper case, as Kafka compares them.
    pub name: String,
    /// Where to listen.
    pub bind: HostPort,
    /// What Metadata tells the clients of this listener.
    pub advertise: Advertise,
}

/// What Metadata says about a listener's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advertise {
    /// The address that the client itself has reached: right for every client, whatever lies between.
    Reached,
    /// The host that is listened on, with the port that is really bound.
    Bound,
    /// What `advertised.listeners` says.
    Fixed(HostPort),
}

/// One entry of `advertised.listeners`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The listener that it belongs to.
    pub name: String,
    /// What clients are told.
    pub address: HostPort,
}

impl FromStr for Listener {
    type Err = ParseHostPortError;

    fn from_str(text: &str) -> Result<Self, ParseHostPortError> {
        let (name, bind) = named(text)?;
        let advertise = if is_wildcard(&bind.host) { Advertise::Reached } else { Advertise::Bound };
        Ok(Self { name, bind, advertise })
    }
}

impl FromStr for Advertised {
    type Err = ParseHostPortError;

    fn from_str(text: &str) -> Result<Self, ParseHostPortError> {
        let (name, address) = named(text)?;
        if is_wildcard(&address.host) || address.port == 0 {
            return Err(ParseHostPortError);
        }
        Ok(Self { name, address })
    }
}

/// `NAME://HOST:PORT`.
fn named(text: &str) -> Result<(String, HostPort), ParseHostPortError> {
    let (name, address) = text.split_once("://").ok_or(ParseHostPortError)?;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || !name.bytes().all(word) {
        return Err(ParseHostPortError);
    }
    Ok((name.to_uppercase(), address.parse()?))
}

/// Whether the host stands for all interfaces.
fn is_wildcard(host: &str) -> bool {
    host.is_empty() || host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified())
}
