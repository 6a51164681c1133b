//! Folders as Apache Kafka leaves them: exchanges of segments that were interrupted, segments without a batch, transactions.

mod common;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_protocol::records::{BatchView, Compression, TimestampPolicy, stamped_header};
use cairn_storage::DataDir;
use cairn_storage::disk::Disk;
use cairn_storage::disk::memory::{Crash, MemoryDisk};
use cairn_storage::disk::portable::PortableDisk;
use cairn_storage::log::{Log, LogConfig};
use cairn_storage::map_budget::MapBudget;
use common::keyed::{KeyValue, compact, compacted, keyed_batch, keyed_batch_from, read_keyed, table};
use common::{append, batch, dir_config, name, open_dir, read_all, read_from, small, sync, topic_id};

const FOLDER: &str = "/data/orders-3";

/// A batch with its place, as it lies in a segment.
fn placed(batch: &Bytes, offset: i64) -> Vec<u8> {
    let view = BatchView::parse(batch).unwrap();
    let mut bytes = stamped_header(&view, Offset(offset), LeaderEpoch(2), TimestampPolicy::Keep).to_vec();
    bytes.extend_from_slice(view.record_bytes());
    bytes
}

/// Batches of one record each at these offsets, as a segment's bytes.
fn segment_of(offsets: &[i64]) -> Vec<u8> {
    let one = |offset: &i64| placed(&batch(&[format!("value {offset}").as_bytes()], 1000 + offset), *offset);
    offsets.iter().flat_map(one).collect()
}

/// A disk with a folder of these files, all of them durable.
fn disk_with(files: &[(String, Vec<u8>)]) -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir(Path::new(FOLDER)).unwrap();
    for (name, content) in files {
        let path = Path::new(FOLDER).join(name);
        disk.write_at(&path, 0, content).unwrap();
        disk.sync_file(&path).unwrap();
    }
    for folder in [FOLDER, "/data", "/"] {
        disk.sync_dir(Path::new(folder)).unwrap();
    }
    disk
}

fn file(base: i64, ending: &str, content: Vec<u8>) -> (String, Vec<u8>) {
    (format!("{base:020}.{ending}"), content)
}

fn offsets(log: &Log) -> Vec<i64> {
    read_all(&log.reader()).iter().map(|seen| seen.offset).collect()
}

/// Kafka's cleaner renames the copy, then the segments that it replaces, then the copy again; it may die in between.
#[test]
fn an_exchange_that_kafka_has_begun_is_finished() {
    let copy = || file(0, "log.swap", segment_of(&[5, 150]));
    let old = [(0, segment_of(&[1, 5])), (100, segment_of(&[101, 150]))];
    for renamed in 0..=old.len() {
        let mut files = vec![copy(), file(200, "log", segment_of(&[200, 201])), file(300, "log", segment_of(&[300]))];
        for (at, (base, content)) in old.iter().enumerate() {
            files.push(file(*base, if at < renamed { "log.deleted" } else { "log" }, content.clone()));
        }
        let memory = disk_with(&files);
        for round in 0..2 {
            let disk: Arc<dyn Disk> = Arc::new(memory.clone());
            let dir = open_dir(&disk);
            let log = dir.open_log(&name(), small()).unwrap();
            assert_eq!(offsets(&log), [5, 150, 200, 201, 300], "{renamed} renamed, round {round}");
            assert_eq!((log.start_offset(), log.end_offset()), (Offset(0), Offset(301)), "{renamed} renamed");
            drop((log, dir));
            memory.crash(Crash::KeepAll);
        }
        let left = memory.list(Path::new(FOLDER)).unwrap();
        assert!(left.iter().all(|entry| !entry.name.ends_with("swap") && !entry.name.ends_with("deleted")), "{left:?}");
    }
}

