//! Frames: a length of four bytes, a header and a body. Reading them off a stream, and making whole ones to be written.
//!
//! Must not know: sockets, what is in a body, how many bytes a connection may have in flight.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::api::{ApiKey, Request};
use crate::codec::{EncodeError, EncodedFrame, Message, Writer};
use crate::header::{RequestHeader, ResponseHeader};

/// The bytes of a frame's length.
pub const PREFIX_LEN: usize = 4;

/// The longest frame that is read when nothing else is said: Kafka's `socket.request.max.bytes`.
pub const DEFAULT_MAX_FRAME_LEN: usize = 104_857_600;

/// A buffer grows by this much when what it holds is no whole frame yet, whatever length was announced.
pub const READ_STEP_LEN: usize = 64 * 1024;

/// The stream carries no frames that can be read; it is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The announced length is negative.
    #[error("frame announces a length of {0}")]
    NegativeLength(i32),
    /// The announced length is above the limit.
    #[error("frame announces {len} bytes, at most {max} are read")]
    TooLong {
        /// The announced length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The stream failed.
    #[error("read or write a frame")]
    Io(#[from] io::Error),
}

/// The length that a frame's first four bytes announce, when it may be read.
pub fn announced_len(prefix: [u8; PREFIX_LEN], max: usize) -> Result<usize, FrameError> {
    let len = i32::from_be_bytes(prefix);
    let len = usize::try_from(len).map_err(|_| FrameError::NegativeLength(len))?;
    if len > max { Err(FrameError::TooLong { len, max }) } else { Ok(len) }
}

/// Splits a stream into frames, without their lengths, and puts lengths before what is written.
///
/// A frame's bytes are gathered as they arrive: a stream that announces much and sends little costs little.
#[derive(Clone, Debug)]
pub struct FrameCodec {
    max_len: usize,
}

impl Default for FrameCodec {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_FRAME_LEN)
    }
}

impl FrameCodec {
    /// Reads frames of at most `max_len` bytes.
    #[must_use]
    pub fn new(max_len: usize) -> Self {
        Self { max_len }
    }

    /// From the next frame on reads frames of at most `max_len` bytes, as when a client has authenticated.
    pub fn set_max_len(&mut self, max_len: usize) {
        self.max_len = max_len;
    }

    /// The length of the frame at the start of `buffer`, once its prefix is there. Whoever bounds the bytes in flight asks
    /// this before it reads the rest.
    pub fn announced_len(&self, buffer: &[u8]) -> Result<Option<usize>, FrameError> {
        match buffer.first_chunk() {
            Some(prefix) => announced_len(*prefix, self.max_len).map(Some),
            None => Ok(None),
        }
    }
}

impl Decoder for FrameCodec {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(len) = self.announced_len(buffer)? else { return Ok(None) };
        let missing = (PREFIX_LEN + len).saturating_sub(buffer.len());
        if missing > 0 {
            buffer.reserve(missing.min(READ_STEP_LEN));
            return Ok(None);
        }
        buffer.advance(PREFIX_LEN);
        Ok(Some(buffer.split_to(len).freeze()))
    }
}

/// Copies; a vectored write of the frame's segments does not.
impl Encoder<EncodedFrame> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, mut frame: EncodedFrame, buffer: &mut BytesMut) -> Result<(), FrameError> {
        buffer.reserve(frame.remaining());
        while frame.has_remaining() {
            let count = frame.chunk().len();
            buffer.extend_from_slice(frame.chunk());
            frame.advance(count);
        }
        Ok(())
    }
}

/// A request's whole frame, length included. The body tells the API.
pub fn request_frame<R: Request>(
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    body: &R,
) -> Result<EncodedFrame, EncodeError> {
    let header =
        RequestHeader { api_key: R::KEY, api_version: version, correlation_id, client_id: client_id.map(Box::from) };
    let mut writer = Writer::for_frame();
    header.encode(&mut writer)?;
    body.encode(&mut writer, version)?;
    writer.finish_frame()
}

/// A response's whole frame, length included, to a request of this API and version.
///
/// The body is one of `version`, but for the answer to an ApiVersions request of a version that is not served
/// ([`unsupported_api_versions_frame`]).
pub fn response_frame<M: Message>(
    api_key: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &M,
) -> Result<EncodedFrame, EncodeError> {
    let mut writer = Writer::for_frame();
    ResponseHeader { correlation_id }.encode(&mut writer, api_key, version)?;
    body.encode(&mut writer, version)?;
    writer.finish_frame()
}

