//! A log on the memory disk: append, read, roll, truncate, retain, delete, close, open.

mod common;

use std::sync::Arc;

use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_protocol::records::BatchIter;
use cairn_storage::disk::Disk;
use cairn_storage::disk::memory::MemoryDisk;
use cairn_storage::log::{AppendError, FirstBatch, HotRead, Limits, Log, OpenLogError, Outcome, ReadError};
use common::{append, batch, batch_from, follow, name, open_dir, read_all, read_from, small, sync, topic_id};

fn new_log() -> (Arc<dyn Disk>, cairn_storage::DataDir, Log) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let dir = open_dir(&disk);
    let log = dir.create_log(&name(), topic_id(), small()).unwrap();
    (disk, dir, log)
}

/// Appends `count` batches of two records each, a millisecond apart, from the log's end on.
fn fill(log: &mut Log, count: i64) {
    for _ in 0..count {
        let end = log.end_offset().0;
        let values = [format!("value {end}"), format!("value {}", end + 1)];
        let batch = batch(&[values[0].as_bytes(), values[1].as_bytes()], 1000 + end);
        append(log, &batch, 1, 1000 + end).unwrap();
    }
}

fn assert_filled(log: &Log, from: i64, to: i64) {
    let seen = read_all(&log.reader());
    let offsets: Vec<i64> = seen.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, (from..to).collect::<Vec<_>>());
    assert!(seen.iter().all(|record| record.value == format!("value {}", record.offset).into_bytes()));
}

#[test]
fn what_is_appended_is_read() {
    let (_disk, _dir, mut log) = new_log();
    fill(&mut log, 300);
    assert_eq!((log.start_offset(), log.end_offset()), (Offset(0), Offset(600)));
    assert!(log.reader().segment_count() > 5, "{} segments", log.reader().segment_count());
    assert_filled(&log, 0, 600);
    for from in 0..600 {
        let seen = read_from(&log.reader(), Offset(from), 1).unwrap();
        assert_eq!(seen.first().map(|record| record.offset), Some(from));
        assert_eq!(seen.len(), usize::try_from(600 - from).unwrap());
    }
}

#[test]
fn limits_of_a_read_hold() {
    let (_disk, _dir, mut log) = new_log();
    fill(&mut log, 20);
    let reader = log.reader();
    let read = |offset, max_bytes, first_batch, end| {
        reader
            .read(Offset(offset), Limits { max_bytes, first_batch, end: Offset(end) })
            .map(|read| (read.bytes.len(), read.next_offset.0))
    };
    let size = batch(&[b"value 0", b"value 1"], 1000).len();
    assert_eq!(read(0, 1, FirstBatch::AtLeastOne, 40).unwrap(), (size, 2));
    assert_eq!(read(0, 1, FirstBatch::WithinLimit, 40).unwrap(), (0, 0));
    assert_eq!(read(1, 1, FirstBatch::AtLeastOne, 40).unwrap(), (size, 2), "the batch that holds the offset");
    let two_and_a_half = u64::try_from(size * 2 + size / 2).unwrap();
    assert_eq!(read(0, two_and_a_half, FirstBatch::AtLeastOne, 40).unwrap(), (size * 2, 4));
    assert_eq!(read(0, 1 << 20, FirstBatch::AtLeastOne, 3).unwrap(), (size, 2), "a batch across the end is not read");
    assert_eq!(read(0, 1 << 20, FirstBatch::AtLeastOne, 4).unwrap(), (size * 2, 4));
    assert_eq!(read(4, 1 << 20, FirstBatch::AtLeastOne, 4).unwrap(), (0, 4));
    assert_eq!(read(40, 1 << 20, FirstBatch::AtLeastOne, 40).unwrap(), (0, 40));
    assert!(matches!(read(41, 1, FirstBatch::AtLeastOne, 99), Err(ReadError::OutOfRange { .. })));
    assert!(matches!(read(-1, 1, FirstBatch::AtLeastOne, 99), Err(ReadError::OutOfRange { .. })));
    let limits = Limits { max_bytes: 1 << 20, first_batch: FirstBatch::AtLeastOne, end: Offset(40) };
    let HotRead::Ready(hot) = reader.read_hot(Offset(0), limits).unwrap() else { panic!("memory is hot") };
    assert_eq!(hot, reader.read(Offset(0), limits).unwrap());
}

