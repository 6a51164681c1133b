//! Every call to the disk fails once, in a scenario that touches everything: no panic, nothing acknowledged is lost, and
//! the directory takes nothing more after an I/O error.

mod common;

use std::path::Path;
use std::sync::Arc;

use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_storage::DataDir;
use cairn_storage::dir::{DirConfig, LastShutdown, OpenDirError, Preparing};
use cairn_storage::disk::Disk;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::{Crash, CrashUnit, MemoryDisk};
use cairn_storage::log::{AppendError, Log, LogConfig, OpenLogError};
use common::{append, batch, batch_from, dir_config, name, open_dir, read_from, small, sync, topic_id};

/// What was promised to whoever uses the log.
#[derive(Clone, Debug, Default)]
struct Promised {
    /// The values of all records ever appended since the last cut, by offset.
    values: Vec<Vec<u8>>,
    /// At least so many are there after a crash of the process.
    appended: usize,
    /// At least so many are there after a crash of the machine.
    durable: usize,
    /// Records before it may be gone.
    start: usize,
    /// The log was made.
    created: bool,
}

type Step = Result<(), Box<dyn std::error::Error>>;

fn retaining() -> LogConfig {
    LogConfig { retention_bytes: Some(9_000), ..small() }
}

/// Runs until the first error. `promised` says what must hold then.
fn scenario(disk: &Arc<dyn Disk>, promised: &mut Promised) -> Step {
    let dir = DataDir::open(Arc::clone(disk), "/data", &dir_config())?;
    let mut log = dir.create_log(&name(), topic_id(), small())?;
    promised.created = true;
    for number in 0..60 {
        one_append(&mut log, promised, number)?;
        if number % 7 == 6 {
            one_sync(&mut log, promised)?;
        }
        if number == 20 || number == 40 {
            dir.write_checkpoint()?;
        }
        if number == 30 {
            let cut = promised.values.len() - 5;
            promised.appended = promised.appended.min(cut);
            promised.durable = promised.durable.min(cut);
            let end = log.truncate_to(Offset(i64::try_from(cut)?))?;
            promised.values.truncate(usize::try_from(end.0)?);
            promised.appended = promised.values.len();
            log.assign_epoch(LeaderEpoch(50))?;
        }
        if number == 45 {
            promised.start = promised.start.max(15);
            log.delete_records_before(Offset(15))?.map_or(Ok(()), |removal| removal.run())?;
        }
        if number == 50 {
            log.update_config(retaining());
            promised.start = promised.values.len();
            log.maintain(Timestamp(0), log.end_offset())?.removal.map_or(Ok(()), |removal| removal.run())?;
            promised.start = usize::try_from(log.start_offset().0)?;
            log.update_config(small());
        }
    }
    read_from(&log.reader(), log.start_offset(), 900)?;
    log.reader().offset_for_time(Timestamp(1030), log.end_offset())?;
    log.close()?;
    promised.durable = promised.values.len();
    dir.close()?;
    let dir = DataDir::open(Arc::clone(disk), "/data", &dir_config())?;
    let mut log = dir.open_log(&name(), small())?;
    one_append(&mut log, promised, 60)?;
    one_sync(&mut log, promised)?;
    let other = cairn_storage::log::LogName::new("short-lived", cairn_protocol::ids::PartitionIndex(0))?;
    let log = dir.create_log(&other, topic_id(), small())?;
    dir.delete_log(log)?.remove()?;
    Ok(())
}

fn one_append(log: &mut Log, promised: &mut Promised, number: i32) -> Step {
    let value = format!("value {number} {}", "x".repeat(200)).into_bytes();
    let bytes = match number % 3 {
        0 if number > 45 => batch_from(9, 0, number / 3, &[&value], 1000 + i64::from(number)),
        _ => batch(&[&value], 1000 + i64::from(number)),
    };
    let epoch = if number <= 30 { number / 10 } else { 50 };
    // What fails may have been written all the same.
    promised.values.push(value);
    append(log, &bytes, epoch, 0)?;
    promised.appended = promised.values.len();
    Ok(())
}

fn one_sync(log: &mut Log, promised: &mut Promised) -> Step {
    if let Some(job) = log.begin_sync() {
        log.on_synced(job.run()?);
    }
    promised.durable = promised.durable.max(usize::try_from(log.durable_end().0)?);
    Ok(())
}

