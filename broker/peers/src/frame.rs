//! Frames: their bytes, their bounds, and taking them off a stream.
//!
//! ```text
//!   0        4        8      9            17            21
//!   | length | crc32c | kind | request id | body length | body ... | payload ...
//! ```
//! The length counts what follows it; the checksum covers what follows it up to the body's end. `docs/peers.md` draws it.
//!
//! Must not know: what a body says, or a payload.

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::Decoder;

/// The longest body. Whoever has more to send sends it in pieces.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// The longest payload: a batch of records is never longer.
pub const PAYLOAD_BYTES_MAX: usize = i32::MAX as usize + 12;
/// The longest body before the other end has proven who it is.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 1 << 10;

const LENGTH_BYTES: usize = 4;
/// What the length counts beside body and payload: checksum, kind, request id, the body's length.
const AFTER_LENGTH_BYTES: usize = 4 + 1 + 8 + 4;
const HEAD_BYTES: usize = LENGTH_BYTES + AFTER_LENGTH_BYTES;
/// Where the checksum begins to count.
const CHECKED_FROM: usize = LENGTH_BYTES + 4;
/// The buffer grows by so much at most as bytes arrive, or by as much as it holds: a length alone costs its sender nothing.
const GROWTH_BYTES: usize = 64 << 10;
/// The same for who has proven who it is.
const GROWTH_BYTES_PROVEN: usize = 1 << 20;

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
    /// Not covered by the frame's checksum.
    pub(crate) payload: Bytes,
}

/// Bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {length} bytes; allowed is {AFTER_LENGTH_BYTES} to {max}")]
    Length { length: usize, max: usize },
    #[error("a frame of {length} bytes with a body of {body}")]
    Parts { body: usize, length: usize },
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
    payload_max: usize,
    growth: usize,
}

impl FrameDecoder {
    /// For a stream on which the other end has not proven who it is.
    pub(crate) fn new() -> Self {
        Self { body_max: HANDSHAKE_BYTES_MAX, payload_max: 0, growth: GROWTH_BYTES }
    }

    /// The other end has proven who it is.
    pub(crate) fn on_proven(&mut self, payload_max: usize) {
        (self.body_max, self.payload_max, self.growth) = (BODY_BYTES_MAX, payload_max, GROWTH_BYTES_PROVEN);
    }
}

impl Decoder for FrameDecoder {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(length) = buffer.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        let max = AFTER_LENGTH_BYTES + self.body_max + self.payload_max;
        if !(AFTER_LENGTH_BYTES..=max).contains(&length) {
            return Err(FrameError::Length { length, max });
        }
        let missing = (LENGTH_BYTES + length).saturating_sub(buffer.len());
        if missing > 0 {
            buffer.reserve(missing.min(self.growth));
            return Ok(None);
        }
        let frame = buffer.split_to(LENGTH_BYTES + length).freeze();
        let mut head = frame.slice(LENGTH_BYTES..HEAD_BYTES);
        let (checksum, kind, id, body_length) =
            (head.get_u32(), head.get_u8(), head.get_u64(), head.get_u32() as usize);
        let payload_length = (length - AFTER_LENGTH_BYTES).checked_sub(body_length);
        let is_allowed = |payload| body_length <= self.body_max && payload <= self.payload_max;
        if !payload_length.is_some_and(is_allowed) {
            return Err(FrameError::Parts { body: body_length, length });
        }
        let payload = frame.slice(HEAD_BYTES + body_length..);
        let body = frame.slice(HEAD_BYTES..HEAD_BYTES + body_length);
        if checksum != crc32c::crc32c(&frame[CHECKED_FROM..HEAD_BYTES + body_length]) {
            return Err(FrameError::Checksum);
        }
        let kind = match kind {
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
        Ok(Some(Frame { kind, id, body, payload }))
    }
}

