//! Zstandard within a stated amount of memory.
//!
//! Must not know: records, batches.

use std::io::{self, Cursor, Read, Write};

use zstd::stream::read::Decoder as FrameDecoder;
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;

use super::compression::{DecompressLimits, ZSTD_WINDOW_LOG_MAX};

const FRAME_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The frame is one segment: its window is as large as its content.
const SINGLE_SEGMENT: u8 = 0b0010_0000;
const WINDOW_LOG_MIN: u32 = 10;

/// A running decompression.
pub(super) enum Decoder<'a> {
    /// Through a window of limited size.
    Stream(Box<FrameDecoder<'static, &'a [u8]>>),
    /// All at once into a buffer that is not larger than that window. The output is its own window, so the one that the
    /// frame asks for does not matter: Java's levels 20 to 22 ask for 32 to 128 MiB even for a dozen bytes.
    Whole(Cursor<Vec<u8>>),
}

/// The frame needs more memory than the limit.
#[derive(Debug, thiserror::Error)]
#[error("zstd frame needs more memory than its window may have")]
pub(super) struct WindowError;

impl<'a> Decoder<'a> {
    /// A frame that cannot be decoded within the limits gives an error that wraps [`WindowError`].
    pub(super) fn new(input: &'a [u8], limits: &DecompressLimits) -> io::Result<Self> {
        let window_bytes_max = 1usize.checked_shl(limits.zstd_window_log).unwrap_or(usize::MAX);
        if window_bytes(input).is_some_and(|bytes| bytes > u64::try_from(window_bytes_max).unwrap_or(u64::MAX)) {
            let bytes_max = window_bytes_max.min(limits.output_bytes.saturating_add(1));
            return decompress_whole(input, bytes_max).map(|output| Self::Whole(Cursor::new(output)));
        }
        let mut decoder = FrameDecoder::with_buffer(input)?;
        decoder.window_log_max(limits.zstd_window_log)?;
        Ok(Self::Stream(Box::new(decoder)))
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stream(decoder) => decoder.read(out).map_err(|error| match is(&error, WINDOW_TOO_LARGE) {
                true => io::Error::new(io::ErrorKind::InvalidData, WindowError),
                false => error,
            }),
            Self::Whole(output) => output.read(out),
        }
    }
}

const WINDOW_TOO_LARGE: ZSTD_ErrorCode = ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge;
const OUTPUT_TOO_SMALL: ZSTD_ErrorCode = ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall;

fn is(error: &io::Error, code: ZSTD_ErrorCode) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<zstd::Error>()).is_some_and(|inner| inner.is(code))
}

/// The window that the first frame asks for, where it says so outright; a single segment's is its content's size.
fn window_bytes(input: &[u8]) -> Option<u64> {
    let [flags, rest @ ..] = input.strip_prefix(&FRAME_MAGIC)? else { return None };
    if flags & SINGLE_SEGMENT != 0 {
        return single_segment_bytes(*flags, rest);
    }
    let descriptor = u64::from(*rest.first()?);
    let base = 1u64 << (u64::from(WINDOW_LOG_MIN) + (descriptor >> 3));
    Some(base + base / 8 * (descriptor & 7))
}

fn single_segment_bytes(flags: u8, rest: &[u8]) -> Option<u64> {
    let dictionary_id_bytes = [0, 1, 2, 4][usize::from(flags & 3)];
    let size = rest.get(dictionary_id_bytes..)?;
    match flags >> 6 {
        0 => size.first().map(|byte| u64::from(*byte)),
        1 => size.first_chunk().map(|bytes| u64::from(u16::from_le_bytes(*bytes)) + 256),
        2 => size.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes))),
        _ => size.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)),
    }
}

fn decompress_whole(input: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
    // Memory that is reserved but not written to is not really there.
    let mut output = Vec::with_capacity(bytes_max);
    match zstd::bulk::Decompressor::new()?.decompress_to_buffer(input, &mut output) {
        Ok(_) => Ok(output),
        Err(error) if is(&error, OUTPUT_TOO_SMALL) => Err(io::Error::new(io::ErrorKind::InvalidData, WindowError)),
        Err(error) => Err(error),
    }
}

/// Appends `input` as one frame that says how large its content is.
pub(super) fn compress(level: i32, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
    encoder.set_pledged_src_size(Some(u64::try_from(input.len()).unwrap_or(u64::MAX)))?;
    // The highest levels would ask readers for more window than we ourselves give.
    if input.len() >> ZSTD_WINDOW_LOG_MAX != 0 {
        encoder.window_log(ZSTD_WINDOW_LOG_MAX)?;
    }
    encoder.write_all(input)?;
    encoder.finish().map(drop)
}
