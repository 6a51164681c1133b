//! LZ4's frame format within the bounds that Kafka's Java clients read.
//!
//! Must not know: records, batches.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

const FRAME_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Flags of a frame: version 01 in the two highest bits, then block independence; the lowest says that a dictionary is used.
const FLAGS_MASK: u8 = 0b1110_0001;
const FLAGS_WANTED: u8 = 0b0110_0000;

/// A running decompression of exactly one frame.
pub(super) struct Decoder<'a> {
    frames: FrameDecoder<Input<'a>>,
    ended: bool,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(input: &'a [u8]) -> io::Result<Self> {
        // Java's clients read nothing else, so a broker that took it would hand them what they cannot read.
        let readable =
            input.starts_with(&FRAME_MAGIC) && input.get(4).is_some_and(|flags| flags & FLAGS_MASK == FLAGS_WANTED);
        if !readable {
            return Err(corrupt("no lz4 frame of independent blocks"));
        }
        Ok(Self { frames: FrameDecoder::new(Input { rest: input, exhausted: false }), ended: false })
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.ended || out.is_empty() {
            return Ok(0);
        }
        let bytes = self.frames.read(out)?;
        if bytes > 0 {
            return Ok(bytes);
        }
        self.ended = true;
        // The library takes the end of the input for the end of the frame.
        if self.frames.get_ref().exhausted {
            return Err(corrupt("lz4 frame is cut off"));
        }
        if !self.frames.get_ref().rest.is_empty() {
            return Err(corrupt("bytes follow the lz4 frame"));
        }
        Ok(0)
    }
}

/// The input, and whether more was asked for than it had.
struct Input<'a> {
    rest: &'a [u8],
    exhausted: bool,
}

impl Read for Input<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.exhausted |= self.rest.is_empty() && !out.is_empty();
        self.rest.read(out)
    }
}

/// Appends `input` as Java's clients write it: independent blocks of 64 KiB, neither checksums nor content size.
pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let frame = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(frame, out);
    encoder.write_all(input)?;
    encoder.finish().map(drop).map_err(io::Error::from)
}

fn corrupt(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
