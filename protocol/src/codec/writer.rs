//! A writer that makes segments: small values in a buffer of its own, large byte fields taken over as they are.
//!
//! Must not know: any particular message, sockets.

use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use super::{Element, EncodeError, Nullable, TAKE_OVER_LEN, Version};

/// The bytes of a frame's length.
const FRAME_PREFIX_LEN: usize = 4;

/// What most frames need beside large byte fields.
const FRAME_CAPACITY: usize = 256;

/// Collects what messages write.
#[derive(Debug, Default)]
pub struct Writer {
    /// The segment that a frame's length goes into at the end, once it is finished.
    first: Option<BytesMut>,
    /// What is finished behind `first`, in order.
    segments: Vec<Bytes>,
    /// The lengths of `first` and `segments` together.
    finished_len: usize,
    /// What comes behind them.
    tail: BytesMut,
    /// Inside tagged fields everything is copied into `tail`, because their size is written before them afterwards.
    tag_depth: u32,
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer whose own buffer holds `capacity` bytes before it grows.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { tail: BytesMut::with_capacity(capacity), ..Self::default() }
    }

    /// A writer that begins with room for a frame's length, to be finished by [`finish_frame`](Self::finish_frame).
    #[must_use]
    pub fn for_frame() -> Self {
        let mut writer = Self::with_capacity(FRAME_CAPACITY);
        writer.put_slice(&[0; FRAME_PREFIX_LEN]);
        writer
    }

    /// The number of bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.finished_len + self.tail.len()
    }

    /// Whether nothing was written so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written.
    #[must_use]
    pub fn finish(mut self) -> EncodedFrame {
        self.cut();
        let first = self.first.map(BytesMut::freeze);
        let segments = first.into_iter().chain(self.segments).collect();
        EncodedFrame { len: self.finished_len, segments, next: 0 }
    }

    /// What was written behind the room that [`for_frame`](Self::for_frame) left, with its length in that room.
    pub fn finish_frame(mut self) -> Result<EncodedFrame, EncodeError> {
        let len = self.len() - FRAME_PREFIX_LEN;
        let prefix = i32::try_from(len).map_err(|_| EncodeError::TooLong(len))?.to_be_bytes();
        let first = self.first.as_mut().unwrap_or(&mut self.tail);
        first[..FRAME_PREFIX_LEN].copy_from_slice(&prefix);
        Ok(self.finish())
    }

    /// Copies `bytes`.
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    /// A number of two bytes.
    pub fn put_i16(&mut self, value: i16) {
        self.put_slice(&value.to_be_bytes());
    }

    /// A number of four bytes.
    pub fn put_i32(&mut self, value: i32) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Takes `bytes` over as a segment when they are long enough to be worth one, else copies them.
    pub fn put_bytes(&mut self, bytes: &Bytes) {
        if bytes.len() < TAKE_OVER_LEN || self.tag_depth > 0 {
            self.put_slice(bytes);
            return;
        }
        self.cut();
        self.finished_len += bytes.len();
        self.segments.push(bytes.clone());
    }

    /// Makes a segment of what the own buffer holds.
    fn cut(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        self.finished_len += self.tail.len();
        let segment = self.tail.split();
        if self.first.is_none() && self.segments.is_empty() {
            self.first = Some(segment);
        } else {
            self.segments.push(segment.freeze());
        }
    }

    pub(super) fn put_varint(&mut self, value: u32) {
        let (bytes, len) = varint(value);
        self.put_slice(&bytes[..len]);
    }

    pub(super) fn put_compact_len(&mut self, len: Option<usize>) -> Result<(), EncodeError> {
        let Some(len) = len else {
            self.put_varint(0);
            return Ok(());
        };
        // Java counts in 31 bits.
        let len = i32::try_from(len).map_err(|_| EncodeError::TooLong(len))?;
        self.put_varint(len.unsigned_abs() + 1);
        Ok(())
    }

    pub(super) fn put_count(&mut self, count: Option<usize>, v: Version) -> Result<(), EncodeError> {
        if v.flexible {
            return self.put_compact_len(count);
        }
        let count = count.map(|count| i32::try_from(count).map_err(|_| EncodeError::TooLong(count)));
        self.put_i32(count.transpose()?.unwrap_or(-1));
        Ok(())
    }

    /// Writes a field that may be null in other versions, but not in this one.
    pub fn required<T: Element>(
        &mut self,
        value: &Option<T>,
        field: &'static str,
        v: Version,
    ) -> Result<(), EncodeError> {
        let value = value.as_ref().ok_or(EncodeError::UnexpectedNull { field, version: v.number })?;
        value.write(self, v)
    }

    /// Refuses a field that is set although this version does not have it.
    pub fn refuse_unsupported(&self, is_set: bool, field: &'static str, v: Version) -> Result<(), EncodeError> {
        if is_set { Err(EncodeError::UnsupportedField { field, version: v.number }) } else { Ok(()) }
    }

    /// Ends a struct that has no tagged fields to write.
    pub fn no_tags(&mut self) {
        self.put_slice(&[0]);
    }

    /// Ends a struct with tagged fields.
    pub fn tags(&mut self) -> TagWriter<'_> {
        self.tag_depth += 1;
        let count_at = self.tail.len();
        self.put_slice(&[0]);
        TagWriter { writer: self, count_at, count: 0 }
    }

    /// Puts the length of what stands behind `start` before it.
    fn insert_len(&mut self, start: usize) -> Result<(), EncodeError> {
        let end = self.tail.len();
        let len = u32::try_from(end - start).map_err(|_| EncodeError::TooLong(end - start))?;
        let (bytes, count) = varint(len);
        self.tail.extend_from_slice(&bytes[..count]);
        self.tail.copy_within(start..end, start + count);
        self.tail[start..start + count].copy_from_slice(&bytes[..count]);
        Ok(())
    }
}

