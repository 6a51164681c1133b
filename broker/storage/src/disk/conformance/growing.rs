//! Files that grow by appends.
//!
//! Must not know: the bodies.

use super::*;

pub(super) fn a_file_is_made_once(disk: &dyn Disk, root: &Path) {
    let path = root.join("log");
    new_file(disk, &path, 1 << 20);
    assert_eq!(kind(disk.create_append(&path, growth(1))), Some(ErrorKind::AlreadyExists));
    assert_eq!(kind(disk.create_append(&root.join("none/log"), growth(1))), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.open_append(&root.join("none"), 0, growth(1))), Some(ErrorKind::NotFound));
}

pub(super) fn appends_need_preparation(disk: &dyn Disk, root: &Path) {
    let mut file = new_file(disk, &root.join("log"), 1 << 20);
    file.append(&[]).unwrap();
    assert_eq!(kind(file.append(&[b"x"])), Some(ErrorKind::StorageFull));
    let shared = file.shared();
    shared.prepare(1).unwrap();
    assert_eq!(file.prepared(), chunk());
    file.append(&[&pattern(0, 16_000)]).unwrap();
    assert_eq!(kind(file.append(&[&[1; 200], &[2; 200]])), Some(ErrorKind::StorageFull));
    assert_eq!((file.written(), shared.written()), (16_000, 16_000), "a refused append writes nothing");
    assert_bytes(shared.slice(0..16_000).unwrap(), pattern(0, 16_000));
    file.append(&[&[1; 184], &[2; 200]]).unwrap();
    assert_eq!(file.written(), file.prepared());
}

pub(super) fn parts_follow_each_other(disk: &dyn Disk, root: &Path) {
    let mut file = new_file(disk, &root.join("log"), 1 << 20);
    let shared = file.shared();
    shared.prepare(40_000).unwrap();
    file.append(&[b"head", b"", &pattern(0, 20_000), b"tail"]).unwrap();
    file.append(&[b"next"]).unwrap();
    let expected = [b"head", &pattern(0, 20_000)[..], b"tail", b"next"].concat();
    assert_bytes(shared.slice(0..shared.written()).unwrap(), expected);
    assert_bytes(shared.slice(4..20_004).unwrap(), pattern(0, 20_000));
}

pub(super) fn slices_end_at_what_is_written(disk: &dyn Disk, root: &Path) {
    let mut file = new_file(disk, &root.join("log"), 1 << 20);
    let shared = file.shared();
    assert_bytes(shared.slice(0..0).unwrap(), b"");
    assert!(shared.is_resident(0..0));
    shared.prepare(1).unwrap();
    file.append(&[b"abc"]).unwrap();
    assert_bytes(shared.slice(1..3).unwrap(), b"bc");
    assert_eq!(kind(shared.slice(0..4)), Some(ErrorKind::UnexpectedEof));
    assert_eq!(kind(shared.populate(0..4)), Some(ErrorKind::UnexpectedEof));
    assert_eq!(kind(shared.sync(0..4)), Some(ErrorKind::UnexpectedEof));
    assert!(!shared.is_resident(0..4));
    shared.populate(0..3).unwrap();
}

pub(super) fn preparation_goes_by_chunks_to_the_capacity(disk: &dyn Disk, root: &Path) {
    let capacity = 3 * chunk() + 100;
    let mut file = new_file(disk, &root.join("log"), capacity);
    let shared = file.shared();
    assert_eq!((shared.prepared(), shared.capacity()), (0, capacity));
    shared.prepare(0).unwrap();
    assert_eq!(shared.prepared(), 0, "an idle file takes nothing");
    shared.prepare(chunk()).unwrap();
    assert_eq!(shared.prepared(), chunk());
    shared.prepare(chunk() + 1).unwrap();
    assert_eq!(shared.prepared(), 2 * chunk());
    shared.prepare(5).unwrap();
    assert_eq!(shared.prepared(), 2 * chunk(), "preparation never goes back");
    shared.prepare(u64::MAX).unwrap();
    assert_eq!(shared.prepared(), capacity);
    let all = pattern(7, usize::try_from(capacity).unwrap());
    file.append(&[&all]).unwrap();
    assert_eq!(kind(file.append(&[b"x"])), Some(ErrorKind::StorageFull));
    assert_bytes(shared.slice(0..capacity).unwrap(), all);
}

