//! A log that moves to another data directory: the copy has all that the log has, and a fault or a crash at any call to the disk
//! leaves one of the two with everything that was promised.

mod common;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp};
use cairn_protocol::records::{BatchView, TimestampPolicy};
use cairn_storage::dir::{Assignments, DataDir, ReplaceError};
use cairn_storage::disk::Disk;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::{Crash, CrashUnit, MemoryDisk};
use cairn_storage::inspect;
use cairn_storage::log::{AppendAs, CopyError, Level, Log, LogConfig, LogCopy, Outcome, ProducerState};
use common::keyed::{compact, compacted, keyed_batch};
use common::{append, batch, batch_from, dir_config, name, read_all, small, sync, topic_id};

const PIECE_BYTES: u64 = 1_500;
const PRODUCER: i64 = 7;

fn dirs(disk: &Arc<dyn Disk>) -> (DataDir, DataDir) {
    let open = |path: &str| DataDir::open(Arc::clone(disk), Path::new(path), &dir_config()).expect("opens");
    (open("/a"), open("/b"))
}

/// Copies all that the log has now.
fn catch_up(copy: &mut LogCopy, log: &Log) -> Result<(), CopyError> {
    let state = log.state();
    while copy.advance(state.end, PIECE_BYTES, Timestamp(0))? > 0 {}
    copy.adopt(&state)
}

/// All steps but the note that the copy is the log.
fn copied(to: &DataDir, log: &Log, config: LogConfig) -> Result<LogCopy, CopyError> {
    let mut copy = to.begin_copy(&name(), topic_id(), config, &log.reader())?;
    catch_up(&mut copy, log)?;
    copy = copy.settle()?;
    catch_up(&mut copy, log)?;
    assert_eq!(copy.draw_level(&log.state(), Timestamp(0))?, Level::Reached);
    copy.sync()?;
    Ok(copy)
}

/// Both get the batch, the log first.
fn append_to_both(log: &mut Log, copy: &mut LogCopy, bytes: &Bytes) -> Result<(), Box<dyn std::error::Error>> {
    let view = BatchView::parse(bytes).expect("test batches are whole");
    let role = AppendAs::Leader { epoch: LeaderEpoch(1), now: Timestamp(0), timestamps: TimestampPolicy::Keep };
    let placed = log.append(&view, role)?;
    Ok(copy.mirror(&view, role, &placed)?)
}

fn producers(log: &Log) -> Vec<ProducerState> {
    let mut producers: Vec<_> = log.producers().cloned().collect();
    producers.sort_by_key(|state| state.id.0);
    producers
}

/// Whatever can be asked of a log is answered alike, also after a crash of the machine.
fn assert_same(memory: &MemoryDisk, log: &Log, copy: Log, config: LogConfig, context: &str) {
    let last = |log: &Log| -> Vec<_> {
        producers(log).into_iter().map(|state| (state.id, state.epoch, state.batches.last().copied())).collect()
    };
    let same = |copy: &Log, what: &str| {
        assert_eq!(
            (copy.start_offset(), copy.end_offset()),
            (log.start_offset(), log.end_offset()),
            "{context} {what}"
        );
        assert_eq!(read_all(&copy.reader()), read_all(&log.reader()), "{context} {what}");
        assert_eq!(copy.epochs(), log.epochs(), "{context} {what}");
        assert_eq!(last(copy), last(log), "{context} {what}");
        let time = |log: &Log| log.reader().offset_for_time(Timestamp(40), log.end_offset()).unwrap();
        assert_eq!(time(copy), time(log), "{context} {what}");
    };
    same(&copy, "at once");
    assert_eq!(producers(&copy), producers(log), "{context}: all that is known, not only what a snapshot tells");
    assert_eq!(copy.durable_end(), copy.end_offset());
    drop(copy);
    memory.crash(Crash::LoseUnsynced);
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let (_a, b) = dirs(&disk);
    let copy = b.open_log(&name(), config).unwrap();
    same(&copy, "after a crash");
    copy.close().unwrap();
    drop(b);
    let verdict = inspect::verify(&*disk, Path::new("/b/orders-3")).unwrap();
    assert!(verdict.problems.is_empty(), "{context}: {:?}", verdict.problems);
}