/// Opens what a crash has left and compares it with what was promised.
fn check(memory: &MemoryDisk, crash: Crash, promised: &Promised, context: &str) {
    memory.crash(crash);
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let dir = open_dir(&disk);
    if !promised.created {
        return;
    }
    let log = match dir.open_log(&name(), small()) {
        Ok(log) => log,
        Err(error) => panic!("{context}: {error}"),
    };
    let at_least = if crash == Crash::KeepAll { promised.appended } else { promised.durable };
    let (start, end) = (log.start_offset().0, usize::try_from(log.end_offset().0).unwrap());
    assert!(end >= at_least && end <= promised.values.len(), "{context}: ends at {end}, promised {at_least}");
    assert!(usize::try_from(start).unwrap() <= promised.start.max(at_least), "{context}: starts at {start}");
    for seen in read_from(&log.reader(), Offset(start), 2_000).unwrap() {
        let expected = &promised.values[usize::try_from(seen.offset).unwrap()];
        assert_eq!(&seen.value, expected, "{context}: offset {}", seen.offset);
    }
}

#[test]
fn every_call_fails_once() {
    const CALLS: [Call; 20] = [
        Call::CreateAppend,
        Call::OpenAppend,
        Call::OpenSealed,
        Call::Read,
        Call::Replace,
        Call::WriteAt,
        Call::SyncFile,
        Call::Truncate,
        Call::Rename,
        Call::RemoveFile,
        Call::CreateDir,
        Call::RemoveDir,
        Call::SyncDir,
        Call::List,
        Call::Space,
        Call::Lock,
        Call::Append,
        Call::Seal,
        Call::Prepare,
        Call::Sync,
    ];
    let well = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let mut promised = Promised::default();
    scenario(&(Arc::new(well.clone()) as Arc<dyn Disk>), &mut promised).unwrap();
    assert_eq!(promised.durable, promised.values.len());

    let mut runs = 0;
    for call in CALLS {
        for nth in 1..=well.calls(call) {
            for fault in [Fault::Io, Fault::Full, Fault::Forget] {
                for crash in [Crash::KeepAll, Crash::LoseUnsynced, Crash::Random { seed: nth, unit: CrashUnit::Sector }]
                {
                    let context = format!("{call:?} {nth} {fault:?} {crash:?}");
                    let memory = MemoryDisk::new();
                    let faulty = FaultyDisk::new(Arc::new(memory.clone()));
                    faulty.inject(Rule::nth(call, nth, fault.clone()));
                    let mut promised = Promised::default();
                    let _first_error = scenario(&(Arc::new(faulty.clone()) as Arc<dyn Disk>), &mut promised);
                    assert_eq!(faulty.injected(), 1, "{context}: the call was made");
                    check(&memory, crash, &promised, &context);
                    runs += 1;
                }
            }
        }
    }
    assert!(runs > 1_000, "{runs} runs");
}

#[test]
fn reads_that_fail_take_the_directory_offline() {
    for call in [Call::Slice, Call::Populate] {
        let memory = MemoryDisk::new();
        let faulty = FaultyDisk::new(Arc::new(memory));
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        let dir = open_dir(&disk);
        let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
        for number in 0..100i64 {
            append(&mut log, &batch(&[&[7; 100]], number), 0, 0).unwrap();
        }
        faulty.inject(Rule::nth(call, 1, Fault::Io));
        assert!(read_from(&log.reader(), Offset(3), 1000).is_err(), "{call:?}");
        assert!(dir.failure().is_some(), "{call:?}");
        assert!(matches!(append(&mut log, &batch(&[b"x"], 1), 0, 0), Err(AppendError::Offline(_))));
        assert!(log.begin_sync().is_none_or(|job| job.run().is_err()));
        assert!(dir.write_checkpoint().is_err());
    }
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let memory = MemoryDisk::new();
    let faulty = FaultyDisk::new(Arc::new(memory.clone()));
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    append(&mut log, &batch(&[b"kept"], 1), 0, 0).unwrap();
    sync(&mut log);
    append(&mut log, &batch(&[b"lost"], 1), 0, 0).unwrap();
    faulty.inject(Rule::nth(Call::Sync, 1, Fault::Forget));
    assert!(log.begin_sync().unwrap().run().is_err());
    let syncs = faulty.calls(Call::Sync);
    assert!(log.begin_sync().is_none_or(|job| job.run().is_err()));
    assert_eq!(faulty.calls(Call::Sync), syncs);
    assert_eq!(log.durable_end(), Offset(1));
    assert!(matches!(append(&mut log, &batch(&[b"x"], 1), 0, 0), Err(AppendError::Offline(_))));
    assert_eq!(read_from(&log.reader(), Offset(0), 1000).unwrap().len(), 2, "reads go on");
}

