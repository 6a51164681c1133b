//! Every byte of every file of a closed data directory, flipped and cut off: opened, refused or repaired, never a panic,
//! never a record that was not written; and damaged helpers never make a log unreadable.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_protocol::ids::{Offset, Timestamp};
use cairn_protocol::records::{BatchIter, DecompressLimits};
use cairn_storage::DataDir;
use cairn_storage::dir::OpenDirError;
use cairn_storage::disk::memory::MemoryDisk;
use cairn_storage::disk::{Disk, EntryKind};
use cairn_storage::inspect;
use cairn_storage::log::{FileKind, FirstBatch, Limits, Log, LogReader, OpenLogError};
use common::{Seen, append, batch, batch_from, dir_config, name, open_dir, read_all, small, sync, topic_id};

type Files = Vec<(PathBuf, Vec<u8>)>;

/// A directory with one log of several segments, epochs and producers, closed in good order.
fn written() -> (Files, Vec<Seen>) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    for number in 0..36i32 {
        let value = format!("value {number} {}", "y".repeat(300)).into_bytes();
        let time = 1000 + i64::from(number);
        let bytes = match number % 3 {
            0 => batch_from(77, 0, number / 3, &[&value], time),
            _ => batch(&[&value], time),
        };
        append(&mut log, &bytes, number / 12, time).unwrap();
        if number % 5 == 0 {
            sync(&mut log);
        }
    }
    assert!(log.reader().segment_count() >= 3);
    let seen = read_all(&log.reader());
    log.close().unwrap();
    dir.close().unwrap();
    (files(&*disk, Path::new("/data")), seen)
}

fn files(disk: &dyn Disk, folder: &Path) -> Files {
    let mut found = Vec::new();
    for entry in disk.list(folder).unwrap() {
        match entry.kind {
            EntryKind::Folder => found.extend(files(disk, &entry.path)),
            EntryKind::File => found.push((entry.path.clone(), disk.read(&entry.path, 1 << 20).unwrap())),
        }
    }
    found
}

/// A disk with these files, of which one has other content, or is missing.
fn disk_with(files: &Files, changed: &Path, content: Option<&[u8]>) -> Arc<dyn Disk> {
    let disk = MemoryDisk::new();
    for (path, original) in files {
        let content = if path == changed { content } else { Some(original.as_slice()) };
        if let Some(content) = content {
            disk.create_dir(path.parent().unwrap()).unwrap();
            disk.write_at(path, 0, content).unwrap();
        }
    }
    Arc::new(disk)
}

#[test]
fn scrubbing_finds_each_damaged_byte_of_a_sealed_segment() {
    let (files, _) = written();
    let sealed = |path: &Path| path.ends_with("orders-3/00000000000000000000.log");
    let (path, content) = files.iter().find(|(path, _)| sealed(path)).unwrap();
    let scrub = |content: &[u8]| {
        let disk = disk_with(&files, path, Some(content));
        let dir = open_dir(&disk);
        let Ok(log) = dir.open_log(&name(), small()) else { return None };
        let reader = log.reader();
        let (mut offset, mut bytes) = (reader.start_offset(), 0);
        loop {
            match reader.scrub(offset, 1500) {
                Ok(Some(step)) => {
                    assert!(step.next_offset > offset, "scrubbing gets on");
                    (offset, bytes) = (step.next_offset, bytes + step.bytes);
                }
                Ok(None) => return Some((offset, bytes)),
                Err(_) => return None,
            }
        }
    };
    let (end, bytes) = scrub(content).unwrap();
    assert!(end > Offset(20) && bytes > 8000, "all but the last segment: {end:?}, {bytes} bytes");
    for at in 0..content.len() {
        let mut damaged = content.clone();
        damaged[at] ^= 0x10;
        assert_eq!(scrub(&damaged), None, "byte {at}");
    }
}

/// Reads until the end or the first refusal. What is read has to be what was written.
fn read_what_is_sound(reader: &LogReader, seen: &[Seen], context: &str) -> usize {
    let mut offset = reader.start_offset();
    let mut count = 0;
    loop {
        let limits = Limits { max_bytes: 1500, first_batch: FirstBatch::AtLeastOne, end: reader.end_offset() };
        let Ok(read) = reader.read(offset, limits) else { return count };
        if read.bytes.is_empty() {
            return count;
        }
        for view in BatchIter::new(&read.bytes) {
            let view = view.unwrap_or_else(|error| panic!("{context}: {error}"));
            view.verify_crc().unwrap_or_else(|error| panic!("{context}: {error}"));
            for record in view.records(&read.bytes, &DecompressLimits::default()).unwrap().iter() {
                let record = record.unwrap();
                let expected = &seen[usize::try_from(record.offset.0).unwrap()];
                assert_eq!(record.value, Some(expected.value.as_slice()), "{context}");
                assert_eq!(record.timestamp.0, expected.timestamp, "{context}");
                count += 1;
            }
        }
        assert!(read.next_offset > offset, "{context}");
        offset = read.next_offset;
    }
}

