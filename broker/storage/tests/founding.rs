//! Logs that have no files before their first append, and what a crash at each step of that leaves.

mod common;

use std::path::Path;
use std::sync::Arc;

use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use cairn_storage::disk::Disk;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::{Crash, MemoryDisk};
use cairn_storage::log::{AppendError, CreateLogError, LogName, OpenLogError};
use common::{append, batch, name, open_dir, read_all, small, sync, topic_id};

const FOLDER: &str = "/data/orders-3";
const METADATA: &str = "/data/orders-3/partition.metadata";

fn disks() -> (MemoryDisk, FaultyDisk, Arc<dyn Disk>) {
    let memory = MemoryDisk::new();
    let faulty = FaultyDisk::new(Arc::new(memory.clone()));
    (memory, faulty.clone(), Arc::new(faulty))
}

fn files(disk: &Arc<dyn Disk>) -> Vec<String> {
    disk.list(Path::new(FOLDER)).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn the_first_append_makes_the_first_files() {
    let (_, _, disk) = disks();
    let dir = open_dir(&disk);
    let mut log = dir.begin_log(&name(), topic_id(), small()).unwrap();
    let reader = log.reader();
    assert_eq!((log.start_offset(), log.end_offset(), log.durable_end()), (Offset(0), Offset(0), Offset(0)));
    assert!(read_all(&reader).is_empty());
    assert!(log.begin_sync().is_none(), "there is nothing to sync");
    assert!(files(&disk).is_empty());

    append(&mut log, &batch(&[b"a"], 1), 0, 0).unwrap();
    assert_eq!(files(&disk), ["00000000000000000000.log", "cairn-dense", "partition.metadata"]);
    assert_eq!(read_all(&reader).len(), 1, "who read the empty log reads on");
    let text = disk.read(Path::new(METADATA), 100).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), format!("version: 0\ntopic_id: {}", topic_id()));
}

/// Also over a start in good order, a crash, and what deletes it.
#[test]
fn a_log_that_has_nothing_is_opened_without_files() {
    let (memory, _, disk) = disks();
    let dir = open_dir(&disk);
    let log = dir.begin_log(&name(), topic_id(), small()).unwrap();
    log.close().unwrap();
    dir.close().unwrap();
    for crash in [Crash::KeepAll, Crash::LoseUnsynced] {
        let dir = open_dir(&disk);
        let log = dir.open_log(&name(), small()).unwrap();
        assert_eq!((log.topic_id(), log.end_offset()), (topic_id(), Offset(0)), "{crash:?}");
        assert!(files(&disk).is_empty(), "{crash:?}");
        drop((log, dir));
        memory.crash(crash);
    }
    let dir = open_dir(&disk);
    let log = dir.open_log(&name(), small()).unwrap();
    dir.delete_log(log).unwrap().remove().unwrap();
    assert!(dir.list_logs().unwrap().is_empty());
    assert_eq!(dir.create_log(&name(), topic_id(), small()).unwrap().end_offset(), Offset(0));
}

#[test]
fn many_share_one_sync_of_the_directory() {
    let (memory, faulty, disk) = disks();
    let dir = open_dir(&disk);
    let names: Vec<_> = (0..50).map(|index| LogName::new("many", PartitionIndex(index)).unwrap()).collect();
    let before = faulty.calls(Call::SyncDir);
    let logs: Vec<_> = names.iter().map(|name| dir.begin_log(name, topic_id(), small()).unwrap()).collect();
    assert_eq!(faulty.calls(Call::SyncDir), before);
    dir.write_checkpoint().unwrap();
    assert_eq!(faulty.calls(Call::SyncDir), before + 1);
    drop((logs, dir));
    memory.crash(Crash::LoseUnsynced);
    let dir = open_dir(&disk);
    for name in &names {
        assert_eq!(dir.open_log(name, small()).unwrap().topic_id(), topic_id());
    }
}

/// What is durable says whose it is and where it is, without any checkpoint.
#[test]
fn a_sync_brings_all_that_is_needed_to_find_it_again() {
    let (memory, _, disk) = disks();
    let dir = open_dir(&disk);
    let mut log = dir.begin_log(&name(), topic_id(), small()).unwrap();
    append(&mut log, &batch(&[b"kept"], 1), 0, 0).unwrap();
    sync(&mut log);
    assert_eq!(log.durable_end(), Offset(1));
    let expected = read_all(&log.reader());
    drop((log, dir));
    memory.crash(Crash::LoseUnsynced);
    let log = open_dir(&disk).open_log(&name(), small()).unwrap();
    assert_eq!((log.topic_id(), read_all(&log.reader())), (topic_id(), expected));
}