#[test]
fn a_full_disk_refuses_and_resumes() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    append(&mut log, &batch(&[b"first"], 1), 0, 0).unwrap();
    let used = disk.space(Path::new("/data")).map(|space| space.total - space.free).unwrap();
    memory.set_capacity(used);
    let mut refused = None;
    for _ in 0..200 {
        if let Err(error) = append(&mut log, &batch(&[&[1; 900]], 1), 0, 0) {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(AppendError::DiskFull)), "{refused:?}");
    let end = log.end_offset();
    assert!(dir.failure().is_none());
    memory.set_capacity(1 << 30);
    append(&mut log, &batch(&[&[1; 900]], 1), 0, 0).unwrap();
    assert_eq!(log.end_offset(), end.plus(1));
    drop(log);
    assert_eq!(dir.open_log(&name(), small()).unwrap().end_offset(), end.plus(1));
}

#[test]
fn below_the_reserve_leaders_refuse_and_all_else_goes_on() {
    let memory = MemoryDisk::new();
    memory.set_capacity(1 << 20);
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let config = DirConfig { reserve_bytes: Some(500_000), ..dir_config() };
    let dir = DataDir::open(Arc::clone(&disk), "/data", &config).unwrap();
    let mut log =
        dir.create_log(&name(), topic_id(), LogConfig { retention_ms: None, ..LogConfig::default() }).unwrap();
    let mut count = 0;
    let refused = loop {
        match append(&mut log, &batch(&[&vec![1; 20_000]], 1), 0, 0) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
        dir.refresh_space().unwrap();
    };
    assert!(matches!(refused, AppendError::DiskReserve { .. }), "{refused}");
    assert!(dir.space().is_below_reserve());
    assert_eq!(read_from(&log.reader(), Offset(0), 1000).unwrap().len(), count);
    sync(&mut log);
    dir.write_checkpoint().unwrap();
    memory.set_capacity(4 << 20);
    append(&mut log, &batch(&[b"again"], 1), 0, 0).unwrap();
    assert!(!dir.space().is_below_reserve());
}

#[test]
fn only_one_process_has_a_directory() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let dir = open_dir(&disk);
    assert!(matches!(DataDir::open(Arc::clone(&disk), "/data", &dir_config()), Err(OpenDirError::AlreadyInUse { .. })));
    drop(dir);
    open_dir(&disk);
}

#[test]
fn how_it_was_left_is_known() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let boot = |number| DirConfig {
        boot_id: Some(uuid::Uuid::from_u128(number)),
        preparing: Preparing::OnAppend,
        reserve_bytes: Some(0),
    };
    let open = |number| DataDir::open(Arc::clone(&disk), "/data", &boot(number)).unwrap();
    let dir = open(1);
    assert_eq!(dir.last_shutdown(), LastShutdown::New);
    let id = dir.storage_id();
    drop(dir);
    let dir = open(1);
    assert_eq!((dir.last_shutdown(), dir.storage_id()), (LastShutdown::SameBoot, id));
    drop(dir);
    let dir = open(2);
    assert_eq!((dir.last_shutdown(), dir.storage_id()), (LastShutdown::Lossy, id));
    dir.close_as(Some(5)).unwrap();
    memory.crash(Crash::LoseUnsynced);
    let dir = open(3);
    assert_eq!((dir.last_shutdown(), dir.storage_id(), dir.closed_by()), (LastShutdown::Clean, id, Some(5)));
    // The mark is gone from here on, whatever becomes of the machine.
    drop(dir);
    memory.crash(Crash::LoseUnsynced);
    let dir = open(3);
    assert_eq!((dir.last_shutdown(), dir.closed_by()), (LastShutdown::SameBoot, None));
    let log = dir.create_log(&name(), topic_id(), small()).unwrap();
    dir.close().unwrap();
    drop(log);
    assert_eq!(open(4).last_shutdown(), LastShutdown::Lossy, "a log was open: no mark");
}

/// A log of several segments, leader epochs and producers that was killed when it had synced a part of them. Answers its end.
fn killed(memory: &MemoryDisk) -> Offset {
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    for number in 0..90 {
        let value = format!("value {number} {}", "x".repeat(200)).into_bytes();
        append(&mut log, &batch_from(9, 0, number, &[&value], 1000 + i64::from(number)), number / 20, 0).unwrap();
        if number == 50 {
            sync(&mut log);
            dir.write_checkpoint().unwrap();
        }
    }
    assert!(log.reader().segment_count() > 4);
    let end = log.end_offset();
    drop((log, dir));
    memory.crash(Crash::KeepAll);
    end
}