/// The frame that answers an ApiVersions request of a version that is not served: header and body are those of version 0,
/// which every client can read (KIP-511). [`api_versions::unsupported`](crate::api_versions::unsupported) makes the body.
pub fn unsupported_api_versions_frame(
    correlation_id: i32,
    body: &crate::messages::ApiVersionsResponse,
) -> Result<EncodedFrame, EncodeError> {
    response_frame(ApiKey::ApiVersions, 0, correlation_id, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Reader;
    use crate::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use crate::messages::{ApiVersionsRequest, FetchResponse, HeartbeatRequest};

    #[test]
    fn frames_come_out_however_the_stream_is_cut() {
        let frames: [&[u8]; 4] = [b"first", b"", b"third frame", &[9; 70_000]];
        let mut stream = Vec::new();
        for frame in frames {
            stream.extend_from_slice(&i32::try_from(frame.len()).unwrap().to_be_bytes());
            stream.extend_from_slice(frame);
        }
        for step in [1, 2, 3, 7, 4096, stream.len()] {
            let (mut codec, mut buffer, mut found) = (FrameCodec::default(), BytesMut::new(), Vec::new());
            for piece in stream.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = codec.decode(&mut buffer).unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(found, frames, "in steps of {step}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let mut codec = FrameCodec::new(100);
        let mut decode = |bytes: &[u8]| codec.decode(&mut BytesMut::from(bytes));
        assert!(matches!(decode(b"\xff\xff\xff\xff"), Err(FrameError::NegativeLength(-1))));
        assert!(matches!(decode(b"\x80\0\0\0"), Err(FrameError::NegativeLength(i32::MIN))));
        assert!(matches!(decode(b"\0\0\0\x65"), Err(FrameError::TooLong { len: 101, max: 100 })));
        assert!(matches!(decode(b"\0\0\0\x64"), Ok(None)));
        assert!(matches!(decode(b"\xff\xff\xff"), Ok(None)));
        codec.set_max_len(101);
        assert!(matches!(codec.decode(&mut BytesMut::from(&b"\0\0\0\x65"[..])), Ok(None)));
    }

    #[test]
    fn the_buffer_grows_by_what_arrived() {
        let mut codec = FrameCodec::default();
        let mut buffer = BytesMut::from(&i32::try_from(DEFAULT_MAX_FRAME_LEN).unwrap().to_be_bytes()[..]);
        assert!(codec.decode(&mut buffer).unwrap().is_none());
        while buffer.len() < 1 << 20 {
            assert!(buffer.capacity() <= 2 * buffer.len() + READ_STEP_LEN + PREFIX_LEN, "{} bytes", buffer.len());
            let room = buffer.capacity() - buffer.len();
            assert!(room > 0);
            buffer.resize(buffer.len() + room, 0);
            assert!(codec.decode(&mut buffer).unwrap().is_none());
        }
    }

    #[test]
    fn a_request_is_framed_and_read_again() {
        let body = HeartbeatRequest { group_id: "g".into(), ..Default::default() };
        let frame = request_frame(4, 77, Some("me"), &body).unwrap();
        assert_eq!(frame.segments().len(), 1);
        let mut buffer = BytesMut::new();
        FrameCodec::default().encode(frame, &mut buffer).unwrap();
        let frame = FrameCodec::default().decode(&mut buffer).unwrap().unwrap();
        let mut reader = Reader::new(frame);
        let header = RequestHeader::decode(&mut reader).unwrap();
        assert_eq!((header.api_key, header.api_version, header.correlation_id), (ApiKey::Heartbeat, 4, 77));
        assert_eq!(HeartbeatRequest::decode(&mut reader, 4), Ok(body));
        reader.finish().unwrap();
    }

    #[test]
    fn a_fetched_batch_stays_a_segment() {
        let records = Bytes::from(vec![1; 5000]);
        let partition = PartitionData { records: Some(records.clone()), ..Default::default() };
        let topic = FetchableTopicResponse { partitions: vec![partition; 2], ..Default::default() };
        let body = FetchResponse { responses: vec![topic], ..Default::default() };
        let frame = response_frame(ApiKey::Fetch, 12, 5, &body).unwrap();
        let taken: Vec<bool> = frame.segments().iter().map(|segment| segment.as_ptr() == records.as_ptr()).collect();
        assert_eq!(taken, [false, true, false, true, false]);
        let len = i32::try_from(frame.len() - PREFIX_LEN).unwrap();
        assert_eq!(frame.into_bytes()[..9], [&len.to_be_bytes()[..], b"\0\0\0\x05\0"].concat());
    }

    #[test]
    fn an_api_versions_answer_has_a_plain_header() {
        let body = crate::messages::ApiVersionsResponse::default();
        let frame = response_frame(ApiKey::ApiVersions, 3, 5, &body).unwrap().into_bytes();
        assert_eq!(frame, &b"\0\0\0\x0c\0\0\0\x05\0\0\x01\0\0\0\0\0"[..]);
        let request = request_frame(3, 5, None, &ApiVersionsRequest::default()).unwrap().into_bytes();
        assert_eq!(request, &b"\0\0\0\x0e\0\x12\0\x03\0\0\0\x05\xff\xff\0\x01\x01\0"[..]);
    }
}
