//! Real disks that are full or cannot sync: a small tmpfs, and ext4 on a loop device whose own file is on a full tmpfs.
//!
//! Both need root to mount. Elsewhere each test says `SKIP:` and why, which CI takes for a failure.

#![cfg(target_os = "linux")]

mod common;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cairn_storage::DataDir;
use cairn_storage::allocator::{Allocator, AllocatorConfig};
use cairn_storage::dir::{DirConfig, Preparing};
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::disk::portable::PortableDisk;
use cairn_storage::disk::{AppendFile, Disk, Growth, PrepareChunk};
use cairn_storage::log::{AppendError, Log, LogConfig};

const MIB: u64 = 1024 * 1024;

/// A mounted file system, unmounted when dropped.
struct Mount {
    folder: PathBuf,
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, because a failed file system may be busy with what it cannot write.
        if let Err(error) = run("umount", &["--lazy", &self.folder.to_string_lossy()]) {
            eprintln!("unmount {}: {error}", self.folder.display());
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

fn mount(folder: PathBuf, arguments: &[&str]) -> Result<Mount, String> {
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    run("mount", &[arguments, &[&folder.to_string_lossy()]].concat())?;
    Ok(Mount { folder })
}

fn tmpfs(folder: PathBuf, bytes: u64) -> Result<Mount, String> {
    mount(folder, &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
}

/// ext4 in a sparse file of `bytes` at `image`.
fn ext4_on_loop(folder: PathBuf, image: &Path, bytes: u64) -> Result<Mount, String> {
    File::create(image).and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())?;
    // Without lazy initialisation nothing but our own writes meets the disk below.
    run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", &image.to_string_lossy()])?;
    mount(folder, &["-o", "loop", &image.to_string_lossy()])
}

/// What a test needs from the machine, or the visible word that it did not run.
fn or_skip<T>(made: Result<T, String>) -> Option<T> {
    made.inspect_err(|reason| {
        // Past the capture of the test's output, so that it is seen in a run that passes.
        let _ = writeln!(io::stderr(), "SKIP: {reason}");
    })
    .ok()
}

fn mapped() -> MappedDisk {
    MappedDisk::new(MappedLimits::default()).unwrap()
}

/// Prepares chunk by chunk until the disk is full; answers the error.
fn fill(file: &mut dyn AppendFile) -> io::Error {
    let shared = file.shared();
    loop {
        if let Err(error) = shared.prepare(shared.prepared() + 1) {
            return error;
        }
        let len = usize::try_from(shared.prepared() - shared.written()).unwrap();
        file.append(&[&vec![7; len]]).unwrap();
    }
}

/// A full disk shows as an error of `prepare`; all that was accepted stays; freed space is used without reopening.
fn fills_and_goes_on(disk: &dyn Disk, root: &Path) {
    disk.write_at(&root.join("ballast"), 0, &vec![1; 2 << 20]).unwrap();
    disk.sync_file(&root.join("ballast")).unwrap();
    let path = root.join("log");
    let mut file = disk.create_append(&path, Growth { capacity: 1 << 30, chunk: PrepareChunk::SYNCED }).unwrap();
    let error = fill(&mut *file);
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    let full_at = file.written();
    assert!(full_at > 2 * MIB, "only {full_at} bytes fitted");
    assert!(disk.space(root).unwrap().free < MIB);
    let shared = file.shared();
    shared.sync(0..full_at).unwrap();
    assert!(shared.slice(0..full_at).unwrap().iter().all(|byte| *byte == 7));
    let replaced = disk.replace(&root.join("checkpoint"), &vec![1; 1 << 20]);
    assert_eq!(replaced.unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(!disk.list(root).unwrap().iter().any(|entry| entry.name.contains("checkpoint")), "nothing is left behind");

    disk.remove_file(&root.join("ballast")).unwrap();
    let error = fill(&mut *file);
    assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
    let end = file.written();
    assert!(end >= full_at + MIB, "2 MiB were freed, but {full_at} became only {end}");
    shared.sync(full_at..end).unwrap();
    file.seal().unwrap();
    assert_eq!(disk.open_sealed(&path).unwrap().len(), end);
    assert!(disk.read(&path, 1 << 30).unwrap().iter().all(|byte| *byte == 7));
}

#[test]
fn a_full_tmpfs_is_an_error_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    for (name, disk) in [("mapped", &mapped() as &dyn Disk), ("portable", &PortableDisk::default())] {
        let Some(mount) = or_skip(tmpfs(folder.path().join(name), 8 * MIB)) else { return };
        fills_and_goes_on(disk, &mount.folder);
    }
}

#[test]
fn a_full_ext4_is_an_error_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    for (name, disk) in [("mapped", &mapped() as &dyn Disk), ("portable", &PortableDisk::default())] {
        let image = folder.path().join(format!("{name}.image"));
        let Some(mount) = or_skip(ext4_on_loop(folder.path().join(name), &image, 16 * MIB)) else { return };
        fills_and_goes_on(disk, &mount.folder);
    }
}

#[test]
fn the_allocator_meets_a_full_disk_and_goes_on_when_space_returns() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = or_skip(tmpfs(folder.path().join("full"), 8 * MIB)) else { return };
    let disk = mapped();
    disk.write_at(&mount.folder.join("ballast"), 0, &vec![1; 4 << 20]).unwrap();
    let allocator = Allocator::start(AllocatorConfig::default()).unwrap();
    let mut file = disk.create_append(&mount.folder.join("log"), Growth::up_to(1 << 30)).unwrap();
    let ahead = allocator.attach(file.shared(), PrepareChunk::REPLICATED);
    let mut append_until_full = || loop {
        if let Err(error) = ahead.ensure(file.written() + 5_000) {
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
            return file.written();
        }
        file.append(&[&[7; 5_000]]).unwrap();
        ahead.note(file.written());
    };
    let full_at = append_until_full();
    assert!(full_at > 3 * MIB, "only {full_at} bytes fitted");
    disk.remove_file(&mount.folder.join("ballast")).unwrap();
    let end = append_until_full();
    assert!(end > full_at + 3 * MIB, "4 MiB were freed, but {full_at} became only {end}");
    assert!(file.shared().slice(0..end).unwrap().iter().all(|byte| *byte == 7));
}

