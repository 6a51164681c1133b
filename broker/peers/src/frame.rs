//! Frames: their bytes, their bounds, and taking them off a stream.
//!
//! ```text
//!   0        4        8      9            17
//!   | length | crc32c | kind | request id | body ...
//! ```
//! The length counts what follows it; the checksum covers what follows it. `docs/peers.md` draws it.
//!
//! Must not know: what a body says.

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::Decoder;

/// The longest body. Whoever has more to send sends it in pieces.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// The longest body before the other end has proven who it is.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 1 << 10;

const LENGTH_BYTES: usize = 4;
/// What the length counts beside the body: checksum, kind, request id.
const AFTER_LENGTH_BYTES: usize = 13;
const HEAD_BYTES: usize = LENGTH_BYTES + AFTER_LENGTH_BYTES;
/// The buffer grows by so much at most as bytes arrive: a length alone costs its sender nothing.
const GROWTH_BYTES: usize = 64 << 10;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hello = 1,
    Challenge = 2,
    Proof = 3,
    Welcome = 4,
    Refused = 5,
    Request = 16,
    Response = 17,
    Failed = 18,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) body: Bytes,
}

/// Bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {length} bytes; allowed is {AFTER_LENGTH_BYTES} to {max}")]
    Length { length: usize, max: usize },
    #[error("a frame's checksum is wrong")]
    Checksum,
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Takes frames off a stream.
#[derive(Debug)]
pub(crate) struct FrameDecoder {
    body_max: usize,
}

impl FrameDecoder {
    pub(crate) fn new(body_max: usize) -> Self {
        Self { body_max }
    }

    pub(crate) fn set_body_max(&mut self, body_max: usize) {
        self.body_max = body_max;
    }
}

impl Decoder for FrameDecoder {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(length) = buffer.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        let max = AFTER_LENGTH_BYTES + self.body_max;
        if !(AFTER_LENGTH_BYTES..=max).contains(&length) {
            return Err(FrameError::Length { length, max });
        }
        let missing = (LENGTH_BYTES + length).saturating_sub(buffer.len());
        if missing > 0 {
            buffer.reserve(missing.min(GROWTH_BYTES));
            return Ok(None);
        }
        let mut frame = buffer.split_to(LENGTH_BYTES + length).freeze();
        frame.advance(LENGTH_BYTES);
        let checksum = frame.get_u32();
        if checksum != crc32c::crc32c(&frame) {
            return Err(FrameError::Checksum);
        }
        let kind = match frame.get_u8() {
            1 => Kind::Hello,
            2 => Kind::Challenge,
            3 => Kind::Proof,
            4 => Kind::Welcome,
            5 => Kind::Refused,
            16 => Kind::Request,
            17 => Kind::Response,
            18 => Kind::Failed,
            other => return Err(FrameError::Kind(other)),
        };
        let id = frame.get_u64();
        Ok(Some(Frame { kind, id, body: frame }))
    }
}

/// What stands before a body on the wire.
///
/// # Panics
/// When the body is longer than [`BODY_BYTES_MAX`]: whoever makes bodies sees to that.
pub(crate) fn head(kind: Kind, id: u64, body: &[u8]) -> [u8; HEAD_BYTES] {
    assert!(body.len() <= BODY_BYTES_MAX, "a body of {} bytes was to be sent", body.len());
    let length = u32::try_from(AFTER_LENGTH_BYTES + body.len()).expect("bounded above");
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_be_bytes());
    head[8] = kind as u8;
    head[9..].copy_from_slice(&id.to_be_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&head[8..]), body);
    head[4..8].copy_from_slice(&checksum.to_be_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(kind: Kind, id: u64, body: &[u8]) -> BytesMut {
        BytesMut::from(&[&head(kind, id, body)[..], body].concat()[..])
    }

    #[test]
    fn golden_bytes() {
        let content = [&[16, 0, 0, 0, 0, 0, 0, 1, 2][..], b"hi"].concat();
        let expected = [&[0, 0, 0, 15][..], &crc32c::crc32c(&content).to_be_bytes(), &content].concat();
        let mut made = bytes(Kind::Request, 0x0102, b"hi");
        assert_eq!(made[..], expected[..]);
        let frame = FrameDecoder::new(100).decode(&mut made).unwrap();
        assert_eq!(frame, Some(Frame { kind: Kind::Request, id: 0x0102, body: Bytes::from_static(b"hi") }));
    }

    #[test]
    fn a_cut_frame_waits_and_a_changed_one_is_refused() {
        let whole = bytes(Kind::Response, 7, b"body");
        for cut in 0..whole.len() {
            let mut some = BytesMut::from(&whole[..cut]);
            assert!(matches!(FrameDecoder::new(100).decode(&mut some), Ok(None)), "{cut}");
        }
        for at in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[at / 8] ^= 1 << (at % 8);
            let decoded = FrameDecoder::new(100).decode(&mut changed);
            assert!(!matches!(decoded, Ok(Some(_))), "bit {at}: {decoded:?}");
        }
        let mut unknown = bytes(Kind::Response, 7, b"body");
        unknown[8] = 99;
        let checksum = crc32c::crc32c(&unknown[8..]).to_be_bytes();
        unknown[4..8].copy_from_slice(&checksum);
        assert!(matches!(FrameDecoder::new(100).decode(&mut unknown), Err(FrameError::Kind(99))));
    }

    #[test]
    fn a_length_alone_takes_no_memory() {
        let mut decoder = FrameDecoder::new(BODY_BYTES_MAX);
        let mut buffer = BytesMut::from(&(16_u32 << 20).to_be_bytes()[..]);
        assert!(matches!(decoder.decode(&mut buffer), Ok(None)));
        assert!(buffer.capacity() <= 2 * GROWTH_BYTES, "{}", buffer.capacity());
        for length in [0_u32, 12, (16 << 20) + 14, u32::MAX] {
            let mut buffer = BytesMut::from(&length.to_be_bytes()[..]);
            assert!(matches!(decoder.decode(&mut buffer), Err(FrameError::Length { .. })), "{length}");
        }
    }
}
