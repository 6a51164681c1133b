//! What can be wrong with bytes that are decoded, and with values that are encoded.
//!
//! Must not know: what a caller answers to either.

/// The bytes are no such message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside the message.
    #[error("need {needed} bytes, {left} are left")]
    UnexpectedEnd {
        /// What the next value takes.
        needed: usize,
        /// What is there.
        left: usize,
    },
    /// A length or count that no value can have.
    #[error("length {0} is out of range")]
    InvalidLength(i64),
    /// Null where this version does not allow it.
    #[error("null where a value is required")]
    UnexpectedNull,
    /// A variable-length number that takes more bytes than its type can need.
    #[error("variable-length number is too long")]
    InvalidVarint,
    /// A string that is not UTF-8.
    #[error("string is not valid UTF-8")]
    InvalidUtf8,
    /// The marker before a nullable struct is neither of the two.
    #[error("null marker {0} is neither -1 nor 1")]
    InvalidNullMarker(i8),
    /// An array that cannot fit into what is left even if all its elements are as small as can be.
    #[error("array of {count} elements cannot fit into {left} bytes")]
    TooManyElements {
        /// The announced number of elements.
        count: usize,
        /// The bytes left in the frame.
        left: usize,
    },
    /// More memory asked for than a frame of this size may cost.
    #[error("message needs {needed} bytes of memory, {left} are left of its allowance")]
    AllowanceExceeded {
        /// What the next value would ask for.
        needed: usize,
        /// What may still be asked for.
        left: usize,
    },
    /// More tagged fields in one struct than [`MAX_TAGGED_FIELDS`](super::MAX_TAGGED_FIELDS).
    #[error("{0} tagged fields in one struct")]
    TooManyTaggedFields(u32),
    /// A known tagged field is shorter or longer than its announced size.
    #[error("tagged field {tag} leaves {left} bytes of its size unread")]
    TaggedFieldSize {
        /// The field's tag.
        tag: u32,
        /// The bytes behind the value.
        left: usize,
    },
    /// The message is followed by bytes that belong to nothing.
    #[error("{0} bytes behind the message")]
    TrailingBytes(usize),
    /// The message has no such version.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Kafka's name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
}

/// The value cannot be said in this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The message has no such version.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// Kafka's name of the message.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is set that this version does not have, and that a receiver must not miss.
    #[error("field {field} is set, but version {version} does not have it")]
    UnsupportedField {
        /// Kafka's name of the field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is null that this version does not allow to be.
    #[error("field {field} is null, but version {version} requires it")]
    UnexpectedNull {
        /// Kafka's name of the field.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A string, byte field or array too long for its length on the wire.
    #[error("length {0} is too long for the wire")]
    TooLong(usize),
}
