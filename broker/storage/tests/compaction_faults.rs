//! Compaction of one log, and what a crash, a failing call or a full disk at any step of it leaves: all that was there.

mod common;

use std::sync::Arc;

use cairn_protocol::records::Compression;
use cairn_storage::disk::Disk;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::{Crash, CrashUnit, MemoryDisk};
use cairn_storage::inspect;
use cairn_storage::log::CompactError;
use common::keyed::{
    ENOUGH, Keyed, Unpaced, compact, compact_with, compacted, keyed_batch_from, memory_log, offsets_of, put, seal,
    seen, table,
};
use common::{append, name, open_dir};

/// A log with several groups to compact, all of it durable.
fn prepared() -> (MemoryDisk, Vec<Keyed>) {
    let (memory, dir, mut log) = memory_log(compacted());
    put(&mut log, &[(Some("gone"), Some("value"))], 1);
    put(&mut log, &[(Some("gone"), None)], 2);
    for round in 0..70 {
        let key = format!("{}", round % 5);
        let batch = keyed_batch_from(Some((9, round)), &[(Some(&key), Some(&"v".repeat(250)))], 10, Compression::None);
        append(&mut log, &batch, 1, 0).unwrap();
    }
    seal(&mut log, 20);
    compact(&dir, &mut log, 50).unwrap();
    for round in 0..70 {
        put(&mut log, &[(Some(&format!("{}", round % 7)), Some(&"w".repeat(250)))], 30);
    }
    seal(&mut log, 40);
    let records = seen(&log);
    log.close().unwrap();
    dir.close().unwrap();
    (memory, records)
}

/// Opens the log, has a round fail where it was planned, crashes, opens it again, and compares. Answers whether the plan was met.
fn one_fault(rule: Rule, crash: Crash, context: &str) -> bool {
    let (memory, before) = prepared();
    let faulty = FaultyDisk::new(Arc::new(memory.clone()));
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let dir = open_dir(&disk);
    let mut log = dir.open_log(&name(), compacted()).unwrap();
    let end = log.end_offset();
    faulty.inject(rule);
    let result = compact_with(&dir, &mut log, 5000, ENOUGH, &Unpaced);
    let met = faulty.injected() > 0;
    assert!(met != result.is_ok(), "{context}: {result:?}");
    if matches!(result, Err(CompactError::DiskFull)) {
        faulty.heal();
        assert!(dir.failure().is_none(), "{context}");
        assert_eq!(table(&seen(&log)), table(&before), "{context}");
        put(&mut log, &[(Some("0"), Some("more"))], 60);
        compact_with(&dir, &mut log, 5000, ENOUGH, &Unpaced).unwrap();
        return met;
    }
    drop((log, dir));
    memory.crash(crash);
    let disk: Arc<dyn Disk> = Arc::new(memory);
    let dir = open_dir(&disk);
    let mut log = dir.open_log(&name(), compacted()).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(log.end_offset(), end, "{context}");
    let after = seen(&log);
    assert!(after.iter().all(|record| before.contains(record)), "{context}: nothing came back");
    assert_eq!(table(&after), table(&before), "{context}");
    assert_eq!(log.producers().next().map(|state| state.batches.last().unwrap().last_sequence), Some(69), "{context}");
    let verdict = inspect::verify(&*disk, "/data".as_ref()).unwrap();
    assert!(verdict.is_sound(), "{context}: {verdict}");
    // What was left undone is done now, and nothing is left behind.
    compact(&dir, &mut log, 5000);
    assert_eq!(table(&seen(&log)), table(&before), "{context}");
    for key in ["0", "1", "2", "3", "4", "5", "6", "gone"] {
        let count = offsets_of(&seen(&log), key).len();
        assert_eq!(count, usize::from(key != "gone"), "{context}: {key}");
    }
    let left: Vec<String> = disk.list("/data/orders-3".as_ref()).unwrap().into_iter().map(|entry| entry.name).collect();
    assert!(!left.iter().any(|name| name.ends_with("cleaned") || name.ends_with("swap")), "{context}: {left:?}");
    met
}

#[test]
fn a_crash_at_every_call_of_a_round_loses_nothing_and_is_made_good() {
    const CALLS: [Call; 9] = [
        Call::WriteAt,
        Call::SyncFile,
        Call::SyncDir,
        Call::Rename,
        Call::RemoveFile,
        Call::Replace,
        Call::OpenSealed,
        Call::Populate,
        Call::Slice,
    ];
    let random = |seed| Crash::Random { seed, unit: CrashUnit::Sector };
    let crashes = [Crash::KeepAll, Crash::LoseUnsynced, random(1), random(2), random(3)];
    let mut met = 0;
    for call in CALLS {
        for nth in 1.. {
            // Reads are many and alike.
            let nth = if matches!(call, Call::Slice | Call::Populate) { nth * 23 } else { nth };
            let hit = crashes
                .map(|crash| one_fault(Rule::nth(call, nth, Fault::Io), crash, &format!("{call:?} {nth} {crash:?}")));
            met += hit.iter().filter(|hit| **hit).count();
            if !hit[0] {
                break;
            }
        }
    }
    assert!(met > 300, "only {met} faults were met");
}

#[test]
fn a_full_disk_at_every_write_of_a_round_changes_nothing() {
    for call in [Call::WriteAt, Call::Replace] {
        for nth in 1.. {
            let rule = Rule::nth(call, nth, Fault::Full);
            if !one_fault(rule, Crash::KeepAll, &format!("{call:?} {nth} full")) {
                break;
            }
        }
    }
}