fn filled(a: &DataDir, config: LogConfig, records: i32) -> Log {
    let mut log = a.create_log(&name(), topic_id(), config).unwrap();
    for number in 0..records {
        let value = format!("{number} {}", "x".repeat(150)).into_bytes();
        let bytes = match number % 3 {
            0 => batch_from(PRODUCER + i64::from(number % 2), 0, number / 6, &[&value], i64::from(number)),
            _ => batch(&[&value, b"second"], i64::from(number)),
        };
        append(&mut log, &bytes, number / 20, 0).unwrap();
    }
    log
}

#[test]
fn a_copy_has_all_that_the_log_has() {
    type Change = fn(&mut Log);
    let nothing: Change = |_| {};
    let cases: [(&str, i32, Change); 5] = [
        ("empty", 0, nothing),
        ("one segment", 5, nothing),
        ("many segments", 80, nothing),
        ("begins within a batch", 80, |log| {
            let _kept = log.delete_records_before(Offset(44)).unwrap();
        }),
        ("all deleted", 80, |log| {
            let _kept = log.delete_records_before(log.end_offset()).unwrap();
        }),
    ];
    for (context, records, change) in cases {
        let memory = MemoryDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let (a, b) = dirs(&disk);
        let mut log = filled(&a, small(), records);
        change(&mut log);
        // An epoch of a leader that has written nothing.
        log.assign_epoch(LeaderEpoch(90)).unwrap();
        let copy = copied(&b, &log, small()).unwrap().into_log(small());
        drop((a, b));
        assert_same(&memory, &log, copy, small(), context);
    }
}

#[test]
fn gaps_of_compaction_stay_where_they_are() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let (a, b) = dirs(&disk);
    let mut log = a.create_log(&name(), topic_id(), compacted()).unwrap();
    for number in 0..80 {
        let (key, value) = (format!("k{}", number % 7), format!("{number}{}", "v".repeat(200)));
        let bytes = keyed_batch(&[(Some(&key), Some(&value))], number, cairn_protocol::records::Compression::None);
        append(&mut log, &bytes, 1, 0).unwrap();
    }
    sync(&mut log);
    compact(&a, &mut log, 100).expect("there was something to compact");
    let copy = copied(&b, &log, compacted()).unwrap().into_log(compacted());
    assert!(read_all(&log.reader()).len() < 80, "some are gone");
    drop((a, b));
    assert_same(&memory, &log, copy, compacted(), "compacted");
}

#[test]
fn what_goes_and_comes_while_it_is_copied_is_followed() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let (a, b) = dirs(&disk);
    let mut log = filled(&a, small(), 80);
    let mut copy = b.begin_copy(&name(), topic_id(), small(), &log.reader()).unwrap();
    copy.advance(log.end_offset(), PIECE_BYTES, Timestamp(0)).unwrap();
    let copied_end = copy.end_offset();
    assert!(copied_end > Offset(0) && copied_end < Offset(60));
    // All that was copied is deleted, and more.
    log.delete_records_before(Offset(100)).unwrap().expect("segments go").run().unwrap();
    append(&mut log, &batch(&[b"new"], 90), 60, 0).unwrap();
    catch_up(&mut copy, &log).unwrap();
    append(&mut log, &batch_from(PRODUCER, 0, 14, &[b"newer"], 91), 60, 0).unwrap();
    let mut copy = copy.settle().unwrap();
    log.delete_records_before(Offset(110)).unwrap().map_or(Ok(()), |removal| removal.run()).unwrap();
    // Deleted since it was caught up: that is not for the moment in which appends wait.
    assert_eq!(copy.draw_level(&log.state(), Timestamp(0)).unwrap(), Level::StartMoved);
    catch_up(&mut copy, &log).unwrap();
    append(&mut log, &batch(&[b"last"], 92), 60, 0).unwrap();
    assert_eq!(copy.draw_level(&log.state(), Timestamp(0)).unwrap(), Level::Reached);
    copy.sync().unwrap();
    let copy = copy.into_log(small());
    drop((a, b));
    assert_same(&memory, &log, copy, small(), "followed");
}

