//! What only the mapped body promises: what idle files cost, the budgets, residency, and steps of the allocation.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::disk::PrepareChunk;

fn disk(max_maps: u64, max_bytes: u64, max_descriptors: usize) -> (MappedDisk, tempfile::TempDir) {
    let limits = MappedLimits { sealed: MapBudget { max_maps, max_bytes }, max_descriptors };
    (MappedDisk::new(limits).unwrap(), tempfile::tempdir().unwrap())
}

#[test]
fn idle_files_cost_neither_maps_nor_descriptors() {
    const FILES: usize = 10_000;
    let (disk, folder) = disk(10, 1 << 30, 16);
    let open_before = fs::read_dir("/proc/self/fd").unwrap().count();
    let mut files: Vec<_> = (0..FILES)
        .map(|n| disk.create_append(&folder.path().join(n.to_string()), Growth::up_to(1 << 30)).unwrap())
        .collect();
    assert_eq!(disk.usage(), MapUsage::default());
    // Other tests of this process come and go, but not by thousands.
    let open_after = fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open_after < open_before + FILES / 2, "{open_before} descriptors became {open_after}");
    for file in &mut files[..100] {
        file.shared().prepare(1).unwrap();
        file.append(&[b"x"]).unwrap();
    }
    let usage = disk.usage();
    assert_eq!((usage.append_maps, usage.append_reserved_bytes), (100, 100 << 30));
    assert_eq!(usage.append_prepared_bytes, 100 * 65_536);
    assert_eq!(usage.descriptors, 16);
    let held = files[0].shared().slice(0..1).unwrap();
    drop(files);
    let usage = disk.usage();
    assert_eq!((usage.append_maps, usage.append_prepared_bytes, usage.descriptors), (1, 0, 0), "a reader holds one");
    drop(held);
    assert_eq!(disk.usage(), MapUsage::default());
}

#[test]
fn maps_of_sealed_files_stay_within_their_number() {
    let (disk, folder) = disk(3, 1 << 30, 16);
    let files = sealed(&disk, &folder, 6, 10_000);
    for file in files.iter().cycle().take(30) {
        drop(file.slice(0..10_000).unwrap());
        assert!(disk.usage().sealed_maps <= 3);
    }
    assert_eq!((disk.usage().sealed_maps, disk.usage().sealed_reads_unmapped), (3, 0));
    let held: Vec<_> = files[..3].iter().map(|file| file.slice(5..10_000).unwrap()).collect();
    let beyond = files[3].slice(5..10_000).unwrap();
    assert_eq!((disk.usage().sealed_maps, disk.usage().sealed_reads_unmapped), (3, 1), "what readers hold counts");
    assert!(held.iter().all(|bytes| *bytes == beyond));
    drop(held);
    files[4].slice(0..1).unwrap();
    assert_eq!((disk.usage().sealed_maps, disk.usage().sealed_reads_unmapped), (3, 1));
    drop(files);
    assert_eq!(disk.usage().sealed_maps, 0);
}

#[test]
fn maps_of_sealed_files_stay_within_their_bytes() {
    let (disk, folder) = disk(100, 25_000, 16);
    let files = sealed(&disk, &folder, 4, 10_000);
    for file in files.iter().cycle().take(20) {
        file.populate(0..10_000).unwrap();
        assert!(disk.usage().sealed_bytes <= 25_000);
    }
    assert_eq!((disk.usage().sealed_maps, disk.usage().sealed_bytes), (2, 20_000));
    let large = sealed(&disk, &folder, 1, 30_000);
    assert_eq!(large[0].slice(0..30_000).unwrap().len(), 30_000);
    assert_eq!(disk.usage().sealed_reads_unmapped, 1, "one that never fits is read into a buffer");
}

#[test]
fn what_is_used_stays_mapped() {
    let (disk, folder) = disk(2, 1 << 30, 16);
    let files = sealed(&disk, &folder, 4, 10_000);
    let first = files[0].slice(0..1).unwrap().as_ptr();
    for other in [1, 2, 3, 1, 2, 3] {
        files[other].slice(0..1).unwrap();
        assert_eq!(files[0].slice(0..1).unwrap().as_ptr(), first, "the map that is used between all others stays");
    }
}

