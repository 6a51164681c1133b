//! Reading numbers and ids off the front of bytes, checked against the end. All numbers are big-endian.
//!
//! Must not know: any frame's layout.

use cairn_protocol::ids::BrokerId;
use uuid::Uuid;

/// The bytes end too early, or hold a value that is not allowed at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes are cut or malformed")]
pub(crate) struct Malformed;

/// Takes values off the front of bytes.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

/// What a broker is called that has no node id yet.
const NO_NODE: i32 = -1;

impl<'a> Cursor<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, Malformed> {
        self.array().map(Uuid::from_bytes)
    }

    /// A flag and the id, which is there and nil where the flag is not set.
    pub(crate) fn uuid_or_none(&mut self) -> Result<Option<Uuid>, Malformed> {
        match (self.flag()?, self.uuid()?) {
            (true, id) => Ok(Some(id)),
            (false, id) if id.is_nil() => Ok(None),
            (false, _) => Err(Malformed),
        }
    }

    pub(crate) fn node(&mut self) -> Result<Option<BrokerId>, Malformed> {
        match self.array().map(i32::from_be_bytes)? {
            NO_NODE => Ok(None),
            node if node >= 0 => Ok(Some(BrokerId(node))),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

pub(crate) fn put_uuid_or_none(bytes: &mut Vec<u8>, id: Option<Uuid>) {
    bytes.push(u8::from(id.is_some()));
    bytes.extend(id.unwrap_or_default().as_bytes());
}

pub(crate) fn put_node(bytes: &mut Vec<u8>, node: Option<BrokerId>) {
    bytes.extend(node.map_or(NO_NODE, |node| node.0).to_be_bytes());
}
