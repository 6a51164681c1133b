//! What brokers stand on: the network between them, and their disks.
//!
//! It must not know what happens to them.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::broker::Kind;
use crate::wire::Wire;

/// A cluster to start.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Which program.
    pub kind: Kind,
    /// How many brokers.
    pub size: i32,
    /// `key=value` in Kafka's names.
    pub settings: &'a [&'a str],
    /// The network.
    pub ground: Ground,
    /// The disks.
    pub disks: Disks,
}

/// The network between brokers.
#[derive(Debug)]
pub enum Ground {
    /// All on 127.0.0.1: nothing is ever lost.
    Loopback,
    /// Each on the host of its id.
    Wire(Wire),
}

/// Where brokers' data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disks {
    /// On the disk of temporary files.
    Shared,
    /// Each has a small one of its own.
    Own,
}

impl Ground {
    /// A broker's address.
    pub(super) fn host(&self, id: i32) -> anyhow::Result<String> {
        match self {
            Ground::Loopback => Ok("127.0.0.1".to_owned()),
            Ground::Wire(wire) => Ok(wire.address(u8::try_from(id)?).to_string()),
        }
    }

    /// A program where a broker is, ready for arguments.
    pub(super) fn command(&self, id: i32, program: &Path) -> Command {
        match self {
            Ground::Loopback => Command::new(program),
            Ground::Wire(wire) => wire.command(host(id), program),
        }
    }
}

/// The host of a broker.
pub(super) fn host(id: i32) -> u8 {
    u8::try_from(id).context("a broker with a host").unwrap_or(u8::MAX)
}
