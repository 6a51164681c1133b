use std::path::Path;

use cairn_storage::disk::memory::{Crash, MemoryDisk};

use super::*;
use crate::bytes::new_log_id;

const PATH: &str = "/data/metadata/quorum-state";

fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir(Path::new("/data/metadata")).expect("a folder");
    disk.sync_dir(Path::new("/data")).expect("syncs");
    disk.sync_dir(Path::new("/")).expect("syncs");
    disk
}

fn open(disk: &MemoryDisk) -> io::Result<(MarksFile, Marks)> {
    MarksFile::open(Arc::new(disk.clone()), PATH.into(), Past::None)
}

fn vote(term: u64) -> Vote {
    Vote { leader_id: openraft::impls::leader_id_std::LeaderId { term, voted_for: 9 }, committed: true }
}

fn marks(term: u64) -> Marks {
    Marks { vote: Some(vote(term)), committed: Some(new_log_id(term, 100 + term)), purged: None }
}

#[test]
fn golden_bytes_of_version_1() {
    let bytes = slot(3, &Marks { purged: Some(new_log_id(5, 6)), ..marks(7) });
    let mut expected = b"cairnqst\0\x01".to_vec();
    expected.extend([0, 0, 0, 0, 0, 0, 0, 3]);
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 1]);
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 107]);
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6]);
    assert_eq!(expected.len(), 70);
    expected.extend(crc32c::crc32c(&expected).to_be_bytes());
    expected.resize(512, 0);
    assert_eq!(bytes, expected);
}

#[test]
fn what_was_written_survives_a_crash() {
    let disk = disk();
    let (mut file, fresh) = open(&disk).expect("opens");
    assert_eq!(fresh, Marks::default());
    for term in 1..=5 {
        file.write(&marks(term)).expect("writes");
        disk.crash(Crash::LoseUnsynced);
        let (reopened, found) = open(&disk).expect("opens");
        assert_eq!(found, marks(term));
        file = reopened;
    }
}

/// A write touches one slot: whatever becomes of that one, the other has what was written before.
#[test]
fn a_torn_slot_leaves_what_was_before() {
    let disk = disk();
    let (mut file, _) = open(&disk).expect("opens");
    file.write(&marks(1)).expect("writes");
    file.write(&marks(2)).expect("writes");
    let path = Path::new(PATH);
    let whole = disk.read(path, 4096).expect("reads");
    let newest = if decode(&whole[..SLOT_BYTES]).is_ok_and(|found| found.1 == marks(2)) { 0 } else { SLOT_BYTES };
    for at in newest..newest + 74 {
        let mut torn = whole.clone();
        torn[at] ^= 0xff;
        disk.replace(path, &torn).expect("replaces");
        assert_eq!(open(&disk).expect("opens").1, marks(1), "byte {at}");
    }
    for at in (0..SLOT_BYTES).filter(|at| *at >= 74) {
        let mut beside = whole.clone();
        beside[newest + at] ^= 0xff;
        disk.replace(path, &beside).expect("replaces");
        assert_eq!(open(&disk).expect("opens").1, marks(2), "byte {at} means nothing");
    }
}

#[test]
fn two_damaged_slots_are_refused() {
    let disk = disk();
    let (mut file, _) = open(&disk).expect("opens");
    file.write(&marks(1)).expect("writes");
    let path = Path::new(PATH);
    let whole = disk.read(path, 4096).expect("reads");
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    damaged[SLOT_BYTES + 20] ^= 1;
    for bytes in [damaged, Vec::new(), whole[..70].to_vec()] {
        disk.replace(path, &bytes).expect("replaces");
        let error = open(&disk).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }
}

#[test]
fn a_missing_file_is_made_only_where_nothing_else_is() {
    let disk = disk();
    let refused = MarksFile::open(Arc::new(disk.clone()), PATH.into(), Past::Some).expect_err("refused");
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{refused}");
    assert!(refused.to_string().contains(PATH), "{refused}");
    assert!(disk.read(Path::new(PATH), 4096).is_err(), "nothing was made");
    open(&disk).expect("a new one");
    MarksFile::open(Arc::new(disk), PATH.into(), Past::Some).expect("it is there");
}

#[test]
fn a_later_version_is_refused() {
    let mut later = slot(1, &marks(1));
    later[9] = 2;
    let checksum = crc32c::crc32c(&later[..70]).to_be_bytes();
    later[70..74].copy_from_slice(&checksum);
    let bytes = [later, slot(0, &Marks::default())].concat();
    assert_eq!(newest(&bytes), Err(MarksDecodeError::Version(2)));
}
