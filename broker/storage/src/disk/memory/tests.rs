//! What a crash of the memory disk keeps and loses.

use super::*;

fn disk() -> (MemoryDisk, PathBuf) {
    let disk = MemoryDisk::new();
    let root = PathBuf::from("/data");
    disk.create_dir(&root).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    (disk, root)
}

fn durable_file(disk: &MemoryDisk, root: &Path, content: &[u8]) -> PathBuf {
    let path = root.join("file");
    disk.write_at(&path, 0, content).unwrap();
    disk.sync_file(&path).unwrap();
    disk.sync_dir(root).unwrap();
    path
}

#[test]
fn a_file_whose_folder_was_not_synced_is_lost() {
    let (disk, root) = disk();
    let path = root.join("file");
    disk.write_at(&path, 0, b"abc").unwrap();
    disk.sync_file(&path).unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(disk.read(&path, 10).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn content_that_was_not_synced_is_lost() {
    let (disk, root) = disk();
    let path = durable_file(&disk, &root, b"old");
    disk.write_at(&path, 0, b"newer").unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(disk.read(&path, 10).unwrap(), b"old");
}

#[test]
fn kill_keeps_everything_but_locks() {
    let (disk, root) = disk();
    let path = root.join("file");
    disk.write_at(&path, 0, b"abc").unwrap();
    let held = disk.lock(&root.join("lock")).unwrap();
    assert_eq!(disk.lock(&root.join("lock")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    disk.crash(Crash::KeepAll);
    assert_eq!(disk.read(&path, 10).unwrap(), b"abc");
    let again = disk.lock(&root.join("lock")).unwrap();
    drop(held);
    assert!(disk.lock(&root.join("lock")).is_err(), "a lock of before the crash must not free one of after");
    drop(again);
    disk.lock(&root.join("lock")).unwrap();
}

#[test]
fn a_process_of_before_the_crash_reaches_nothing_by_name() {
    let (disk, root) = disk();
    let path = durable_file(&disk, &root, b"kept");
    let process = disk.until_crash();
    process.write_at(&path, 0, b"KE").expect("writes");
    disk.crash(Crash::KeepAll);
    process.write_at(&path, 2, b"PT").expect_err("the process is dead");
    process.replace(&path, b"other").expect_err("the process is dead");
    process.remove_file(&path).expect_err("the process is dead");
    assert_eq!(disk.until_crash().read(&path, 100).expect("reads"), b"KEpt");
}

#[test]
fn a_removal_and_a_rename_revert_unless_synced() {
    let (disk, root) = disk();
    let path = durable_file(&disk, &root, b"abc");
    disk.rename(&path, &root.join("other")).unwrap();
    disk.remove_file(&root.join("other")).unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(disk.read(&path, 10).unwrap(), b"abc");
    disk.rename(&path, &root.join("other")).unwrap();
    disk.sync_dir(&root).unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(disk.read(&root.join("other"), 10).unwrap(), b"abc");
    assert!(disk.read(&path, 10).is_err());
}

#[test]
fn a_synced_range_survives_alone() {
    let (disk, root) = disk();
    let path = root.join("log");
    let mut file = disk.create_append(&path, Growth::up_to(1 << 20)).unwrap();
    disk.sync_dir(&root).unwrap();
    let shared = file.shared();
    shared.prepare(40_000).unwrap();
    file.append(&[&[7; 12_288]]).unwrap();
    shared.sync(4096..8192).unwrap();
    let held = shared.slice(0..12_288).unwrap();
    disk.crash(Crash::LoseUnsynced);
    let after = disk.read(&path, 1 << 20).unwrap();
    assert_eq!(after.len(), 65_536, "the length is made durable with any range");
    assert!(after[..4096].iter().all(|byte| *byte == 0));
    assert!(after[4096..8192].iter().all(|byte| *byte == 7));
    assert!(after[8192..].iter().all(|byte| *byte == 0));
    assert!(held.iter().all(|byte| *byte == 7), "readers keep what they hold");
    file.append(&[b"ghost"]).unwrap();
    assert_eq!(disk.read(&path, 1 << 20).unwrap(), after, "a writer of before the crash is dead");
}

#[test]
fn a_random_crash_keeps_a_part_by_units_and_is_the_same_for_a_seed() {
    let image = |seed, unit| {
        let (disk, root) = disk();
        let path = durable_file(&disk, &root, &[1; 16_384]);
        disk.write_at(&path, 0, &[2; 16_384]).unwrap();
        disk.crash(Crash::Random { seed, unit });
        disk.read(&path, 1 << 20).unwrap()
    };
    for unit in [CrashUnit::Sector, CrashUnit::Page] {
        let mut kept = HashSet::new();
        for seed in 0..64 {
            let bytes = image(seed, unit);
            assert_eq!(bytes, image(seed, unit));
            for piece in bytes.chunks(unit.bytes()) {
                assert!(piece.iter().all(|byte| *byte == piece[0]), "seed {seed}: a unit is kept or lost whole");
            }
            kept.insert(bytes);
        }
        assert!(kept.len() > 8, "{unit:?}: seeds must differ, got {}", kept.len());
    }
}

#[test]
fn a_random_crash_keeps_a_prefix_of_a_folders_history() {
    let mut seen = HashSet::new();
    for seed in 0..64 {
        let (disk, root) = disk();
        for name in ["a", "b", "c"] {
            disk.write_at(&root.join(name), 0, b"x").unwrap();
        }
        disk.crash(Crash::Random { seed, unit: CrashUnit::Page });
        let names: Vec<String> = disk.list(&root).unwrap().into_iter().map(|entry| entry.name).collect();
        seen.insert(names.concat());
    }
    let all: HashSet<String> = ["", "a", "ab", "abc"].map(str::to_owned).into();
    assert_eq!(seen, all);
}

#[test]
fn a_full_disk_refuses_and_takes_again_when_space_returns() {
    let (disk, root) = disk();
    disk.set_capacity(150_000);
    let path = root.join("log");
    let mut file = disk.create_append(&path, Growth::up_to(1 << 20)).unwrap();
    let shared = file.shared();
    shared.prepare(131_072).unwrap();
    assert_eq!(shared.prepare(131_073).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(shared.prepared(), 131_072);
    file.append(&[&[1; 131_072]]).unwrap();
    assert_eq!(disk.write_at(&root.join("x"), 0, &[0; 20_000]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.replace(&root.join("x"), &[0; 20_000]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.space(&root).unwrap(), Space { total: 150_000, free: 150_000 - 131_072 });
    disk.remove_file(&path).unwrap();
    assert_eq!(disk.space(&root).unwrap().free, 150_000);
    disk.replace(&root.join("x"), &[0; 20_000]).unwrap();
}

#[test]
fn a_removed_folder_comes_back_unless_its_parent_was_synced() {
    let (disk, root) = disk();
    disk.create_dir(&root.join("topic-0")).unwrap();
    disk.sync_dir(&root).unwrap();
    durable_file(&disk, &root.join("topic-0"), b"abc");
    disk.remove_dir(&root.join("topic-0")).unwrap();
    assert_eq!(disk.list(&root).unwrap(), []);
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(disk.read(&root.join("topic-0/file"), 10).unwrap(), b"abc");
    disk.remove_dir(&root.join("topic-0")).unwrap();
    disk.sync_dir(&root).unwrap();
    disk.crash(Crash::LoseUnsynced);
    assert_eq!(disk.list(&root).unwrap(), []);
    assert_eq!(disk.space(&root).unwrap().free, DEFAULT_CAPACITY_BYTES);
}

/// A file of ones, all durable, cut to 4 KiB; then 4 KiB of twos behind the cut, of which the first 512 bytes are synced if
/// `synced`.
fn cut_and_appended(synced: Synced) -> (MemoryDisk, PathBuf) {
    let (disk, root) = disk();
    let path = durable_file(&disk, &root, &[1; 16_384]);
    let mut file = disk.open_append(&path, 4_096, Growth::up_to(1 << 20)).unwrap();
    file.shared().prepare(16_384).unwrap();
    file.append(&[&[2; 4_096]]).unwrap();
    if synced == Synced::Yes {
        file.shared().sync(4_096..4_608).unwrap();
    }
    (disk, path)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Synced {
    Yes,
    No,
}

#[test]
fn what_was_cut_never_follows_what_was_synced_after_the_cut() {
    let crashes = (0..64).map(|seed| Crash::Random { seed, unit: CrashUnit::Sector }).chain([Crash::LoseUnsynced]);
    for crash in crashes {
        let (disk, path) = cut_and_appended(Synced::Yes);
        disk.crash(crash);
        let content = disk.read(&path, 1 << 20).unwrap();
        assert!(content[..4_096].iter().all(|byte| *byte == 1), "{crash:?}");
        assert!(content[4_096..4_608].iter().all(|byte| *byte == 2), "{crash:?}");
        assert!(!content[4_608..].contains(&1), "{crash:?}: a later length is durable, so the cut is");
    }
}

#[test]
fn a_cut_that_was_not_synced_may_revert_but_not_mix() {
    let mut reverted = 0;
    for seed in 0..64 {
        let (disk, path) = cut_and_appended(Synced::No);
        disk.crash(Crash::Random { seed, unit: CrashUnit::Sector });
        let behind = disk.read(&path, 1 << 20).unwrap().split_off(4_096);
        if behind.contains(&1) {
            reverted += 1;
            assert_eq!(behind, [1; 12_288], "seed {seed}");
        }
    }
    assert!((10..54).contains(&reverted), "{reverted} of 64");
}
