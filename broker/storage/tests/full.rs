//! Logs that are to be made or opened on a disk that is full.

mod common;

use std::path::Path;
use std::sync::Arc;

use cairn_protocol::ids::{Offset, TopicId};
use cairn_storage::disk::Disk;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::{Crash, MemoryDisk};
use cairn_storage::log::{CreateLogError, OpenLogError};
use common::{append, batch, name, open_dir, read_all, small, sync, topic_id};

const FOLDER: &str = "/data/orders-3";

fn disks() -> (MemoryDisk, FaultyDisk, Arc<dyn Disk>) {
    let memory = MemoryDisk::new();
    let faulty = FaultyDisk::new(Arc::new(memory.clone()));
    (memory, faulty.clone(), Arc::new(faulty))
}

#[test]
fn a_log_that_found_no_room_leaves_nothing_behind_and_can_be_made_later() {
    for call in [Call::CreateDir, Call::WriteAt, Call::Replace, Call::CreateAppend] {
        let (_, faulty, disk) = disks();
        let dir = open_dir(&disk);
        faulty.inject(Rule::nth(call, 1, Fault::Full));
        let refused = dir.create_log(&name(), topic_id(), small());
        assert!(matches!(refused, Err(CreateLogError::DiskFull)), "{call:?}: {refused:?}");
        assert!(dir.failure().is_none(), "{call:?}");
        assert!(disk.list(Path::new(FOLDER)).is_err(), "{call:?}");
        assert!(matches!(dir.open_log(&name(), small()), Err(OpenLogError::Missing { .. })), "{call:?}");
        let log = dir.create_log(&name(), topic_id(), small()).unwrap();
        assert_eq!((log.topic_id(), log.end_offset()), (topic_id(), Offset(0)), "{call:?}");
    }
}

/// What a process leaves that dies while it makes a log does not become a log of no topic.
#[test]
fn a_half_made_folder_is_made_anew_with_its_topic() {
    for files in [&[][..], &["cairn-dense"], &["cairn-dense", "partition.metadata.tmp"]] {
        let (_, _, disk) = disks();
        let dir = open_dir(&disk);
        disk.create_dir(Path::new(FOLDER)).unwrap();
        for file in files {
            disk.write_at(&Path::new(FOLDER).join(file), 0, b"").unwrap();
        }
        assert!(matches!(dir.open_log(&name(), small()), Err(OpenLogError::Missing { .. })), "{files:?}");
        drop(dir.create_log(&name(), topic_id(), small()).unwrap());
        assert_eq!(dir.open_log(&name(), small()).unwrap().topic_id(), topic_id(), "{files:?}");
    }
}

/// A folder of which something is known was a log, whatever is left in it.
#[test]
fn a_folder_that_was_emptied_is_not_taken_for_half_made() {
    let (_, _, disk) = disks();
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    append(&mut log, &batch(&[b"kept"], 1), 0, 0).unwrap();
    log.close().unwrap();
    for entry in disk.list(Path::new(FOLDER)).unwrap() {
        if entry.name != "partition.metadata" {
            disk.remove_file(&entry.path).unwrap();
        }
    }
    let opened = dir.open_log(&name(), small());
    assert!(matches!(opened, Err(OpenLogError::Corrupt { .. })), "{opened:?}");
    for id in [topic_id(), TopicId(uuid::Uuid::from_u128(9))] {
        let created = dir.create_log(&name(), id, small());
        assert!(matches!(created, Err(CreateLogError::Exists { .. })), "{created:?}");
    }
}

#[test]
fn a_log_that_finds_no_room_for_its_recovery_is_opened_later() {
    for call in [Call::OpenAppend, Call::WriteAt, Call::Truncate] {
        let (memory, faulty, disk) = disks();
        let dir = open_dir(&disk);
        let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
        for number in 0..40 {
            append(&mut log, &batch(&[&[7; 300]], number), 0, 0).unwrap();
        }
        sync(&mut log);
        dir.write_checkpoint().unwrap();
        let expected = read_all(&log.reader());
        memory.crash(Crash::LoseUnsynced);
        disk.remove_file(&Path::new(FOLDER).join("00000000000000000000.index")).unwrap();

        let dir = open_dir(&disk);
        faulty.inject(Rule::nth(call, 1, Fault::Full));
        let refused = dir.open_log(&name(), small());
        assert!(matches!(refused, Err(OpenLogError::DiskFull)), "{call:?}: {refused:?}");
        assert!(dir.failure().is_none(), "{call:?}");
        assert_eq!(read_all(&dir.open_log(&name(), small()).unwrap().reader()), expected, "{call:?}");
    }
}