/// What a damaged file may lead to.
fn check(disk: &Arc<dyn Disk>, damaged: &Path, seen: &[Seen], context: &str) {
    let verdict = inspect::verify(&**disk, Path::new("/data"));
    let kind = FileKind::of(damaged.file_name().unwrap().to_str().unwrap());
    let dir = match DataDir::open(Arc::clone(disk), "/data", &dir_config()) {
        Ok(dir) => dir,
        Err(OpenDirError::DamagedIdentity { .. }) if damaged.ends_with("identity") => return,
        Err(error) => panic!("{context}: {error}"),
    };
    let is_segment = matches!(kind, FileKind::Segment(_));
    let mut log: Log = match dir.open_log(&name(), small()) {
        Ok(log) => log,
        Err(OpenLogError::Corrupt { .. }) if is_segment => {
            assert!(!verdict.unwrap().is_sound(), "{context}: inspect sees it too");
            return;
        }
        Err(error) => panic!("{context}: {error}"),
    };
    let count = read_what_is_sound(&log.reader(), seen, context);
    let whole = i64::try_from(seen.len()).unwrap();
    assert_eq!((log.start_offset(), log.end_offset()), (Offset(0), Offset(whole)), "{context}");
    if is_segment {
        if count < seen.len() {
            assert!(!verdict.unwrap().is_sound(), "{context}: inspect sees it too");
        }
        return;
    }
    assert_eq!(count, seen.len(), "{context}: all of the log is there");
    for number in 0..whole {
        let found = log.reader().offset_for_time(Timestamp(1000 + number), Offset(whole)).unwrap();
        let found = found.map(|found| found.offset.0);
        // A time index that lies may make the search begin too late, never at a record that is too old.
        assert!(found.is_none_or(|found| found >= number), "{context}: {found:?} for {number}");
        assert!(matches!(kind, FileKind::TimeIndex(_)) || found == Some(number), "{context}: {found:?} for {number}");
        let epoch = log.epochs().epoch_at(Offset(number)).map(|epoch| i64::from(epoch.0));
        assert_eq!(epoch, Some(number / 12), "{context}: epoch at {number}");
    }
    append(&mut log, &batch_from(77, 0, 12, &[b"next"], 2000), 2, 2000).unwrap_or_else(|e| panic!("{context}: {e}"));
    append(&mut log, &batch(&[b"more"], 2001), 2, 2001).unwrap();
    let done = log.maintain(Timestamp(3000), log.end_offset()).unwrap();
    assert!(done.removal.is_none());
    assert_eq!(read_all(&log.reader()).len(), seen.len() + 2, "{context}");
}

#[test]
fn every_byte_flipped() {
    let (files, seen) = written();
    for (path, original) in &files {
        let is_segment = path.extension().is_some_and(|extension| extension == "log");
        // The payload of segments is all alike; a step that is prime to everything visits all kinds of bytes.
        let step = if is_segment { 13 } else { 1 };
        for at in (0..original.len()).step_by(step) {
            let bit = 1 << (at % 8);
            let mut content = original.clone();
            content[at] ^= bit;
            let context = format!("{} byte {at} of {} flipped by {bit}", path.display(), original.len());
            check(&disk_with(&files, path, Some(&content)), path, &seen, &context);
        }
    }
}

#[test]
fn every_file_cut_off_anywhere_or_missing() {
    let (files, seen) = written();
    for (path, original) in &files {
        if path.ends_with("lock") {
            continue;
        }
        let is_segment = path.extension().is_some_and(|extension| extension == "log");
        let step = if is_segment { 13 } else { 1 };
        for len in (0..original.len()).step_by(step) {
            let context = format!("{} cut to {len} of {}", path.display(), original.len());
            check(&disk_with(&files, path, Some(&original[..len])), path, &seen, &context);
        }
        let identity = path.ends_with("identity");
        if !is_segment && !identity {
            check(&disk_with(&files, path, None), path, &seen, &format!("{} missing", path.display()));
        }
    }
}

#[test]
fn a_missing_segment_is_corruption() {
    let (files, _) = written();
    for (path, _) in files.iter().filter(|(path, _)| path.extension().is_some_and(|extension| extension == "log")) {
        let disk = disk_with(&files, path, None);
        let dir = open_dir(&disk);
        let opened = dir.open_log(&name(), small());
        // The first one too: retention notes that it goes before it does.
        assert!(matches!(opened, Err(OpenLogError::Corrupt { .. })), "{}: {opened:?}", path.display());
        assert!(dir.failure().is_none(), "only the partition is offline");
    }
}

#[test]
fn garbage_behind_the_end_is_cut_and_nothing_else() {
    let (files, seen) = written();
    let (last, original) = files.iter().rfind(|(path, _)| path.extension().is_some_and(|e| e == "log")).unwrap();
    for garbage in [&[0; 5000][..], &[0xff; 100], &original[..original.len().min(100)], b"x"] {
        let content = [original.as_slice(), garbage].concat();
        let disk = disk_with(&files, last, Some(&content));
        let dir = open_dir(&disk);
        let log = dir.open_log(&name(), small()).unwrap();
        assert_eq!(read_all(&log.reader()), seen);
        let len = disk.list(last.parent().unwrap()).unwrap().iter().find(|e| &e.path == last).unwrap().len;
        assert_eq!(len, u64::try_from(original.len()).unwrap());
    }
}