#[test]
fn a_copy_that_is_level_takes_what_the_log_takes() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let (a, b) = dirs(&disk);
    let mut log = filled(&a, small(), 10);
    let mut copy = copied(&b, &log, small()).unwrap();
    for number in 0..60 {
        let value = format!("{number} {}", "x".repeat(150)).into_bytes();
        let bytes = batch_from(PRODUCER + 5, 0, number, &[&value], i64::from(number));
        append_to_both(&mut log, &mut copy, &bytes).unwrap();
        // A retry is found in the log, and puts nothing into the copy.
        append_to_both(&mut log, &mut copy, &bytes).unwrap();
        assert_eq!(copy.end_offset(), log.end_offset());
    }
    assert!(copy.durable_end() < copy.end_offset());
    log.delete_records_before(Offset(40)).unwrap().expect("segments go").run().unwrap();
    copy.delete_records_before(Offset(40)).unwrap().expect("segments go").run().unwrap();
    let job = copy.begin_sync().expect("there is something");
    copy.on_synced(job.run().unwrap());
    assert_eq!(copy.durable_end(), copy.end_offset());
    b.write_checkpoint().unwrap();

    // What does not come right behind its end is not taken.
    append(&mut log, &batch(&[b"left out"], 90), 1, 0).unwrap();
    let error = append_to_both(&mut log, &mut copy, &batch(&[b"next"], 91)).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(CopyError::Diverged { .. })), "{error}");
    assert_eq!(copy.draw_level(&log.state(), Timestamp(0)).unwrap(), Level::Reached);
    copy.sync().unwrap();
    let copy = copy.into_log(small());
    drop((a, b));
    assert_same(&memory, &log, copy, small(), "level");
}

#[test]
fn damage_is_not_copied() {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory);
    let (a, b) = dirs(&disk);
    let log = filled(&a, small(), 80);
    log.close().unwrap();
    disk.write_at(Path::new("/a/orders-3/00000000000000000000.log"), 300, b"damage").unwrap();
    let log = a.open_log(&name(), small()).unwrap();
    let mut copy = b.begin_copy(&name(), topic_id(), small(), &log.reader()).unwrap();
    let error = catch_up(&mut copy, &log).unwrap_err();
    assert!(matches!(error, CopyError::Read(_) | CopyError::Damaged { .. }), "{error}");
    copy.discard().unwrap().remove().unwrap();
    assert!(
        !b.has_folder(&name()).unwrap()
            && disk.list(Path::new("/b")).unwrap().iter().all(|e| !e.name.contains("orders"))
    );
}

#[test]
fn what_is_in_the_way_is_not_touched() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (a, b) = dirs(&disk);
    let log = filled(&a, small(), 10);
    let copy = b.begin_copy(&name(), topic_id(), small(), &log.reader()).unwrap();
    disk.create_dir(Path::new("/b/orders-3")).unwrap();
    disk.write_at(Path::new("/b/orders-3/file"), 0, b"kept").unwrap();
    assert!(matches!(copy.settle(), Err(CopyError::InTheWay)));
    assert!(matches!(b.begin_copy(&name(), topic_id(), small(), &log.reader()), Err(CopyError::InTheWay)));
    assert_eq!(disk.read(Path::new("/b/orders-3/file"), 100).unwrap(), b"kept");
    assert_eq!(b.remove_copies(|_| false).unwrap(), [name()]);
}

