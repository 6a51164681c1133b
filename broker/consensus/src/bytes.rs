//! Reading and writing numbers of our files: big-endian, checked against the end.
//!
//! Must not know: any file's format.

use crate::types::LogId;

/// The bytes end too early, or hold a value that is not allowed at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes are cut or malformed")]
pub(crate) struct Malformed;

/// Takes values off the front of bytes.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

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

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// A flag, the term and the index; both are there, and zero, where the flag is not set.
    pub(crate) fn log_id(&mut self) -> Result<Option<LogId>, Malformed> {
        let (set, term, index) = (self.flag()?, self.u64()?, self.u64()?);
        Ok(set.then(|| new_log_id(term, index)))
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}

pub(crate) fn put_log_id(bytes: &mut Vec<u8>, log_id: Option<&LogId>) {
    bytes.push(u8::from(log_id.is_some()));
    bytes.extend(log_id.map_or(0, term_of).to_be_bytes());
    bytes.extend(log_id.map_or(0, |log_id| log_id.index()).to_be_bytes());
}

pub(crate) fn new_log_id(term: u64, index: u64) -> LogId {
    LogId::new(term.into(), index)
}

pub(crate) fn term_of(log_id: &LogId) -> u64 {
    log_id.committed_leader_id().term
}
