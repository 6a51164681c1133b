//! How Kafka's messages are read from and written to bytes: what the generated code in `messages` stands on.
//!
//! Must not know: any particular message, frames, API keys.

mod element;
mod error;
mod message;
mod reader;
mod writer;

pub use element::{ArrayElement, Element, Nullable, Version};
pub use error::{DecodeError, EncodeError};
pub use message::{Message, RecordPart};
pub use reader::Reader;
pub use writer::{EncodedFrame, TagWriter, Writer};

/// The longest string that Kafka's wire knows, in bytes of UTF-8.
pub const MAX_STRING_LEN: usize = 32_767;

/// The most tagged fields that one struct may carry, known and unknown.
pub const MAX_TAGGED_FIELDS: u32 = 64;

/// Decoding asks for at most this many bytes per byte of the frame...
pub const ALLOCATION_PER_BYTE: usize = 16;

/// ...and for this many in any case, so that short frames need no care.
pub const ALLOCATION_FLOOR: usize = 4096;

/// Byte fields from this length on are taken over as segments of their own instead of being copied.
pub const TAKE_OVER_LEN: usize = 1024;
