//! All of Kafka's messages, generated at build time from `protocol/schema`: one struct each for all versions, and a module
//! each for the structs in it.
//!
//! Must not know: what a message is for.

// Generated code repeats patterns that nobody would write by hand.
#![allow(clippy::all, clippy::pedantic, unused_qualifications)]

/// What the generated modules use.
mod prelude {
    pub(super) use std::ops::RangeInclusive;

    pub(super) use bytes::Bytes;
    pub(super) use uuid::Uuid;

    pub(super) use crate::api::{ApiKey, Request, Response};
    pub(super) use crate::codec::{
        ArrayElement, DecodeError, Element, EncodeError, Message, Nullable, Reader, RecordPart, Version, Writer,
    };
}

include!(concat!(env!("OUT_DIR"), "/messages.rs"));
