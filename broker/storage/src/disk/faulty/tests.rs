//! Each fault does what it says, on the memory disk.

use std::path::PathBuf;
use std::thread;

use super::*;
use crate::disk::memory::{Crash, MemoryDisk};

fn disk() -> (FaultyDisk, MemoryDisk, PathBuf) {
    let memory = MemoryDisk::new();
    let root = PathBuf::from("/data");
    memory.create_dir(&root).unwrap();
    memory.sync_dir(Path::new("/")).unwrap();
    (FaultyDisk::new(Arc::new(memory.clone())), memory, root)
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn the_nth_call_of_a_kind_fails_once() {
    let (disk, _, root) = disk();
    disk.inject(Rule::nth(Call::WriteAt, 2, Fault::Io));
    disk.inject(Rule::nth(Call::WriteAt, 3, Fault::Full).only(".index"));
    let write = |name: &str| errno(disk.write_at(&root.join(name), 0, b"x"));
    let seen: Vec<_> = ["a", "b", "c", "a.index", "b.index", "c.index", "d.index"].into_iter().map(write).collect();
    assert_eq!(seen, [None, Some(libc::EIO), None, None, None, Some(libc::ENOSPC), None]);
    assert_eq!((disk.calls(Call::WriteAt), disk.calls(Call::Read), disk.injected()), (7, 0, 2));
    let names: Vec<_> = disk.list(&root).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["a", "a.index", "b.index", "c", "d.index"], "a call that fails does nothing");
}

#[test]
fn every_kind_of_call_can_fail() {
    let (disk, _, root) = disk();
    let path = root.join("log");
    let mut file = disk.create_append(&path, Growth::up_to(1 << 20)).unwrap();
    let shared = file.shared();
    shared.prepare(1).unwrap();
    file.append(&[b"abc"]).unwrap();
    let sealed = disk.open_sealed(&path).unwrap();
    let fails = |call, action: &mut dyn FnMut() -> Option<i32>| {
        disk.inject(Rule::nth(call, 1, Fault::Io));
        assert_eq!(action(), Some(libc::EIO), "{call:?}");
    };
    fails(Call::CreateAppend, &mut || errno(disk.create_append(&root.join("x"), Growth::up_to(1))));
    fails(Call::OpenAppend, &mut || errno(disk.open_append(&path, 0, Growth::up_to(1))));
    fails(Call::OpenSealed, &mut || errno(disk.open_sealed(&path)));
    fails(Call::Read, &mut || errno(disk.read(&path, 1 << 20)));
    fails(Call::Replace, &mut || errno(disk.replace(&path, b"")));
    fails(Call::SyncFile, &mut || errno(disk.sync_file(&path)));
    fails(Call::Truncate, &mut || errno(disk.truncate(&path, 0)));
    fails(Call::Rename, &mut || errno(disk.rename(&path, &root.join("x"))));
    fails(Call::RemoveFile, &mut || errno(disk.remove_file(&path)));
    fails(Call::CreateDir, &mut || errno(disk.create_dir(&root.join("x"))));
    fails(Call::RemoveDir, &mut || errno(disk.remove_dir(&root)));
    fails(Call::SyncDir, &mut || errno(disk.sync_dir(&root)));
    fails(Call::List, &mut || errno(disk.list(&root)));
    fails(Call::Space, &mut || errno(disk.space(&root)));
    fails(Call::Lock, &mut || errno(disk.lock(&root.join("lock"))));
    fails(Call::Append, &mut || errno(file.append(&[b"def"])));
    fails(Call::Prepare, &mut || errno(shared.prepare(1 << 20)));
    fails(Call::Sync, &mut || errno(shared.sync(0..3)));
    fails(Call::Slice, &mut || errno(shared.slice(0..3)));
    fails(Call::Populate, &mut || errno(shared.populate(0..3)));
    fails(Call::Slice, &mut || errno(sealed.slice(0..3)));
    fails(Call::Populate, &mut || errno(sealed.populate(0..3)));
    let mut file = Some(file);
    fails(Call::Seal, &mut || errno(file.take().unwrap().seal()));
    assert_eq!(disk.list(&root).unwrap().len(), 1);
    assert_eq!(&disk.read(&path, 1 << 20).unwrap()[..4], b"abc\0");
}