#[test]
fn a_closed_log_opens_again() {
    let (disk, dir, mut log) = new_log();
    fill(&mut log, 100);
    log.close().unwrap();
    dir.close().unwrap();
    let dir = open_dir(&disk);
    assert_eq!(dir.last_shutdown(), cairn_storage::dir::LastShutdown::Clean);
    assert_eq!(dir.list_logs().unwrap(), vec![name()]);
    let mut log = dir.open_log(&name(), small()).unwrap();
    assert_eq!(log.topic_id(), topic_id());
    assert_eq!(log.durable_end(), Offset(200));
    assert_filled(&log, 0, 200);
    fill(&mut log, 10);
    assert_filled(&log, 0, 220);
}

#[test]
fn a_log_that_was_dropped_opens_again() {
    let (_disk, dir, mut log) = new_log();
    fill(&mut log, 50);
    assert!(matches!(dir.open_log(&name(), small()), Err(OpenLogError::AlreadyOpen { .. })));
    sync(&mut log);
    fill(&mut log, 50);
    drop(log);
    let mut log = dir.open_log(&name(), small()).unwrap();
    assert_filled(&log, 0, 200);
    assert_eq!(log.durable_end(), Offset(100));
    sync(&mut log);
    assert_eq!(log.durable_end(), Offset(200));
    assert!(log.begin_sync().is_none());
}

#[test]
fn truncation_keeps_what_readers_hold() {
    let (_disk, dir, mut log) = new_log();
    fill(&mut log, 100);
    let limits = Limits { max_bytes: 1 << 20, first_batch: FirstBatch::AtLeastOne, end: Offset(200) };
    let held = log.reader().read(Offset(0), limits).unwrap();
    let before = held.bytes.to_vec();
    assert_eq!(log.truncate_to(Offset(51)).unwrap(), Offset(50), "a batch is kept whole or not at all");
    assert_eq!(log.end_offset(), Offset(50));
    assert_filled(&log, 0, 50);
    fill(&mut log, 100);
    assert_filled(&log, 0, 250);
    assert_eq!(held.bytes, before);
    drop(log);
    let log = dir.open_log(&name(), small()).unwrap();
    assert_filled(&log, 0, 250);
}

#[test]
fn truncation_at_every_offset() {
    for cut in 0..=60 {
        let (_disk, dir, mut log) = new_log();
        fill(&mut log, 30);
        if cut % 3 == 0 {
            sync(&mut log);
            dir.write_checkpoint().unwrap();
        }
        let end = log.truncate_to(Offset(cut)).unwrap();
        assert_eq!(end, Offset(cut / 2 * 2));
        assert_filled(&log, 0, end.0);
        drop(log);
        let mut log = dir.open_log(&name(), small()).unwrap();
        assert_filled(&log, 0, end.0);
        fill(&mut log, 5);
        assert_filled(&log, 0, end.0 + 10);
    }
}

#[test]
fn a_reset_log_starts_where_it_was_told() {
    let (_disk, dir, mut log) = new_log();
    fill(&mut log, 30);
    log.reset_to(Offset(1000)).unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (Offset(1000), Offset(1000)));
    assert!(log.epochs().starts().is_empty());
    fill(&mut log, 3);
    assert_filled(&log, 1000, 1006);
    drop(log);
    assert_filled(&dir.open_log(&name(), small()).unwrap(), 1000, 1006);
}

