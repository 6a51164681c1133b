//! Compaction of one log: what stays and what goes, and what readers notice (nothing).

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_protocol::records::Compression;
use cairn_storage::DataDir;
use cairn_storage::dir::DirConfig;
use cairn_storage::disk::Disk;
use cairn_storage::disk::faulty::{Call, FaultyDisk};
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::disk::memory::{Crash, MemoryDisk};
use cairn_storage::disk::portable::PortableDisk;
use cairn_storage::inspect;
use cairn_storage::log::{Cleanup, CompactError, Log, LogConfig, MapMemory, Outcome};
use cairn_storage::map_budget::MapBudget;
use common::keyed::{
    ENOUGH, KeyValue, Unpaced, compact, compact_with, compacted, keyed_batch, keyed_batch_from, memory_log, offsets_of,
    put, read_keyed, seal, seen, table,
};
use common::{append, dir_config, name, open_dir, sync, topic_id};

#[test]
fn the_newest_record_of_each_key_stays_where_it_was() {
    for codec in Compression::ALL {
        let (_memory, dir, mut log) = memory_log(compacted());
        let mut newest = 0;
        for round in 0..40 {
            let value = format!("{round} {}", "v".repeat(300));
            let batch = keyed_batch(&[(Some("a"), Some(&value)), (Some("b"), Some(&value))], round, codec);
            newest = append(&mut log, &batch, 1, 0).unwrap().base_offset.0;
        }
        seal(&mut log, 50);
        let (before, size, end) = (seen(&log), log.reader().size_bytes(), log.end_offset());
        let (cleaned_to, stats) = compact(&dir, &mut log, 60).unwrap();
        let after = seen(&log);
        assert_eq!((offsets_of(&after, "a"), offsets_of(&after, "b")), (vec![newest], vec![newest + 1]), "{codec}");
        assert!(after.iter().all(|record| before.contains(record)), "what stays is as it was");
        assert_eq!((table(&after), log.end_offset(), log.start_offset()), (table(&before), end, Offset(0)));
        assert!(log.reader().size_bytes() < size / 2);
        assert_eq!(dir.cleaned_to(&name()), Some(cleaned_to));
        assert!(stats.records_kept < stats.records_read && stats.keys >= 2, "{stats:?}");
        assert_eq!(compact(&dir, &mut log, 60), None, "nothing is dirty");
    }
}

#[test]
fn a_tombstone_stays_for_its_time_and_goes_in_a_later_round() {
    let (_memory, dir, mut log) = memory_log(compacted());
    put(&mut log, &[(Some("gone"), Some("value")), (Some("kept"), Some("value"))], 1);
    let tombstone = put(&mut log, &[(Some("gone"), None)], 2);
    seal(&mut log, 3);
    compact(&dir, &mut log, 10_000).unwrap();
    assert_eq!(offsets_of(&seen(&log), "gone"), [tombstone], "the first round begins its time");
    assert_eq!(seen(&log).iter().find(|record| record.offset == tombstone).unwrap().timestamp, 2);
    seal(&mut log, 4);
    compact(&dir, &mut log, 10_999).unwrap();
    assert_eq!(offsets_of(&seen(&log), "gone"), [tombstone], "one millisecond is left");
    seal(&mut log, 5);
    compact(&dir, &mut log, 11_000).unwrap();
    assert_eq!(offsets_of(&seen(&log), "gone"), Vec::<i64>::new());
    assert_eq!(offsets_of(&seen(&log), "kept"), [1]);
}

#[test]
fn records_without_a_key_go() {
    let (_memory, dir, mut log) = memory_log(compacted());
    put(&mut log, &[(None, Some("no key")), (Some("k"), Some("v"))], 1);
    seal(&mut log, 3);
    compact(&dir, &mut log, 10).unwrap();
    assert!(seen(&log).iter().all(|record| record.key.is_some()));
    assert_eq!(offsets_of(&seen(&log), "k"), [1]);
}

