//! A log that takes over from a leader's what the leader has placed: epochs that wrote nothing, holes, a new beginning.

mod common;

use std::sync::Arc;

use cairn_protocol::ids::{LeaderEpoch, Offset};
use cairn_storage::DataDir;
use cairn_storage::disk::Disk;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::{Crash, CrashUnit, MemoryDisk};
use cairn_storage::log::{AppendError, Log};
use common::{Seen, append, batch, batch_from, follow, name, open_dir, placed, read_all, small, sync, topic_id};

fn new_log() -> (MemoryDisk, DataDir, Log) {
    let memory = MemoryDisk::new();
    let dir = open_dir(&as_disk(&memory));
    let log = dir.create_log(&name(), topic_id(), small()).unwrap();
    (memory, dir, log)
}

fn as_disk(memory: &MemoryDisk) -> Arc<dyn Disk> {
    Arc::new(memory.clone())
}

/// How a log goes away.
const ENDS: [End; 4] = [End::Closed, End::Dropped, End::Crash(Crash::KeepAll), End::Crash(Crash::LoseUnsynced)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Dropped,
    Crash(Crash),
}

/// Opens a log that went away. What a crash may take is synced before.
fn again(memory: &MemoryDisk, dir: DataDir, mut log: Log, end: End) -> (DataDir, Log) {
    match end {
        End::Closed => log.close().unwrap(),
        End::Dropped => drop(log),
        End::Crash(crash) => {
            if crash != Crash::KeepAll {
                sync(&mut log);
            }
            drop(log);
        }
    }
    drop(dir);
    if let End::Crash(crash) = end {
        memory.crash(crash);
    }
    let dir = open_dir(&as_disk(memory));
    let log = dir.open_log(&name(), small()).unwrap();
    (dir, log)
}

fn starts(log: &Log) -> Vec<(i32, i64)> {
    log.epochs().starts().iter().map(|known| (known.epoch.0, known.start.0)).collect()
}

/// A leader that was elected and wrote nothing has noted its epoch. The next one has a record of another epoch there.
#[test]
fn an_epoch_that_wrote_nothing_gives_way_when_its_leader_follows() {
    for end in ENDS {
        for (epoch, expected) in [(1, vec![(1, 0)]), (3, vec![(1, 0), (3, 5)]), (7, vec![(1, 0), (7, 5)])] {
            let (memory, dir, mut log) = new_log();
            for _ in 0..5 {
                append(&mut log, &batch(&[b"x"], 1), 1, 0).unwrap();
            }
            sync(&mut log);
            log.assign_epoch(LeaderEpoch(5)).unwrap();
            dir.write_checkpoint().unwrap();
            assert_eq!(starts(&log), [(1, 0), (5, 5)]);
            let as_leader = append(&mut log, &batch(&[b"x"], 1), epoch.min(4), 0);
            assert!(matches!(as_leader, Err(AppendError::Epoch(_))), "a leader does not write in an epoch of before");
            follow(&mut log, &placed(&batch(&[b"y"], 1), 5, epoch)).unwrap();
            assert_eq!(starts(&log), expected, "{end:?}");
            assert!(follow(&mut log, &placed(&batch(&[b"z"], 1), 6, 0)).is_err());
            assert_eq!(starts(&log), expected, "{end:?}: what is refused changes nothing");
            let (_dir, log) = again(&memory, dir, log, end);
            assert_eq!((log.end_offset(), starts(&log)), (Offset(6), expected), "{end:?}");
        }
    }
}

/// A log of several segments, epochs and snapshots of producers, from 30 to 90; and what was ever in it.
fn old_log(dir: &DataDir) -> (Log, Vec<Seen>) {
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    for number in 0..90 {
        let value = format!("value {number} {}", "x".repeat(200)).into_bytes();
        append(&mut log, &batch_from(9, 0, number, &[&value], 1000 + i64::from(number)), 3 + number / 20, 0).unwrap();
        if number % 40 == 20 {
            sync(&mut log);
        }
    }
    let seen = read_all(&log.reader());
    log.delete_records_before(Offset(30)).unwrap().into_iter().for_each(|removal| removal.run().unwrap());
    log.assign_epoch(LeaderEpoch(10)).unwrap();
    dir.write_checkpoint().unwrap();
    (log, seen)
}

/// What a crash in the middle of a reset has left: the old log, a part of it, or the new one.
fn check_reset(memory: &MemoryDisk, crash: Crash, to: i64, before: &[Seen], context: &str) -> Reset {
    memory.crash(crash);
    let dir = open_dir(&as_disk(memory));
    let mut log = dir.open_log(&name(), small()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let (start, end) = (log.start_offset().0, log.end_offset().0);
    let part: Vec<Seen> = before.iter().filter(|seen| seen.offset >= start && seen.offset < end).cloned().collect();
    assert!(read_all(&log.reader()) == part, "{context}: {start}..{end}");
    let done = if (start, end) == (to, to) && part.is_empty() { Reset::Done } else { Reset::Not };
    if done == Reset::Done && before.last().is_none_or(|last| last.offset + 1 != to) {
        assert_eq!((starts(&log), log.producers().count()), (vec![], 0), "{context}");
    }
    // The log goes on either way.
    follow(&mut log, &placed(&batch(&[b"new"], 1), end, 11)).unwrap();
    sync(&mut log);
    drop((log, dir));
    memory.crash(Crash::LoseUnsynced);
    let log = open_dir(&as_disk(memory)).open_log(&name(), small()).unwrap();
    assert_eq!((log.start_offset().0, log.end_offset().0), (start, end + 1), "{context}");
    done
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reset {
    Done,
    Not,
}

#[test]
fn a_crash_at_any_step_of_a_reset_leaves_the_old_log_a_part_of_it_or_the_new_one() {
    const CALLS: [Call; 8] = [
        Call::Replace,
        Call::RemoveFile,
        Call::SyncDir,
        Call::CreateAppend,
        Call::WriteAt,
        Call::Rename,
        Call::Seal,
        Call::Prepare,
    ];
    let mut runs = 0;
    for to in [0, 7, 50, 90, 200] {
        for call in CALLS {
            for crash in [Crash::KeepAll, Crash::LoseUnsynced, Crash::Random { seed: runs, unit: CrashUnit::Sector }] {
                for nth in 1.. {
                    let context = format!("to {to}, {call:?} {nth}, {crash:?}");
                    let memory = MemoryDisk::new();
                    let faulty = FaultyDisk::new(as_disk(&memory));
                    let dir = open_dir(&(Arc::new(faulty.clone()) as Arc<dyn Disk>));
                    let (mut log, before) = old_log(&dir);
                    faulty.inject(Rule::nth(call, nth, Fault::Io));
                    let outcome = log.reset_to(Offset(to));
                    assert_eq!(outcome.is_err(), faulty.injected() == 1, "{context}");
                    drop((log, dir));
                    let done = check_reset(&memory, crash, to, &before, &context);
                    runs += 1;
                    if outcome.is_ok() {
                        assert_eq!(done, Reset::Done, "{context}: what was told to be durable is");
                        break;
                    }
                }
            }
        }
    }
    assert!(runs > 300, "{runs} runs");
}
