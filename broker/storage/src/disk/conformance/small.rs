//! Small files, folders, locks, and files that no longer change.
//!
//! Must not know: the bodies.

use super::*;

pub(super) fn small_files_are_read_within_a_limit(disk: &dyn Disk, root: &Path) {
    let path = root.join("file");
    assert_eq!(kind(disk.read(&path, 9)), Some(ErrorKind::NotFound));
    disk.write_at(&path, 0, b"123456789").unwrap();
    assert_eq!(disk.read(&path, 9).unwrap(), b"123456789");
    assert_eq!(kind(disk.read(&path, 8)), Some(ErrorKind::FileTooLarge));
    assert_eq!(kind(disk.read(root, 8)), Some(ErrorKind::IsADirectory));
}

pub(super) fn replace_leaves_the_new_content_and_nothing_else(disk: &dyn Disk, root: &Path) {
    let path = root.join("file");
    disk.replace(&path, b"first and longer").unwrap();
    assert_eq!(content(disk, &path), b"first and longer");
    disk.replace(&path, b"second").unwrap();
    assert_eq!(content(disk, &path), b"second");
    disk.replace(&path, b"").unwrap();
    assert_eq!(names(&disk.list(root).unwrap()), [("file", EntryKind::File, 0)]);
    assert_eq!(kind(disk.replace(&root.join("none/file"), b"")), Some(ErrorKind::NotFound));
    disk.create_dir(&root.join("folder")).unwrap();
    assert!(disk.replace(&root.join("folder"), b"x").is_err());
    assert_eq!(disk.list(root).unwrap().len(), 2, "a failed replace leaves nothing beside");
}

pub(super) fn write_at_makes_extends_and_overwrites(disk: &dyn Disk, root: &Path) {
    let path = root.join("file");
    disk.write_at(&path, 2, b"cd").unwrap();
    assert_eq!(content(disk, &path), b"\0\0cd");
    disk.write_at(&path, 0, b"ab").unwrap();
    disk.write_at(&path, 3, b"DE").unwrap();
    assert_eq!(content(disk, &path), b"abcDE");
    disk.sync_file(&path).unwrap();
    assert_eq!(kind(disk.sync_file(&root.join("none"))), Some(ErrorKind::NotFound));
}

pub(super) fn truncate_only_cuts(disk: &dyn Disk, root: &Path) {
    let path = root.join("file");
    disk.write_at(&path, 0, b"abcdef").unwrap();
    disk.truncate(&path, 3).unwrap();
    assert_eq!(content(disk, &path), b"abc");
    assert_eq!(kind(disk.truncate(&path, 4)), Some(ErrorKind::UnexpectedEof));
    assert_eq!(content(disk, &path), b"abc");
    disk.write_at(&path, 5, b"f").unwrap();
    assert_eq!(content(disk, &path), b"abc\0\0f", "what was cut does not come back");
}

pub(super) fn rename_replaces_within_a_folder(disk: &dyn Disk, root: &Path) {
    let (a, b) = (root.join("a"), root.join("b"));
    disk.write_at(&a, 0, b"a").unwrap();
    disk.write_at(&b, 0, b"b").unwrap();
    disk.rename(&a, &b).unwrap();
    assert_eq!(content(disk, &b), b"a");
    assert_eq!(names(&disk.list(root).unwrap()), [("b", EntryKind::File, 1)]);
    disk.rename(&b, &b).unwrap();
    assert_eq!(kind(disk.rename(&a, &b)), Some(ErrorKind::NotFound));
    disk.create_dir(&root.join("folder")).unwrap();
    assert_eq!(kind(disk.rename(&b, &root.join("folder/b"))), Some(ErrorKind::CrossesDevices));
    assert_eq!(kind(disk.rename(&b, &root.join("folder"))), Some(ErrorKind::IsADirectory));
    disk.write_at(&root.join("folder/x"), 0, b"x").unwrap();
    disk.rename(&root.join("folder"), &root.join("renamed")).unwrap();
    assert_eq!(content(disk, &root.join("renamed/x")), b"x");
    disk.create_dir(&root.join("folder")).unwrap();
    assert_eq!(kind(disk.rename(&root.join("folder"), &root.join("renamed"))), Some(ErrorKind::DirectoryNotEmpty));
}

pub(super) fn removed_is_gone(disk: &dyn Disk, root: &Path) {
    let path = root.join("file");
    disk.write_at(&path, 0, b"a").unwrap();
    disk.remove_file(&path).unwrap();
    assert_eq!(kind(disk.remove_file(&path)), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.open_sealed(&path)), Some(ErrorKind::NotFound));
    assert_eq!(disk.list(root).unwrap(), []);
}