#[test]
fn nothing_at_or_above_the_high_watermark_or_not_durable_is_touched() {
    let (_memory, _dir, mut log) = memory_log(compacted());
    for round in 0..60 {
        put(&mut log, &[(Some("k"), Some(&"v".repeat(300)))], round);
    }
    let look =
        |log: &Log, high_watermark: i64| log.prospect(Offset(high_watermark)).look(None, Timestamp(100)).unwrap();
    assert_eq!(look(&log, 60).first_uncleanable, Offset(0), "nothing is durable");
    sync(&mut log);
    let all = look(&log, 60);
    assert!(all.first_uncleanable > Offset(40) && all.first_uncleanable < Offset(60), "{all:?}");
    assert_eq!(look(&log, all.first_uncleanable.0).first_uncleanable, all.first_uncleanable);
    let less = look(&log, all.first_uncleanable.0 - 1);
    assert!(less.first_uncleanable < all.first_uncleanable, "a segment that is not wholly below waits");
    assert_eq!(look(&log, 0).cleanable_bytes, 0);
}

#[test]
fn young_segments_wait_and_old_ones_are_overdue() {
    let config = LogConfig { min_compaction_lag_ms: 100, min_dirty_millionths: 900_000, ..compacted() };
    let (_memory, dir, mut log) = memory_log(config.clone());
    for round in 0..60 {
        put(&mut log, &[(Some("k"), Some(&"v".repeat(300)))], 1000 + round);
    }
    sync(&mut log);
    let look =
        |log: &Log, now: i64| log.prospect(log.end_offset()).look(dir.cleaned_to(&name()), Timestamp(now)).unwrap();
    assert_eq!(look(&log, 1100).cleanable_bytes, 0);
    let some = look(&log, 1130);
    assert!(some.cleanable_bytes > 0 && some.first_uncleanable < look(&log, 1170).first_uncleanable);
    compact_with(&dir, &mut log, 1130, ENOUGH, &Unpaced).unwrap().unwrap();
    log.update_config(LogConfig { min_compaction_lag_ms: 0, ..config.clone() });
    for round in 0..20 {
        put(&mut log, &[(Some(&format!("{round}")), Some(&"v".repeat(300)))], 2000);
    }
    sync(&mut log);
    dir.note_cleaned(&name(), Offset(55)).unwrap();
    let part = look(&log, 3000);
    assert!(part.dirty_millionths() < 1_000_000 && part.dirty_millionths() > 0, "{part:?}");
    log.update_config(LogConfig {
        min_compaction_lag_ms: 0,
        min_dirty_millionths: part.dirty_millionths(),
        ..config.clone()
    });
    assert!(!look(&log, 3000).is_due());
    let hurry = LogConfig { max_compaction_lag_ms: Some(500), min_compaction_lag_ms: 0, ..config };
    log.update_config(hurry);
    assert!(look(&log, 3000).overdue_ms > 0 && look(&log, 3000).is_due());
    assert_eq!(look(&log, 1400).overdue_ms, 0);
}

#[test]
fn producers_are_known_after_their_records_are_gone() {
    let (memory, dir, mut log) = memory_log(compacted());
    let last = keyed_batch_from(Some((7, 5)), &[(Some("k"), Some("old"))], 1, Compression::Zstd);
    for sequence in 0..5 {
        let batch = keyed_batch_from(Some((7, sequence)), &[(Some("k"), Some("old"))], 1, Compression::Zstd);
        append(&mut log, &batch, 1, 0).unwrap();
    }
    let place = append(&mut log, &last, 1, 0).unwrap();
    put(&mut log, &[(Some("k"), Some("new"))], 2);
    seal(&mut log, 3);
    compact(&dir, &mut log, 10).unwrap();
    assert_eq!(offsets_of(&seen(&log), "k"), [6], "no record of the producer is left");
    // Not even a snapshot is left to know it from.
    drop(log);
    memory.crash(Crash::KeepAll);
    let disk: Arc<dyn Disk> = Arc::new(memory);
    for entry in disk.list("/data/orders-3".as_ref()).unwrap() {
        if entry.name.ends_with(".snapshot") {
            disk.remove_file(&entry.path).unwrap();
        }
    }
    let dir = open_dir(&disk);
    let mut log = dir.open_log(&name(), compacted()).unwrap();
    let again = append(&mut log, &last, 1, 0).unwrap();
    assert_eq!((again.outcome, again.base_offset), (Outcome::Duplicate, place.base_offset));
    let next = keyed_batch_from(Some((7, 6)), &[(Some("k"), Some("next"))], 1, Compression::None);
    assert_eq!(append(&mut log, &next, 1, 0).unwrap().outcome, Outcome::Written);
}