/// What may be found beside the segments: all files, none of the small ones, indexes that say nothing right.
const BESIDE: [fn(&MemoryDisk); 3] = [
    |_| {},
    |memory| {
        for entry in memory.list(Path::new("/data/orders-3")).unwrap() {
            if !entry.name.ends_with(".log") && entry.name != "partition.metadata" {
                memory.remove_file(&Path::new("/data/orders-3").join(&entry.name)).unwrap();
            }
        }
    },
    |memory| {
        for entry in memory.list(Path::new("/data/orders-3")).unwrap() {
            if entry.name.ends_with(".index") {
                let path = Path::new("/data/orders-3").join(&entry.name);
                memory.write_at(&path, 0, &vec![0x41; usize::try_from(entry.len).unwrap()]).unwrap();
            }
        }
    },
];

/// A page that was not read in on purpose may be one that cannot be read: touching it would end the process.
#[test]
fn recovery_touches_only_pages_that_were_populated() {
    for (at, spoil) in BESIDE.iter().enumerate() {
        let memory = MemoryDisk::new();
        let end = killed(&memory);
        spoil(&memory);
        let faulty = FaultyDisk::new(Arc::new(memory));
        faulty.refuse_unpopulated();
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        let dir = open_dir(&disk);
        let log = dir.open_log(&name(), small()).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(log.end_offset(), end, "{at}");
        assert_eq!(log.epochs().starts().len(), 5, "{at}");
        assert_eq!(log.producers().next().map(|state| state.batches.last().unwrap().last_sequence), Some(89), "{at}");
    }
}

#[test]
fn a_bad_sector_met_by_recovery_takes_the_directory_offline_and_nothing_is_lost() {
    for (at, spoil) in BESIDE.iter().enumerate() {
        let mut nth = 0;
        loop {
            nth += 1;
            let memory = MemoryDisk::new();
            let end = killed(&memory);
            spoil(&memory);
            let faulty = FaultyDisk::new(Arc::new(memory.clone()));
            let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
            let dir = open_dir(&disk);
            faulty.inject(Rule::nth(Call::Populate, nth, Fault::Io));
            let opened = dir.open_log(&name(), small());
            if faulty.injected() == 0 {
                assert!(opened.is_ok() && nth > 10, "{at}: {nth}");
                break;
            }
            let Err(OpenLogError::Offline(offline)) = opened else { panic!("{at}, {nth}: opened on a bad sector") };
            assert!(offline.to_string().contains("read a segment"), "{at}, {nth}: {offline}");
            assert!(dir.failure().is_some(), "{at}, {nth}");
            drop(dir);
            memory.crash(Crash::KeepAll);
            let disk: Arc<dyn Disk> = Arc::new(memory);
            let log = open_dir(&disk).open_log(&name(), small()).unwrap();
            assert_eq!(log.end_offset(), end, "{at}, {nth}");
        }
    }
}

/// The same for all that looks into segments that may not be in memory.
#[test]
fn reads_and_cuts_touch_only_pages_that_were_populated() {
    let memory = MemoryDisk::new();
    let end = killed(&memory).0;
    let faulty = FaultyDisk::new(Arc::new(memory));
    faulty.refuse_unpopulated();
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let dir = open_dir(&disk);
    let mut log = dir.open_log(&name(), small()).unwrap();
    let reader = log.reader();
    for at in 0..end {
        let found = reader.offset_for_time(Timestamp(1000 + at), Offset(end)).unwrap();
        assert_eq!(found.map(|found| found.offset), Some(Offset(at)));
        let newest = reader.max_timestamp(Offset(at + 1)).unwrap();
        assert_eq!(newest.map(|newest| newest.offset), Some(Offset(at)));
        assert_eq!(read_from(&reader, Offset(at), 700).unwrap().len(), usize::try_from(end - at).unwrap());
    }
    for cut in (1..end).rev().step_by(5) {
        assert_eq!(log.truncate_to(Offset(cut)).unwrap(), Offset(cut));
        assert_eq!(read_from(&log.reader(), Offset(0), 700).unwrap().len(), usize::try_from(cut).unwrap());
    }
    assert!(dir.failure().is_none());
}
