//! The wire's types: how each is read and written, alone, nullable and in arrays.
//!
//! Must not know: any particular message.

use bytes::Bytes;
use uuid::Uuid;

use super::{DecodeError, EncodeError, MAX_STRING_LEN, Reader, Writer};

/// Which shape of a message is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The message's version.
    pub number: i16,
    /// Whether lengths are compact and structs end with tagged fields.
    pub flexible: bool,
}

impl Version {
    /// The same version for a field that keeps its fixed lengths.
    #[must_use]
    pub fn fixed(self) -> Self {
        Self { flexible: false, ..self }
    }
}

/// A value of the wire.
pub trait Element: Sized {
    /// Reads one value.
    fn read(r: &mut Reader, v: Version) -> Result<Self, DecodeError>;
    /// Writes one value.
    fn write(&self, w: &mut Writer, v: Version) -> Result<(), EncodeError>;
}

/// A value that arrays hold.
pub trait ArrayElement: Element {
    /// The fewest bytes that a value takes: what makes an announced count believable.
    fn min_size(v: Version) -> usize;
}

/// A value that may be null. The provided bodies are those of structs: a marker of one byte before
/// the value.
pub trait Nullable: Element {
    /// Reads the value, or its absence.
    fn read_nullable(r: &mut Reader, v: Version) -> Result<Option<Self>, DecodeError> {
        match i8::read(r, v)? {
            -1 => Ok(None),
            1 => Self::read(r, v).map(Some),
            other => Err(DecodeError::InvalidNullMarker(other)),
        }
    }

    /// Writes the value, or its absence.
    fn write_nullable(value: Option<&Self>, w: &mut Writer, v: Version) -> Result<(), EncodeError> {
        match value {
            None => w.put_slice(&[0xff]),
            Some(value) => {
                w.put_slice(&[1]);
                value.write(w, v)?;
            }
        }
        Ok(())
    }
}

impl<T: Nullable> Element for Option<T> {
    fn read(r: &mut Reader, v: Version) -> Result<Self, DecodeError> {
        T::read_nullable(r, v)
    }

    fn write(&self, w: &mut Writer, v: Version) -> Result<(), EncodeError> {
        T::write_nullable(self.as_ref(), w, v)
    }
}

macro_rules! number {
    ($($number:ty)*) => {$(
        impl Element for $number {
            fn read(r: &mut Reader, _: Version) -> Result<Self, DecodeError> {
                r.array().map(<$number>::from_be_bytes)
            }

            fn write(&self, w: &mut Writer, _: Version) -> Result<(), EncodeError> {
                w.put_slice(&self.to_be_bytes());
                Ok(())
            }
        }

        impl ArrayElement for $number {
            fn min_size(_: Version) -> usize {
                size_of::<$number>()
            }
        }
    )*};
}

number!(i8 i16 i32 i64 u16 u32 f64);

impl Element for bool {
    fn read(r: &mut Reader, v: Version) -> Result<Self, DecodeError> {
        i8::read(r, v).map(|byte| byte != 0)
    }

    fn write(&self, w: &mut Writer, _: Version) -> Result<(), EncodeError> {
        w.put_slice(&[u8::from(*self)]);
        Ok(())
    }
}

impl Element for Uuid {
    fn read(r: &mut Reader, _: Version) -> Result<Self, DecodeError> {
        r.array().map(Self::from_bytes)
    }

    fn write(&self, w: &mut Writer, _: Version) -> Result<(), EncodeError> {
        w.put_slice(self.as_bytes());
        Ok(())
    }
}

impl ArrayElement for Uuid {
    fn min_size(_: Version) -> usize {
        16
    }
}

impl Element for Box<str> {
    fn read(r: &mut Reader, v: Version) -> Result<Self, DecodeError> {
        Self::read_nullable(r, v)?.ok_or(DecodeError::UnexpectedNull)
    }

    fn write(&self, w: &mut Writer, v: Version) -> Result<(), EncodeError> {
        Self::write_nullable(Some(self), w, v)
    }
}

impl Nullable for Box<str> {
    fn read_nullable(r: &mut Reader, v: Version) -> Result<Option<Self>, DecodeError> {
        let len = if v.flexible { r.compact_len()? } else { r.len_i16()? };
        let Some(len) = len else { return Ok(None) };
        if len > MAX_STRING_LEN {
            return Err(DecodeError::InvalidLength(len.try_into().unwrap_or(i64::MAX)));
        }
        r.text(len).map(Some)
    }

    fn write_nullable(value: Option<&Self>, w: &mut Writer, v: Version) -> Result<(), EncodeError> {
        let len = value.map(|text| text.len());
        match len {
            Some(len) if len > MAX_STRING_LEN => return Err(EncodeError::TooLong(len)),
            _ if v.flexible => w.put_compact_len(len)?,
            Some(len) => w.put_i16(i16::try_from(len).map_err(|_| EncodeError::TooLong(len))?),
            None => w.put_i16(-1),
        }
        w.put_slice(value.map_or(&[], |text| text.as_bytes()));
        Ok(())
    }
}

impl ArrayElement for Box<str> {
    fn min_size(v: Version) -> usize {
        if v.flexible { 1 } else { 2 }
    }
}

impl Element for Bytes {
    fn read(r: &mut Reader, v: Version) -> Result<Self, DecodeError> {
        Self::read_nullable(r, v)?.ok_or(DecodeError::UnexpectedNull)
    }

    fn write(&self, w: &mut Writer, v: Version) -> Result<(), EncodeError> {
        Self::write_nullable(Some(self), w, v)
    }
}

impl Nullable for Bytes {
    fn read_nullable(r: &mut Reader, v: Version) -> Result<Option<Self>, DecodeError> {
        match r.count(v)? {
            Some(len) => r.bytes(len).map(Some),
            None => Ok(None),
        }
    }

    fn write_nullable(value: Option<&Self>, w: &mut Writer, v: Version) -> Result<(), EncodeError> {
        w.put_count(value.map(Self::len), v)?;
        if let Some(value) = value {
            w.put_bytes(value);
        }
        Ok(())
    }
}

impl<T: ArrayElement> Element for Vec<T> {
    fn read(r: &mut Reader, v: Version) -> Result<Self, DecodeError> {
        Self::read_nullable(r, v)?.ok_or(DecodeError::UnexpectedNull)
    }

    fn write(&self, w: &mut Writer, v: Version) -> Result<(), EncodeError> {
        Self::write_nullable(Some(self), w, v)
    }
}

impl<T: ArrayElement> Nullable for Vec<T> {
    fn read_nullable(r: &mut Reader, v: Version) -> Result<Option<Self>, DecodeError> {
        let Some(count) = r.count(v)? else { return Ok(None) };
        r.allow_elements(count, T::min_size(v), size_of::<T>())?;
        let mut elements = Self::with_capacity(count);
        for _ in 0..count {
            elements.push(T::read(r, v)?);
        }
        Ok(Some(elements))
    }

    fn write_nullable(value: Option<&Self>, w: &mut Writer, v: Version) -> Result<(), EncodeError> {
        w.put_count(value.map(Self::len), v)?;
        for element in value.into_iter().flatten() {
            element.write(w, v)?;
        }
        Ok(())
    }
}
