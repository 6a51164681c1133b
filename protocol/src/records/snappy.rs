//! Snappy as Kafka's clients use it: Java and most others in xerial's frames, librdkafka and some others bare.
//!
//! Must not know: records, batches.

use std::io::{self, Read};

/// What a xerial stream begins with; behind it stand two 32-bit versions, then chunks with 32-bit lengths.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_BYTES: usize = 16;
/// The version and the oldest version that can read it, as written since the format exists.
const XERIAL_VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];

/// Uncompressed bytes of the chunks that are written, as Java does.
const WRITE_CHUNK_BYTES: usize = 32 << 10;
/// Bytes of a chunk, compressed or not, at most. Writers use 32 KiB.
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// No element of the format makes more than 64 bytes out of 3, so a greater claim is a lie.
const EXPANSION_MAX: usize = 22;

/// A running decompression: one chunk, or all of a bare input, at a time.
pub(super) struct Decoder<'a> {
    input: &'a [u8],
    chunk: Vec<u8>,
    given: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(input: &'a [u8], output_bytes_max: usize) -> io::Result<Self> {
        let mut decoder = Self { input, chunk: Vec::new(), given: 0 };
        if !decoder.skip_header() {
            decoder.input = &[];
            // One more than the limit is let through so that the caller sees the limit exceeded.
            decompress_chunk(input, output_bytes_max.saturating_add(1), &mut decoder.chunk)?;
        }
        Ok(decoder)
    }

    fn skip_header(&mut self) -> bool {
        let is_header = self.input.starts_with(&XERIAL_MAGIC) && self.input.len() >= XERIAL_HEADER_BYTES;
        if is_header {
            self.input = &self.input[XERIAL_HEADER_BYTES..];
        }
        is_header
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        // Streams that were appended to each other have headers between their chunks.
        while self.skip_header() {}
        self.given = 0;
        self.chunk.clear();
        if self.input.is_empty() {
            return Ok(());
        }
        let Some((length, rest)) = self.input.split_first_chunk() else {
            return Err(corrupt("snappy chunk is cut off"));
        };
        let bytes = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if bytes > CHUNK_BYTES_MAX {
            return Err(corrupt("snappy chunk is too long"));
        }
        let Some((compressed, rest)) = rest.split_at_checked(bytes) else {
            return Err(corrupt("snappy chunk is cut off"));
        };
        self.input = rest;
        decompress_chunk(compressed, CHUNK_BYTES_MAX, &mut self.chunk)
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.given == self.chunk.len() && !self.input.is_empty() {
            self.next_chunk()?;
        }
        let bytes = out.len().min(self.chunk.len() - self.given);
        out[..bytes].copy_from_slice(&self.chunk[self.given..self.given + bytes]);
        self.given += bytes;
        Ok(bytes)
    }
}

fn decompress_chunk(compressed: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let bytes = snap::raw::decompress_len(compressed)?;
    if bytes > compressed.len().saturating_mul(EXPANSION_MAX) {
        return Err(corrupt("snappy input claims more output than it can have"));
    }
    if bytes > bytes_max {
        return Err(corrupt("snappy output is too long"));
    }
    out.clear();
    out.resize(bytes, 0);
    let written = snap::raw::Decoder::new().decompress(compressed, out)?;
    out.truncate(written);
    Ok(())
}

/// Appends `input` in xerial's frames, which every client reads.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&XERIAL_VERSIONS);
    let mut encoder = snap::raw::Encoder::new();
    for chunk in input.chunks(WRITE_CHUNK_BYTES) {
        let length_at = out.len();
        let data_at = length_at + size_of::<u32>();
        out.resize(data_at + snap::raw::max_compress_len(chunk.len()), 0);
        let written = encoder.compress(chunk, &mut out[data_at..])?;
        out.truncate(data_at + written);
        let length = u32::try_from(written).map_err(io::Error::other)?;
        out[length_at..data_at].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

fn corrupt(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
