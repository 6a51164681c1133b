//! What brokers ask each other beside the quorum's own messages: a byte for the kind, then postcard of the fields.
//!
//! Must not know: sockets, what the answers lead to.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The kinds, above those of the quorum.
pub(super) const JOIN: u8 = cairn_consensus::KINDS_END;
pub(super) const HEARTBEAT: u8 = JOIN + 1;
pub(super) const QUORUM: u8 = JOIN + 2;
/// A broker is gone for good: its node id.
pub(super) const UNREGISTER: u8 = JOIN + 3;
/// Whether one of these storage ids is that of a removed broker.
pub(super) const REMOVED: u8 = JOIN + 4;

/// A broker asks to be a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Join {
    /// By these it is known again when it asks twice.
    pub(super) storage_ids: Vec<Uuid>,
    /// The node id that it wants; none: any.
    pub(super) node: Option<i32>,
    /// Where it is reached.
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

/// What becomes of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Joined {
    /// It is a member.
    Member {
        /// Its cluster.
        cluster: Uuid,
        /// Its node id.
        node: i32,
        /// The cluster's secret, for a broker of the same machine that has none.
        secret: Option<Box<str>>,
    },
    /// Another broker decides that.
    NotController,
    /// It cannot be one.
    Refused(Box<str>),
}

/// A broker lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heartbeat {
    pub(super) node: i32,
    /// Its registration.
    pub(super) epoch: i64,
    /// The version of the metadata that it has carried out.
    pub(super) version: u64,
    /// Where it is reached.
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

/// What the controller says to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Heard {
    /// It is known to live, and has carried out what it was to know: it may act on that for a lease.
    Alive,
    /// It is known to live, and may have missed that it was replaced.
    Behind,
    /// Another broker is the controller.
    NotController,
    /// The registration is not the present one.
    StaleEpoch,
}

/// What becomes of a broker that is to be unregistered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unregistered {
    /// It is gone.
    Done,
    /// No broker has this id.
    Unknown,
    /// It serves.
    Alive,
    /// Another broker decides that.
    NotController,
    /// It may be gone or not.
    Failed(Box<str>),
}

pub(super) fn request(kind: u8, fields: &impl Serialize) -> Bytes {
    postcard::to_extend(fields, vec![kind]).expect("fields encode into memory").into()
}

pub(super) fn answer(fields: &impl Serialize) -> Bytes {
    postcard::to_stdvec(fields).expect("fields encode into memory").into()
}

/// None when the bytes are something else.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((fields, [])) => Some(fields),
        _ => None,
    }
}