pub(super) fn folders_are_made_listed_and_removed(disk: &dyn Disk, root: &Path) {
    let inner = root.join("b/c");
    disk.create_dir(&inner).unwrap();
    disk.create_dir(&inner).unwrap();
    disk.write_at(&root.join("a"), 0, b"1234").unwrap();
    disk.write_at(&inner.join("d"), 0, b"12").unwrap();
    assert!(disk.create_dir(&root.join("a")).is_err(), "a file has the name");
    let entries = disk.list(root).unwrap();
    assert_eq!(names(&entries), [("a", EntryKind::File, 4), ("b", EntryKind::Folder, 0)]);
    assert_eq!(entries[1].path, root.join("b"));
    disk.sync_dir(&inner).unwrap();
    disk.remove_dir(&root.join("b")).unwrap();
    assert_eq!(kind(disk.list(&inner)), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.remove_dir(&root.join("b"))), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.sync_dir(&inner)), Some(ErrorKind::NotFound));
    assert_eq!(names(&disk.list(root).unwrap()), [("a", EntryKind::File, 4)]);
}

pub(super) fn a_lock_has_one_holder(disk: &dyn Disk, root: &Path) {
    let path = root.join(".lock");
    let lock = disk.lock(&path).unwrap();
    assert_eq!(kind(disk.lock(&path)), Some(ErrorKind::WouldBlock));
    let other = disk.lock(&root.join("other")).unwrap();
    drop(lock);
    let lock = disk.lock(&path).unwrap();
    drop((lock, other));
}

pub(super) fn space_is_told(disk: &dyn Disk, root: &Path) {
    let space = disk.space(root).unwrap();
    assert!(space.free > 0 && space.free <= space.total, "{space:?}");
    assert_eq!(kind(disk.space(&root.join("none"))), Some(ErrorKind::NotFound));
}

pub(super) fn sealed_files_are_read_in_any_order(disk: &dyn Disk, root: &Path) {
    const LEN: usize = 100_000;
    let sealed: Vec<_> = (0..5)
        .map(|n| {
            let path = root.join(n.to_string());
            disk.write_at(&path, 0, &pattern(n, LEN)).unwrap();
            disk.open_sealed(&path).unwrap()
        })
        .collect();
    let mut random = Random(9);
    let mut held = Vec::new();
    for _ in 0..300 {
        let n = random.below(sealed.len());
        let end = random.below(LEN + 1);
        let start = random.below(end + 1);
        let range = start as u64..end as u64;
        sealed[n].populate(range.clone()).unwrap();
        // Whatever the answer, asking is allowed; only a body that can look gives a `true`.
        let _ = sealed[n].is_resident(range.clone());
        let slice = sealed[n].slice(range).unwrap();
        assert_bytes(slice.clone(), pattern(n + start, end - start));
        if random.below(3) == 0 {
            held.push((n + start, slice));
        }
    }
    for (from, slice) in held {
        assert_bytes(slice.clone(), pattern(from, slice.len()));
    }
    let end = LEN as u64;
    assert_eq!(kind(sealed[0].slice(0..end + 1)), Some(ErrorKind::UnexpectedEof));
    assert_eq!(kind(sealed[0].populate(0..end + 1)), Some(ErrorKind::UnexpectedEof));
    assert!(!sealed[0].is_resident(0..end + 1));
    assert!(sealed[0].is_resident(5..5));
    disk.write_at(&root.join("empty"), 0, b"").unwrap();
    let empty = disk.open_sealed(&root.join("empty")).unwrap();
    assert!(empty.is_empty() && empty.slice(0..0).unwrap().is_empty());
}

pub(super) fn sealed_files_outlive_their_name_while_held(disk: &dyn Disk, root: &Path) {
    let path = root.join("file");
    disk.write_at(&path, 0, &pattern(0, 10_000)).unwrap();
    let sealed = disk.open_sealed(&path).unwrap();
    let held = sealed.slice(100..10_000).unwrap();
    disk.write_at(&root.join("other"), 0, &[0; 10_000]).unwrap();
    disk.rename(&root.join("other"), &path).unwrap();
    assert_bytes(held, pattern(100, 9_900));
    // Without a map the name is needed again. Bytes of another file must not come instead.
    if let Ok(again) = sealed.slice(0..10_000) {
        assert_bytes(again, pattern(0, 10_000));
    }
}
