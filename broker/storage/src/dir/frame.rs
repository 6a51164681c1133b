//! The frame that our own small files share: what it is, which version, how long, and a checksum.
//!
//! ```text
//!   0        8         10          12        16               16+n   20+n
//!   | magic  | version | reserved  | n       | n bytes        | crc  |
//! ```
//!
//! The checksum is CRC-32C of all bytes before it. Everything is big-endian. See docs/formats/data-directory.md.
//!
//! Must not know: what is in a file.

const MAGIC_BYTES: usize = 8;
const FRONT_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;

/// The kind of a file: its magic, and the only version that we read and write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) magic: [u8; MAGIC_BYTES],
    pub(crate) version: u16,
}

/// A file is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not a file of this kind, or damaged at its very start.
    #[error("not a file of this kind")]
    Magic,
    /// Written by a newer Cairn.
    #[error("format version {found} is unknown; this Cairn knows version {known}")]
    Version {
        /// In the file.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// Cut, torn or changed.
    #[error("damaged: length or checksum do not hold")]
    Damaged,
}

impl Kind {
    pub(crate) fn encode(self, content: &[u8]) -> Vec<u8> {
        let len = u32::try_from(content.len()).expect("small files are far below 4 GiB");
        let mut bytes = Vec::with_capacity(FRONT_BYTES + content.len() + CHECKSUM_BYTES);
        bytes.extend_from_slice(&self.magic);
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(content);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// The content, if everything holds. The checksum is looked at before the version is believed.
    pub(crate) fn decode(self, bytes: &[u8]) -> Result<&[u8], FrameError> {
        if bytes.len() < MAGIC_BYTES || bytes[..MAGIC_BYTES] != self.magic {
            return Err(FrameError::Magic);
        }
        if bytes.len() < FRONT_BYTES + CHECKSUM_BYTES {
            return Err(FrameError::Damaged);
        }
        let (framed, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
        if crc32c::crc32c(framed).to_be_bytes() != *checksum {
            return Err(FrameError::Damaged);
        }
        let found = u16::from_be_bytes([bytes[8], bytes[9]]);
        if found != self.version {
            return Err(FrameError::Version { found, known: self.version });
        }
        let content = &framed[FRONT_BYTES..];
        let len = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        if u32::try_from(content.len()) != Ok(len) {
            return Err(FrameError::Damaged);
        }
        Ok(content)
    }
}

/// Takes fields off the front of a file's content.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(field)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { magic: *b"cairntst", version: 3 };

    #[test]
    fn only_whole_frames_are_read() {
        let bytes = KIND.encode(b"content");
        assert_eq!(KIND.decode(&bytes), Ok(&b"content"[..]));
        for len in 0..bytes.len() {
            assert!(KIND.decode(&bytes[..len]).is_err(), "first {len} bytes");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(KIND.decode(&flipped).is_err(), "byte {at} bit {bit}");
            }
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(KIND.decode(&longer), Err(FrameError::Damaged));
    }

    #[test]
    fn another_version_is_named() {
        let newer = Kind { version: 4, ..KIND }.encode(b"");
        assert_eq!(KIND.decode(&newer), Err(FrameError::Version { found: 4, known: 3 }));
    }
}
