//! The four compressions of record batches, each with bounded output.
//!
//! Must not know: records, batches.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::{lz4, snappy, zstandard};

/// Decompressed bytes of one batch, at most, unless configured otherwise. There is no limit by ratio: honest data
/// compresses by any.
pub const OUTPUT_BYTES_MAX: usize = 128 << 20;
/// Base-2 logarithm of the greatest window that a zstd frame may ask for: 8 MiB.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy's raw format, bare or in the frames of xerial's Java library.
    Snappy,
    /// LZ4's frame format, independent blocks only.
    Lz4,
    /// RFC 8878 (KIP-110).
    Zstd,
}

impl Compression {
    /// All of them, by id.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Kafka's number for it, as in a batch's attributes.
    #[must_use]
    pub fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The one with this number.
    #[must_use]
    pub fn from_id(id: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|compression| compression.id() == id)
    }

    /// Kafka's name for it, as in `compression.type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|compression| compression.name() == name)
    }

    /// Whether Kafka's `compression.*.level` may be `level` (KIP-390).
    #[must_use]
    pub fn allows_level(self, level: i32) -> bool {
        match self {
            Self::None | Self::Snappy => false,
            Self::Gzip => level == GZIP_LEVEL_DEFAULT || (1..=9).contains(&level),
            Self::Lz4 => (1..=17).contains(&level),
            Self::Zstd => (-131_072..=22).contains(&level),
        }
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Kafka's default for gzip: the library's own.
const GZIP_LEVEL_DEFAULT: i32 = -1;
/// Kafka's default for zstd.
const ZSTD_LEVEL_DEFAULT: i32 = 3;

/// What decompression may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressLimits {
    /// Output of one batch, at most.
    pub output_bytes: usize,
    /// Base-2 logarithm of the greatest zstd window.
    pub zstd_window_log: u32,
}

impl Default for DecompressLimits {
    fn default() -> Self {
        Self { output_bytes: OUTPUT_BYTES_MAX, zstd_window_log: ZSTD_WINDOW_LOG_MAX }
    }
}

/// Why compressed bytes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// The output would be longer than the limit.
    #[error("decompressed records have more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// A zstd frame cannot be decoded within the window that it may have.
    #[error("zstd records need a window of more than {limit} bytes")]
    Window {
        /// Bytes of the greatest window.
        limit: u64,
    },
    /// The input is not what its compression prescribes.
    #[error("decompress {codec} records")]
    Corrupt {
        /// The compression.
        codec: Compression,
        /// What the library says.
        source: io::Error,
    },
}

impl DecompressError {
    pub(super) fn of(codec: Compression, limits: &DecompressLimits, source: io::Error) -> Self {
        if source.get_ref().is_some_and(|inner| inner.is::<zstandard::WindowError>()) {
            return Self::Window { limit: 1u64.checked_shl(limits.zstd_window_log).unwrap_or(u64::MAX) };
        }
        Self::Corrupt { codec, source }
    }
}

/// Why bytes could not be compressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// Kafka knows no such level for this compression.
    #[error("{codec} has no level {level}")]
    InvalidLevel {
        /// The compression.
        codec: Compression,
        /// The level.
        level: i32,
    },
    /// The library failed.
    #[error("compress {codec} records")]
    Failed {
        /// The compression.
        codec: Compression,
        /// What the library says.
        source: io::Error,
    },
}

/// A running decompression. It has a fixed amount of memory: a zstd window, two lz4 blocks of 4 MiB at most or a snappy
/// chunk; only bare snappy, which cannot be streamed, needs all its output, at most 22 times its input.
pub(super) enum Decoder<'a> {
    None(&'a [u8]),
    Gzip(Box<flate2::bufread::MultiGzDecoder<&'a [u8]>>),
    Snappy(snappy::Decoder<'a>),
    Lz4(Box<lz4::Decoder<'a>>),
    Zstd(zstandard::Decoder<'a>),
}

impl<'a> Decoder<'a> {
    pub(super) fn new(codec: Compression, input: &'a [u8], limits: &DecompressLimits) -> Result<Self, DecompressError> {
        let opened = match codec {
            Compression::None => Ok(Self::None(input)),
            Compression::Gzip => Ok(Self::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(input)))),
            Compression::Snappy => snappy::Decoder::new(input, limits.output_bytes).map(Self::Snappy),
            Compression::Lz4 => lz4::Decoder::new(input).map(|decoder| Self::Lz4(Box::new(decoder))),
            Compression::Zstd => zstandard::Decoder::new(input, limits).map(Self::Zstd),
        };
        opened.map_err(|source| DecompressError::of(codec, limits, source))
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(decoder) => decoder.read(out),
            Self::Gzip(decoder) => decoder.read(out),
            Self::Snappy(decoder) => decoder.read(out),
            Self::Lz4(decoder) => decoder.read(out),
            Self::Zstd(decoder) => decoder.read(out),
        }
    }
}

/// First guess at how much longer the output is than the input.
const OUTPUT_RATIO_GUESS: usize = 4;
/// The output grows by at least this much.
const OUTPUT_STEP_BYTES: usize = 16 << 10;

/// Decompresses all of `input`. Memory grows with the output that has really come, up to the limit.
pub fn decompress(codec: Compression, input: &[u8], limits: &DecompressLimits) -> Result<Bytes, DecompressError> {
    let limit = limits.output_bytes;
    let mut decoder = Decoder::new(codec, input, limits)?;
    // One byte more than the limit tells an output that fills it from one that exceeds it.
    let most = limit.saturating_add(1);
    let mut out = vec![0; input.len().saturating_mul(OUTPUT_RATIO_GUESS).max(OUTPUT_STEP_BYTES).min(most)];
    let mut filled = 0;
    loop {
        if filled == out.len() {
            if filled == most {
                return Err(DecompressError::TooLarge { limit });
            }
            out.resize(filled.saturating_mul(2).min(most), 0);
        }
        match decoder.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(DecompressError::of(codec, limits, source)),
        }
    }
    if filled > limit {
        return Err(DecompressError::TooLarge { limit });
    }
    out.truncate(filled);
    Ok(Bytes::from(out))
}

/// Appends `input`, compressed, to `out`. A `level` of none is Kafka's default. The lz4 library has one level only and
/// takes every allowed level for it.
pub fn compress(codec: Compression, level: Option<i32>, input: &[u8], out: &mut Vec<u8>) -> Result<(), CompressError> {
    if let Some(level) = level
        && !codec.allows_level(level)
    {
        return Err(CompressError::InvalidLevel { codec, level });
    }
    let compressed = match codec {
        Compression::None => {
            out.extend_from_slice(input);
            Ok(())
        }
        Compression::Gzip => gzip(level.unwrap_or(GZIP_LEVEL_DEFAULT), input, out),
        Compression::Snappy => snappy::compress(input, out),
        Compression::Lz4 => lz4::compress(input, out),
        Compression::Zstd => zstandard::compress(level.unwrap_or(ZSTD_LEVEL_DEFAULT), input, out),
    };
    compressed.map_err(|source| CompressError::Failed { codec, source })
}

fn gzip(level: i32, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let level = u32::try_from(level).map_or(flate2::Compression::default(), flate2::Compression::new);
    let mut encoder = flate2::write::GzEncoder::new(out, level);
    encoder.write_all(input)?;
    encoder.finish().map(drop)
}