pub(super) fn seal_cuts_and_readers_keep_what_they_hold(disk: &dyn Disk, root: &Path) {
    let path = root.join("log");
    let mut file = new_file(disk, &path, 1 << 20);
    let shared = file.shared();
    shared.prepare(100_000).unwrap();
    file.append(&[&pattern(0, 50_001)]).unwrap();
    let held = shared.slice(0..50_001).unwrap();
    file.seal().unwrap();
    assert_bytes(content(disk, &path), pattern(0, 50_001));
    assert_bytes(&held, pattern(0, 50_001));
    assert_bytes(shared.slice(40_000..50_001).unwrap(), pattern(40_000, 10_001));
    shared.sync(0..50_001).unwrap();
    shared.prepare(200_000).unwrap();
    assert_eq!(content(disk, &path).len(), 50_001, "nothing grows a sealed file");
    let sealed = disk.open_sealed(&path).unwrap();
    assert_bytes(sealed.slice(0..sealed.len()).unwrap(), held);
}

pub(super) fn nothing_is_prepared_without_a_writer(disk: &dyn Disk, root: &Path) {
    let path = root.join("log");
    let mut file = new_file(disk, &path, 1 << 20);
    let old = file.shared();
    old.prepare(10_000).unwrap();
    file.append(&[&pattern(0, 10_000)]).unwrap();
    drop(file);
    let mut file = disk.open_append(&path, 10_000, growth(1 << 20)).unwrap();
    file.shared().prepare(100_000).unwrap();
    file.append(&[&pattern(10_000, 80_000)]).unwrap();
    old.prepare(1 << 20).unwrap();
    assert_bytes(old.slice(0..10_000).unwrap(), pattern(0, 10_000));
    drop(file);
    let whole = content(disk, &path);
    assert_bytes(&whole[..90_000], pattern(0, 90_000));
    assert!(whole.len() < 1 << 19, "the old handle makes the new writer's file no longer");
}

pub(super) fn bytes_outlive_the_file(disk: &dyn Disk, root: &Path) {
    let path = root.join("log");
    let mut file = new_file(disk, &path, 1 << 20);
    let shared = file.shared();
    shared.prepare(100_000).unwrap();
    file.append(&[&pattern(3, 100_000)]).unwrap();
    let held = shared.slice(10..100_000).unwrap();
    drop((file, shared));
    disk.remove_file(&path).unwrap();
    assert_bytes(held, pattern(13, 99_990));
}

pub(super) fn a_reopened_file_has_zeros_behind_its_end(disk: &dyn Disk, root: &Path) {
    let path = root.join("log");
    for len in [0, 1, 4095, 4096, 16_384, 20_000, 65_536] {
        let mut file = new_file(disk, &path, 1 << 20);
        file.shared().prepare(70_000).unwrap();
        file.append(&[&pattern(0, 70_000)]).unwrap();
        drop(file);
        let mut file = disk.open_append(&path, len, growth(1 << 20)).unwrap();
        let shared = file.shared();
        assert_eq!((file.written(), file.prepared()), (len, len));
        assert_eq!(kind(file.append(&[b"x"])), Some(ErrorKind::StorageFull));
        let kept = usize::try_from(len).unwrap();
        assert_bytes(shared.slice(0..len).unwrap(), pattern(0, kept));
        shared.prepare(100_000).unwrap();
        file.append(&[b"more"]).unwrap();
        let expected = [&pattern(0, kept)[..], b"more"].concat();
        assert_bytes(shared.slice(0..len + 4).unwrap(), &expected);
        shared.sync(0..len + 4).unwrap();
        drop((file, shared));
        let whole = content(disk, &path);
        assert_bytes(&whole[..kept + 4], expected);
        assert!(whole.len() >= 100_000 && whole[kept + 4..].iter().all(|byte| *byte == 0), "cut at {len}");
        disk.remove_file(&path).unwrap();
    }
}

pub(super) fn a_file_shorter_than_its_end_is_not_opened(disk: &dyn Disk, root: &Path) {
    let path = root.join("log");
    disk.write_at(&path, 0, b"abc").unwrap();
    assert_eq!(kind(disk.open_append(&path, 4, growth(1 << 20))), Some(ErrorKind::UnexpectedEof));
    let file = disk.open_append(&path, 3, growth(1)).unwrap();
    assert_eq!(file.shared().slice(0..3).unwrap(), b"abc"[..], "also when it is longer than its capacity");
}

pub(super) fn syncs_take_any_written_range(disk: &dyn Disk, root: &Path) {
    let mut file = new_file(disk, &root.join("log"), 1 << 20);
    let shared = file.shared();
    shared.sync(0..0).unwrap();
    let mut at = 0;
    for len in [1, 4095, 1, 4096, 10_000, 16_384, 30_000] {
        shared.prepare(at + len).unwrap();
        file.append(&[&pattern(usize::try_from(at).unwrap(), usize::try_from(len).unwrap())]).unwrap();
        shared.sync(at..at + len).unwrap();
        at += len;
    }
    shared.sync(0..at).unwrap();
    assert_bytes(shared.slice(0..at).unwrap(), pattern(0, usize::try_from(at).unwrap()));
}

