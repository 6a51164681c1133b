//! A reader over one frame that never asks for more memory than the frame can account for.
//!
//! Must not know: any particular message.

use bytes::Bytes;

use super::{ALLOCATION_FLOOR, ALLOCATION_PER_BYTE, DecodeError, Element, MAX_TAGGED_FIELDS, Nullable, Version};

/// Reads values out of one frame. Byte fields come out as slices of it.
///
/// What decoding asks for in memory is charged before it is asked for: in all at most [`ALLOCATION_PER_BYTE`] times the
/// frame's length and [`ALLOCATION_FLOOR`] more. An array's count is believed only when what is left can hold that many of
/// its smallest elements.
#[derive(Clone, Debug)]
pub struct Reader {
    frame: Bytes,
    position: usize,
    /// Where reading ends: the frame's end, or the end of the tagged field that is read.
    end: usize,
    allowance: usize,
}

impl Reader {
    /// A reader at the start of `frame`.
    #[must_use]
    pub fn new(frame: Bytes) -> Self {
        let end = frame.len();
        let allowance = end.saturating_mul(ALLOCATION_PER_BYTE).saturating_add(ALLOCATION_FLOOR);
        Self { frame, position: 0, end, allowance }
    }

    /// The bytes not read yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.end - self.position
    }

    /// Refuses bytes that are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }

    /// Reads one value.
    pub fn get<T: Element>(&mut self, v: Version) -> Result<T, DecodeError> {
        T::read(self, v)
    }

    /// Two bytes as a number.
    pub fn get_i16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, len: usize) -> Result<&[u8], DecodeError> {
        let left = self.left();
        if len > left {
            return Err(DecodeError::UnexpectedEnd { needed: len, left });
        }
        let start = self.position;
        self.position += len;
        Ok(&self.frame[start..self.position])
    }

    /// The next `len` bytes as a slice of the frame.
    pub(super) fn bytes(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        let start = self.position;
        self.take(len)?;
        Ok(self.frame.slice(start..self.position))
    }

    /// The next `len` bytes as text.
    pub(super) fn text(&mut self, len: usize) -> Result<Box<str>, DecodeError> {
        let start = self.position;
        self.take(len)?;
        self.allow(len)?;
        let text = std::str::from_utf8(&self.frame[start..self.position]);
        text.map(Box::from).map_err(|_| DecodeError::InvalidUtf8)
    }

    /// At most five bytes with seven bits each, the lowest first.
    pub(super) fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::InvalidVarint);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::InvalidVarint)
    }

    /// A compact length: one more than the length, so that 0 is null.
    pub(super) fn compact_len(&mut self) -> Result<Option<usize>, DecodeError> {
        let Some(len) = self.varint()?.checked_sub(1) else { return Ok(None) };
        usize::try_from(len).map(Some).map_err(|_| DecodeError::InvalidLength(len.into()))
    }

    /// A string's fixed length.
    pub(super) fn len_i16(&mut self) -> Result<Option<usize>, DecodeError> {
        checked_len(self.get_i16()?.into())
    }

    /// The length of a byte field or the count of an array.
    pub(super) fn count(&mut self, v: Version) -> Result<Option<usize>, DecodeError> {
        if v.flexible {
            return self.compact_len();
        }
        checked_len(self.array().map(i32::from_be_bytes)?.into())
    }

    /// Whether `count` elements can be there, and may be asked for.
    pub(super) fn allow_elements(&mut self, count: usize, wire: usize, memory: usize) -> Result<(), DecodeError> {
        let left = self.left();
        if count.saturating_mul(wire) > left {
            return Err(DecodeError::TooManyElements { count, left });
        }
        self.allow(count.saturating_mul(memory))
    }

    fn allow(&mut self, needed: usize) -> Result<(), DecodeError> {
        let left = self.allowance;
        self.allowance = left.checked_sub(needed).ok_or(DecodeError::AllowanceExceeded { needed, left })?;
        Ok(())
    }

    /// Reads the tagged fields that end a struct. `known` reads the field of a tag, or returns false to have it skipped.
    pub fn tags<F>(&mut self, mut known: F) -> Result<(), DecodeError>
    where
        F: FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    {
        let count = self.tag_count()?;
        for _ in 0..count {
            let tag = self.varint()?;
            let after = self.tag_end()?;
            let end = std::mem::replace(&mut self.end, after);
            let is_known = known(self, tag)?;
            self.end = end;
            if is_known && self.position != after {
                return Err(DecodeError::TaggedFieldSize { tag, left: after - self.position });
            }
            self.position = after;
        }
        Ok(())
    }

    /// Skips the tagged fields that end a struct.
    pub fn skip_tags(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.tag_count()? {
            self.varint()?;
            self.position = self.tag_end()?;
        }
        Ok(())
    }

    /// A nullable struct in a tagged field, where its marker is a variable-length number: 0 before null, 1 before a value.
    pub fn tagged_struct<T: Nullable>(&mut self, v: Version) -> Result<Option<T>, DecodeError> {
        if self.varint()? == 0 { Ok(None) } else { T::read(self, v).map(Some) }
    }

    fn tag_count(&mut self) -> Result<u32, DecodeError> {
        let count = self.varint()?;
        if count > MAX_TAGGED_FIELDS { Err(DecodeError::TooManyTaggedFields(count)) } else { Ok(count) }
    }

    /// Where the tagged field ends whose size comes next.
    fn tag_end(&mut self) -> Result<usize, DecodeError> {
        let size = self.varint()?;
        let needed = usize::try_from(size).map_err(|_| DecodeError::InvalidLength(size.into()))?;
        let left = self.left();
        if needed > left {
            return Err(DecodeError::UnexpectedEnd { needed, left });
        }
        Ok(self.position + needed)
    }
}

/// A fixed length, of which only -1 means null.
fn checked_len(len: i64) -> Result<Option<usize>, DecodeError> {
    if len == -1 {
        return Ok(None);
    }
    usize::try_from(len).map(Some).map_err(|_| DecodeError::InvalidLength(len))
}
