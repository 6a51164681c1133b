//! Why a record of the log cannot be read.
//!
//! Must not know: which records there are.

use cairn_protocol::codec::DecodeError;

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A record of this topic has a key.
    #[error("record has no key, or one without a type")]
    NoKey,
    /// The value is too short to have a version.
    #[error("value has no version")]
    NoVersion,
    /// Key or value do not decode.
    #[error("decode record: {0}")]
    Decode(#[from] DecodeError),
    /// Two members with one id cannot be.
    #[error("group has a member twice")]
    MemberTwice,
}
