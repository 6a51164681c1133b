//! Builds record batches for producers, one after the other, in buffers that are used again.
//!
//! Must not know: connections, topics, when a batch is full.

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Attributes, BatchHeader, BatchProducer, CompressError, Compression, HEADER_BYTES, LENGTH_OVERHEAD, compress,
};
use crate::ids::{Offset, Timestamp};
use crate::varint;

/// A record that is to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// Its time.
    pub timestamp: Timestamp,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order; names may repeat.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// The record does not fit into the format's 32-bit lengths; the batch is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record is too large for a batch")]
pub struct AppendError;

/// Why a batch could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// No record has been appended.
    #[error("batch has no records")]
    Empty,
    /// The compressed records do not fit into the format's 32-bit length.
    #[error("batch is too large")]
    TooLarge,
    /// Compression failed.
    #[error(transparent)]
    Compress(#[from] CompressError),
}

/// Bytes of a batch, at most: its length is an `i32` that leaves out 12 bytes.
const BATCH_BYTES_MAX: usize = 0x7fff_ffff;

/// Gathers records, and turns them into a batch.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    level: Option<i32>,
    /// Room for a header, then the records, uncompressed.
    batch: BytesMut,
    /// The finished bytes of compressed batches.
    compressed: Vec<u8>,
    record_count: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    is_transactional: bool,
    /// Compressed bytes of a thousand bytes, by the batches so far.
    permille: usize,
}

/// Weight of the last batch in the compression ratio, one in so many.
const RATIO_WEIGHT: usize = 4;

impl BatchBuilder {
    /// A builder of uncompressed batches.
    #[must_use]
    pub fn new() -> Self {
        Self {
            compression: Compression::None,
            level: None,
            batch: BytesMut::new(),
            compressed: Vec::new(),
            record_count: 0,
            base_timestamp: Timestamp(0),
            max_timestamp: Timestamp(-1),
            is_transactional: false,
            permille: 1000,
        }
    }

    /// Compresses batches. A `level` of none is Kafka's default.
    pub fn with_compression(mut self, compression: Compression, level: Option<i32>) -> Result<Self, CompressError> {
        if let Some(level) = level
            && !compression.allows_level(level)
        {
            return Err(CompressError::InvalidLevel { codec: compression, level });
        }
        self.compression = compression;
        self.level = level;
        Ok(self)
    }