/// Kafka's cleaner leaves a segment of which nothing stayed as an empty file. What lies behind it is no torn tail.
#[test]
fn a_sealed_segment_without_a_batch_is_passed_over() {
    let layouts: [&[(i64, &[i64])]; 4] = [
        &[(0, &[0, 5]), (100, &[]), (200, &[200, 201]), (300, &[300])],
        &[(0, &[]), (100, &[100]), (200, &[200])],
        &[(0, &[3]), (100, &[]), (200, &[]), (300, &[300])],
        &[(0, &[]), (100, &[]), (200, &[])],
    ];
    for layout in layouts {
        let files: Vec<_> = layout.iter().map(|(base, offsets)| file(*base, "log", segment_of(offsets))).collect();
        let memory = disk_with(&files);
        let mut expected: Vec<i64> = layout.iter().flat_map(|(_, offsets)| offsets.iter().copied()).collect();
        let end = expected.last().map_or(200, |last| last + 1);
        for round in 0..3 {
            let disk: Arc<dyn Disk> = Arc::new(memory.clone());
            let dir = open_dir(&disk);
            let mut log = dir.open_log(&name(), small()).unwrap();
            assert_eq!(offsets(&log), expected, "{layout:?} round {round}");
            assert_eq!((log.start_offset(), log.end_offset()), (Offset(0), Offset(end + round)), "{layout:?}");
            dir.write_checkpoint().unwrap();
            if round == 0 {
                // The power goes before anything was synced, but the checkpoint knows the log.
                drop((log, dir));
                memory.crash(Crash::LoseUnsynced);
                let dir = open_dir(&disk);
                log = dir.open_log(&name(), small()).unwrap();
                assert_eq!(offsets(&log), expected, "{layout:?} after a crash");
            }
            append(&mut log, &batch(&[b"more"], 5000), 2, 5000).unwrap();
            expected.push(end + round);
            sync(&mut log);
        }
    }
}

#[test]
fn segments_without_a_batch_do_not_keep_a_log_from_being_compacted() {
    let record = |offset: i64, key: &str| {
        placed(&keyed_batch(&[(Some(key), Some(&format!("value {offset}")))], 1000, Compression::None), offset)
    };
    let layouts = [
        vec![(0, vec![0, 1]), (100, vec![]), (200, vec![200, 201]), (300, vec![])],
        vec![(0, vec![]), (100, vec![100, 101]), (200, vec![200])],
        vec![(0, vec![]), (100, vec![]), (200, vec![200])],
    ];
    for layout in layouts {
        let bytes = |offsets: &[i64]| offsets.iter().flat_map(|offset| record(*offset, "a")).collect();
        let mut files: Vec<_> = layout.iter().map(|(base, offsets)| file(*base, "log", bytes(offsets))).collect();
        files.push(file(400, "log", record(400, "b")));
        let memory = disk_with(&files);
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let dir = open_dir(&disk);
        let mut log = dir.open_log(&name(), compacted()).unwrap();
        sync(&mut log);
        let newest = layout.iter().flat_map(|(_, offsets)| offsets).max().copied();
        for round in 0..2 {
            let done = compact(&dir, &mut log, 10_000);
            assert_eq!(done.is_some(), round == 0, "{layout:?}: once is enough");
            let seen = read_keyed(&log.reader(), Offset(0), 700).unwrap();
            let kept: Vec<i64> = seen.iter().map(|record| record.offset).collect();
            assert_eq!(kept, newest.into_iter().chain([400]).collect::<Vec<_>>(), "{layout:?}");
        }
        drop((log, dir));
        memory.crash(Crash::KeepAll);
        let log = open_dir(&disk).open_log(&name(), compacted()).unwrap();
        assert_eq!(
            (offsets(&log).len(), log.end_offset()),
            (newest.into_iter().count() + 1, Offset(401)),
            "{layout:?}"
        );
    }
}