#[test]
fn retention_takes_whole_segments_from_the_start() {
    let (_disk, dir, mut log) = new_log();
    fill(&mut log, 300);
    let mut config = small();
    config.retention_ms = Some(100);
    log.update_config(config.clone());
    let done = log.maintain(Timestamp(1400), Offset(600)).unwrap();
    let removal = done.removal.expect("records up to timestamp 1300 are too old");
    assert!(removal.segment_count() > 0);
    removal.run().unwrap();
    let start = log.start_offset();
    assert!(start > Offset(200) && start <= Offset(301), "{start}");
    assert_filled(&log, start.0, 600);
    assert!(
        log.maintain(Timestamp(5000), Offset(0)).unwrap().removal.is_none(),
        "nothing at or above the high watermark"
    );
    drop(log);
    let mut log = dir.open_log(&name(), config).unwrap();
    assert_filled(&log, start.0, 600);
    let done = log.maintain(Timestamp(5000), Offset(600)).unwrap();
    assert_eq!(done.rolled, Some(Offset(600)), "the last records are too old too");
    done.removal.unwrap().run().unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (Offset(600), Offset(600)));
}

#[test]
fn retention_by_size() {
    let (_disk, _dir, mut log) = new_log();
    fill(&mut log, 300);
    let mut config = small();
    config.retention_bytes = Some(10_000);
    log.update_config(config);
    log.maintain(Timestamp(0), Offset(600)).unwrap().removal.unwrap().run().unwrap();
    let size = log.reader().size_bytes();
    assert!((10_000..14_096).contains(&size), "{size}");
    assert_filled(&log, log.start_offset().0, 600);
}

#[test]
fn deleted_records_stay_deleted() {
    let (disk, dir, mut log) = new_log();
    fill(&mut log, 100);
    assert!(log.delete_records_before(Offset(201)).is_err());
    if let Some(removal) = log.delete_records_before(Offset(77)).unwrap() {
        removal.run().unwrap();
    }
    assert_eq!(log.start_offset(), Offset(77));
    assert_filled(&log, 77, 200);
    let limits = Limits { max_bytes: 1, first_batch: FirstBatch::AtLeastOne, end: Offset(200) };
    assert!(matches!(log.reader().read(Offset(76), limits), Err(ReadError::OutOfRange { .. })));
    log.close().unwrap();
    dir.close().unwrap();
    let dir = open_dir(&disk);
    let mut log = dir.open_log(&name(), small()).unwrap();
    assert_filled(&log, 77, 200);
    log.delete_records_before(Offset(200)).unwrap().expect("all sealed segments go").run().unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (Offset(200), Offset(200)));
}

#[test]
fn a_reader_that_comes_too_late_for_a_deleted_log_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let disk = cairn_storage::disk::best(cairn_storage::map_budget::MapBudget::default());
    let dir = cairn_storage::DataDir::open(disk, folder.path(), &common::dir_config()).unwrap();
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    fill(&mut log, 100);
    let reader = log.reader();
    assert!(reader.segment_count() > 2);
    dir.delete_log(log).unwrap().remove().unwrap();
    // The first segment was never read, so nothing of it is mapped, and its name is gone.
    match read_from(&reader, Offset(0), 1000) {
        Err(ReadError::Io { source, .. }) => assert_eq!(source.kind(), std::io::ErrorKind::NotFound),
        other => panic!("{other:?}"),
    }
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    fill(&mut log, 10);
    assert_filled(&log, 0, 20);
}

#[test]
fn a_deleted_log_makes_room_for_another() {
    let (_disk, dir, mut log) = new_log();
    fill(&mut log, 10);
    let reader = log.reader();
    let deleted = dir.delete_log(log).unwrap();
    assert!(dir.list_logs().unwrap().is_empty());
    let log = dir.create_log(&name(), topic_id(), small()).unwrap();
    assert_eq!(log.end_offset(), Offset(0));
    deleted.remove().unwrap();
    assert_eq!(read_all(&reader).len(), 20, "a reader keeps what it has");
    assert_eq!(dir.remove_deleted_logs().unwrap(), 0);
}

