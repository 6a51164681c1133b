//! What all generated messages have in common.
//!
//! Must not know: any particular message, API keys.

use std::ops::RangeInclusive;

use bytes::Bytes;

use super::{DecodeError, Element, EncodeError, EncodedFrame, Reader, Version, Writer};

/// A whole message: a request's or response's body, a header, or data that Kafka keeps in records and files.
pub trait Message: Element + Default + Clone + PartialEq + std::fmt::Debug {
    /// Kafka's name.
    const NAME: &'static str;
    /// The versions that can be read and written.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields.
    const FLEXIBLE_FROM: Option<i16>;

    /// Whether `version` has compact lengths and tagged fields.
    #[must_use]
    fn is_flexible(version: i16) -> bool {
        Self::FLEXIBLE_FROM.is_some_and(|first| version >= first)
    }

    /// Reads the message and leaves the reader behind it.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::UnsupportedVersion { message: Self::NAME, version });
        }
        Self::read(reader, Version { number: version, flexible: Self::is_flexible(version) })
    }

    /// Reads the message out of all of `bytes`: what follows it is an error.
    fn decode_all(bytes: Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = Self::decode(&mut reader, version)?;
        reader.finish()?;
        Ok(message)
    }

    /// Writes the message. After an error the writer holds a part of it and is of no more use.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::UnsupportedVersion { message: Self::NAME, version });
        }
        self.write(writer, Version { number: version, flexible: Self::is_flexible(version) })
    }

    /// The message alone, as segments.
    fn to_segments(&self, version: i16) -> Result<EncodedFrame, EncodeError> {
        let mut writer = Writer::new();
        self.encode(&mut writer, version)?;
        Ok(writer.finish())
    }

    /// The message alone, as one piece of bytes.
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        Ok(self.to_segments(version)?.into_bytes())
    }

    /// The message behind a number of two bytes, as Kafka keeps it in records and in members' metadata: there the number
    /// tells the version of a value, or the type of a key.
    fn to_prefixed_bytes(&self, prefix: i16, version: i16) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        writer.put_i16(prefix);
        self.encode(&mut writer, version)?;
        Ok(writer.finish().into_bytes())
    }
}

/// The key or the value of a record that a coordinator keeps in its topic.
pub trait RecordPart: Message {
    /// What kind of record this is; a key's bytes begin with it, a value's bytes begin with the value's version.
    const TYPE: i16;
}