/// What was promised to whoever uses the log.
#[derive(Default)]
struct Promised {
    values: Vec<Vec<u8>>,
    /// At least so many are there after a crash of the process, and of the machine.
    appended: usize,
    durable: usize,
    created: bool,
    last_of_producer: Option<Bytes>,
}

impl Promised {
    fn next(&mut self) -> Bytes {
        let number = self.values.len();
        let value = format!("value {number} {}", "x".repeat(200)).into_bytes();
        let sequence = i32::try_from(number / 3).expect("there are few");
        let bytes = match number % 3 {
            0 => batch_from(PRODUCER, 0, sequence, &[&value], i64::from(sequence)),
            _ => batch(&[&value], i64::from(sequence)),
        };
        self.values.push(value);
        bytes
    }

    fn appended(&mut self, bytes: Bytes) {
        self.appended = self.values.len();
        if self.appended % 3 == 1 {
            self.last_of_producer = Some(bytes);
        }
    }

    fn append(&mut self, log: &mut Log) -> Result<(), Box<dyn std::error::Error>> {
        let bytes = self.next();
        append(log, &bytes, 1, 0)?;
        self.appended(bytes);
        Ok(())
    }

    fn append_to_both(&mut self, log: &mut Log, copy: &mut LogCopy) -> Result<(), Box<dyn std::error::Error>> {
        let bytes = self.next();
        append_to_both(log, copy, &bytes)?;
        self.appended(bytes);
        Ok(())
    }

    fn is_durable(&mut self, end: Offset) {
        self.durable = self.durable.max(usize::try_from(end.0).expect("not below zero"));
    }

    fn sync(&mut self, log: &mut Log) -> Result<(), Box<dyn std::error::Error>> {
        if let Some(job) = log.begin_sync() {
            log.on_synced(job.run()?);
        }
        self.is_durable(log.durable_end());
        Ok(())
    }

    fn sync_both(&mut self, log: &mut Log, copy: &mut LogCopy) -> Result<(), Box<dyn std::error::Error>> {
        if let Some(job) = log.begin_sync() {
            log.on_synced(job.run()?);
        }
        if let Some(job) = copy.begin_sync() {
            copy.on_synced(job.run()?);
        }
        self.is_durable(log.durable_end().min(copy.durable_end()));
        Ok(())
    }
}

/// A move as a broker makes it, until the first error; then the log goes on where it is, if it can.
fn scenario(disk: &Arc<dyn Disk>, promised: &mut Promised) -> Result<(), Box<dyn std::error::Error>> {
    let open = |path: &str| DataDir::open(Arc::clone(disk), Path::new(path), &dir_config());
    let (a, b, metadata) = (open("/a")?, open("/b")?, open("/m")?);
    let mut log = a.create_log(&name(), topic_id(), small())?;
    let mut noted = Assignments::default();
    noted.dirs.insert(a.storage_id(), "/a".into());
    noted.dirs.insert(b.storage_id(), "/b".into());
    noted.logs.insert((topic_id(), PartitionIndex(3)), a.storage_id());
    a.write_checkpoint()?;
    metadata.write_assignments(&noted)?;
    promised.created = true;
    for _ in 0..30 {
        promised.append(&mut log)?;
    }
    promised.sync(&mut log)?;
    let moved = (|| {
        let mut copy = b.begin_copy(&name(), topic_id(), small(), &log.reader())?;
        catch_up(&mut copy, &log)?;
        promised.append(&mut log)?;
        let mut copy = copy.settle()?;
        catch_up(&mut copy, &log)?;
        promised.append(&mut log)?;
        promised.sync(&mut log)?;
        promised.append(&mut log)?;
        assert_eq!(copy.draw_level(&log.state(), Timestamp(0))?, Level::Reached);
        // From here on both take everything.
        promised.append_to_both(&mut log, &mut copy)?;
        copy.sync()?;
        promised.append_to_both(&mut log, &mut copy)?;
        promised.sync_both(&mut log, &mut copy)?;
        promised.append_to_both(&mut log, &mut copy)?;
        Ok::<_, Box<dyn std::error::Error>>(copy)
    })();
    let Ok(mut copy) = moved else {
        promised.append(&mut log)?;
        return promised.sync(&mut log);
    };
    noted.logs.insert((topic_id(), PartitionIndex(3)), b.storage_id());
    match metadata.write_assignments(&noted) {
        Ok(()) => {}
        Err(ReplaceError::DiskFull) => {
            promised.append_to_both(&mut log, &mut copy)?;
            promised.append(&mut log)?;
            return promised.sync(&mut log);
        }
        // Nobody knows which of the two it is, until there is one only.
        Err(ReplaceError::Offline(_)) => {
            promised.append_to_both(&mut log, &mut copy)?;
            let _removed_later = copy.discard()?;
            promised.append(&mut log)?;
            return promised.sync(&mut log);
        }
    }
    promised.append_to_both(&mut log, &mut copy)?;
    promised.sync_both(&mut log, &mut copy)?;
    let mut new = copy.into_log(small());
    promised.append(&mut new)?;
    let removed = a.delete_log(log).and_then(|deleted| deleted.remove());
    promised.append(&mut new)?;
    promised.sync(&mut new)?;
    removed?;
    new.close()?;
    a.close()?;
    b.close()?;
    metadata.close()?;
    Ok(())
}

