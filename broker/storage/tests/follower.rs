//! A log that takes over from a leader's what the leader has placed: epochs that wrote nothing, holes, a new beginning.

mod common;

use std::sync::Arc;

use cairn_protocol::ids::{LeaderEpoch, Offset};
use cairn_storage::DataDir;
use cairn_storage::disk::Disk;
use cairn_storage::disk::memory::{Crash, MemoryDisk};
use cairn_storage::log::{AppendError, Log};
use common::{append, batch, follow, name, open_dir, placed, small, sync, topic_id};

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
