//! What was acknowledged stays, whatever name it has, whoever had the name before, and however full the disk is.

mod common;

use std::path::Path;
use std::sync::Arc;

use cairn_protocol::ids::{Offset, Timestamp, TopicId};
use cairn_storage::dir::ReplaceError;
use cairn_storage::disk::Disk;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::{Crash, MemoryDisk};
use cairn_storage::log::{AppendError, CreateLogError, Log, LogConfig, OpenLogError};
use common::{append, batch, name, open_dir, read_all, small, sync, topic_id};

const FOLDER: &str = "/data/orders-3";

fn memory() -> (MemoryDisk, Arc<dyn Disk>) {
    let disk = MemoryDisk::new();
    (disk.clone(), Arc::new(disk))
}

fn other_id() -> TopicId {
    TopicId(uuid::Uuid::from_u128(0x8765_4321))
}

fn fill(log: &mut Log, count: usize) {
    for _ in 0..count {
        let value = format!("value {}", log.end_offset());
        append(log, &batch(&[value.as_bytes()], 1000), 1, 1000).unwrap();
    }
}

fn assert_filled(log: &Log, from: i64, to: i64) {
    let seen: Vec<_> = read_all(&log.reader()).into_iter().map(|seen| (seen.offset, seen.value)).collect();
    let expected: Vec<_> = (from..to).map(|offset| (offset, format!("value {offset}").into_bytes())).collect();
    assert_eq!(seen, expected);
}

/// A topic is deleted and made anew; the machine stops before a checkpoint tells of it.
#[test]
fn marks_of_a_deleted_log_do_not_judge_the_one_that_has_its_name_now() {
    for deleted_before in [0, 60, 100] {
        let (memory, disk) = memory();
        let dir = open_dir(&disk);
        let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
        fill(&mut log, 100);
        sync(&mut log);
        if let Some(gone) = log.delete_records_before(Offset(deleted_before)).unwrap() {
            gone.run().unwrap();
        }
        dir.write_checkpoint().unwrap();
        dir.delete_log(log).unwrap().remove().unwrap();

        let mut log = dir.create_log(&name(), other_id(), small()).unwrap();
        fill(&mut log, 10);
        sync(&mut log);
        memory.crash(Crash::LoseUnsynced);
        let log = open_dir(&disk).open_log(&name(), small()).unwrap();
        assert_eq!((log.topic_id(), log.start_offset(), log.end_offset()), (other_id(), Offset(0), Offset(10)));
        assert_filled(&log, 0, 10);
    }
}

/// The same where the process dies, or the machine, at any call to the disk of the log that is made anew.
#[test]
fn a_crash_while_a_name_is_used_again_does_not_take_the_log_for_the_old_one() {
    const CALLS: [Call; 6] =
        [Call::CreateDir, Call::WriteAt, Call::Replace, Call::CreateAppend, Call::SyncDir, Call::Prepare];
    let mut met = 0;
    for (call, nth) in CALLS.into_iter().flat_map(|call| (1..4).map(move |nth| (call, nth))) {
        for restarted in [false, true] {
            for crash in [Crash::KeepAll, Crash::LoseUnsynced] {
                let context = format!("{call:?} {nth} {crash:?}, restarted: {restarted}");
                let memory = MemoryDisk::new();
                let faulty = FaultyDisk::new(Arc::new(memory.clone()));
                let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
                let mut dir = open_dir(&disk);
                let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
                fill(&mut log, 100);
                sync(&mut log);
                dir.write_checkpoint().unwrap();
                dir.delete_log(log).unwrap().remove().unwrap();
                if restarted {
                    drop(dir);
                    memory.crash(Crash::KeepAll);
                    dir = open_dir(&disk);
                }
                faulty.inject(Rule::nth(call, nth, Fault::Io));
                let created = dir.create_log(&name(), other_id(), small());
                met += u32::from(created.is_err());
                drop((created, dir));
                faulty.heal();
                memory.crash(crash);

                let dir = open_dir(&disk);
                let mut log = match dir.open_log(&name(), small()) {
                    Err(OpenLogError::Missing { .. }) => dir.create_log(&name(), other_id(), small()),
                    opened => Ok(opened.unwrap_or_else(|error| panic!("{context}: {error}"))),
                }
                .unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!((log.topic_id(), log.end_offset()), (other_id(), Offset(0)), "{context}");
                fill(&mut log, 10);
                assert_filled(&log, 0, 10);
            }
        }
    }
    assert!(met > 20, "only {met} were met");
}