pub(super) fn a_file_is_written_and_read_like_a_vector(disk: &dyn Disk, root: &Path) {
    const CAPACITY: usize = 300_000;
    for seed in 1..=20 {
        let path = root.join(format!("log-{seed}"));
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut model: Vec<u8> = Vec::new();
        let mut file = new_file(disk, &path, CAPACITY as u64);
        let mut held = Vec::new();
        for step in 0..200 {
            let shared = file.shared();
            match random.below(8) {
                0..3 => {
                    let bytes = pattern(step * 7, random.below(5_000));
                    let fits = (model.len() + bytes.len()) as u64 <= shared.prepared();
                    let (head, tail) = bytes.split_at(bytes.len() / 3);
                    assert_eq!(file.append(&[head, tail]).is_ok(), fits, "seed {seed}");
                    if fits {
                        model.extend(bytes);
                    }
                }
                3 => shared.prepare((model.len() + random.below(30_000)) as u64).unwrap(),
                4..6 => {
                    let end = random.below(model.len() + 1);
                    let start = random.below(end + 1);
                    let slice = shared.slice(start as u64..end as u64).unwrap();
                    assert_bytes(slice.clone(), &model[start..end]);
                    held.push((start, slice));
                }
                6 => shared.sync(random.below(model.len() + 1) as u64..model.len() as u64).unwrap(),
                _ if random.below(6) == 0 => {
                    drop((file, shared));
                    file = disk.open_append(&path, model.len() as u64, growth(CAPACITY as u64)).unwrap();
                }
                _ => {}
            }
            assert_eq!(file.written(), model.len() as u64, "seed {seed}");
        }
        for (start, slice) in held {
            let expected = &model[start..start + slice.len()];
            assert_bytes(slice, expected);
        }
        file.seal().unwrap();
        assert_bytes(content(disk, &path), &model);
    }
}

pub(super) fn readers_never_see_half_an_append(disk: &dyn Disk, root: &Path) {
    const BATCH_BYTES: usize = 1_000;
    const BATCH: u64 = BATCH_BYTES as u64;
    const BATCHES: u64 = 2_000;
    let mut file = new_file(disk, &root.join("log"), BATCH * BATCHES);
    let shared = file.shared();
    std::thread::scope(|scope| {
        let preparer = file.shared();
        scope.spawn(move || {
            while preparer.prepared() < preparer.capacity() {
                preparer.prepare(preparer.prepared() + 1).unwrap();
            }
        });
        let syncer = file.shared();
        scope.spawn(move || {
            while syncer.written() < BATCH * BATCHES {
                syncer.sync(0..syncer.written()).unwrap();
            }
        });
        scope.spawn(move || {
            let mut seen = 0;
            while seen < BATCHES {
                let written = shared.written();
                assert_eq!(written % BATCH, 0);
                for number in seen..written / BATCH {
                    let slice = shared.slice(number * BATCH..(number + 1) * BATCH).unwrap();
                    let expected = u8::try_from(number % 255).unwrap() + 1;
                    assert!(slice.iter().all(|byte| *byte == expected), "batch {number}");
                }
                seen = written / BATCH;
                std::thread::yield_now();
            }
        });
        for number in 0..BATCHES {
            while file.prepared() < file.written() + BATCH {
                std::thread::yield_now();
            }
            let batch = [u8::try_from(number % 255).unwrap() + 1; BATCH_BYTES];
            file.append(&[&batch[..300], &batch[300..]]).unwrap();
        }
    });
}

pub(super) fn many_files_grow_side_by_side(disk: &dyn Disk, root: &Path) {
    let mut files: Vec<_> = (0..40).map(|n| new_file(disk, &root.join(n.to_string()), 1 << 20)).collect();
    for round in 0..3 {
        for (n, file) in files.iter_mut().enumerate() {
            file.shared().prepare(file.written() + 9_000).unwrap();
            file.append(&[&pattern(n + round * 9_000, 9_000)]).unwrap();
        }
    }
    for (n, file) in files.into_iter().enumerate() {
        file.shared().sync(0..27_000).unwrap();
        file.seal().unwrap();
        assert_bytes(content(disk, &root.join(n.to_string())), pattern(n, 27_000));
    }
}