#[test]
fn a_retry_is_told_from_a_new_batch_also_after_opening_again() {
    let (_disk, dir, mut log) = new_log();
    let first = batch_from(5, 0, 0, &[b"a", b"b"], 1000);
    assert_eq!(append(&mut log, &first, 1, 0).unwrap().outcome, Outcome::Written);
    let next = batch_from(5, 0, 2, &[b"c"], 1001);
    append(&mut log, &next, 1, 0).unwrap();
    let again = append(&mut log, &first, 1, 0).unwrap();
    assert_eq!((again.outcome, again.base_offset, again.last_offset), (Outcome::Duplicate, Offset(0), Offset(1)));
    drop(log);
    let mut log = dir.open_log(&name(), small()).unwrap();
    assert_eq!(append(&mut log, &next, 1, 0).unwrap().outcome, Outcome::Duplicate);
    let gap = append(&mut log, &batch_from(5, 0, 7, &[b"x"], 1002), 1, 0);
    assert!(matches!(gap, Err(AppendError::Producer(_))));
    assert_eq!(log.end_offset(), Offset(3));
    log.close().unwrap();
    let mut log = dir.open_log(&name(), small()).unwrap();
    assert_eq!(append(&mut log, &next, 1, 0).unwrap().outcome, Outcome::Duplicate, "from the snapshot");
}

#[test]
fn any_of_the_last_five_batches_may_be_sent_again_after_a_stop() {
    let (_disk, dir, mut log) = new_log();
    let batches: Vec<_> = (0..8).map(|number| batch_from(5, 0, number, &[b"x"], 1000)).collect();
    for batch in &batches {
        append(&mut log, batch, 1, 0).unwrap();
    }
    log.close().unwrap();
    let mut log = dir.open_log(&name(), small()).unwrap();
    for (number, batch) in batches.iter().enumerate().skip(3) {
        let again = append(&mut log, batch, 1, 0).unwrap();
        assert_eq!(again.outcome, Outcome::Duplicate);
        assert_eq!(again.base_offset, Offset(i64::try_from(number).unwrap()));
    }
    assert!(append(&mut log, &batches[2], 1, 0).is_err(), "too old");
    assert_eq!(append(&mut log, &batch_from(5, 0, 8, &[b"x"], 1000), 1, 0).unwrap().outcome, Outcome::Written);
}

#[test]
fn a_reset_log_knows_no_producer() {
    let (_disk, dir, mut log) = new_log();
    append(&mut log, &batch_from(7, 0, 0, &[b"a"], 1), 1, 1).unwrap();
    // Leaves a snapshot at the log's end.
    log.close().unwrap();
    let mut log = dir.open_log(&name(), small()).unwrap();
    log.reset_to(Offset(1)).unwrap();
    let appended = append(&mut log, &batch_from(7, 0, 0, &[b"b"], 1), 1, 1).unwrap();
    assert_eq!((appended.outcome, appended.base_offset), (Outcome::Written, Offset(1)));
}

#[test]
fn epochs_follow_the_batches_and_cuts() {
    let (_disk, dir, mut log) = new_log();
    for (epoch, count) in [(1, 10), (4, 10), (9, 10)] {
        for _ in 0..count {
            append(&mut log, &batch(&[b"x"], 1), epoch, 0).unwrap();
        }
    }
    assert!(matches!(append(&mut log, &batch(&[b"x"], 1), 8, 0), Err(AppendError::Epoch(_))));
    let starts = |log: &Log| log.epochs().starts().iter().map(|s| (s.epoch.0, s.start.0)).collect::<Vec<_>>();
    assert_eq!(starts(&log), [(1, 0), (4, 10), (9, 20)]);
    assert_eq!(log.end_for_epoch(LeaderEpoch(4)).unwrap().end, Offset(20));
    log.truncate_to(Offset(15)).unwrap();
    assert_eq!(starts(&log), [(1, 0), (4, 10)]);
    log.assign_epoch(LeaderEpoch(12)).unwrap();
    drop(log);
    let mut log = dir.open_log(&name(), small()).unwrap();
    assert_eq!(starts(&log), [(1, 0), (4, 10), (12, 15)], "an epoch that wrote nothing is remembered");
    log.delete_records_before(Offset(12)).unwrap();
    assert_eq!(starts(&log), [(4, 12), (12, 15)]);
}

