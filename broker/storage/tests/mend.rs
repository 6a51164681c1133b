//! Indexes that are found to be wrong are made anew, beside appends and retention.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_protocol::ids::{Offset, Timestamp};
use cairn_storage::DataDir;
use cairn_storage::disk::Disk;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Gate, Rule};
use cairn_storage::disk::memory::MemoryDisk;
use cairn_storage::disk::portable::PortableDisk;
use cairn_storage::log::{Log, LogConfig, Mending};
use cairn_storage::map_budget::MapBudget;
use common::{append, batch, dir_config, name, open_dir, read_all, read_from, small, topic_id};

const RECORDS: i64 = 60;
/// The bytes of an entry of an offset index: relative offset, position.
const ENTRY: usize = 8;

fn first_index() -> PathBuf {
    Path::new("/data/orders-3").join("00000000000000000000.index")
}

/// A log of several segments, of which the first has an index whose second entry names no batch.
fn with_a_wrong_index() -> (FaultyDisk, DataDir, Log) {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let dir = open_dir(&shared);
    let log = written(&dir, &disk, &first_index());
    (disk, dir, log)
}

fn written(dir: &DataDir, disk: &dyn Disk, first_index: &Path) -> Log {
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    for number in 0..RECORDS {
        append(&mut log, &batch(&[&[7; 200]], number), 0, 0).unwrap();
    }
    log.close().unwrap();
    let mut index = disk.read(first_index, 1 << 20).unwrap();
    assert!(index.len() >= 4 * ENTRY, "several entries");
    index[2 * ENTRY - 1] ^= 1;
    disk.write_at(first_index, 0, &index).unwrap();
    dir.open_log(&name(), small()).unwrap()
}

/// Reads at every offset of the first segment, so that the wrong entry is met.
fn meet_it(log: &Log) {
    for offset in 0..20 {
        assert_eq!(read_from(&log.reader(), Offset(offset), 300).unwrap()[0].offset, offset);
    }
}

fn looked_at(log: &mut Log) -> Option<Mending> {
    log.maintain(Timestamp(0), Offset(0)).unwrap().mending
}

#[test]
fn a_wrong_index_is_mended_without_the_logs_lock() {
    let (disk, _dir, mut log) = with_a_wrong_index();
    assert!(looked_at(&mut log).is_none(), "nobody has met it");
    meet_it(&log);
    let reads = || disk.calls(Call::OpenSealed) + disk.calls(Call::Slice) + disk.calls(Call::Populate);
    let before = reads();
    let mending = looked_at(&mut log).expect("an index is known to be wrong");
    assert_eq!(reads(), before, "segments are walked through by whoever runs it");
    // The log goes on meanwhile.
    append(&mut log, &batch(&[&[7; 200]], RECORDS), 0, 0).unwrap();
    let mended = mending.run().unwrap();
    append(&mut log, &batch(&[&[7; 200]], RECORDS), 0, 0).unwrap();
    log.on_mended(mended).unwrap();
    meet_it(&log);
    assert!(looked_at(&mut log).is_none(), "it is right now");
    assert_eq!(read_all(&log.reader()).len(), usize::try_from(RECORDS).unwrap() + 2);
}

#[test]
fn what_retention_takes_meanwhile_is_not_mended() {
    for removed_before_the_walk in [true, false] {
        let (disk, dir, mut log) = with_a_wrong_index();
        meet_it(&log);
        let mending = looked_at(&mut log).unwrap();
        log.update_config(LogConfig { retention_bytes: Some(1_000), ..small() });
        let remove = |log: &mut Log| {
            let end = log.end_offset();
            log.maintain(Timestamp(0), end).unwrap().removal.expect("old segments go").run().unwrap();
        };
        let mended = if removed_before_the_walk {
            remove(&mut log);
            mending.run().unwrap()
        } else {
            let mended = mending.run().unwrap();
            remove(&mut log);
            mended
        };
        log.on_mended(mended).unwrap();
        assert!(disk.read(&first_index(), 1 << 20).is_err(), "its index stays gone");
        assert!(dir.failure().is_none());
    }
}

#[test]
fn a_full_disk_leaves_an_index_for_a_later_look() {
    for nth in 1..=2 {
        let (disk, dir, mut log) = with_a_wrong_index();
        meet_it(&log);
        disk.inject(Rule::nth(Call::WriteAt, nth, Fault::Full));
        let mended = looked_at(&mut log).expect("an index is known to be wrong").run().unwrap();
        log.on_mended(mended).unwrap();
        assert_eq!((disk.injected(), dir.failure().is_none()), (1, true), "write {nth}");
        meet_it(&log);
        let mended = looked_at(&mut log).expect("it is wrong still").run().unwrap();
        log.on_mended(mended).unwrap();
        meet_it(&log);
        assert!(looked_at(&mut log).is_none(), "it is right now");
        let left = disk.list(Path::new("/data/orders-3")).unwrap();
        assert!(left.iter().all(|entry| !entry.name.ends_with("tmp")), "{left:?}");
    }
}

/// A reader has looked its segment up and comes to the index only when another file has its name.
#[test]
fn readers_are_undisturbed_while_an_index_is_exchanged() {
    let folder = tempfile::tempdir().unwrap();
    let one = MapBudget { max_maps: 1, ..MapBudget::default() };
    let disk = FaultyDisk::new(Arc::new(PortableDisk::new(one)));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let dir = DataDir::open(Arc::clone(&shared), folder.path(), &dir_config()).unwrap();
    let index = folder.path().join("orders-3/00000000000000000000.index");
    let mut log = written(&dir, &*shared, &index);
    meet_it(&log);
    // With room for one map the index is opened by its name the next time.
    read_from(&log.reader(), Offset(RECORDS - 1), 300).unwrap();
    let gate = Gate::default();
    disk.inject(Rule::nth(Call::Populate, 1, Fault::Hold(gate.clone())).only(".index"));
    let reader = log.reader();
    let read = std::thread::spawn(move || read_from(&reader, Offset(3), 300).map(|seen| seen[0].offset));
    gate.wait_for_a_call();
    let mended = looked_at(&mut log).unwrap().run().unwrap();
    log.on_mended(mended).unwrap();
    gate.open();
    assert_eq!(read.join().unwrap().unwrap(), 3);
}
