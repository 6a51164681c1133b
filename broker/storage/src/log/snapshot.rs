//! Kafka's file of the producers as they are before an offset: `<offset>.snapshot`, version 1.
//!
//! Format: docs/formats/producer-snapshot.md.
//!
//! Must not know: how producers come to be what they are.

use cairn_protocol::ids::{Offset, ProducerEpoch, ProducerId, Timestamp};

use super::producers::{ProducedBatch, ProducerState};

const VERSION: i16 = 1;
const FRONT_BYTES: usize = 10;
const ENTRY_BYTES: usize = 46;
/// The checksum covers the file from here on.
const CHECKSUM_COVERS_FROM: usize = 6;
/// The largest snapshot that is read: five million producers.
pub(crate) const SNAPSHOT_MAX_BYTES: u64 = 256 << 20;

/// A snapshot file is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Not the version that Kafka 0.11 to 4 write.
    #[error("snapshot version {0} is unknown")]
    Version(i16),
    /// Its length and its count do not fit, or the checksum does not hold.
    #[error("snapshot is damaged: length or checksum do not hold")]
    Damaged,
}

/// The file's bytes.
pub(crate) fn encode<'a>(producers: impl Iterator<Item = &'a ProducerState>) -> Vec<u8> {
    let mut bytes = vec![0; FRONT_BYTES];
    let mut sorted: Vec<&ProducerState> = producers.collect();
    sorted.sort_unstable_by_key(|state| state.id);
    for state in &sorted {
        let last = state.batches.last();
        bytes.extend_from_slice(&state.id.0.to_be_bytes());
        bytes.extend_from_slice(&state.epoch.0.to_be_bytes());
        bytes.extend_from_slice(&last.map_or(-1, |batch| batch.last_sequence).to_be_bytes());
        bytes.extend_from_slice(&last.map_or(-1, |batch| batch.last_offset.0).to_be_bytes());
        bytes.extend_from_slice(&last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
        bytes.extend_from_slice(&state.last_timestamp.0.to_be_bytes());
        bytes.extend_from_slice(&state.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&state.transaction_start.map_or(-1, |start| start.0).to_be_bytes());
    }
    let count = i32::try_from(sorted.len()).expect("fewer producers than that fit into memory");
    bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
    bytes[6..10].copy_from_slice(&count.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[CHECKSUM_COVERS_FROM..]);
    bytes[2..6].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// Reads the file's bytes. Of each producer's batches only the last one is in there.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<ProducerState>, SnapshotError> {
    let version = bytes.first_chunk().map(|field| i16::from_be_bytes(*field)).ok_or(SnapshotError::Damaged)?;
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    if bytes.len() < FRONT_BYTES || !(bytes.len() - FRONT_BYTES).is_multiple_of(ENTRY_BYTES) {
        return Err(SnapshotError::Damaged);
    }
    let checksum = crc32c::crc32c(&bytes[CHECKSUM_COVERS_FROM..]);
    if bytes[2..6] != checksum.to_be_bytes() {
        return Err(SnapshotError::Damaged);
    }
    let count = i32::from_be_bytes(field(bytes, 6));
    if usize::try_from(count) != Ok((bytes.len() - FRONT_BYTES) / ENTRY_BYTES) {
        return Err(SnapshotError::Damaged);
    }
    bytes[FRONT_BYTES..].chunks_exact(ENTRY_BYTES).map(decode_entry).collect()
}

fn decode_entry(entry: &[u8]) -> Result<ProducerState, SnapshotError> {
    let last_offset = i64::from_be_bytes(field(entry, 14));
    let offset_delta = i32::from_be_bytes(field(entry, 22));
    let last_timestamp = Timestamp(i64::from_be_bytes(field(entry, 26)));
    let transaction_start = i64::from_be_bytes(field(entry, 38));
    let mut batches = Vec::new();
    if last_offset >= 0 {
        if offset_delta < 0 || i64::from(offset_delta) > last_offset {
            return Err(SnapshotError::Damaged);
        }
        let last_sequence = i32::from_be_bytes(field(entry, 10));
        batches.push(ProducedBatch {
            last_sequence,
            last_offset: Offset(last_offset),
            offset_delta,
            timestamp: last_timestamp,
        });
    }
    Ok(ProducerState {
        id: ProducerId(i64::from_be_bytes(field(entry, 0))),
        epoch: ProducerEpoch(i16::from_be_bytes(field(entry, 8))),
        coordinator_epoch: i32::from_be_bytes(field(entry, 34)),
        last_timestamp,
        transaction_start: (transaction_start >= 0).then_some(Offset(transaction_start)),
        batches,
    })
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the length was checked")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> Vec<ProducerState> {
        let batch = ProducedBatch {
            last_sequence: 9,
            last_offset: Offset(109),
            offset_delta: 4,
            timestamp: Timestamp(1_700_000_000_000),
        };
        let state = |id, batches: &[ProducedBatch], transaction_start| ProducerState {
            id: ProducerId(id),
            epoch: ProducerEpoch(2),
            coordinator_epoch: -1,
            last_timestamp: Timestamp(1_700_000_000_000),
            transaction_start,
            batches: batches.to_vec(),
        };
        vec![state(1, &[batch], None), state(1 << 40, &[], Some(Offset(5)))]
    }

    #[test]
    fn golden_bytes() {
        let bytes = encode(states()[..1].iter());
        let mut expected = vec![0, 0, 0, 1];
        for field in [
            &1i64.to_be_bytes()[..],
            &2i16.to_be_bytes(),
            &9i32.to_be_bytes(),
            &109i64.to_be_bytes(),
            &4i32.to_be_bytes(),
            &1_700_000_000_000i64.to_be_bytes(),
            &(-1i32).to_be_bytes(),
            &(-1i64).to_be_bytes(),
        ] {
            expected.extend_from_slice(field);
        }
        let checksum = crc32c::crc32c(&expected).to_be_bytes();
        assert_eq!(bytes, [&[0, 1], &checksum[..], &expected].concat());
    }

    #[test]
    fn round_trip_and_damage() {
        let bytes = encode(states().iter());
        assert_eq!(decode(&bytes), Ok(states()));
        assert_eq!(decode(&encode([].iter())), Ok(vec![]));
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_err(), "first {at} bytes");
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(decode(&flipped).is_err(), "byte {at} bit {bit}");
            }
        }
    }
}
