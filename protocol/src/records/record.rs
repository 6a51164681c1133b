//! Single records inside a batch, and the walk over them.
//!
//! Must not know: compression, what a producer may send.

use std::borrow::Cow;

use bytes::Bytes;

use super::header::TimestampType;
use super::{BatchHeader, VarintError};
use crate::ids::{Offset, Timestamp};
use crate::varint;

/// Why the bytes of a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end within the record, or the record within one of its fields.
    #[error("record is cut off")]
    Truncated,
    /// A number in it has more bits than its type.
    #[error("number in the record is too long for its type")]
    Overlong,
    /// A length or count in it is negative where none may be, or below -1.
    #[error("length {length} in the record is out of range")]
    InvalidLength {
        /// The length or count.
        length: i32,
    },
    /// Bytes are left in the record behind its last header.
    #[error("{bytes} bytes follow the last field of the record")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Base offset and delta, or base timestamp and delta, are beyond 64 bits, or the offset lies outside of the batch.
    #[error("offset or timestamp of the record is out of range")]
    OutOfRange,
    /// There are other than the declared number of records.
    #[error("batch declares {declared} records and holds {held}")]
    WrongCount {
        /// What the header says.
        declared: i32,
        /// How many there are, or 1 more than declared if bytes follow the last.
        held: i32,
    },
}

impl From<VarintError> for RecordError {
    fn from(error: VarintError) -> Self {
        match error {
            VarintError::Truncated => Self::Truncated,
            VarintError::Overlong => Self::Overlong,
        }
    }
}

/// Where the fields of one record come from: a slice in memory, or a decompressor that forgets what it has passed.
/// One parser over both, so that there is one truth about what a record is.
pub(super) trait Source {
    /// What a field's bytes become.
    type Chunk;
    /// What can go wrong.
    type Error: From<RecordError>;

    fn byte(&mut self) -> Result<u8, Self::Error>;
    fn varint(&mut self) -> Result<i32, Self::Error>;
    fn varlong(&mut self) -> Result<i64, Self::Error>;
    fn chunk(&mut self, bytes: usize) -> Result<Self::Chunk, Self::Error>;
    /// All that is left of the record, without taking it.
    fn peek_rest(&self) -> Self::Chunk;
    /// Bytes left of the record.
    fn left(&self) -> usize;
}

impl<'a> Source for &'a [u8] {
    type Chunk = &'a [u8];
    type Error = RecordError;

    #[inline]
    fn byte(&mut self) -> Result<u8, RecordError> {
        let (byte, rest) = self.split_first().ok_or(RecordError::Truncated)?;
        *self = rest;
        Ok(*byte)
    }

    #[inline]
    fn varint(&mut self) -> Result<i32, RecordError> {
        Ok(varint::take_i32(self)?)
    }

    #[inline]
    fn varlong(&mut self) -> Result<i64, RecordError> {
        Ok(varint::take_i64(self)?)
    }

    #[inline]
    fn chunk(&mut self, bytes: usize) -> Result<&'a [u8], RecordError> {
        let (chunk, rest) = self.split_at_checked(bytes).ok_or(RecordError::Truncated)?;
        *self = rest;
        Ok(chunk)
    }

    #[inline]
    fn peek_rest(&self) -> &'a [u8] {
        self
    }

    #[inline]
    fn left(&self) -> usize {
        self.len()
    }
}

/// A record's fields as they stand in its bytes.
pub(super) struct RawRecord<C> {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<C>,
    pub(super) value: Option<C>,
    pub(super) header_count: u32,
    /// The checked bytes of all headers.
    pub(super) headers: C,
}

/// Parses one record whose length has been taken off; `body` holds exactly it.
#[inline]
pub(super) fn parse<S: Source>(body: &mut S) -> Result<RawRecord<S::Chunk>, S::Error> {
    let _unused_attributes = body.byte()?;
    let timestamp_delta = body.varlong()?;
    let offset_delta = body.varint()?;
    let key = nullable(body)?;
    let value = nullable(body)?;
    let header_count = body.varint()?;
    let header_count = u32::try_from(header_count).map_err(|_| RecordError::InvalidLength { length: header_count })?;
    let headers = body.peek_rest();
    if header_count > 0 {
        check_headers(body, header_count)?;
    }
    match body.left() {
        0 => Ok(RawRecord { timestamp_delta, offset_delta, key, value, header_count, headers }),
        bytes => Err(RecordError::Trailing { bytes }.into()),
    }
}

