//! Kafka's wire protocol: bytes to meaning and back. No I/O, no clock, no global state.
//!
//! Must not know: sockets, files, what a broker or a client does with a message.

pub mod ids;
