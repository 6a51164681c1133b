//! The thread and its appenders, on a file that tells what is prepared.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;

use super::*;
use crate::disk::portable::PortableDisk;
use crate::disk::{Disk, Growth, Readable};

/// Long enough for any machine; reaching it is the failure.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Probe {
    written: AtomicU64,
    prepared: AtomicU64,
    full: AtomicBool,
    calls: Mutex<Sender<(u64, String)>>,
}

fn probe() -> (Arc<Probe>, Receiver<(u64, String)>) {
    let (sender, calls) = channel();
    let probe = Probe {
        written: AtomicU64::new(0),
        prepared: AtomicU64::new(0),
        full: AtomicBool::new(false),
        calls: Mutex::new(sender),
    };
    (Arc::new(probe), calls)
}

impl Probe {
    fn write(&self, ahead: &Ahead, end: u64) -> io::Result<()> {
        ahead.ensure(end)?;
        self.written.store(end, Ordering::Release);
        ahead.note(end);
        Ok(())
    }
}

impl SharedFile for Probe {
    fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    fn prepared(&self) -> u64 {
        self.prepared.load(Ordering::Acquire)
    }

    fn capacity(&self) -> u64 {
        10 << 20
    }

    fn prepare(&self, end: u64) -> io::Result<()> {
        let end = end.next_multiple_of(65_536).min(self.capacity());
        let by = thread::current().name().unwrap_or_default().to_owned();
        if self.full.load(Ordering::Acquire) {
            self.calls.lock().send((u64::MAX, by)).unwrap();
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.prepared.fetch_max(end, Ordering::AcqRel);
        self.calls.lock().send((end, by)).unwrap();
        Ok(())
    }

    fn sync(&self, _: Range<u64>) -> io::Result<()> {
        unreachable!("the allocator never syncs")
    }
}

impl Readable for Probe {
    fn slice(&self, _: Range<u64>) -> io::Result<Bytes> {
        unreachable!("the allocator never reads")
    }

    fn is_resident(&self, _: Range<u64>) -> bool {
        unreachable!("the allocator never reads")
    }

