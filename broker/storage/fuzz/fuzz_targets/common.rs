//! A small log on a memory disk, of which one file is replaced.

#![allow(dead_code, reason = "each target uses a part of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId};
use cairn_protocol::records::{BatchBuilder, BatchIter, BatchProducer, BatchView, NewRecord, TimestampPolicy};
use cairn_storage::dir::{DataDir, DirConfig, OpenDirError, Preparing};
use cairn_storage::disk::Disk;
use cairn_storage::disk::memory::MemoryDisk;
use cairn_storage::inspect;
use cairn_storage::log::{AppendAs, FirstBatch, Limits, Log, LogConfig, LogName, OpenLogError};

const RECORDS: i64 = 8;

fn open(disk: &Arc<dyn Disk>) -> Result<DataDir, OpenDirError> {
    let boot_id = Some(uuid::Uuid::from_u128(1));
    let config = DirConfig { reserve_bytes: Some(0), preparing: Preparing::OnAppend, boot_id };
    DataDir::open(Arc::clone(disk), "/data", &config)
}

fn name() -> LogName {
    LogName::new("fuzz", PartitionIndex(0)).expect("legal")
}

fn config() -> LogConfig {
    LogConfig { index_interval_bytes: 100, segment_bytes: 1 << 16, retention_ms: None, ..LogConfig::default() }
}

fn folder() -> PathBuf {
    Path::new("/data").join(name().to_string())
}

fn append(log: &mut Log, number: i64) {
    let mut builder = BatchBuilder::new();
    let record = NewRecord { timestamp: Timestamp(1000 + number), key: None, value: Some(&[7; 60]), headers: &[] };
    builder.append(&record).expect("fits");
    let sequence = i32::try_from(number).expect("small");
    let producer = BatchProducer { id: ProducerId(3), epoch: ProducerEpoch(0), base_sequence: sequence };
    let batch = builder.finish(Some(producer)).expect("whole");
    // Behind whatever the fuzzer has put into the log.
    let epoch = LeaderEpoch(log.epochs().latest().map_or(0, |last| last.epoch.0).max(sequence / 4));
    let role = AppendAs::Leader { epoch, now: Timestamp(1000), timestamps: TimestampPolicy::Keep };
    let _refused_for_its_sequence = log.append(&BatchView::parse(&batch).expect("whole"), role);
}

/// A disk with a closed log of eight records, without its checkpoint: recovery scans all of it.
fn log_on_disk() -> Arc<dyn Disk> {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let dir = open(&disk).expect("a new directory");
    let mut log = dir.create_log(&name(), TopicId::ZERO, config()).expect("a new log");
    (0..RECORDS).for_each(|number| append(&mut log, number));
    log.close().expect("closes");
    drop(dir);
    disk
}

fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    let _missing = disk.remove_file(path);
    disk.write_at(path, 0, bytes).expect("memory");
}

/// Reads all of the log; every batch that is handed out is sound and in order.
fn read(log: &Log) -> i64 {
    let reader = log.reader();
    let (mut offset, mut records) = (reader.start_offset(), 0);
    loop {
        let limits = Limits { max_bytes: 500, first_batch: FirstBatch::AtLeastOne, end: reader.end_offset() };
        let Ok(read) = reader.read(offset, limits) else { return records };
        if read.bytes.is_empty() {
            return records;
        }
        for batch in BatchIter::new(&read.bytes) {
            let batch = batch.expect("whole");
            batch.verify_crc().expect("sound");
            assert!(batch.header().end_offset() > offset);
            records += i64::from(batch.header().record_count);
        }
        assert!(read.next_offset > offset);
        offset = read.next_offset;
    }
}

/// The segment itself is the fuzzer's: opened or refused, appended to, opened again.
pub fn with_file(file: &str, bytes: &[u8]) {
    let disk = log_on_disk();
    replace(&*disk, &folder().join(file), bytes);
    let _verdict = inspect::verify(&*disk, &folder()).expect("memory");
    let dir = open(&disk).expect("opens");
    let mut log = match dir.open_log(&name(), config()) {
        Ok(log) => log,
        Err(OpenLogError::Corrupt { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let before = read(&log);
    let reader = log.reader();
    for time in [0, 1003, i64::MAX] {
        let _found = reader.offset_for_time(Timestamp(time), log.end_offset());
    }
    let _newest = reader.max_timestamp(reader.end_offset());
    let end = log.end_offset();
    append(&mut log, 100);
    if let Some(job) = log.begin_sync() {
        let synced = job.run().expect("memory");
        log.on_synced(synced);
    }
    let (after, new_end) = (read(&log), log.end_offset());
    assert!(after >= before && new_end >= end);
    drop(log);
    let log = dir.open_log(&name(), config()).expect("opens again");
    assert_eq!((log.end_offset(), read(&log)), (new_end, after));
}

/// A file that recovery can make anew is the fuzzer's: nothing of the log is missing.
pub fn with_helper(file: &str, bytes: &[u8]) {
    let disk = log_on_disk();
    replace(&*disk, &folder().join(file), bytes);
    let _verdict = inspect::verify(&*disk, &folder()).expect("memory");
    let dir = open(&disk).expect("opens");
    let mut log = dir.open_log(&name(), config()).expect("opens");
    assert_eq!((log.start_offset(), log.end_offset()), (Offset(0), Offset(RECORDS)));
    assert_eq!(read(&log), RECORDS);
    for offset in 0..RECORDS {
        let epoch = log.epochs().epoch_at(Offset(offset)).map(|epoch| i64::from(epoch.0));
        assert_eq!(epoch, Some(offset / 4));
        let _found = log.reader().offset_for_time(Timestamp(1000 + offset), Offset(RECORDS)).expect("sound");
    }
    append(&mut log, RECORDS);
    assert!(read(&log) >= RECORDS);
    log.close().expect("closes");
}

/// A file of the directory is the fuzzer's: refused, or the log is whole.
pub fn with_own_file(file: &str, bytes: &[u8]) {
    let disk = log_on_disk();
    replace(&*disk, &Path::new("/data").join(file), bytes);
    let _verdict = inspect::verify(&*disk, Path::new("/data")).expect("memory");
    let Ok(dir) = open(&disk) else { return };
    match dir.open_log(&name(), config()) {
        Ok(log) => assert!(log.end_offset() <= Offset(RECORDS) || log.start_offset() == log.end_offset()),
        Err(OpenLogError::Corrupt { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}