/// Writes the tagged fields that end a struct, which are those that differ from their defaults.
#[derive(Debug)]
pub struct TagWriter<'w> {
    writer: &'w mut Writer,
    count_at: usize,
    count: u8,
}

impl TagWriter<'_> {
    /// One field; tags go up.
    pub fn put<T: Element>(&mut self, tag: u32, value: &T, v: Version) -> Result<(), EncodeError> {
        self.field(tag, |w| value.write(w, v))
    }

    /// One field that holds a nullable struct: its marker is a variable-length number here.
    pub fn put_struct<T: Nullable>(&mut self, tag: u32, value: &Option<T>, v: Version) -> Result<(), EncodeError> {
        self.field(tag, |w| {
            w.put_varint(u32::from(value.is_some()));
            value.as_ref().map_or(Ok(()), |value| value.write(w, v))
        })
    }

    fn field<F>(&mut self, tag: u32, write: F) -> Result<(), EncodeError>
    where
        F: FnOnce(&mut Writer) -> Result<(), EncodeError>,
    {
        self.writer.put_varint(tag);
        let start = self.writer.tail.len();
        write(self.writer)?;
        self.writer.insert_len(start)?;
        self.count += 1;
        Ok(())
    }

    /// Writes how many there were. A struct has far fewer than the 127 that one byte can say.
    pub fn end(self) {
        debug_assert!(self.count < 0x80, "more tagged fields than the schema can have");
        self.writer.tail[self.count_at] = self.count;
        self.writer.tag_depth -= 1;
    }
}

/// Seven bits a byte, the lowest first, and how many bytes those are.
fn varint(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut len = 0;
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        bytes[len] = if value == 0 { low & 0x7f } else { low | 0x80 };
        len += 1;
        if value == 0 {
            return (bytes, len);
        }
    }
}

/// Encoded bytes in segments, to be written with one vectored write. As a [`Buf`] it keeps track of what was written.
#[derive(Clone, Debug, Default)]
pub struct EncodedFrame {
    segments: Vec<Bytes>,
    /// The first segment that is not used up.
    next: usize,
    len: usize,
}

impl EncodedFrame {
    /// The bytes left in all segments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The segments left, in order.
    #[must_use]
    pub fn segments(&self) -> &[Bytes] {
        &self.segments[self.next..]
    }

    /// All as one piece: copies unless there is one segment only.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        self.copy_to_bytes(self.len)
    }
}

impl Buf for EncodedFrame {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.segments().first().map_or(&[], |segment| segment)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let count = slices.len().min(self.segments().len());
        for (slice, segment) in slices.iter_mut().zip(self.segments()) {
            *slice = IoSlice::new(segment);
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "advance by {count} with {} left", self.len);
        self.len -= count;
        while count > 0 {
            let segment = &mut self.segments[self.next];
            if count < segment.len() {
                segment.advance(count);
                return;
            }
            count -= segment.len();
            // What is written needs to be kept no longer.
            *segment = Bytes::new();
            self.next += 1;
        }
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        if let Some(segment) = self.segments.get(self.next)
            && segment.len() >= len
        {
            let bytes = segment.slice(..len);
            self.advance(len);
            return bytes;
        }
        let mut bytes = BytesMut::with_capacity(len);
        let mut left = len;
        while left > 0 {
            let chunk = self.chunk();
            let count = chunk.len().min(left);
            bytes.extend_from_slice(&chunk[..count]);
            left -= count;
            self.advance(count);
        }
        bytes.freeze()
    }
}