#[test]
fn one_that_nothing_names_is_made_anew() {
    for crash in [Crash::KeepAll, Crash::LoseUnsynced] {
        let (memory, _, disk) = disks();
        let dir = open_dir(&disk);
        drop((dir.begin_log(&name(), topic_id(), small()).unwrap(), dir));
        memory.crash(crash);
        let dir = open_dir(&disk);
        assert!(matches!(dir.open_log(&name(), small()), Err(OpenLogError::Missing { .. })), "{crash:?}");
        let other = TopicId(uuid::Uuid::from_u128(9));
        assert_eq!(dir.begin_log(&name(), other, small()).unwrap().topic_id(), other, "{crash:?}");
    }
}

/// Every call to the disk from the checkpoint that names the log to its second sync fails once, and then the process dies, or
/// the machine.
#[test]
fn what_was_promised_survives_a_crash_at_any_step() {
    const CALLS: [Call; 8] = [
        Call::WriteAt,
        Call::Replace,
        Call::CreateAppend,
        Call::Prepare,
        Call::Append,
        Call::Sync,
        Call::SyncFile,
        Call::SyncDir,
    ];
    let mut met = 0;
    for (call, nth) in CALLS.into_iter().flat_map(|call| (1..5).map(move |nth| (call, nth))) {
        for crash in [Crash::KeepAll, Crash::LoseUnsynced] {
            let context = format!("{call:?} {nth} {crash:?}");
            let (memory, faulty, disk) = disks();
            let dir = open_dir(&disk);
            let mut log = dir.begin_log(&name(), topic_id(), small()).unwrap();
            dir.write_checkpoint().unwrap();
            faulty.inject(Rule::nth(call, nth, Fault::Io));
            let mut appended = 0;
            for number in 0..2 {
                appended += i64::from(append(&mut log, &batch(&[b"x"], number), 0, 0).is_ok());
                if let Some(job) = log.begin_sync()
                    && let Ok(synced) = job.run()
                {
                    log.on_synced(synced);
                }
            }
            let durable = log.durable_end();
            met += u32::from(dir.failure().is_some());
            drop((log, dir));
            faulty.heal();
            memory.crash(crash);

            let dir = open_dir(&disk);
            let mut log = dir.open_log(&name(), small()).unwrap_or_else(|error| panic!("{context}: {error}"));
            let least = if crash == Crash::KeepAll { Offset(appended) } else { durable };
            assert!(log.end_offset() >= least, "{context}: {} of {least}", log.end_offset());
            assert_eq!(log.topic_id(), topic_id(), "{context}");
            append(&mut log, &batch(&[b"y"], 3), 0, 0).unwrap();
            sync(&mut log);
            let expected = read_all(&log.reader());
            drop((log, dir));
            memory.crash(Crash::LoseUnsynced);
            let log = open_dir(&disk).open_log(&name(), small()).unwrap();
            assert_eq!((log.topic_id(), read_all(&log.reader())), (topic_id(), expected), "{context}");
            assert_eq!(files(&disk).iter().filter(|file| *file == "partition.metadata").count(), 1, "{context}");
        }
    }
    assert!(met > 20, "only {met} were met");
}

#[test]
fn an_append_that_finds_no_room_for_the_first_files_is_tried_again() {
    for call in [Call::WriteAt, Call::CreateAppend] {
        for nth in 1..3 {
            let (memory, faulty, disk) = disks();
            let dir = open_dir(&disk);
            let mut log = dir.begin_log(&name(), topic_id(), small()).unwrap();
            dir.write_checkpoint().unwrap();
            faulty.inject(Rule::nth(call, nth, Fault::Full));
            let first = append(&mut log, &batch(&[b"a"], 1), 0, 0);
            if faulty.injected() > 0 {
                assert!(matches!(first, Err(AppendError::DiskFull)), "{call:?} {nth}: {first:?}");
                assert_eq!((log.end_offset(), dir.failure().is_none()), (Offset(0), true), "{call:?} {nth}");
            }
            append(&mut log, &batch(&[b"b"], 1), 0, 0).unwrap();
            sync(&mut log);
            let expected = read_all(&log.reader());
            drop((log, dir));
            memory.crash(Crash::LoseUnsynced);
            let log = open_dir(&disk).open_log(&name(), small()).unwrap();
            assert_eq!((log.topic_id(), read_all(&log.reader())), (topic_id(), expected), "{call:?} {nth}");
        }
    }
}

/// The name of a log's first segment is not durable before its first sync, also where the process dies in between.
#[test]
fn a_log_that_is_opened_again_before_its_first_sync_still_has_to_be_found() {
    let (memory, _, disk) = disks();
    let dir = open_dir(&disk);
    let mut log = dir.begin_log(&name(), topic_id(), small()).unwrap();
    dir.write_checkpoint().unwrap();
    append(&mut log, &batch(&[b"a"], 1), 0, 0).unwrap();
    drop((log, dir));
    let dir = open_dir(&disk);
    let mut log = dir.open_log(&name(), small()).unwrap();
    sync(&mut log);
    assert_eq!(log.durable_end(), Offset(1));
    drop((log, dir));
    memory.crash(Crash::LoseUnsynced);
    disk.remove_file(Path::new("/data/checkpoint")).unwrap();
    let log = open_dir(&disk).open_log(&name(), small()).unwrap();
    assert_eq!((log.topic_id(), log.end_offset()), (topic_id(), Offset(1)));
}

