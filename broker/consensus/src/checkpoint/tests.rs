use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cairn_metadata::Command;
use cairn_storage::disk::memory::{Crash, MemoryDisk};
use uuid::Uuid;

use super::*;
use crate::types::{Membership, Voter};

fn checkpoint(number: u128) -> Checkpoint {
    let voters = BTreeMap::from([(1, Voter { host: "h".into(), port: 9 })]);
    let membership = Membership::new(vec![BTreeSet::from([1])], voters).expect("a voter");
    let init = Command::InitCluster { cluster_id: Uuid::from_u128(number) };
    let meta = SnapshotMeta {
        last_log_id: Some(new_log_id(3, 9)),
        last_membership: StoredMembership::new(Some(new_log_id(1, 0)), membership),
    };
    Checkpoint { meta, image: Arc::new(Image::default().apply(5, &init).expect("applies").image) }
}

#[test]
fn golden_bytes_of_version_1() {
    let with_image = |image_length_version_index: [u8; 3], counts: &[u8]| {
        let mut expected = b"cairnckp\0\x01".to_vec();
        expected.extend([1, 3, 9]); // the last entry
        expected.extend([1, 1, 0]); // the entry of the voters
        expected.extend([1, 1, 1, 1, 1, 1, b'h', 9]); // one set of one, one voter
        expected.extend(image_length_version_index);
        expected.extend([1, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]); // the cluster's id
        expected.extend(counts);
        expected.extend(crc32c::crc32c(&expected).to_be_bytes());
        expected
    };
    // Next producer id, features, brokers, topics, configs, quotas, disks of removed brokers.
    let bytes = checkpoint(1).encode();
    assert_eq!(bytes, with_image([27, 4, 5], &[0; 7]));
    assert_eq!(Checkpoint::decode(&bytes), Ok(checkpoint(1)));
    // An image of version 3 has not the last of them. Without topics one of version 2 is the same.
    assert_eq!(Checkpoint::decode(&with_image([26, 3, 5], &[0; 6])), Ok(checkpoint(1)));
    assert_eq!(Checkpoint::decode(&with_image([26, 2, 5], &[0; 6])), Ok(checkpoint(1)));
    // An image of version 1 has neither configs nor quotas.
    assert_eq!(Checkpoint::decode(&with_image([24, 1, 5], &[0; 4])), Ok(checkpoint(1)));
    let empty = Checkpoint { meta: SnapshotMeta::default(), image: Arc::default() };
    assert_eq!(Checkpoint::decode(&empty.encode()), Ok(empty));
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let bytes = checkpoint(1).encode();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert_eq!(Checkpoint::decode(&flipped), Err(CheckpointDecodeError::Damaged), "byte {at}");
        assert_eq!(Checkpoint::decode(&bytes[..at]), Err(CheckpointDecodeError::Damaged), "cut at {at}");
    }
    let (content, _) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    let mut later = content.to_vec();
    later[9] = 2;
    later.extend(crc32c::crc32c(&later).to_be_bytes());
    assert_eq!(Checkpoint::decode(&later), Err(CheckpointDecodeError::Version(2)));
}

#[test]
fn a_crash_leaves_the_old_checkpoint_or_the_new_one() {
    let disk = MemoryDisk::new();
    disk.create_dir(Path::new("/data/metadata")).expect("a folder");
    disk.sync_dir(Path::new("/data")).expect("syncs");
    disk.sync_dir(Path::new("/")).expect("syncs");
    let file = CheckpointFile { disk: Arc::new(disk.clone()), path: "/data/metadata/checkpoint".into() };
    assert_eq!(file.read().expect("reads"), None);
    for number in 1..4 {
        file.replace(&checkpoint(number)).expect("replaces");
        disk.crash(Crash::LoseUnsynced);
        assert_eq!(file.read().expect("reads"), Some(checkpoint(number)));
    }
}