/// What stands before a body on the wire.
///
/// # Panics
/// When the body is longer than [`BODY_BYTES_MAX`], or the payload than [`PAYLOAD_BYTES_MAX`]: whoever makes them sees to that.
pub(crate) fn head(kind: Kind, id: u64, body: &[u8], payload_length: usize) -> [u8; HEAD_BYTES] {
    assert!(body.len() <= BODY_BYTES_MAX, "a body of {} bytes was to be sent", body.len());
    assert!(payload_length <= PAYLOAD_BYTES_MAX, "a payload of {payload_length} bytes was to be sent");
    let number = |length: usize| u32::try_from(length).expect("bounded above").to_be_bytes();
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&number(AFTER_LENGTH_BYTES + body.len() + payload_length));
    head[8] = kind as u8;
    head[9..17].copy_from_slice(&id.to_be_bytes());
    head[17..].copy_from_slice(&number(body.len()));
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&head[8..]), body);
    head[4..8].copy_from_slice(&checksum.to_be_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(kind: Kind, id: u64, body: &[u8]) -> BytesMut {
        BytesMut::from(&[&head(kind, id, body, 0)[..], body].concat()[..])
    }

    fn proven(payload_max: usize) -> FrameDecoder {
        let mut decoder = FrameDecoder::new();
        decoder.on_proven(payload_max);
        decoder
    }

    #[test]
    fn golden_bytes() {
        let content = [&[16, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 2][..], b"hi"].concat();
        let expected = [&[0, 0, 0, 26][..], &crc32c::crc32c(&content).to_be_bytes(), &content, b"records"].concat();
        let made = [&head(Kind::Request, 0x0102, b"hi", 7)[..], b"hi", b"records"].concat();
        assert_eq!(made, expected);
        let frame = proven(7).decode(&mut BytesMut::from(&made[..])).unwrap();
        let (body, payload) = (Bytes::from_static(b"hi"), Bytes::from_static(b"records"));
        assert_eq!(frame, Some(Frame { kind: Kind::Request, id: 0x0102, body, payload }));
        let refused = proven(6).decode(&mut BytesMut::from(&made[..]));
        assert!(matches!(refused, Err(FrameError::Length { .. } | FrameError::Parts { .. })), "{refused:?}");
        let refused = FrameDecoder::new().decode(&mut BytesMut::from(&made[..]));
        assert!(matches!(refused, Err(FrameError::Parts { body: 2, .. })), "no payload from a stranger: {refused:?}");
    }

    #[test]
    fn a_cut_frame_waits_and_a_changed_one_is_refused() {
        let whole = bytes(Kind::Response, 7, b"body");
        for cut in 0..whole.len() {
            let mut some = BytesMut::from(&whole[..cut]);
            assert!(matches!(FrameDecoder::new().decode(&mut some), Ok(None)), "{cut}");
        }
        for at in 0..whole.len() * 8 {
            for mut decoder in [FrameDecoder::new(), proven(PAYLOAD_BYTES_MAX)] {
                let mut changed = whole.clone();
                changed[at / 8] ^= 1 << (at % 8);
                let decoded = decoder.decode(&mut changed);
                assert!(!matches!(decoded, Ok(Some(_))), "bit {at}: {decoded:?}");
            }
        }
        let mut unknown = bytes(Kind::Response, 7, b"body");
        unknown[8] = 99;
        let checksum = crc32c::crc32c(&unknown[CHECKED_FROM..]).to_be_bytes();
        unknown[4..8].copy_from_slice(&checksum);
        assert!(matches!(FrameDecoder::new().decode(&mut unknown), Err(FrameError::Kind(99))));
    }

    #[test]
    fn a_length_alone_takes_no_memory() {
        let strangers = (FrameDecoder::new(), HANDSHAKE_BYTES_MAX, GROWTH_BYTES);
        let members = (proven(PAYLOAD_BYTES_MAX), PAYLOAD_BYTES_MAX, GROWTH_BYTES_PROVEN);
        for (mut decoder, length, growth) in [strangers, members] {
            let mut buffer = BytesMut::from(&u32::try_from(length).unwrap().to_be_bytes()[..]);
            assert!(matches!(decoder.decode(&mut buffer), Ok(None)));
            assert!(buffer.capacity() <= 2 * growth, "{}", buffer.capacity());
        }
        for length in [0_u32, 16, (1 << 10) + 18, u32::MAX] {
            let mut buffer = BytesMut::from(&length.to_be_bytes()[..]);
            assert!(matches!(FrameDecoder::new().decode(&mut buffer), Err(FrameError::Length { .. })), "{length}");
        }
    }
}
