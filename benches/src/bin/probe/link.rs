//! Frames and acknowledgements on a stream.
//!
//! A frame is its payload's length and CRC-32C, 4 bytes each, and the payload; an acknowledgement is the number of frames that are
//! kept so far, 8 bytes. All big-endian.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};

pub(crate) const HEADER_BYTES: usize = 8;

/// The header of a frame.
pub(crate) type Header = [u8; HEADER_BYTES];

/// The header for this payload.
pub(crate) fn frame_of(payload: &[u8]) -> Header {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&length.to_be_bytes());
    header[4..].copy_from_slice(&crc32c::crc32c(payload).to_be_bytes());
    header
}

/// Sends both in one call where the socket takes them.
pub(crate) fn send(stream: &mut TcpStream, header: &Header, payload: &[u8]) -> Result<()> {
    let sent = stream.write_vectored(&[IoSlice::new(header), IoSlice::new(payload)])?;
    if sent < HEADER_BYTES {
        stream.write_all(&header[sent..])?;
    }
    Ok(stream.write_all(&payload[sent.saturating_sub(HEADER_BYTES)..])?)
}

/// Receives a frame's payload straight into `place`, which has its length, and checks it. `None` at the end of the stream.
pub(crate) fn receive(stream: &mut TcpStream, place: &mut [u8]) -> Result<Option<Header>> {
    let mut header = [0; HEADER_BYTES];
    if !whole_or_end(stream, &mut header)? {
        return Ok(None);
    }
    stream.read_exact(place)?;
    ensure!(header == frame_of(place), "a frame is not as it was sent");
    Ok(Some(header))
}

/// So many frames are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack(pub(crate) u64);

impl Ack {
    pub(crate) fn send(self, stream: &mut TcpStream) -> Result<()> {
        Ok(stream.write_all(&self.0.to_be_bytes())?)
    }

    pub(crate) fn receive(stream: &mut TcpStream) -> Result<Option<Self>> {
        let mut bytes = [0; 8];
        Ok(whole_or_end(stream, &mut bytes)?.then(|| Self(u64::from_be_bytes(bytes))))
    }
}

/// Fills all of it; `false` when the stream ends before.
fn whole_or_end(stream: &mut TcpStream, bytes: &mut [u8]) -> Result<bool> {
    match stream.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error.into()),
    }
}