    fn populate(&self, _: Range<u64>) -> io::Result<()> {
        unreachable!("the allocator never reads")
    }
}

fn allocator() -> Allocator {
    Allocator::start(AllocatorConfig::default()).unwrap()
}

/// The next call of the thread.
fn by_thread(calls: &Receiver<(u64, String)>) -> u64 {
    loop {
        let (end, by) = calls.recv_timeout(PATIENCE).unwrap();
        if by == "allocator" {
            return end;
        }
    }
}

#[test]
fn an_idle_file_is_left_alone() {
    let allocator = allocator();
    let (idle, idle_calls) = probe();
    let _idle = allocator.attach(idle, PrepareChunk::REPLICATED);
    let (busy, busy_calls) = probe();
    let ahead = allocator.attach(Arc::clone(&busy) as Arc<dyn SharedFile>, PrepareChunk::REPLICATED);
    busy.write(&ahead, 60_000).unwrap();
    by_thread(&busy_calls);
    drop(allocator);
    assert!(idle_calls.try_recv().is_err());
}

#[test]
fn the_appender_makes_the_first_step_and_the_thread_the_next_ones() {
    let allocator = allocator();
    let (file, calls) = probe();
    let ahead = allocator.attach(Arc::clone(&file) as Arc<dyn SharedFile>, PrepareChunk::REPLICATED);
    file.write(&ahead, 1_000).unwrap();
    assert_ne!(calls.recv().unwrap(), (65_536, "allocator".to_owned()));
    let mut written = 1_000;
    let mut prepared = by_thread(&calls);
    // Each time half of what is ahead is used up, the thread goes further without being asked.
    for _ in 0..5 {
        while written < prepared - 1_000 {
            written += 1_000;
            file.write(&ahead, written).unwrap();
        }
        prepared = by_thread(&calls).max(prepared);
    }
    assert!(prepared > 65_536);
    drop(allocator);
}

#[test]
fn an_appender_that_is_too_fast_prepares_and_is_counted() {
    let allocator = allocator();
    let (file, calls) = probe();
    let ahead = allocator.attach(Arc::clone(&file) as Arc<dyn SharedFile>, PrepareChunk::REPLICATED);
    file.write(&ahead, 1_000).unwrap();
    by_thread(&calls);
    assert_eq!((allocator.stats().first_steps, allocator.stats().stalls), (1, 0));
    file.write(&ahead, 5 << 20).unwrap();
    assert_eq!(allocator.stats().stalls, 1);
    assert!(file.prepared() >= 5 << 20);
}

#[test]
fn a_full_disk_is_told_and_left_when_space_returns() {
    let allocator = allocator();
    let (file, calls) = probe();
    let ahead = allocator.attach(Arc::clone(&file) as Arc<dyn SharedFile>, PrepareChunk::REPLICATED);
    file.write(&ahead, 10_000).unwrap();
    by_thread(&calls);
    file.full.store(true, Ordering::Release);
    file.write(&ahead, file.prepared()).unwrap();
    while by_thread(&calls) != u64::MAX {}
    let end = file.prepared() + 1;
    assert_eq!(file.write(&ahead, end).unwrap_err().kind(), io::ErrorKind::StorageFull);
    // The thread keeps its failure right after the call that the probe has told of.
    let since = Instant::now();
    let failure = loop {
        if let Some(failure) = ahead.take_failure() {
            break failure;
        }
        assert!(since.elapsed() < PATIENCE);
        thread::yield_now();
    };
    assert_eq!(failure.kind(), io::ErrorKind::StorageFull);
    file.full.store(false, Ordering::Release);
    file.write(&ahead, end).unwrap();
    file.write(&ahead, file.prepared()).unwrap();
    while by_thread(&calls) == u64::MAX {}
    assert!(ahead.take_failure().is_none());
}

#[test]
fn the_next_file_begins_as_far_ahead_as_the_last_one_was() {
    let allocator = allocator();
    let (file, calls) = probe();
    let ahead = allocator.attach(Arc::clone(&file) as Arc<dyn SharedFile>, PrepareChunk::REPLICATED);
    for _ in 0..6 {
        file.write(&ahead, file.prepared().max(1)).unwrap();
        by_thread(&calls);
    }
    let (next, next_calls) = probe();
    let _next = allocator.attach_next(next, PrepareChunk::REPLICATED, &ahead);
    assert!(by_thread(&next_calls) >= 65_536, "without a single append");
    assert_eq!(allocator.stats().first_steps, 1);
}

#[test]
fn many_appenders_write_real_files() {
    let folder = tempfile::tempdir().unwrap();
    let disk = PortableDisk::default();
    let allocator = allocator();
    thread::scope(|scope| {
        for number in 0..4u8 {
            let (disk, allocator, path) = (&disk, &allocator, folder.path().join(number.to_string()));
            scope.spawn(move || {
                let growth = Growth { capacity: 3_000_000, chunk: PrepareChunk::SYNCED };
                let mut file = disk.create_append(&path, growth).unwrap();
                let ahead = allocator.attach(file.shared(), growth.chunk);
                let mut expected = Vec::new();
                while expected.len() < 2_900_000 {
                    let batch = vec![number.wrapping_add((expected.len() % 241).to_le_bytes()[0]); 7_001];
                    ahead.ensure(file.written() + 7_001).unwrap();
                    file.append(&[&batch]).unwrap();
                    ahead.note(file.written());
                    expected.extend(batch);
                }
                drop(ahead);
                file.seal().unwrap();
                assert!(disk.read(&path, 4_000_000).unwrap() == expected, "file {number}");
            });
        }
    });
    let stats = allocator.stats();
    assert_eq!((stats.failures, stats.first_steps), (0, 4));
}
