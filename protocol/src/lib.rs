//! Kafka's wire protocol: bytes to meaning and back. No I/O, no clock, no global state.
//!
//! Must not know: sockets, files, what a broker or a client does with a message.

pub mod ids;

pub mod api;
pub mod api_versions;
pub mod codec;
pub mod frame;
pub mod header;
pub mod messages;

pub mod error_code;
pub mod murmur2;
pub mod records;
pub mod varint;

pub use api::{ApiKey, Request, Response};
pub use codec::{DecodeError, EncodeError, EncodedFrame, Message, Reader, Writer};