/// The first sync that fails is the last one: a later one would find clean pages, succeed, and mean nothing.
fn a_failed_sync_is_final(disk: &dyn Disk, mount: &Mount, below: &Path) {
    let path = mount.folder.join("log");
    let mut file = disk.create_append(&path, Growth::up_to(64 * MIB)).unwrap();
    let shared = file.shared();
    shared.prepare(MIB).unwrap();
    file.append(&[&vec![7; 1 << 20]]).unwrap();
    shared.sync(0..MIB).unwrap();
    // The disk below loses its space: what the file system above promises from now on cannot be written any more.
    let ballast = fs::write(below.join("ballast"), vec![1; 64 << 20]);
    assert_eq!(ballast.unwrap_err().kind(), io::ErrorKind::StorageFull);
    shared.prepare(24 * MIB).unwrap();
    file.append(&[&vec![8; 22 << 20]]).unwrap();
    let error = shared.sync(MIB..file.written()).unwrap_err();
    for _ in 0..4 {
        shared.sync(MIB..file.written()).expect_err("a sync after a failed one must not succeed");
    }
    assert!(shared.slice(MIB..2 * MIB).unwrap().iter().all(|byte| *byte == 8), "what is in memory stays readable");
    println!("the first sync failed with: {error}");
}

#[test]
fn a_sync_that_failed_never_succeeds_again() {
    let folder = tempfile::tempdir().unwrap();
    for (name, disk) in [("mapped", &mapped() as &dyn Disk), ("portable", &PortableDisk::default())] {
        let Some(below) = or_skip(tmpfs(folder.path().join(format!("{name}-below")), 32 * MIB)) else { return };
        let image = below.folder.join("image");
        let Some(mount) = or_skip(ext4_on_loop(folder.path().join(name), &image, 96 * MIB)) else { return };
        a_failed_sync_is_final(disk, &mount, &below.folder);
    }
}

fn data_dir(mount: &Mount) -> (DataDir, Log) {
    let preparing = Preparing::Ahead(AllocatorConfig::default());
    let config = DirConfig { reserve_bytes: None, preparing, boot_id: None };
    let dir = DataDir::open(Arc::new(mapped()), mount.folder.join("data"), &config).unwrap();
    let config = LogConfig { segment_bytes: 1 << 20, ..LogConfig::default() };
    let log = dir.create_log(&common::name(), common::topic_id(), config).unwrap();
    (dir, log)
}