#[test]
fn cold_pages_are_told_from_resident_ones() {
    let (disk, folder) = disk(10, 1 << 30, 16);
    let path = folder.path().join("cold");
    let content: Vec<u8> = (0..3_000_000u32).map(|at| at.to_le_bytes()[1]).collect();
    disk.write_at(&path, 0, &content).unwrap();
    disk.sync_file(&path).unwrap();
    let file = fs::File::open(&path).unwrap();
    rustix::fs::fadvise(file.as_fd(), 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let sealed = disk.open_sealed(&path).unwrap();
    if sealed.is_resident(0..3_000_000) {
        // Past the capture of the test's output, so that it is seen in a run that passes.
        let _ = writeln!(io::stderr(), "SKIP: the file system of {} keeps all pages in memory", path.display());
        return;
    }
    sealed.populate(1_000_000..2_500_000).unwrap();
    assert!(sealed.is_resident(1_000_000..2_500_000));
    assert!(sealed.slice(0..3_000_000).unwrap() == content);
    assert!(sealed.is_resident(0..3_000_000));
}

#[test]
fn a_sealed_file_that_was_cut_is_an_error_and_no_signal() {
    let (disk, folder) = disk(10, 1 << 30, 16);
    let files = sealed(&disk, &folder, 2, 100_000);
    files[0].slice(0..100_000).unwrap();
    for (n, file) in files.iter().enumerate() {
        disk.truncate(&folder.path().join(n.to_string()), 50_000).unwrap();
        let error = file.populate(0..100_000).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
    }
    assert_eq!(files[1].slice(0..1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn allocation_doubles_from_a_small_first_step() {
    let (disk, folder) = disk(10, 1 << 30, 16);
    let path = folder.path().join("log");
    let growth = Growth { capacity: 3 << 20, chunk: PrepareChunk::SYNCED };
    let file = disk.create_append(&path, growth).unwrap();
    let shared = file.shared();
    let lengths: Vec<u64> = [1, 60_000, 70_000, 140_000, 300_000, 3 << 20]
        .into_iter()
        .map(|end| {
            shared.prepare(end).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert!(metadata.blocks() * 512 >= shared.prepared(), "{end}: what is prepared has blocks");
            metadata.len()
        })
        .collect();
    assert_eq!(lengths, [65_536, 65_536, 131_072, 262_144, 524_288, 3 << 20]);
    drop(file);
    disk.open_append(&path, 10, growth).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 10, "a reopened file gives back what it does not need");
}

/// Page faults of this thread that did not wait for the disk.
fn minor_faults() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    // The name of the thread, in brackets, may hold spaces; the count is the eighth field behind it.
    let behind_name = stat.rsplit_once(')').unwrap().1;
    behind_name.split_whitespace().nth(7).unwrap().parse().unwrap()
}

/// Faults that asking itself, and the first use of some stack, may bring.
const OTHER_FAULTS: u64 = 30;

#[test]
fn appends_to_prepared_pages_meet_no_page_fault() {
    let (disk, folder) = disk(10, 1 << 30, 16);
    let mut file = disk.create_append(&folder.path().join("log"), Growth::up_to(64 << 20)).unwrap();
    let batch = vec![7; 10_000];
    file.shared().prepare(16 << 20).unwrap();
    let before = minor_faults();
    while file.written() + 10_000 <= 16 << 20 {
        file.append(&[&batch]).unwrap();
    }
    let faults = minor_faults() - before;
    assert!(faults < OTHER_FAULTS, "{faults} faults on 4,096 pages");
}

#[test]
fn appends_behind_a_sync_meet_no_page_fault() {
    let (disk, folder) = disk(10, 1 << 30, 16);
    let growth = Growth { capacity: 64 << 20, chunk: PrepareChunk::SYNCED };
    let mut file = disk.create_append(&folder.path().join("log"), growth).unwrap();
    let shared = file.shared();
    shared.prepare(1 << 20).unwrap();
    let batch = [7; 1_000];
    let mut faults = 0;
    // A page to write each time: the sync has protected it, and the piece of four pages that it lies in.
    for _ in 0..200 {
        let before = minor_faults();
        file.append(&[&batch]).unwrap();
        faults += minor_faults() - before;
        shared.sync(file.written() - 1_000..file.written()).unwrap();
    }
    assert!(faults < OTHER_FAULTS, "{faults} faults in 200 appends");
}

fn sealed(disk: &MappedDisk, folder: &tempfile::TempDir, count: usize, len: usize) -> Vec<Arc<dyn SealedFile>> {
    let open = |n: usize| {
        let path = folder.path().join(n.to_string());
        disk.write_at(&path, 0, &vec![7; len]).unwrap();
        disk.open_sealed(&path).unwrap()
    };
    (0..count).map(open).collect()
}