#[test]
fn a_log_whose_folder_is_gone_is_not_made_anew() {
    let (_, disk) = memory();
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    fill(&mut log, 10);
    log.close().unwrap();
    dir.close().unwrap();
    disk.remove_dir(Path::new(FOLDER)).unwrap();

    let dir = open_dir(&disk);
    assert!(matches!(dir.open_log(&name(), small()), Err(OpenLogError::Missing { .. })));
    match dir.create_log(&name(), topic_id(), small()) {
        Err(CreateLogError::Lost { recovery_point, .. }) => assert_eq!(recovery_point, Offset(10)),
        other => panic!("{other:?}"),
    }
    assert!(disk.list(Path::new(FOLDER)).is_err(), "nothing was made");
    // Another topic may take the name.
    let log = dir.create_log(&name(), other_id(), small()).unwrap();
    dir.delete_log(log).unwrap().remove().unwrap();
    dir.create_log(&name(), topic_id(), small()).expect("what was deleted may come again");
}

#[test]
fn a_late_removal_does_not_touch_the_log_that_has_the_name_now() {
    let (memory, disk) = memory();
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    fill(&mut log, 100);
    let removal = log.delete_records_before(Offset(100)).unwrap().expect("whole segments go");
    dir.delete_log(log).unwrap().remove().unwrap();
    let mut log = dir.create_log(&name(), other_id(), small()).unwrap();
    fill(&mut log, 10);
    sync(&mut log);

    removal.run().unwrap();
    memory.crash(Crash::LoseUnsynced);
    assert_filled(&open_dir(&disk).open_log(&name(), small()).unwrap(), 0, 10);
}

#[test]
fn larger_segments_are_in_force_while_the_log_is_open() {
    let (_, disk) = memory();
    let dir = open_dir(&disk);
    let large = |segment_bytes| LogConfig { segment_bytes, max_message_bytes: 16 << 20, ..small() };
    let mut log = dir.create_log(&name(), topic_id(), large(64 << 20)).unwrap();
    log.update_config(large(1 << 30));
    let value = vec![7; 10 << 20];
    for _ in 0..15 {
        append(&mut log, &batch(&[&value], 1000), 1, 1000).unwrap();
    }
    assert!(dir.failure().is_none());
    assert_eq!(log.end_offset(), Offset(15));
    assert_eq!(read_all(&log.reader()).len(), 15);
}

#[test]
fn a_full_disk_is_no_failed_disk() {
    for free in [0, 100, 5000] {
        let (memory, disk) = memory();
        let dir = open_dir(&disk);
        let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
        fill(&mut log, 100);
        let space = disk.space(Path::new("/")).unwrap();
        memory.set_capacity(space.total - space.free + free);

        sync(&mut log);
        assert_eq!(log.durable_end(), log.end_offset(), "batches have their space");
        let full = loop {
            let value = format!("value {}", log.end_offset());
            if let Err(error) = append(&mut log, &batch(&[value.as_bytes()], 1000), 1, 1000) {
                break error;
            }
        };
        assert!(matches!(full, AppendError::DiskFull | AppendError::DiskReserve { .. }), "{full}");
        sync(&mut log);
        assert!(matches!(dir.write_checkpoint(), Ok(()) | Err(ReplaceError::DiskFull)));
        assert!(dir.failure().is_none());

        memory.set_capacity(1 << 30);
        fill(&mut log, 100);
        sync(&mut log);
        let end = log.end_offset();
        assert_filled(&log, 0, end.0);
        memory.crash(Crash::LoseUnsynced);
        assert_filled(&open_dir(&disk).open_log(&name(), small()).unwrap(), 0, end.0);
    }
}

#[test]
fn a_first_segment_that_nobody_removed_is_missed() {
    let (memory, disk) = memory();
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    fill(&mut log, 100);
    sync(&mut log);
    dir.write_checkpoint().unwrap();
    memory.crash(Crash::KeepAll);
    disk.remove_file(&Path::new(FOLDER).join("00000000000000000000.log")).unwrap();
    let refused = open_dir(&disk).open_log(&name(), small());
    assert!(matches!(refused, Err(OpenLogError::Corrupt { sound_end: Offset(0), .. })), "{refused:?}");
}