#[test]
fn a_topic_id_that_was_torn_is_written_anew() {
    let (_, _, disk) = disks();
    let dir = open_dir(&disk);
    let mut log = dir.begin_log(&name(), topic_id(), small()).unwrap();
    append(&mut log, &batch(&[b"a"], 1), 0, 0).unwrap();
    dir.write_checkpoint().unwrap();
    drop((log, dir));
    disk.truncate(Path::new(METADATA), 20).unwrap();
    let log = open_dir(&disk).open_log(&name(), small()).unwrap();
    assert_eq!((log.topic_id(), log.end_offset()), (topic_id(), Offset(1)));
    assert_eq!(disk.read(Path::new(METADATA), 100).unwrap().len(), 43);
}

#[test]
fn a_sync_that_was_begun_before_an_epoch_was_noted_does_not_take_it_back() {
    let (memory, _, disk) = disks();
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    append(&mut log, &batch(&[b"a"], 1), 3, 0).unwrap();
    let job = log.begin_sync().expect("a record, and its epoch");
    log.assign_epoch(LeaderEpoch(7)).unwrap();
    let synced = job.run().unwrap();
    log.on_synced(synced);
    drop((log, dir));
    memory.crash(Crash::LoseUnsynced);

    let log = open_dir(&disk).open_log(&name(), small()).unwrap();
    let known: Vec<i32> = log.epochs().starts().iter().map(|start| start.epoch.0).collect();
    assert_eq!(known, [3, 7]);
}

#[test]
fn what_else_a_log_can_meet_before_its_first_append() {
    let (memory, _, disk) = disks();
    let dir = open_dir(&disk);
    let exists = |made| matches!(made, Err(CreateLogError::Exists { .. }));
    let mut log = dir.begin_log(&name(), topic_id(), small()).unwrap();
    dir.write_checkpoint().unwrap();
    assert!(exists(dir.begin_log(&name(), topic_id(), small()).map(drop)), "it is open");
    assert!(log.delete_records_before(Offset(0)).unwrap().is_none());
    assert_eq!(log.truncate_to(Offset(0)).unwrap(), Offset(0));
    log.assign_epoch(LeaderEpoch(7)).unwrap();
    drop((log, dir));
    memory.crash(Crash::LoseUnsynced);

    let dir = open_dir(&disk);
    assert!(exists(dir.begin_log(&name(), topic_id(), small()).map(drop)), "it is there");
    let mut log = dir.open_log(&name(), small()).unwrap();
    assert_eq!(log.epochs().latest().map(|latest| latest.epoch), Some(LeaderEpoch(7)));

    let other = LogName::new("reset", PartitionIndex(0)).unwrap();
    let mut reset = dir.begin_log(&other, topic_id(), small()).unwrap();
    reset.reset_to(Offset(100)).unwrap();
    append(&mut reset, &batch(&[b"a"], 1), 0, 0).unwrap();
    sync(&mut reset);
    append(&mut log, &batch(&[b"b"], 1), 7, 0).unwrap();
    sync(&mut log);
    drop((log, reset, dir));
    memory.crash(Crash::LoseUnsynced);
    let dir = open_dir(&disk);
    let reset = dir.open_log(&other, small()).unwrap();
    assert_eq!((reset.start_offset(), reset.end_offset(), reset.topic_id()), (Offset(100), Offset(101), topic_id()));
    assert_eq!(dir.open_log(&name(), small()).unwrap().end_offset(), Offset(1));
}

/// As in a folder of an old Kafka version, whose files were copied here.
#[test]
fn a_folder_that_nothing_names_becomes_the_topics_that_it_is_opened_for() {
    let (_, _, disk) = disks();
    let dir = open_dir(&disk);
    let mut log = dir.begin_log(&name(), topic_id(), small()).unwrap();
    append(&mut log, &batch(&[b"a"], 1), 0, 0).unwrap();
    drop((log, dir));
    disk.remove_file(Path::new(METADATA)).unwrap();
    let dir = open_dir(&disk);
    let log = dir.open_log_of(&name(), topic_id(), small()).unwrap();
    assert_eq!((log.topic_id(), log.end_offset()), (topic_id(), Offset(1)));
    drop((log, dir));
    let dir = open_dir(&disk);
    let other = TopicId(uuid::Uuid::from_u128(9));
    assert_eq!(dir.open_log_of(&name(), other, small()).unwrap().topic_id(), topic_id(), "now it says whose it is");
}