/// Attributes of a batch and its checksum, changed.
fn with_attributes(batch: &Bytes, attributes: u8) -> Bytes {
    const CHECKSUM_AT: usize = 17;
    const ATTRIBUTES_AT: usize = 21;
    let mut bytes = batch.to_vec();
    bytes[ATTRIBUTES_AT + 1] |= attributes;
    let checksum = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
    bytes[CHECKSUM_AT..ATTRIBUTES_AT].copy_from_slice(&checksum.to_be_bytes());
    bytes.into()
}

/// Records of transactions stay for good as yet, so what says that they are deleted has to stay as well.
#[test]
fn a_tombstone_stays_as_long_as_the_record_of_a_transaction_that_it_hides() {
    const TRANSACTIONAL: u8 = 0x10;
    const CONTROL: u8 = 0x20;
    let memory = MemoryDisk::new();
    let dir = open_dir(&(Arc::new(memory) as Arc<dyn Disk>));
    let mut log = dir.create_log(&name(), topic_id(), compacted()).unwrap();
    let put = |log: &mut Log, producer: Option<(i64, i32)>, records: &[KeyValue<'_>], attributes: u8| {
        let bytes = keyed_batch_from(producer, records, 1, Compression::None);
        append(log, &with_attributes(&bytes, attributes), 1, 1).unwrap();
    };
    // Nothing of a transaction lies before this one.
    put(&mut log, None, &[(Some("early"), None)], 0);
    put(&mut log, Some((7, 0)), &[(Some("t"), Some("of a transaction"))], TRANSACTIONAL);
    put(&mut log, Some((7, -1)), &[(Some("\0\0\0\u{1}"), Some("\0\0\0\0\0\0"))], TRANSACTIONAL | CONTROL);
    put(&mut log, None, &[(Some("t"), None)], 0);
    for now in [10_000, 20_000, 30_000] {
        for _ in 0..10 {
            put(&mut log, None, &[(Some("filler"), Some(&"f".repeat(600)))], 0);
        }
        sync(&mut log);
        compact(&dir, &mut log, now).unwrap();
        let seen = read_keyed(&log.reader(), Offset(0), 700).unwrap();
        assert!(!table(&seen).contains_key(b"t".as_slice()), "it came back at {now}");
    }
    let seen = read_keyed(&log.reader(), Offset(0), 700).unwrap();
    assert!(seen.iter().all(|record| record.key.as_deref() != Some(b"early")), "this one hides nothing");
}

/// While it appends, Kafka keeps its index files as long as they may become. Whoever kills it leaves them so.
#[test]
fn an_index_that_was_longer_than_its_content_is_read_again_when_its_map_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let one = MapBudget { max_maps: 1, ..MapBudget::default() };
    let disk: Arc<dyn Disk> = Arc::new(PortableDisk::new(one));
    let dir = DataDir::open(Arc::clone(&disk), folder.path(), &dir_config()).unwrap();
    let roomy = LogConfig { segment_bytes: 1 << 20, ..small() };
    let mut log = dir.create_log(&name(), topic_id(), roomy.clone()).unwrap();
    for number in 0..60 {
        append(&mut log, &batch(&[&[7; 200]], 1000 + number), 0, 0).unwrap();
    }
    log.close().unwrap();
    for (ending, entry) in [("index", 8), ("timeindex", 12)] {
        let path = folder.path().join(format!("orders-3/{:020}.{ending}", 0));
        let content = disk.read(&path, 1 << 20).unwrap();
        assert!(content.len() >= 10 * entry, "several entries");
        disk.write_at(&path, content.len() as u64, &vec![0; 100 * entry]).unwrap();
    }
    let log = dir.open_log(&name(), roomy).unwrap();
    for offset in 0..60 {
        assert_eq!(read_from(&log.reader(), Offset(offset), 300).unwrap()[0].offset, offset);
        let found = log.reader().offset_for_time(Timestamp(1000 + offset), log.end_offset()).unwrap();
        assert_eq!(found.map(|found| found.offset), Some(Offset(offset)));
    }
}