#[test]
fn small_segments_become_one() {
    let (_memory, dir, mut log) = memory_log(compacted());
    for round in 0..200 {
        put(&mut log, &[(Some("k"), Some(&"v".repeat(300)))], round);
    }
    sync(&mut log);
    let segments = log.reader().segment_count();
    compact(&dir, &mut log, 1000).unwrap();
    let once = log.reader().segment_count();
    assert_eq!(once, segments, "each was as large as a segment may be");
    seal(&mut log, 300);
    compact(&dir, &mut log, 1000).unwrap();
    assert!(log.reader().segment_count() <= 4, "{} of {segments}", log.reader().segment_count());
    assert_eq!(offsets_of(&seen(&log), "k"), [199]);
    assert_eq!(read_keyed(&log.reader(), Offset(17), 100).unwrap(), seen(&log), "reads begin in the gap, too");
}

#[test]
fn a_map_that_is_too_small_for_all_keys_takes_several_rounds() {
    let (_memory, dir, mut log) = memory_log(compacted());
    for round in 0..90 {
        let key = format!("{}", round % 30);
        put(&mut log, &[(Some(&key), Some(&"v".repeat(300)))], round);
    }
    seal(&mut log, 100);
    let before = table(&seen(&log));
    let small = MapMemory { bytes: 24 * 12, load_percent: 90 };
    let mut ends = vec![Offset(0)];
    while let Some((end, stats)) = compact_with(&dir, &mut log, 200, small, &Unpaced).unwrap() {
        assert!(end > ends[ends.len() - 1] && stats.keys <= 11, "{end} {stats:?}");
        assert_eq!(table(&seen(&log)), before);
        ends.push(end);
    }
    assert!(ends.len() > 4, "{ends:?}");
    let after = seen(&log);
    assert!((0..30).all(|key| offsets_of(&after, &format!("{key}")).len() == 1), "{after:?}");

    let many: Vec<String> = (0..20).map(|key| format!("key {key}")).collect();
    let records: Vec<KeyValue<'_>> = many.iter().map(|key| (Some(key.as_str()), Some("v"))).collect();
    seal(&mut log, 300);
    compact(&dir, &mut log, 300);
    while log.end_offset() < Offset(200) {
        put(&mut log, &records, 300);
    }
    seal(&mut log, 300);
    let end = dir.cleaned_to(&name()).unwrap();
    loop {
        match compact_with(&dir, &mut log, 300, small, &Unpaced) {
            Ok(Some(_)) => {}
            Err(CompactError::MapTooSmall { offset }) => break assert!(offset >= end),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn only_what_is_also_deleted_goes_by_age_and_nothing_goes_where_neither_is_said() {
    for (cleanup, left) in [(Cleanup::Compact, true), (Cleanup::CompactAndDelete, false), (Cleanup::Never, true)] {
        let config = LogConfig { cleanup, retention_ms: Some(1000), retention_bytes: Some(1), ..compacted() };
        let (_memory, dir, mut log) = memory_log(config);
        put(&mut log, &[(Some("k"), Some("v"))], 1);
        seal(&mut log, 2);
        compact(&dir, &mut log, 10).unwrap();
        let done = log.maintain(Timestamp(100_000), log.end_offset()).unwrap();
        done.removal.into_iter().for_each(|removal| removal.run().unwrap());
        assert_eq!(offsets_of(&seen(&log), "k").len(), usize::from(left), "{cleanup:?}");
    }
}

#[test]
fn deleted_records_and_a_cut_go_with_compaction() {
    let (_memory, dir, mut log) = memory_log(compacted());
    for round in 0..100 {
        put(&mut log, &[(Some("k"), Some(&"v".repeat(300))), (Some(&format!("{round}")), Some("v"))], round);
    }
    sync(&mut log);
    log.delete_records_before(Offset(31)).unwrap().into_iter().for_each(|removal| removal.run().unwrap());
    compact(&dir, &mut log, 1000).unwrap();
    assert_eq!(offsets_of(&seen(&log), "15"), [31]);
    let cleaned_to = dir.cleaned_to(&name()).unwrap();
    log.truncate_to(Offset(91)).unwrap();
    assert_eq!(log.end_offset(), Offset(90));
    let look = log.prospect(log.end_offset()).look(Some(cleaned_to), Timestamp(2000)).unwrap();
    assert_eq!(look.first_dirty, Offset(31), "an offset that the log does not have says nothing");
    for round in 0..30 {
        put(&mut log, &[(Some("k"), Some(&"w".repeat(300)))], 3000 + round);
    }
    sync(&mut log);
    let expected = table(&seen(&log));
    compact(&dir, &mut log, 5000).unwrap();
    assert_eq!(table(&seen(&log)), expected);
}

#[test]
fn a_copy_of_segments_that_have_gone_is_not_put_in_place() {
    let (_memory, dir, mut log) = memory_log(compacted());
    for round in 0..60 {
        put(&mut log, &[(Some("k"), Some(&"v".repeat(300)))], round);
    }
    sync(&mut log);
    let cleanable = log.prospect(log.end_offset()).look(None, Timestamp(100)).unwrap();
    let begin = |log: &Log| {
        let mut compaction = log.begin_compaction(&cleanable, Timestamp(100));
        compaction.map_keys(ENOUGH, &Unpaced).unwrap();
        let group = compaction.rewrite_next(&Unpaced).unwrap().unwrap();
        (compaction, group)
    };
    let (_compaction, group) = begin(&log);
    log.delete_records_before(Offset(30)).unwrap().into_iter().for_each(|removal| removal.run().unwrap());
    log.begin_swap(group).unwrap_err().0.discard().unwrap();

    let before = seen(&log);
    let cleanable = log.prospect(log.end_offset()).look(None, Timestamp(100)).unwrap();
    let mut compaction = log.begin_compaction(&cleanable, Timestamp(100));
    compaction.map_keys(ENOUGH, &Unpaced).unwrap();
    let group = compaction.rewrite_next(&Unpaced).unwrap().unwrap();
    let swap = log.begin_swap(group).unwrap();
    let removal = log.delete_records_before(Offset(45)).unwrap();
    assert!(removal.is_none(), "no segment leaves the log while files are exchanged");
    log.truncate_to(Offset(55)).unwrap();
    assert!(matches!(swap.run(), Err(CompactError::Gone)), "the cut came first");
    assert_eq!(seen(&log), before.into_iter().filter(|record| (45..55).contains(&record.offset)).collect::<Vec<_>>());
    assert!(matches!(compaction.rewrite_next(&Unpaced), Ok(None) | Err(CompactError::Gone)));
    drop(dir);
}

/// Whoever runs an exchange may die of a defect.
#[test]
fn an_exchange_that_never_ran_keeps_nothing_from_leaving_the_log() {
    let (_memory, dir, mut log) = memory_log(compacted());
    for round in 0..60 {
        put(&mut log, &[(Some("k"), Some(&"v".repeat(300)))], round);
    }
    sync(&mut log);
    let cleanable = log.prospect(log.end_offset()).look(None, Timestamp(100)).unwrap();
    let mut compaction = log.begin_compaction(&cleanable, Timestamp(100));
    compaction.map_keys(ENOUGH, &Unpaced).unwrap();
    let group = compaction.rewrite_next(&Unpaced).unwrap().unwrap();
    drop(log.begin_swap(group).unwrap());
    let removal = log.delete_records_before(Offset(45)).unwrap();
    removal.expect("segments leave the log again").run().unwrap();
    assert!(compact(&dir, &mut log, 200).is_some(), "and it is compacted again");
}

#[test]
fn a_round_that_comes_too_late_writes_nothing_down() {
    let faulty = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let dir = open_dir(&(Arc::new(faulty.clone()) as Arc<dyn Disk>));
    let mut log = dir.create_log(&name(), topic_id(), compacted()).unwrap();
    for round in 0..60 {
        put(&mut log, &[(Some("k"), Some(&"v".repeat(300)))], round);
    }
    sync(&mut log);
    let cleanable = log.prospect(log.end_offset()).look(None, Timestamp(100)).unwrap();
    let mut compaction = log.begin_compaction(&cleanable, Timestamp(100));
    compaction.map_keys(ENOUGH, &Unpaced).unwrap();
    let group = compaction.rewrite_next(&Unpaced).unwrap().unwrap();
    let swap = log.begin_swap(group).unwrap();
    log.truncate_to(Offset(55)).unwrap();
    let calls = || [Call::Replace, Call::Rename, Call::RemoveFile, Call::SyncDir].map(|call| faulty.calls(call));
    let before = calls();
    assert!(matches!(swap.run(), Err(CompactError::Gone)));
    assert_eq!(calls(), before, "the log has no gaps, and nobody says so");
}

#[test]
fn a_round_does_not_begin_on_a_disk_below_its_reserve() {
    let memory = MemoryDisk::new();
    memory.set_capacity(1 << 20);
    let faulty = FaultyDisk::new(Arc::new(memory.clone()));
    let config = DirConfig { reserve_bytes: Some(100_000), ..dir_config() };
    let dir = DataDir::open(Arc::new(faulty.clone()), "/data", &config).unwrap();
    let mut log = dir.create_log(&name(), topic_id(), compacted()).unwrap();
    for round in 0..60 {
        put(&mut log, &[(Some("k"), Some(&"v".repeat(300)))], round);
    }
    sync(&mut log);
    memory.set_capacity(100_000);
    let cleanable = log.prospect(log.end_offset()).look(None, Timestamp(100)).unwrap();
    let mut compaction = log.begin_compaction(&cleanable, Timestamp(100));
    let reads = faulty.calls(Call::Slice);
    assert!(matches!(compaction.map_keys(ENOUGH, &Unpaced), Err(CompactError::DiskFull)));
    assert_eq!(faulty.calls(Call::Slice), reads, "not a batch is read in vain");
    memory.set_capacity(1 << 20);
    assert!(compact(&dir, &mut log, 200).is_some());
}

/// The process dies before a checkpoint knows how far the log was durable.
#[test]
fn epochs_that_a_round_left_without_batches_survive_a_crash() {
    for crash in [Crash::KeepAll, Crash::LoseUnsynced] {
        let (memory, dir, mut log) = memory_log(compacted());
        let write = |log: &mut Log, epochs: std::ops::RangeInclusive<i32>| {
            for epoch in epochs {
                let batch = keyed_batch(&[(Some("k"), Some("v"))], 10, Compression::None);
                append(log, &batch, epoch, 0).unwrap();
            }
            let (segments, filler) = (log.reader().segment_count(), "f".repeat(600));
            while log.reader().segment_count() < segments + 2 {
                let latest = log.epochs().latest().unwrap().epoch.0;
                append(log, &keyed_batch(&[(Some("f"), Some(&filler))], 10, Compression::None), latest, 0).unwrap();
            }
            sync(log);
        };
        write(&mut log, 1..=3);
        compact(&dir, &mut log, 1000).unwrap();
        write(&mut log, 4..=12);
        let epochs = log.epochs();
        compact(&dir, &mut log, 2000).unwrap();
        drop((log, dir));
        memory.crash(crash);
        let dir = open_dir(&(Arc::new(memory) as Arc<dyn Disk>));
        let log = dir.open_log(&name(), compacted()).unwrap();
        assert_eq!(log.epochs(), epochs, "{crash:?}");
    }
}

/// A page that was not read in on purpose may be one that cannot be read: touching it would end the process.
#[test]
fn a_round_touches_only_pages_that_were_populated() {
    let memory = MemoryDisk::new();
    let faulty = FaultyDisk::new(Arc::new(memory.clone()));
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let config = LogConfig { max_compaction_lag_ms: Some(1), ..compacted() };
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), config.clone()).unwrap();
    for round in 0..100 {
        put(&mut log, &[(Some(&format!("{}", round % 7)), Some(&"v".repeat(300)))], round);
    }
    log.close().unwrap();
    dir.note_cleaned(&name(), Offset(17)).unwrap();
    let mut log = dir.open_log(&name(), config).unwrap();
    faulty.refuse_unpopulated();
    assert!(compact(&dir, &mut log, 10_000).is_some(), "a round that begins within a segment");
    assert!(dir.failure().is_none());
}

#[test]
fn epochs_survive_the_loss_of_all_their_batches() {
    let (memory, dir, mut log) = memory_log(compacted());
    for epoch in 1..=9 {
        append(
            &mut log,
            &keyed_batch(&[(Some("k"), Some("v"))], epoch, Compression::None),
            i32::try_from(epoch).unwrap(),
            0,
        )
        .unwrap();
    }
    append(&mut log, &keyed_batch(&[(Some("k"), Some("w"))], 10, Compression::None), 10, 0).unwrap();
    while log.reader().segment_count() < 3 {
        append(&mut log, &keyed_batch(&[(Some("f"), Some(&"f".repeat(600)))], 10, Compression::None), 10, 0).unwrap();
    }
    sync(&mut log);
    let epochs = log.epochs();
    compact(&dir, &mut log, 1000).unwrap();
    log.close().unwrap();
    dir.close().unwrap();
    let dir = open_dir(&(Arc::new(memory) as Arc<dyn Disk>));
    let log = dir.open_log(&name(), compacted()).unwrap();
    assert_eq!(log.epochs(), epochs);
    assert_eq!(log.end_for_epoch(LeaderEpoch(4)).unwrap().end, Offset(4));
}

#[test]
fn the_largest_timestamp_is_that_of_a_record_that_is_there() {
    let (_memory, dir, mut log) = memory_log(compacted());
    let newest = keyed_batch_from(Some((7, 0)), &[(Some("k"), Some("v"))], 900, Compression::None);
    append(&mut log, &newest, 1, 0).unwrap();
    put(&mut log, &[(Some("k"), Some("w"))], 5);
    seal(&mut log, 6);
    compact(&dir, &mut log, 1000).unwrap();
    let largest = log.reader().max_timestamp(log.end_offset()).unwrap().unwrap();
    assert_eq!(largest.timestamp, Timestamp(6), "{largest:?}");
    let found = log.reader().offset_for_time(Timestamp(5), log.end_offset()).unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp), (Offset(1), Timestamp(5)));
    assert_eq!(log.reader().offset_for_time(Timestamp(7), log.end_offset()).unwrap(), None);
}

