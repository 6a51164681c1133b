//! Records on their way out of a decompressor: looked at and forgotten, in a buffer of fixed size.
//!
//! Must not know: what a producer may send.

use std::io::{self, Read};

use super::record::{RawRecord, RecordError, Source, parse};
use super::{Compression, DecompressError, DecompressLimits};
use crate::varint;

/// Bytes that are decompressed at a time.
const STREAM_BUFFER_BYTES: usize = 16 << 10;

/// Decompressed bytes on their way past, in a buffer of fixed size.
pub(super) struct Stream<R> {
    decoder: R,
    codec: Compression,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes of the current record that have not been taken.
    record_left: usize,
    pub(super) output_bytes: usize,
    limits: DecompressLimits,
}

/// What goes wrong while records are streamed.
pub(super) enum StreamError {
    Record(RecordError),
    Decompress(DecompressError),
}

impl From<RecordError> for StreamError {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl<R: Read> Stream<R> {
    pub(super) fn new(decoder: R, codec: Compression, limits: DecompressLimits) -> Self {
        let buffer = vec![0; STREAM_BUFFER_BYTES].into_boxed_slice();
        Self { decoder, codec, buffer, start: 0, end: 0, record_left: 0, output_bytes: 0, limits }
    }

    /// Takes the next record; its fields are passed over.
    pub(super) fn take_record(&mut self) -> Result<RawRecord<()>, StreamError> {
        // The length itself is no part of what it counts.
        self.record_left = varint::MAX_BYTES_32;
        let length = self.varint()?;
        self.record_left = usize::try_from(length).map_err(|_| RecordError::InvalidLength { length })?;
        parse(self)
    }

    /// Whether all output has been taken.
    pub(super) fn is_at_end(&mut self) -> Result<bool, StreamError> {
        Ok(self.buffered()?.is_empty())
    }

    /// What is decompressed and not taken; decompresses more if there is nothing. Empty at the end.
    fn buffered(&mut self) -> Result<&[u8], StreamError> {
        if self.start == self.end {
            self.start = 0;
            self.end = self.read()?;
            self.output_bytes += self.end;
            let limit = self.limits.output_bytes;
            if self.output_bytes > limit {
                return Err(StreamError::Decompress(DecompressError::TooLarge { limit }));
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn read(&mut self) -> Result<usize, StreamError> {
        loop {
            match self.decoder.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(StreamError::Decompress(DecompressError::of(self.codec, &self.limits, source)));
                }
                Ok(bytes) => return Ok(bytes),
            }
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.start += bytes;
        self.record_left -= bytes;
    }

    /// Takes a number of at most `N` bytes.
    fn number<const N: usize, T>(
        &mut self,
        take: impl FnOnce(&mut &[u8]) -> Result<T, varint::VarintError>,
    ) -> Result<T, StreamError> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
            if *byte < 0x80 {
                break;
            }
        }
        Ok(take(&mut &bytes[..]).map_err(RecordError::from)?)
    }
}

impl<R: Read> Source for Stream<R> {
    type Chunk = ();
    type Error = StreamError;

    fn byte(&mut self) -> Result<u8, StreamError> {
        if self.record_left == 0 {
            return Err(RecordError::Truncated.into());
        }
        let byte = *self.buffered()?.first().ok_or(RecordError::Truncated)?;
        self.advance(1);
        Ok(byte)
    }

    fn varint(&mut self) -> Result<i32, StreamError> {
        self.number::<{ varint::MAX_BYTES_32 }, _>(varint::take_i32)
    }

    fn varlong(&mut self) -> Result<i64, StreamError> {
        self.number::<{ varint::MAX_BYTES_64 }, _>(varint::take_i64)
    }

    fn chunk(&mut self, bytes: usize) -> Result<(), StreamError> {
        if bytes > self.record_left {
            return Err(RecordError::Truncated.into());
        }
        let mut left = bytes;
        while left > 0 {
            let available = self.buffered()?.len();
            if available == 0 {
                return Err(RecordError::Truncated.into());
            }
            let taken = available.min(left);
            self.advance(taken);
            left -= taken;
        }
        Ok(())
    }

    fn peek_rest(&self) {}

    fn left(&self) -> usize {
        self.record_left
    }
}