/// The machine stops right after a removal, or the removal finds a full disk: neither is taken for a loss.
#[test]
fn what_retention_removes_is_noted_before() {
    for is_full in [false, true] {
        let memory = MemoryDisk::new();
        let faulty = FaultyDisk::new(Arc::new(memory.clone()));
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        let dir = open_dir(&disk);
        let retaining = LogConfig { retention_bytes: Some(1_000), ..small() };
        let mut log = dir.create_log(&name(), topic_id(), retaining).unwrap();
        fill(&mut log, 100);
        sync(&mut log);
        dir.write_checkpoint().unwrap();
        let end = log.end_offset();
        let removal = log.maintain(Timestamp(2000), end).unwrap().removal.expect("more than one segment");
        if is_full {
            faulty.inject(Rule::always(Call::Replace, Fault::Full).only("checkpoint"));
        }
        removal.run().unwrap();
        assert!(dir.failure().is_none());
        let first = Path::new(FOLDER).join("00000000000000000000.log");
        assert_eq!(disk.read(&first, 1 << 20).is_ok(), is_full, "nothing goes that is not noted");
        let start = log.start_offset();
        memory.crash(Crash::LoseUnsynced);
        let disk: Arc<dyn Disk> = Arc::new(memory);
        let log = open_dir(&disk).open_log(&name(), small()).unwrap();
        assert_eq!(log.start_offset(), if is_full { Offset(0) } else { start });
        assert_filled(&log, log.start_offset().0, 100);
    }
}

#[test]
fn an_idle_directory_writes_no_checkpoint() {
    let faulty = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    let writes = || {
        let before = faulty.calls(Call::Replace);
        dir.write_changed_checkpoint().unwrap();
        faulty.calls(Call::Replace) - before
    };
    assert_eq!((writes(), writes()), (1, 0));
    fill(&mut log, 1);
    assert_eq!(writes(), 0, "nothing more is durable");
    sync(&mut log);
    assert_eq!((writes(), writes()), (1, 0));
}

#[test]
fn a_snapshot_from_behind_the_end_does_not_come_back() {
    let (memory, disk) = memory();
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    fill(&mut log, 10);
    log.close().unwrap();
    dir.close().unwrap();
    let stale = Path::new(FOLDER).join("00000000000000000500.snapshot");
    disk.replace(&stale, b"anything").unwrap();
    let _log = open_dir(&disk).open_log(&name(), small()).unwrap();
    memory.crash(Crash::LoseUnsynced);
    assert!(disk.read(&stale, 100).is_err());
}

#[test]
fn the_largest_timestamp_is_looked_for_below_an_end() {
    let (_, disk) = memory();
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    // Up and down, so that the largest lies anywhere, with equal ones.
    let times: Vec<i64> = (0..200).map(|number| 1000 + number * 37 % 101 + number / 3).collect();
    for time in &times {
        append(&mut log, &batch(&[b"a value of some bytes"], *time), 1, 1000).unwrap();
    }
    let reader = log.reader();
    assert_eq!(reader.max_timestamp(Offset(0)).unwrap(), None);
    for end in 1..=times.len() {
        let largest = times[..end].iter().max().unwrap();
        let first = times.iter().position(|time| time == largest).unwrap();
        let found = reader.max_timestamp(Offset(i64::try_from(end).unwrap())).unwrap().unwrap();
        assert_eq!((found.timestamp.0, found.offset.0), (*largest, i64::try_from(first).unwrap()), "below {end}");
    }
}

/// The process is killed after a segment was begun and before a sync has made its name durable; the next process syncs, and
/// the machine stops.
#[test]
fn a_segment_begun_before_a_kill_has_its_name_after_the_next_sync() {
    let (memory, disk) = memory();
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    fill(&mut log, 10);
    sync(&mut log);
    while log.reader().segment_count() < 3 {
        fill(&mut log, 1);
    }
    drop((log, dir));
    let dir = open_dir(&disk);
    let mut log = dir.open_log(&name(), small()).unwrap();
    sync(&mut log);
    let end = log.durable_end();
    assert_eq!(end, log.end_offset());
    drop((log, dir));
    memory.crash(Crash::LoseUnsynced);
    assert_filled(&open_dir(&disk).open_log(&name(), small()).unwrap(), 0, end.0);
}