#[test]
fn an_index_that_points_behind_a_cut_log_is_not_believed() {
    // Unsynced, so that a cut is a torn tail and no corruption; the indexes were written all the same.
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    let dir = open_dir(&disk);
    let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
    for number in 0..8i64 {
        append(&mut log, &batch(&[&[9; 300]], number), 0, 0).unwrap();
    }
    sync(&mut log);
    drop((log, dir));
    let folder = Path::new("/data/orders-3");
    let segment = folder.join("00000000000000000000.log");
    let size = batch(&[&[9; 300]], 0).len();
    for kept in 0..8u64 {
        let content = disk.read(&segment, 1 << 20).unwrap();
        let copy = MemoryDisk::new();
        copy.create_dir(folder).unwrap();
        for (path, bytes) in files(&*disk, folder) {
            copy.write_at(&path, 0, &bytes).unwrap();
        }
        let cut = usize::try_from(kept).unwrap() * size + 20;
        copy.write_at(&segment, 0, &content[..cut]).unwrap();
        copy.truncate(&segment, u64::try_from(cut).unwrap()).unwrap();
        let copy: Arc<dyn Disk> = Arc::new(copy);
        let dir = open_dir(&copy);
        let mut log = dir.open_log(&name(), small()).unwrap();
        assert_eq!(log.end_offset(), Offset(i64::try_from(kept).unwrap()));
        for number in 0..20i64 {
            append(&mut log, &batch(&[&[8; 300]], 100 + number), 0, 0).unwrap();
        }
        sync(&mut log);
        assert_eq!(read_all(&log.reader()).len(), usize::try_from(kept).unwrap() + 20);
        drop(log);
        let log = dir.open_log(&name(), small()).unwrap();
        assert_eq!(read_all(&log.reader()).len(), usize::try_from(kept).unwrap() + 20);
        log.close().unwrap();
        assert!(inspect::verify(&*copy, folder).unwrap().is_sound());
    }
}

/// Batches of one record each at these offsets, as a segment's file.
fn segment_of(offsets: &[i64]) -> Vec<u8> {
    use cairn_protocol::ids::LeaderEpoch;
    use cairn_protocol::records::{BatchView, TimestampPolicy, stamped_header};
    let mut file = Vec::new();
    for offset in offsets {
        let bytes = batch(&[format!("value {offset}").as_bytes()], 1000 + offset);
        let view = BatchView::parse(&bytes).unwrap();
        file.extend(stamped_header(&view, Offset(*offset), LeaderEpoch(2), TimestampPolicy::Keep));
        file.extend_from_slice(view.record_bytes());
    }
    file
}

#[test]
fn a_compacted_log_of_kafkas_is_read_whole_and_stays_so() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let folder = Path::new("/data/orders-3");
    disk.create_dir(folder).unwrap();
    let segments: [(&str, &[i64]); 3] = [("00", &[3, 4, 9]), ("20", &[25, 26]), ("40", &[40, 44])];
    for (base, offsets) in segments {
        disk.write_at(&folder.join(format!("000000000000000000{base}.log")), 0, &segment_of(offsets)).unwrap();
    }
    let all = [3, 4, 9, 25, 26, 40, 44];
    let offsets = |log: &Log| read_all(&log.reader()).iter().map(|seen| seen.offset).collect::<Vec<_>>();
    for round in 0..3 {
        let dir = open_dir(&disk);
        let mut log = dir.open_log(&name(), small()).unwrap();
        assert_eq!(offsets(&log), all, "round {round}");
        assert_eq!((log.start_offset(), log.end_offset()), (Offset(0), Offset(45)));
        for wanted in 0..45 {
            let limits = Limits { max_bytes: 1, first_batch: FirstBatch::AtLeastOne, end: Offset(45) };
            let read = log.reader().read(Offset(wanted), limits).unwrap();
            let expected = all.iter().find(|offset| **offset >= wanted).unwrap();
            let first = BatchIter::new(&read.bytes).next().unwrap().unwrap().header().base_offset;
            assert_eq!(first, Offset(*expected), "from {wanted}");
        }
        sync(&mut log);
        dir.write_checkpoint().unwrap();
    }
}

#[test]
fn in_a_log_of_ours_a_gap_is_a_hole() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let dir = open_dir(&disk);
    drop(dir.create_log(&name(), topic_id(), small()).unwrap());
    drop(dir);
    let segment = Path::new("/data/orders-3/00000000000000000000.log");
    disk.write_at(segment, 0, &segment_of(&[0, 1, 2, 9, 10])).unwrap();
    let dir = open_dir(&disk);
    let log = dir.open_log(&name(), small()).unwrap();
    assert_eq!(read_all(&log.reader()).len(), 3, "what is behind a hole is not taken");
    assert_eq!(log.end_offset(), Offset(3));
}