    /// Marks batches as parts of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.is_transactional = true;
        self
    }

    /// Makes room for batches of so many bytes, so that appends up to it do not allocate.
    pub fn reserve(&mut self, bytes: usize) {
        self.batch.reserve(bytes.saturating_sub(self.batch.len()));
    }

    /// Adds a record.
    pub fn append(&mut self, record: &NewRecord<'_>) -> Result<(), AppendError> {
        let base_timestamp = if self.record_count == 0 { record.timestamp } else { self.base_timestamp };
        let timestamp_delta = record.timestamp.0.checked_sub(base_timestamp.0).ok_or(AppendError)?;
        let body_bytes = body_bytes(record, timestamp_delta, self.record_count).ok_or(AppendError)?;
        let length = i32::try_from(body_bytes).map_err(|_| AppendError)?;
        let record_bytes = body_bytes + varint::len_i32(length);
        if self.batch.len().max(HEADER_BYTES) + record_bytes > BATCH_BYTES_MAX || self.record_count == i32::MAX {
            return Err(AppendError);
        }

        if self.batch.is_empty() {
            self.batch.put_bytes(0, HEADER_BYTES);
        }
        self.batch.reserve(record_bytes);
        put_record(&mut self.batch, length, record, timestamp_delta, self.record_count);
        self.base_timestamp = base_timestamp;
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        self.record_count += 1;
        Ok(())
    }

    /// How many records there are.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Bytes of the batch as it stands, uncompressed.
    #[must_use]
    pub fn uncompressed_bytes(&self) -> usize {
        self.batch.len().max(HEADER_BYTES)
    }

    /// About how many bytes the batch will have, judged by how the batches before it compressed.
    #[must_use]
    pub fn estimated_bytes(&self) -> usize {
        HEADER_BYTES + (self.uncompressed_bytes() - HEADER_BYTES).saturating_mul(self.permille) / 1000
    }

    /// About how many bytes `record` would add, before compression: its own and at most 26 around it.
    #[must_use]
    pub fn estimate(record: &NewRecord<'_>) -> usize {
        const OVERHEAD_BYTES: usize = 26;
        let headers: usize =
            record.headers.iter().map(|(key, value)| 2 * varint::MAX_BYTES_32 + key.len() + bytes_of(*value)).sum();
        OVERHEAD_BYTES + bytes_of(record.key) + bytes_of(record.value) + headers
    }

    /// Turns the records into a batch with offsets from 0, and starts an empty one. An uncompressed batch is not copied. If
    /// it fails the records are gone.
    pub fn finish(&mut self, producer: Option<BatchProducer>) -> Result<Bytes, FinishError> {
        if self.is_empty() {
            return Err(FinishError::Empty);
        }
        let header = self.header(producer);
        self.record_count = 0;
        self.max_timestamp = Timestamp(-1);

        if self.compression == Compression::None {
            let mut batch = self.batch.split();
            seal(&mut batch, header)?;
            return Ok(batch.freeze());
        }
        let sealed = self.compress(header);
        self.batch.clear();
        sealed
    }

    /// Throws the records away and keeps the buffers.
    pub fn clear(&mut self) {
        self.batch.clear();
        self.record_count = 0;
        self.max_timestamp = Timestamp(-1);
    }

    fn compress(&mut self, header: BatchHeader) -> Result<Bytes, FinishError> {
        let records = &self.batch[HEADER_BYTES..];
        self.compressed.clear();
        self.compressed.resize(HEADER_BYTES, 0);
        compress(self.compression, self.level, records, &mut self.compressed)?;
        let permille = (self.compressed.len() - HEADER_BYTES).saturating_mul(1000) / records.len();
        self.permille = (self.permille * (RATIO_WEIGHT - 1) + permille) / RATIO_WEIGHT;
        seal(&mut self.compressed, header)?;
        Ok(Bytes::copy_from_slice(&self.compressed))
    }

    fn header(&self, producer: Option<BatchProducer>) -> BatchHeader {
        let attributes = Attributes::default().with_compression(self.compression);
        BatchHeader {
            base_offset: Offset::ZERO,
            length: 0,
            leader_epoch: None,
            crc: 0,
            attributes: if self.is_transactional { attributes.transactional() } else { attributes },
            last_offset_delta: self.record_count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer,
            record_count: self.record_count,
        }
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes the header in front of the records, with length and checksum.
fn seal(batch: &mut [u8], mut header: BatchHeader) -> Result<(), FinishError> {
    header.length = i32::try_from(batch.len() - LENGTH_OVERHEAD).map_err(|_| FinishError::TooLarge)?;
    let (head, records) = batch.split_at_mut(HEADER_BYTES);
    head.copy_from_slice(&header.encode_with_crc(records));
    Ok(())
}

/// Bytes of a record behind its length; none if a length in it is beyond 32 bits.
fn body_bytes(record: &NewRecord<'_>, timestamp_delta: i64, offset_delta: i32) -> Option<usize> {
    let mut bytes = 1 + varint::len_i64(timestamp_delta) + varint::len_i32(offset_delta);
    bytes = bytes.checked_add(field_bytes(record.key)?)?;
    bytes = bytes.checked_add(field_bytes(record.value)?)?;
    bytes += varint::len_i32(i32::try_from(record.headers.len()).ok()?);
    for (key, value) in record.headers {
        bytes = bytes.checked_add(field_bytes(Some(key.as_bytes()))?)?;
        bytes = bytes.checked_add(field_bytes(*value)?)?;
    }
    Some(bytes)
}

fn field_bytes(field: Option<&[u8]>) -> Option<usize> {
    let length = length_of(field)?;
    Some(varint::len_i32(length) + bytes_of(field))
}

fn length_of(field: Option<&[u8]>) -> Option<i32> {
    field.map_or(Some(-1), |bytes| i32::try_from(bytes.len()).ok())
}

fn bytes_of(field: Option<&[u8]>) -> usize {
    field.map_or(0, <[u8]>::len)
}

/// A record's length, its attributes, its two deltas.
const RECORD_HEAD_BYTES_MAX: usize = 2 * varint::MAX_BYTES_32 + 1 + varint::MAX_BYTES_64;

fn put_record(out: &mut BytesMut, length: i32, record: &NewRecord<'_>, timestamp_delta: i64, offset_delta: i32) {
    const UNUSED_ATTRIBUTES: u8 = 0;
    // Gathered on the stack first: one check for room in `out` instead of one a byte.
    let mut head = [0; RECORD_HEAD_BYTES_MAX];
    let mut rest = &mut head[..];
    varint::put_i32(&mut rest, length);
    rest.put_u8(UNUSED_ATTRIBUTES);
    varint::put_i64(&mut rest, timestamp_delta);
    varint::put_i32(&mut rest, offset_delta);
    let head_bytes = RECORD_HEAD_BYTES_MAX - rest.len();
    out.put_slice(&head[..head_bytes]);

    put_field(out, record.key);
    put_field(out, record.value);
    put_length(out, i32::try_from(record.headers.len()).expect("body_bytes has checked the count"));
    for (key, value) in record.headers {
        put_field(out, Some(key.as_bytes()));
        put_field(out, *value);
    }
}

fn put_field(out: &mut BytesMut, field: Option<&[u8]>) {
    put_length(out, length_of(field).expect("body_bytes has checked the length"));
    out.put_slice(field.unwrap_or_default());
}

fn put_length(out: &mut BytesMut, length: i32) {
    let mut bytes = [0; varint::MAX_BYTES_32];
    let mut rest = &mut bytes[..];
    varint::put_i32(&mut rest, length);
    let written = varint::MAX_BYTES_32 - rest.len();
    out.put_slice(&bytes[..written]);
}
