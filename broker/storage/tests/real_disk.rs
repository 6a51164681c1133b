//! A log on real files, through maps and by pwrite: readers, the syncing thread and the allocator beside one writer.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use cairn_protocol::ids::{Offset, Timestamp};
use cairn_storage::DataDir;
use cairn_storage::dir::{DirConfig, LastShutdown};
use cairn_storage::disk::Disk;
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::disk::portable::PortableDisk;
use cairn_storage::inspect;
use cairn_storage::log::{FirstBatch, HotRead, Limits, Log, LogConfig, LogReader};
use common::{append, batch, name, read_all, topic_id};
use parking_lot::Mutex;

fn bodies() -> Vec<Arc<dyn Disk>> {
    vec![Arc::new(MappedDisk::new(MappedLimits::default()).unwrap()), Arc::new(PortableDisk::default())]
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 200_000, retention_ms: None, ..LogConfig::default() }
}

fn open(disk: &Arc<dyn Disk>, path: &Path) -> DataDir {
    DataDir::open(Arc::clone(disk), path, &DirConfig { reserve_bytes: Some(0), ..DirConfig::default() }).unwrap()
}

fn value(offset: i64) -> Vec<u8> {
    let mut value = offset.to_be_bytes().to_vec();
    value.resize(500, u8::try_from(offset % 251).unwrap());
    value
}

/// Follows the log as a consumer does until it has read up to `until`, or the writer gives up.
fn follow(reader: &LogReader, from: Offset, until: i64, written: &AtomicI64, stopped: &AtomicBool) -> i64 {
    let mut offset = from;
    while offset.0 < until {
        let end = Offset(written.load(Ordering::Acquire));
        let limits = Limits { max_bytes: 64 << 10, first_batch: FirstBatch::AtLeastOne, end };
        let read = match reader.read_hot(offset, limits).unwrap() {
            HotRead::Ready(read) => read,
            HotRead::Cold => reader.read(offset, limits).unwrap(),
        };
        if read.bytes.is_empty() {
            if stopped.load(Ordering::Acquire) && offset >= end {
                break;
            }
            std::thread::yield_now();
            continue;
        }
        for batch in cairn_protocol::records::BatchIter::new(&read.bytes) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            let header = batch.header();
            assert_eq!(header.base_offset, offset);
            assert!(header.end_offset() <= end);
            offset = header.end_offset();
        }
        assert_eq!(read.next_offset, offset);
    }
    offset.0
}

#[test]
fn readers_and_syncs_beside_the_writer() {
    const RECORDS: i64 = 6_000;
    for disk in bodies() {
        let folder = tempfile::tempdir().unwrap();
        let dir = open(&disk, folder.path());
        let log = Mutex::new(dir.create_log(&name(), topic_id(), config()).unwrap());
        let reader = log.lock().reader();
        let (written, stopped) = (AtomicI64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let readers: Vec<_> =
                (0..2).map(|_| scope.spawn(|| follow(&reader, Offset(0), RECORDS, &written, &stopped))).collect();
            let syncer = scope.spawn(|| {
                let mut syncs = 0;
                // Once at least, however late this thread is given a processor.
                while syncs == 0 || !stopped.load(Ordering::Acquire) {
                    let job = log.lock().begin_sync();
                    let Some(job) = job else {
                        std::thread::yield_now();
                        continue;
                    };
                    let synced = job.run().unwrap();
                    log.lock().on_synced(synced);
                    syncs += 1;
                }
                syncs
            });
            for offset in 0..RECORDS {
                let bytes = batch(&[&value(offset)], 1000 + offset);
                let appended = append(&mut log.lock(), &bytes, 0, 0).unwrap();
                assert_eq!(appended.base_offset, Offset(offset));
                written.store(offset + 1, Ordering::Release);
            }
            for reader in readers {
                assert_eq!(reader.join().unwrap(), RECORDS);
            }
            stopped.store(true, Ordering::Release);
            assert!(syncer.join().unwrap() > 0);
        });
        let log = log.into_inner();
        assert!(log.reader().segment_count() > 10);
        log.close().unwrap();
        dir.close().unwrap();
        assert!(inspect::verify(&*disk, folder.path()).unwrap().is_sound());
        let dir = open(&disk, folder.path());
        assert_eq!(dir.last_shutdown(), LastShutdown::Clean);
        let log = dir.open_log(&name(), config()).unwrap();
        let seen = read_all(&log.reader());
        assert_eq!(seen.len(), usize::try_from(RECORDS).unwrap());
        assert!(seen.iter().all(|record| record.value == value(record.offset)));
    }
}

/// As after kill -9: the log is dropped, nothing was closed.
#[test]
fn a_log_that_was_dropped_is_whole() {
    for disk in bodies() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..5i64 {
            let dir = open(&disk, folder.path());
            let mut log: Log = match round {
                0 => dir.create_log(&name(), topic_id(), config()).unwrap(),
                _ => dir.open_log(&name(), config()).unwrap(),
            };
            assert_eq!(log.end_offset(), Offset(round * 700));
            for offset in round * 700..(round + 1) * 700 {
                append(&mut log, &batch(&[&value(offset)], 1000 + offset), 0, 0).unwrap();
                if offset % 97 == 0
                    && let Some(job) = log.begin_sync()
                {
                    log.on_synced(job.run().unwrap());
                }
            }
            if round == 3 {
                dir.write_checkpoint().unwrap();
            }
        }
        let dir = open(&disk, folder.path());
        let log = dir.open_log(&name(), config()).unwrap();
        let seen = read_all(&log.reader());
        assert_eq!(seen.len(), 3_500);
        assert!(seen.iter().all(|record| record.value == value(record.offset)));
        let found = log.reader().offset_for_time(Timestamp(2234), log.end_offset()).unwrap().unwrap();
        assert_eq!(found.offset, Offset(1234));
    }
}

/// A truncation changes nothing that readers hold, also in a map.
#[test]
fn readers_hold_what_is_cut() {
    for disk in bodies() {
        let folder = tempfile::tempdir().unwrap();
        let dir = open(&disk, folder.path());
        let mut log = dir.create_log(&name(), topic_id(), config()).unwrap();
        for offset in 0..1_000 {
            append(&mut log, &batch(&[&value(offset)], offset), 0, 0).unwrap();
        }
        let limits = Limits { max_bytes: 1 << 20, first_batch: FirstBatch::AtLeastOne, end: Offset(1_000) };
        let held: Vec<_> = (0..1_000).map(|offset| log.reader().read(Offset(offset), limits).unwrap()).collect();
        let copies: Vec<Vec<u8>> = held.iter().map(|read| read.bytes.to_vec()).collect();
        for cut in [990, 700, 699, 345, 10, 0] {
            assert_eq!(log.truncate_to(Offset(cut)).unwrap(), Offset(cut));
            for offset in cut..cut + 300 {
                append(&mut log, &batch(&[&value(offset + 7)], offset), 0, 0).unwrap();
            }
        }
        for (read, copy) in held.iter().zip(&copies) {
            assert_eq!(&read.bytes[..], &copy[..]);
        }
        log.close().unwrap();
        dir.close().unwrap();
        assert!(inspect::verify(&*disk, folder.path()).unwrap().is_sound());
    }
}
