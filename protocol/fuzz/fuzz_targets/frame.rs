//! Any bytes as a stream of frames that arrives in pieces: the first byte says how long those are.
#![no_main]

use bytes::BytesMut;
use cairn_protocol::frame::{FrameCodec, PREFIX_LEN, READ_STEP_LEN};
use tokio_util::codec::Decoder;

const MAX_LEN: usize = 4096;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((step, stream)) = bytes.split_first() else { return };
    let (mut codec, mut buffer, mut taken) = (FrameCodec::new(MAX_LEN), BytesMut::new(), 0);
    for piece in stream.chunks(usize::from(*step) + 1) {
        buffer.extend_from_slice(piece);
        loop {
            let capacity = 2 * (buffer.len() + READ_STEP_LEN);
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => {
                    assert!(frame.len() <= MAX_LEN);
                    assert_eq!(frame, stream[taken + PREFIX_LEN..][..frame.len()]);
                    taken += PREFIX_LEN + frame.len();
                }
                Ok(None) => {
                    assert!(buffer.capacity() <= capacity);
                    break;
                }
                Err(_) => return,
            }
        }
    }
    assert_eq!(buffer, stream[taken..]);
});
