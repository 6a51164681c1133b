//! A process without a free descriptor: nothing waits that holds a log's lock, nothing is taken for a failure of the disk, and
//! all goes on when descriptors are free again. The limit is the whole process's, so this is the only test here.

#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::sync::Arc;

use cairn_protocol::ids::{Offset, Timestamp};
use cairn_storage::DataDir;
use cairn_storage::disk::Disk;
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::log::{AppendError, Log, LogName};
use cairn_storage::map_budget::MapBudget;
use common::{append, batch, dir_config, name, read_all, small, sync, topic_id};

/// Takes all descriptors that are left.
fn take_all() -> Vec<File> {
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    assert!(!taken.is_empty());
    taken
}

fn fill(log: &mut Log, count: i64) -> Result<(), AppendError> {
    for _ in 0..count {
        let value = format!("{} {}", log.end_offset(), "v".repeat(300));
        append(log, &batch(&[value.as_bytes()], 5), 0, 5)?;
    }
    Ok(())
}

fn all_there(log: &Log) {
    let seen = read_all(&log.reader());
    assert_eq!(i64::try_from(seen.len()).unwrap(), log.end_offset().0);
    for record in seen {
        assert!(record.value.starts_with(format!("{} ", record.offset).as_bytes()), "{record:?}");
    }
}

#[test]
fn without_a_free_descriptor_nothing_waits_under_a_lock_and_nothing_is_lost() {
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: Some(64), maximum: Some(64) },
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sealed = MapBudget { max_maps: 1, ..MapBudget::default() };
    // One descriptor is kept: each file that takes appends loses its own to the next.
    let disk = MappedDisk::new(MappedLimits { sealed, max_descriptors: 1 }).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let dir = DataDir::open(Arc::clone(&disk), folder.path(), &dir_config()).unwrap();
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    fill(&mut log, 30).unwrap();
    sync(&mut log);
    let other_name = LogName::new("other", name().partition()).unwrap();
    let mut other = dir.create_log(&other_name, topic_id(), small()).unwrap();
    fill(&mut other, 3).unwrap();
    let closed_name = LogName::new("closed", name().partition()).unwrap();
    let mut closed = dir.create_log(&closed_name, topic_id(), small()).unwrap();
    fill(&mut closed, 30).unwrap();
    closed.close().unwrap();

    let taken = take_all();
    // Appends go on as far as the present segment reaches; the next one cannot be begun.
    let refused = fill(&mut log, 30).unwrap_err();
    assert!(matches!(refused, AppendError::DiskFull), "{refused:?}");
    let refused = fill(&mut other, 30).unwrap_err();
    assert!(matches!(refused, AppendError::DiskFull), "{refused:?}");
    let end = other.end_offset();
    log.maintain(Timestamp(1 << 50), Offset(0)).unwrap();
    assert_eq!(other.end_offset(), end);
    let job = log.begin_sync().unwrap();
    assert!(dir.failure().is_none(), "{:?}", dir.failure());

    // What may wait does, for as long as it takes.
    let reader = log.reader();
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| job.run().unwrap());
        let reading = scope.spawn(|| read_all(&reader).len());
        let opening = scope.spawn(|| dir.open_log(&closed_name, small()).unwrap().end_offset());
        drop(taken);
        log.on_synced(syncing.join().unwrap());
        assert_eq!(i64::try_from(reading.join().unwrap()).unwrap(), log.end_offset().0);
        assert_eq!(opening.join().unwrap(), Offset(30));
    });
    assert_eq!(log.durable_end(), log.end_offset());
    fill(&mut log, 30).unwrap();
    fill(&mut other, 30).unwrap();
    for log in [&log, &other, &dir.open_log(&closed_name, small()).unwrap()] {
        all_there(log);
    }
    log.close().unwrap();
    all_there(&dir.open_log(&name(), small()).unwrap());
    assert!(dir.failure().is_none());
}