/// Appends records of 10,000 bytes until one is refused; answers why.
fn append_until_refused(log: &mut Log) -> AppendError {
    loop {
        let value = vec![7; 10_000];
        if let Err(error) = common::append(log, &common::batch(&[&value], 1), 1, 1) {
            return error;
        }
    }
}

fn assert_all_there(log: &Log) {
    let seen = common::read_all(&log.reader());
    assert_eq!(i64::try_from(seen.len()).unwrap(), log.end_offset().0);
    assert!(seen.iter().all(|record| record.value == vec![7; 10_000]));
}

#[test]
fn a_log_on_a_full_disk_refuses_keeps_all_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let Some(mount) = or_skip(ext4_on_loop(folder.path().join("mount"), &image, 64 * MIB)) else { return };
    let ballast = mount.folder.join("ballast");
    fs::write(&ballast, vec![1; 16 << 20]).unwrap();
    let (dir, mut log) = data_dir(&mount);
    let refused = append_until_refused(&mut log);
    assert!(matches!(refused, AppendError::DiskReserve { .. } | AppendError::DiskFull), "{refused}");
    let full_at = log.end_offset();
    assert!(full_at.0 > 1_000, "only {full_at} records fitted");
    // Somebody else takes even the reserve.
    let greedy = mount.folder.join("greedy");
    fs::write(&greedy, vec![1; 64 << 20]).unwrap_err();
    dir.refresh_space().unwrap();
    append_until_refused(&mut log);
    common::sync(&mut log);
    assert!(dir.failure().is_none(), "a full disk is no failure");
    assert_all_there(&log);

    fs::remove_file(&greedy).unwrap();
    fs::remove_file(&ballast).unwrap();
    dir.refresh_space().unwrap();
    append_until_refused(&mut log);
    assert!(log.end_offset().0 > full_at.0 + 1_000, "16 MiB were freed, but {full_at} became {}", log.end_offset());
    assert_all_there(&log);
    log.close().unwrap();
}

#[test]
fn a_log_whose_sync_fails_takes_its_data_directory_offline_and_is_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let Some(below) = or_skip(tmpfs(folder.path().join("below"), 32 * MIB)) else { return };
    let image = below.folder.join("image");
    let Some(mount) = or_skip(ext4_on_loop(folder.path().join("mount"), &image, 96 * MIB)) else { return };
    let (dir, mut log) = data_dir(&mount);
    common::append(&mut log, &common::batch(&[&[7; 10_000]], 1), 1, 1).unwrap();
    common::sync(&mut log);
    let durable = log.durable_end();
    fs::write(below.folder.join("ballast"), vec![1; 64 << 20]).unwrap_err();
    // Less than a segment, so that what fails is the sync and not a new file.
    for _ in 0..80 {
        common::append(&mut log, &common::batch(&[&[7; 10_000]], 1), 1, 1).unwrap();
    }
    log.begin_sync().expect("80 records to sync").run().unwrap_err();
    assert!(dir.failure().is_some());
    for _ in 0..3 {
        assert!(matches!(append_until_refused(&mut log), AppendError::Offline(_)));
        if let Some(job) = log.begin_sync() {
            job.run().unwrap_err();
        }
    }
    assert_eq!(log.durable_end(), durable, "nothing more is called durable");
    assert_all_there(&log);
}

#[test]
fn bodies_of_real_disks_are_disks() {
    // Keeps the two bodies interchangeable behind one handle, which is how a data directory holds them.
    let folder = tempfile::tempdir().unwrap();
    let bodies: [Arc<dyn Disk>; 2] = [Arc::new(mapped()), Arc::new(PortableDisk::default())];
    for (n, disk) in bodies.iter().enumerate() {
        let path = folder.path().join(n.to_string());
        let mut file = disk.create_append(&path, Growth::up_to(MIB)).unwrap();
        file.shared().prepare(10).unwrap();
        file.append(&[b"written by one body"]).unwrap();
        file.seal().unwrap();
        let other = &bodies[1 - n];
        let sealed = other.open_sealed(&path).unwrap();
        assert_eq!(sealed.slice(0..sealed.len()).unwrap(), b"written by one body"[..]);
    }
}