#[inline]
fn nullable<S: Source>(body: &mut S) -> Result<Option<S::Chunk>, S::Error> {
    let length = body.varint()?;
    if length == -1 {
        return Ok(None);
    }
    let bytes = usize::try_from(length).map_err(|_| RecordError::InvalidLength { length })?;
    body.chunk(bytes).map(Some)
}

fn check_headers<S: Source>(body: &mut S, count: u32) -> Result<(), S::Error> {
    for _ in 0..count {
        let length = body.varint()?;
        let key_bytes = usize::try_from(length).map_err(|_| RecordError::InvalidLength { length })?;
        body.chunk(key_bytes)?;
        nullable(body)?;
    }
    Ok(())
}

/// The records of one batch, decompressed.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    body: Bytes,
}

impl Records {
    pub(super) fn new(header: BatchHeader, body: Bytes) -> Self {
        Self { header, body }
    }

    /// The records in order.
    #[must_use]
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { header: &self.header, rest: &self.body, given: 0 }
    }

    /// The header of the batch.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// A key, value or header of one of these records as bytes of its own, without a copy.
    ///
    /// # Panics
    /// If `field` does not come from these records.
    #[must_use]
    pub fn share(&self, field: &[u8]) -> Bytes {
        self.body.slice_ref(field)
    }

    /// All records, decompressed, as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.body
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Result<Record<'a>, RecordError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place in the log.
    pub offset: Offset,
    /// Its own time, or the append time of the batch; -1 for none.
    pub timestamp: Timestamp,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
}

/// The walk over the records of a batch. It allocates nothing, and ends after the first error.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    header: &'a BatchHeader,
    rest: &'a [u8],
    /// -1 once an error has been given.
    given: i32,
}

impl<'a> RecordIter<'a> {
    fn take(&mut self) -> Result<Record<'a>, RecordError> {
        let raw = take_slice(&mut self.rest)?;
        let offset = self.header.base_offset.0.checked_add(i64::from(raw.offset_delta));
        let inside = (0..=self.header.last_offset_delta).contains(&raw.offset_delta);
        let timestamp = match self.header.attributes.timestamp_type() {
            TimestampType::CreateTime => self.header.base_timestamp.0.checked_add(raw.timestamp_delta),
            TimestampType::LogAppendTime => Some(self.header.max_timestamp.0),
        };
        let (Some(offset), Some(timestamp), true) = (offset, timestamp, inside) else {
            return Err(RecordError::OutOfRange);
        };
        Ok(Record {
            offset: Offset(offset),
            timestamp: Timestamp(timestamp),
            key: raw.key,
            value: raw.value,
            headers: Headers { left: raw.header_count, rest: raw.headers },
        })
    }

    fn end(&self) -> Option<RecordError> {
        let declared = self.header.record_count;
        match (self.given == declared, self.rest.is_empty()) {
            (true, true) => None,
            (true, false) => Some(RecordError::WrongCount { declared, held: declared.saturating_add(1) }),
            (false, _) => Some(RecordError::WrongCount { declared, held: self.given }),
        }
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.given < 0 {
            return None;
        }
        let item = if self.given == self.header.record_count || self.rest.is_empty() {
            self.end().map(Err)
        } else {
            Some(self.take())
        };
        match item {
            Some(Ok(_)) => self.given += 1,
            _ => self.given = -1,
        }
        item
    }
}

/// Takes the first record off `rest`.
#[inline]
pub(super) fn take_slice<'a>(rest: &mut &'a [u8]) -> Result<RawRecord<&'a [u8]>, RecordError> {
    let length = varint::take_i32(rest)?;
    let bytes = usize::try_from(length).map_err(|_| RecordError::InvalidLength { length })?;
    let mut body = rest.chunk(bytes)?;
    parse(&mut body)
}

/// A header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name, UTF-8 if the producer keeps to the protocol. Names may repeat.
    pub key: &'a [u8],
    /// Its value.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// Its name as text, with what is not UTF-8 replaced, as the Java client reads it.
    #[must_use]
    pub fn key_lossy(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.key)
    }
}

/// The headers of a record, in order and with duplicates. Their bytes were checked when the record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    left: u32,
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        let key = nullable(&mut self.rest).ok()??;
        let value = nullable(&mut self.rest).ok()?;
        Some(Header { key, value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Headers<'_> {}