#[test]
fn a_follower_takes_only_what_follows_on() {
    let (_disk, dir, mut log) = new_log();
    fill(&mut log, 10);
    let limits = Limits { max_bytes: 1 << 20, first_batch: FirstBatch::AtLeastOne, end: Offset(20) };
    let bytes = log.reader().read(Offset(0), limits).unwrap().bytes;
    let other = cairn_storage::log::LogName::new("orders", cairn_protocol::ids::PartitionIndex(4)).unwrap();
    let mut follower = dir.create_log(&other, topic_id(), small()).unwrap();
    let batches: Vec<&[u8]> = BatchIter::new(&bytes).map(|batch| batch.unwrap().as_bytes()).collect();
    assert!(matches!(follow(&mut follower, batches[1]), Err(AppendError::OffsetGap { .. })));
    for batch in batches {
        follow(&mut follower, batch).unwrap();
    }
    assert_eq!(follower.reader().read(Offset(0), limits).unwrap().bytes, bytes);
    assert_eq!(follower.epochs(), log.epochs());
}

#[test]
fn offsets_are_found_by_time() {
    let (_disk, dir, mut log) = new_log();
    fill(&mut log, 300);
    let check = |log: &Log| {
        let reader = log.reader();
        let find = |time| reader.offset_for_time(Timestamp(time), log.end_offset()).unwrap().map(|t| t.offset.0);
        assert_eq!(find(0), Some(0));
        for batch in 0..300 {
            // Both records of a batch have the timestamp of the first one's offset.
            assert_eq!(find(1000 + batch * 2), Some(batch * 2));
            assert_eq!(find(1000 + batch * 2 - 1), Some(batch * 2));
        }
        assert_eq!(find(1600), None);
        assert_eq!(reader.offset_for_time(Timestamp(1300), Offset(300)).unwrap(), None);
        let newest = reader.max_timestamp(reader.end_offset()).unwrap().unwrap();
        assert_eq!((newest.timestamp.0, newest.offset.0), (1598, 598));
    };
    check(&log);
    drop(log);
    let mut log = dir.open_log(&name(), small()).unwrap();
    check(&log);
    log.delete_records_before(Offset(101)).unwrap();
    let found = log.reader().offset_for_time(Timestamp(0), Offset(600)).unwrap().unwrap();
    assert_eq!(found.offset, Offset(101));
}

#[test]
fn large_batches_are_refused_and_change_nothing() {
    let (_disk, _dir, mut log) = new_log();
    let large = vec![7; 5000];
    assert!(matches!(append(&mut log, &batch(&[&large], 1), 1, 0), Err(AppendError::TooLarge { .. })));
    assert_eq!(log.end_offset(), Offset(0));
    assert!(log.epochs().starts().is_empty());
}

#[test]
fn an_old_segment_is_rolled() {
    let (_disk, _dir, mut log) = new_log();
    let mut config = small();
    config.segment_ms = 100;
    log.update_config(config);
    append(&mut log, &batch(&[b"x"], 1000), 1, 5000).unwrap();
    append(&mut log, &batch(&[b"x"], 1100), 1, 5000).unwrap();
    assert_eq!(log.reader().segment_count(), 1);
    append(&mut log, &batch(&[b"x"], 1101), 1, 5000).unwrap();
    assert_eq!(log.reader().segment_count(), 2, "by the records' time");
    assert_eq!(log.maintain(Timestamp(5100), Offset(0)).unwrap().rolled, None);
    assert_eq!(log.maintain(Timestamp(5101), Offset(0)).unwrap().rolled, Some(Offset(3)), "by the clock");
    assert_eq!(log.maintain(Timestamp(9999), Offset(0)).unwrap().rolled, None, "an empty segment is not rolled");
}