/// Opens what a crash has left as a broker does, and compares it with what was promised. Answers whether the log has moved.
fn check(memory: &MemoryDisk, crash: Crash, promised: &Promised, context: &str) -> bool {
    memory.crash(crash);
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let (a, b) = dirs(&disk);
    if !promised.created {
        return false;
    }
    b.remove_copies(|_| false).unwrap();
    let metadata = DataDir::open(Arc::clone(&disk), Path::new("/m"), &dir_config()).expect("opens");
    let noted = metadata.read_assignments().unwrap().expect("was noted");
    let home = noted.logs[&(topic_id(), PartitionIndex(3))];
    let here = [&a, &b].map(|dir| dir.has_folder(&name()).unwrap());
    let home = match here {
        [true, true] if home == a.storage_id() => &a,
        [true, true] => &b,
        [true, false] => &a,
        [false, true] => &b,
        [false, false] => panic!("{context}: it is nowhere"),
    };
    let mut log = home.open_log(&name(), small()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let at_least = if crash == Crash::KeepAll { promised.appended } else { promised.durable };
    let end = usize::try_from(log.end_offset().0).unwrap();
    assert!(end >= at_least && end <= promised.values.len(), "{context}: ends at {end}, promised {at_least}");
    for seen in read_all(&log.reader()) {
        assert_eq!(seen.value, promised.values[usize::try_from(seen.offset).unwrap()], "{context}");
    }
    if let (Crash::KeepAll, Some(last)) = (crash, &promised.last_of_producer)
        && promised.appended == promised.values.len()
    {
        let again = append(&mut log, last, 1, 0).unwrap();
        assert_eq!(again.outcome, Outcome::Duplicate, "{context}: producers are known");
    }
    std::ptr::eq(home, &b)
}

#[test]
fn a_fault_or_a_crash_at_any_call_loses_nothing() {
    const CALLS: [Call; 17] = [
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
        Call::RemoveDir,
        Call::SyncDir,
        Call::List,
        Call::Append,
        Call::Seal,
        Call::Prepare,
        Call::Sync,
    ];
    let well = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let mut promised = Promised::default();
    scenario(&(Arc::new(well.clone()) as Arc<dyn Disk>), &mut promised).unwrap();
    assert_eq!(promised.durable, promised.values.len());

    let (mut runs, mut moved) = (0, 0);
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
                    moved += usize::from(check(&memory, crash, &promised, &context));
                    runs += 1;
                }
            }
        }
    }
    println!("{runs} runs, in {moved} the log has moved");
    assert!(runs > 500 && moved > 20 && moved < runs, "{runs} runs, {moved} moved");
}
