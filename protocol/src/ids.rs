//! The numbers that every layer passes around, each a type of its own so that none is taken for another.
//!
//! Must not know: messages, bytes on the wire, files.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

number! {
    /// The place of a record in its partition, counted from 0. As an *end* it is exclusive.
    Offset(i64)
}
number! {
    /// The term of one leader of one partition (KIP-101). -1 on the wire means unknown: `Option` here.
    LeaderEpoch(i32)
}
number! {
    /// A broker's node id.
    BrokerId(i32)
}
number! {
    /// The index of a partition in its topic, counted from 0.
    PartitionIndex(i32)
}
number! {
    /// The id that an idempotent producer was given (KIP-98). -1 on the wire means none: `Option` here.
    ProducerId(i64)
}
number! {
    /// Fences older producers with the same [`ProducerId`] (KIP-98).
    ProducerEpoch(i16)
}
number! {
    /// Milliseconds since the Unix epoch, as in record batches. -1 on the wire means none: `Option` here.
    Timestamp(i64)
}

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Self = Self(0);

    /// The offset `count` records further on.
    #[must_use]
    pub fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}

/// A topic's identity, which outlives its name (KIP-516).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub uuid::Uuid);

impl TopicId {
    /// All zeros: "no id given" on the wire.
    pub const ZERO: Self = Self(uuid::Uuid::nil());

    /// Whether this is the wire's "no id given".
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_nil()
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for TopicId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_bytes().serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for TopicId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <[u8; 16]>::deserialize(deserializer).map(|bytes| Self(uuid::Uuid::from_bytes(bytes)))
    }
}

/// Kafka's spelling: URL-safe base64 without padding, 22 characters.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let value = self.0.as_u128();
        for digit in 0..22u32 {
            // 128 bits are 21 whole digits and two bits, which Base64 puts into the top of the last digit.
            let shift = 122i32 - 6 * i32::try_from(digit).unwrap_or(0);
            let bits = if shift >= 0 { value >> shift } else { value << -shift };
            write!(f, "{}", char::from(ALPHABET[(bits & 63) as usize]))?;
        }
        Ok(())
    }
}

/// The text is not a [`TopicId`] in Kafka's spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 22 characters of URL-safe base64")]
pub struct ParseTopicIdError;

impl std::str::FromStr for TopicId {
    type Err = ParseTopicIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 22 {
            return Err(ParseTopicIdError);
        }
        let mut value = 0u128;
        for (index, byte) in text.bytes().enumerate() {
            let digit = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'-' => 62,
                b'_' => 63,
                _ => return Err(ParseTopicIdError),
            };
            if index < 21 {
                value = value << 6 | u128::from(digit);
            } else if digit & 15 == 0 {
                value = value << 2 | u128::from(digit >> 4);
            } else {
                return Err(ParseTopicIdError);
            }
        }
        Ok(Self(uuid::Uuid::from_u128(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_id_is_spelled_as_kafka_does() {
        let id = TopicId(uuid::Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10));
        assert_eq!(id.to_string(), "AQIDBAUGBwgJCgsMDQ4PEA");
        assert_eq!("AQIDBAUGBwgJCgsMDQ4PEA".parse(), Ok(id));
        assert_eq!("AQIDBAUGBwgJCgsMDQ4PE_".parse::<TopicId>(), Err(ParseTopicIdError));
        assert_eq!("short".parse::<TopicId>(), Err(ParseTopicIdError));
    }
}