#[test]
fn a_torn_write_leaves_its_beginning() {
    let (disk, _, root) = disk();
    let path = root.join("log");
    let mut file = disk.create_append(&path, Growth::up_to(1 << 20)).unwrap();
    file.shared().prepare(1).unwrap();
    disk.inject(Rule::nth(Call::Append, 1, Fault::Torn { keep_bytes: 4 }));
    assert_eq!(errno(file.append(&[b"abc", b"def"])), Some(libc::EIO));
    assert_eq!(&disk.read(&path, 1 << 20).unwrap()[..6], b"abcd\0\0");
    disk.inject(Rule::nth(Call::WriteAt, 1, Fault::Torn { keep_bytes: 2 }));
    assert_eq!(errno(disk.write_at(&root.join("index"), 0, b"abc")), Some(libc::EIO));
    assert_eq!(disk.read(&root.join("index"), 9).unwrap(), b"ab");
    disk.replace(&root.join("checkpoint"), b"old").unwrap();
    disk.inject(Rule::nth(Call::Replace, 1, Fault::Torn { keep_bytes: 1 }));
    assert_eq!(errno(disk.replace(&root.join("checkpoint"), b"new")), Some(libc::EIO));
    assert_eq!(disk.read(&root.join("checkpoint"), 9).unwrap(), b"old");
    assert_eq!(disk.read(&root.join("checkpoint.tmp"), 9).unwrap(), b"n");
}

#[test]
fn a_forgotten_sync_succeeds_later_and_means_nothing() {
    let (disk, memory, root) = disk();
    let path = root.join("log");
    let mut file = disk.create_append(&path, Growth::up_to(1 << 20)).unwrap();
    disk.sync_dir(&root).unwrap();
    let shared = file.shared();
    shared.prepare(1).unwrap();
    file.append(&[&[1; 12_288]]).unwrap();
    shared.sync(0..4096).unwrap();
    disk.inject(Rule::nth(Call::Sync, 1, Fault::Forget));
    assert_eq!(errno(shared.sync(4096..8192)), Some(libc::EIO));
    shared.sync(4096..8192).unwrap();
    shared.sync(0..12_288).unwrap();
    disk.write_at(&root.join("index"), 0, b"abc").unwrap();
    disk.sync_dir(&root).unwrap();
    disk.inject(Rule::nth(Call::SyncFile, 1, Fault::Forget));
    assert_eq!(errno(disk.sync_file(&root.join("index"))), Some(libc::EIO));
    disk.sync_file(&root.join("index")).unwrap();
    memory.crash(Crash::LoseUnsynced);
    let content = disk.read(&path, 1 << 20).unwrap();
    assert!(content[..4096].iter().all(|byte| *byte == 1));
    assert!(content[4096..8192].iter().all(|byte| *byte == 0), "these pages were never written");
    assert!(content[8192..12_288].iter().all(|byte| *byte == 1));
    assert_eq!(disk.read(&root.join("index"), 9).unwrap(), b"");
}

#[test]
fn a_held_call_waits_for_its_gate() {
    let (disk, _, root) = disk();
    disk.write_at(&root.join("file"), 0, b"abc").unwrap();
    let gate = Gate::default();
    disk.inject(Rule::nth(Call::SyncFile, 1, Fault::Hold(gate.clone())));
    thread::scope(|scope| {
        let held = scope.spawn(|| disk.sync_file(&root.join("file")));
        gate.wait_for_a_call();
        assert!(!held.is_finished());
        assert_eq!(disk.read(&root.join("file"), 9).unwrap(), b"abc", "others go on");
        gate.open();
        held.join().unwrap().unwrap();
    });
}

#[test]
fn a_disk_can_fail_until_it_is_healed() {
    let (disk, _, root) = disk();
    disk.inject(Rule::always(Call::Prepare, Fault::Full));
    let mut file = disk.create_append(&root.join("log"), Growth::up_to(1 << 20)).unwrap();
    for _ in 0..3 {
        assert_eq!(errno(file.shared().prepare(1)), Some(libc::ENOSPC));
    }
    disk.heal();
    file.shared().prepare(1).unwrap();
    file.append(&[b"abc"]).unwrap();
}
