//! What fuzzing may do with the private parts: `broker/peers/fuzz`.
//!
//! Must not know: what a build without fuzzing has.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::Decoder;

use crate::frame::{FrameDecoder, PAYLOAD_BYTES_MAX, head};
use crate::handshake;

/// The most that a decoder may ask room for at a time, before a length has been paid for with as many bytes.
const GROWTH_BYTES_MAX: usize = 2 << 20;

/// Takes frames off bytes that arrive in pieces of this length, from a stranger or a member, until they make no sense.
///
/// # Panics
/// When a frame is not what was sent, or a length alone takes memory.
pub fn frames(bytes: &[u8], is_member: bool, piece: usize) {
    let mut decoder = FrameDecoder::new();
    if is_member {
        decoder.on_proven(PAYLOAD_BYTES_MAX);
    }
    let (mut buffer, mut taken) = (BytesMut::new(), 0);
    for piece in bytes.chunks(piece.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let Ok(decoded) = decoder.decode(&mut buffer) else { return };
            assert!(buffer.capacity() <= 2 * bytes.len() + GROWTH_BYTES_MAX, "{} bytes of room", buffer.capacity());
            let Some(frame) = decoded else { break };
            let mut again = BytesMut::from(&head(frame.kind, frame.id, &frame.body, frame.payload.len())[..]);
            again.extend_from_slice(&frame.body);
            again.extend_from_slice(&frame.payload);
            assert_eq!(again, bytes[taken..taken + again.len()]);
            taken += again.len();
        }
    }
}

/// The bytes of a frame, whose checksum holds: its kind, and what it carries.
///
/// # Panics
/// Never: a kind of no frame is one of another.
#[must_use]
pub fn frame(kind: u8, id: u64, body: &[u8], payload: &[u8]) -> Bytes {
    use crate::frame::Kind;
    let kinds = [
        Kind::Hello,
        Kind::Challenge,
        Kind::Proof,
        Kind::Welcome,
        Kind::Refused,
        Kind::Request,
        Kind::Response,
        Kind::Failed,
    ];
    let kind = kinds[usize::from(kind) % kinds.len()];
    [&head(kind, id, body, payload.len())[..], body, payload].concat().into()
}

/// Reads a body as each of the first frames of a connection.
pub fn first_frames(body: &[u8]) {
    handshake::read_all(body);
}