/// Readers go round and round while the log is appended to and compacted. With room for one map all but the first read of a
/// segment finds the file by its name.
fn readers_are_undisturbed(disk: Arc<dyn Disk>, root: &std::path::Path) {
    let dir = DataDir::open(disk, root, &dir_config()).unwrap();
    let mut log = dir.create_log(&name(), topic_id(), compacted()).unwrap();
    let done = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2u64)
            .map(|number| {
                let (reader, done) = (log.reader(), &done);
                scope.spawn(move || {
                    let mut reads = 0;
                    while !done.load(Ordering::Relaxed) || reads == 0 {
                        let seen = read_keyed(&reader, Offset(0), 500 + 3000 * number).expect("no read fails");
                        for record in &seen {
                            let value = record.value.as_deref().unwrap();
                            assert!(value.starts_with(format!("{} ", record.offset).as_bytes()), "{record:?}");
                        }
                        reader.offset_for_time(Timestamp(50), reader.end_offset()).expect("no search fails");
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for round in 0..30 {
            for _ in 0..40 {
                let offset = log.end_offset().0;
                let (key, value) = (format!("{}", offset % 17), format!("{offset} {}", "v".repeat(200)));
                put(&mut log, &[(Some(&key), Some(&value))], round);
            }
            sync(&mut log);
            compact(&dir, &mut log, round);
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().expect("no reader panics")).sum::<u64>()
    });
    assert!(reads >= 2);
    assert!(seen(&log).len() < 100);
    log.close().unwrap();
    dir.close().unwrap();
    let verdict = inspect::verify(&PortableDisk::default(), root).unwrap();
    assert!(verdict.is_sound(), "{verdict}");
}

#[test]
fn readers_are_undisturbed_on_real_files() {
    let folder = tempfile::tempdir().unwrap();
    let one = MapBudget { max_maps: 1, ..MapBudget::default() };
    let mapped = MappedDisk::new(MappedLimits { sealed: one, ..MappedLimits::default() }).unwrap();
    readers_are_undisturbed(Arc::new(mapped), &folder.path().join("mapped"));
    readers_are_undisturbed(Arc::new(PortableDisk::new(one)), &folder.path().join("portable"));
}
