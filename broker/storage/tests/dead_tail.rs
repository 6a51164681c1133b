//! What a cut leaves behind the end of a segment that stays: it goes as soon as nobody can hold it, and not before.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_protocol::ids::{Offset, Timestamp};
use cairn_storage::DataDir;
use cairn_storage::disk::Disk;
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::disk::memory::MemoryDisk;
use cairn_storage::disk::portable::PortableDisk;
use cairn_storage::inspect;
use cairn_storage::log::{Batches, FirstBatch, Limits, Log, LogReader};
use cairn_storage::map_budget::MapBudget;
use common::{append, batch, dir_config, name, read_all, read_from, small, sync, topic_id};

fn bodies() -> Vec<Arc<dyn Disk>> {
    let one = MapBudget { max_maps: 1, ..MapBudget::default() };
    vec![
        Arc::new(MemoryDisk::new()),
        Arc::new(PortableDisk::default()),
        Arc::new(MappedDisk::new(MappedLimits::default()).unwrap()),
        Arc::new(MappedDisk::new(MappedLimits { sealed: one, ..MappedLimits::default() }).unwrap()),
    ]
}

fn fill(log: &mut Log, count: i64) {
    for _ in 0..count {
        let offset = log.end_offset().0;
        let value = format!("value {offset} {}", "x".repeat(200)).into_bytes();
        append(log, &batch(&[&value], 1000 + offset), 1, 0).unwrap();
    }
}

fn new_log(disk: &Arc<dyn Disk>, root: &Path) -> (DataDir, Log) {
    let dir = DataDir::open(Arc::clone(disk), root, &dir_config()).unwrap();
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    fill(&mut log, 70);
    (dir, log)
}

fn read(reader: &LogReader, from: i64) -> Batches {
    let limits = Limits { max_bytes: 10_000, first_batch: FirstBatch::AtLeastOne, end: reader.end_offset() };
    reader.read(Offset(from), limits).unwrap()
}

/// What a tool sees in the files: whether each but the last segment ends with its last batch, and its indexes are its own.
fn sealed_segments_hold(disk: &Arc<dyn Disk>, root: &Path) -> Result<(), String> {
    let folder = root.join("orders-3");
    let verdict = inspect::verify(&**disk, &folder).unwrap();
    let last = disk.list(&folder).unwrap().into_iter().rfind(|entry| entry.name.ends_with(".log")).unwrap();
    // The one that takes appends has room behind its last batch.
    let remarks = verdict.remarks.iter().filter(|remark| remark.path != last.path);
    let wrong = verdict.problems.iter().chain(remarks).next();
    wrong.map_or(Ok(()), |wrong| Err(wrong.to_string()))
}

#[test]
fn a_sealed_segment_ends_with_its_last_batch_after_every_cut() {
    let folder = tempfile::tempdir().unwrap();
    for (at, disk) in bodies().into_iter().enumerate() {
        for (cut, again) in (1..70).step_by(8).map(|cut| (cut, cut / 2)) {
            let root = folder.path().join(format!("{at}-{cut}"));
            let (dir, mut log) = new_log(&disk, &root);
            if cut % 3 == 0 {
                sync(&mut log);
            }
            for to in [cut, again] {
                log.truncate_to(Offset(to)).unwrap();
                sealed_segments_hold(&disk, &root).unwrap_or_else(|wrong| panic!("{at}, cut to {to}: {wrong}"));
                assert_eq!(read_all(&log.reader()).len(), usize::try_from(to).unwrap());
                fill(&mut log, 20);
                sealed_segments_hold(&disk, &root).unwrap_or_else(|wrong| panic!("{at}, behind {to}: {wrong}"));
            }
            log.close().unwrap();
            drop(dir);
            let verdict = inspect::verify(&*disk, &root.join("orders-3")).unwrap();
            assert!(verdict.is_sound() && verdict.remarks.is_empty(), "{at}, {cut}: {verdict}");
        }
    }
}

#[test]
fn what_a_reader_holds_stays_until_it_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    for (at, disk) in bodies().into_iter().enumerate() {
        // In the segment that takes appends, and in one before.
        for cut in [15, 66] {
            let root = folder.path().join(format!("{at}-{cut}"));
            let (_dir, mut log) = new_log(&disk, &root);
            let held = read(&log.reader(), cut + 1);
            let before = held.bytes.to_vec();
            log.truncate_to(Offset(cut)).unwrap();
            fill(&mut log, 5);
            log.maintain(Timestamp(0), Offset(0)).unwrap();
            assert_eq!(held.bytes, before, "{at}, {cut}");
            drop(held);
            let kept = read(&log.reader(), cut - 1);
            log.maintain(Timestamp(0), Offset(0)).unwrap();
            sealed_segments_hold(&disk, &root).unwrap_or_else(|wrong| panic!("{at}, cut to {cut}: {wrong}"));
            assert_eq!(kept.bytes, read(&log.reader(), cut - 1).bytes, "what was read since is of the part that stays");
            assert_eq!(read_all(&log.reader()).len(), usize::try_from(cut + 5).unwrap());
        }
    }
}

#[test]
fn what_was_read_before_its_segment_was_sealed_stays_too() {
    let folder = tempfile::tempdir().unwrap();
    for (at, disk) in bodies().into_iter().enumerate() {
        let root = folder.path().join(format!("{at}"));
        let dir = DataDir::open(Arc::clone(&disk), &root, &dir_config()).unwrap();
        let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
        fill(&mut log, 6);
        let held = read(&log.reader(), 3);
        let before = held.bytes.to_vec();
        fill(&mut log, 60);
        log.truncate_to(Offset(2)).unwrap();
        fill(&mut log, 5);
        log.maintain(Timestamp(0), Offset(0)).unwrap();
        let is_mapped = at >= 2;
        assert_eq!(sealed_segments_hold(&disk, &root).is_err(), is_mapped, "{at}: slices of maps keep the tail");
        assert_eq!(held.bytes, before, "{at}");
        drop(held);
        log.maintain(Timestamp(0), Offset(0)).unwrap();
        sealed_segments_hold(&disk, &root).unwrap_or_else(|wrong| panic!("{at}: {wrong}"));
    }
}

/// Tells readers that it is over, however that comes about.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Readers hold what they have read for a while, and look at it again.
#[test]
fn readers_go_on_beside_cuts() {
    let folder = tempfile::tempdir().unwrap();
    for (at, disk) in bodies().into_iter().enumerate() {
        let (_dir, mut log) = new_log(&disk, &folder.path().join(format!("{at}")));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for number in 0..2u64 {
                let (reader, done) = (log.reader(), &done);
                scope.spawn(move || {
                    let mut held = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        // The log may be cut below what is read.
                        let seen = read_from(&reader, Offset(0), 300 + 3000 * number).unwrap_or_default();
                        for record in &seen {
                            assert!(record.value.starts_with(format!("value {} ", record.offset).as_bytes()));
                        }
                        let batches = read(&reader, 0);
                        held.push((batches.bytes.to_vec(), batches.bytes));
                        if held.len() > 20 {
                            held.iter().for_each(|(before, bytes)| assert!(before == bytes));
                            held.clear();
                        }
                    }
                });
            }
            let _ends = Ends(&done);
            for round in 0..60 {
                log.truncate_to(Offset(20 + round % 7 * 6)).unwrap();
                fill(&mut log, 30);
                log.maintain(Timestamp(0), Offset(0)).unwrap();
            }
        });
        assert!(log.maintain(Timestamp(0), Offset(0)).is_ok());
        sealed_segments_hold(&disk, &folder.path().join(format!("{at}"))).unwrap();
    }
}
