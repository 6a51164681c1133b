//! A table on disk: all rows, and up to where in the log they are true. The format is drawn in `docs/formats/table-checkpoint.md`.
//!
//! The bytes may be of another program or half of a disk's, so whatever they are must not panic. Must not know: the log, who reads it.

use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use bytes::{Buf, BufMut, Bytes};
use cairn_protocol::ids::{Offset, TopicId};

const MAGIC: &[u8; 8] = b"CAIRNTB1";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) topic_id: TopicId,
    pub(super) taken_ms: i64,
    /// By partition: the first offset that is not in it.
    pub(super) next: Vec<Offset>,
    pub(super) rows: Vec<(Bytes, Bytes)>,
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Takes the place of the one before as a whole: it is written beside it, made durable, and renamed. Blocks.
pub(super) fn write(path: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(&encode(checkpoint)?)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

/// `None` when there is none, or none that reads: then the log tells everything. Blocks.
pub(super) fn read(path: &Path) -> io::Result<Option<Checkpoint>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(decode(bytes.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn encode(checkpoint: &Checkpoint) -> io::Result<Vec<u8>> {
    let too_large = |_| io::Error::other("a row of 4 GiB or more");
    let mut bytes = MAGIC.to_vec();
    bytes.put_u32(0);
    bytes.put_slice(&checkpoint.topic_id.0.into_bytes());
    bytes.put_i64(checkpoint.taken_ms);
    bytes.put_u32(u32::try_from(checkpoint.next.len()).map_err(too_large)?);
    checkpoint.next.iter().for_each(|next| bytes.put_i64(next.0));
    bytes.put_u64(checkpoint.rows.len() as u64);
    for part in checkpoint.rows.iter().flat_map(|(key, value)| [key, value]) {
        bytes.put_u32(u32::try_from(part.len()).map_err(too_large)?);
        bytes.put_slice(part);
    }
    let checked = MAGIC.len() + size_of::<u32>();
    let crc = crc32c::crc32c(&bytes[checked..]);
    bytes[MAGIC.len()..checked].copy_from_slice(&crc.to_be_bytes());
    Ok(bytes)
}

fn decode(mut bytes: Bytes) -> Option<Checkpoint> {
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    bytes.advance(MAGIC.len());
    let crc = bytes.try_get_u32().ok()?;
    if crc32c::crc32c(&bytes) != crc {
        return None;
    }
    let topic_id = TopicId(uuid::Uuid::from_u128(bytes.try_get_u128().ok()?));
    let taken_ms = bytes.try_get_i64().ok()?;
    let mut next = Vec::new();
    for _ in 0..bytes.try_get_u32().ok()? {
        next.push(Offset(bytes.try_get_i64().ok()?));
    }
    let mut rows = Vec::new();
    for _ in 0..bytes.try_get_u64().ok()? {
        rows.push((part(&mut bytes)?, part(&mut bytes)?));
    }
    bytes.is_empty().then_some(Checkpoint { topic_id, taken_ms, next, rows })
}

/// A copy of its own, so that a row that is replaced gives its memory back.
fn part(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
    (length <= bytes.len()).then(|| Bytes::copy_from_slice(&bytes.split_to(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let row = |key: &'static [u8], value: &'static [u8]| (Bytes::from_static(key), Bytes::from_static(value));
        Checkpoint {
            topic_id: TopicId(uuid::Uuid::from_u128(7)),
            taken_ms: 5,
            next: vec![Offset(3), Offset(0)],
            rows: vec![row(b"k", b"v"), row(b"", b"")],
        }
    }

    #[test]
    fn it_comes_back_as_it_was_and_damage_is_noticed() {
        let bytes = encode(&checkpoint()).expect("small");
        assert_eq!(decode(bytes.clone().into()), Some(checkpoint()));
        assert_eq!(&bytes[..8], b"CAIRNTB1");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(decode(flipped.into()), None, "flipped at {at}");
            assert_eq!(decode(bytes[..at].to_vec().into()), None, "cut at {at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            // As if the checksum were right.
            let sum = crc32c::crc32c(&bytes).to_be_bytes();
            let _ = decode([&MAGIC[..], &sum, &bytes].concat().into());
        }
    }
}
