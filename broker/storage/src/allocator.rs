//! The allocator: one thread per data directory that prepares files ahead of their appends.
//!
//! ```text
//!   appender                          allocator thread
//!   append, note(written) ---- only when written passes `wake_at`: queue + wake ---> plan, prepare, set `wake_at`
//! ```
//!
//! An append costs one atomic load here. A file that nobody appends to is in no queue and costs nothing.
//!
//! Must not know: record batches, segments, how a file is prepared.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::disk::{PrepareChunk, SharedFile};

mod pace;
#[cfg(test)]
mod tests;

use pace::Pace;

/// The most that is prepared between two looks at whether to stop, and where those are: at its multiples.
const PIECE_BYTES: u64 = PrepareChunk::MAX_BYTES as u64;

/// The most that an appender prepares for itself beyond its need. Some, because the thread is late and the next append is
/// near; not much, because an append waits for it.
const STALL_BYTES: u64 = 256 * 1024;

/// How far ahead to prepare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocatorConfig {
    /// This much time of a file's own rate.
    pub ahead: Duration,
    /// Never more than this for one file.
    pub max_ahead_bytes: u64,
}

impl Default for AllocatorConfig {
    fn default() -> Self {
        Self { ahead: Duration::from_millis(40), max_ahead_bytes: 16 * 1024 * 1024 }
    }
}

/// What an allocator did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocatorStats {
    /// Steps that the thread made.
    pub steps: u64,
    /// Steps that failed, in the thread or in an appender.
    pub failures: u64,
    /// First steps of a file, which its appender makes.
    pub first_steps: u64,
    /// Appenders that came faster than the thread and had to prepare for themselves.
    pub stalls: u64,
}

#[derive(Debug, Default)]
struct Counters {
    steps: AtomicU64,
    failures: AtomicU64,
    first_steps: AtomicU64,
    stalls: AtomicU64,
}

/// The thread. Dropping it waits for the piece that is being prepared, and no longer.
#[derive(Debug)]
pub struct Allocator {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    config: AllocatorConfig,
    counters: Counters,
    queue: Mutex<Queue>,
    wake: Condvar,
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    /// Each file at most once (`Watched::queued`), so it is no longer than there are files.
    files: VecDeque<Arc<Watched>>,
}

/// One file, as the thread and its appender share it.
#[derive(Debug)]
struct Watched {
    file: Arc<dyn SharedFile>,
    /// The thread wants to be woken once this much is written.
    wake_at: AtomicU64,
    queued: AtomicBool,
    /// Something was prepared for it already.
    started: AtomicBool,
    detached: AtomicBool,
    pace: Mutex<Pace>,
    failure: Mutex<Option<io::Error>>,
}

impl Allocator {
    /// Starts the thread.
    pub fn start(config: AllocatorConfig) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            config,
            counters: Counters::default(),
            queue: Mutex::default(),
            wake: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        let shared = Arc::clone(&inner);
        let thread = thread::Builder::new().name("allocator".to_owned()).spawn(move || shared.run())?;
        Ok(Self { inner, thread: Some(thread) })
    }

    /// Follows a file from its first append on. Nothing is prepared before.
    #[must_use]
    pub fn attach(&self, file: Arc<dyn SharedFile>, chunk: PrepareChunk) -> Ahead {
        self.watch(file, Pace::new(chunk))
    }

    /// Follows the file that comes after `previous` in the same log: as far ahead as that one was, at once.
    #[must_use]
    pub fn attach_next(&self, file: Arc<dyn SharedFile>, chunk: PrepareChunk, previous: &Ahead) -> Ahead {
        let pace = previous.watched.pace.lock().following(chunk);
        let ahead = self.watch(file, pace);
        ahead.watched.started.store(true, Ordering::Relaxed);
        self.inner.enqueue(&ahead.watched);
        ahead
    }

    fn watch(&self, file: Arc<dyn SharedFile>, pace: Pace) -> Ahead {
        let watched = Watched {
            // A file that was opened again has nothing prepared, however much is written.
            wake_at: AtomicU64::new(file.written() + 1),
            file,
            queued: AtomicBool::new(false),
            started: AtomicBool::new(false),
            detached: AtomicBool::new(false),
            pace: Mutex::new(pace),
            failure: Mutex::new(None),
        };
        Ahead { watched: Arc::new(watched), inner: Arc::clone(&self.inner) }
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> AllocatorStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { steps, failures, first_steps, stalls } = &self.inner.counters;
        AllocatorStats {
            steps: read(steps),
            failures: read(failures),
            first_steps: read(first_steps),
            stalls: read(stalls),
        }
    }
}

impl Drop for Allocator {
    fn drop(&mut self) {
        {
            // Under the queue's lock, so that the thread either sees it or already waits for the wake.
            let _queue = self.inner.queue.lock();
            self.inner.stopped.store(true, Ordering::Release);
        }
        self.inner.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the allocator thread had panicked");
        }
    }
}

/// The appender's side of one file. Dropping it ends the preparing.
#[derive(Debug)]
pub struct Ahead {
    watched: Arc<Watched>,
    inner: Arc<Inner>,
}

impl Ahead {
    /// Tells how much is written. Wakes the thread only when too little is left prepared.
    #[inline]
    pub fn note(&self, written: u64) {
        if written >= self.watched.wake_at.load(Ordering::Relaxed) {
            self.inner.enqueue(&self.watched);
        }
    }

    /// Makes sure that appends up to `end` have prepared pages, which they mostly have. Otherwise this is where a full
    /// disk shows: [`io::ErrorKind::StorageFull`], after which it may be tried again.
    #[inline]
    pub fn ensure(&self, end: u64) -> io::Result<()> {
        if end <= self.watched.file.prepared() { Ok(()) } else { self.prepare_here(end) }
    }

    #[cold]
    fn prepare_here(&self, end: u64) -> io::Result<()> {
        let counters = &self.inner.counters;
        let started = self.watched.started.swap(true, Ordering::Relaxed);
        let counter = if started { &counters.stalls } else { &counters.first_steps };
        counter.fetch_add(1, Ordering::Relaxed);
        // The thread holds the pace only while it plans; whoever meets it there does without.
        let distance = self.watched.pace.try_lock().map_or(0, |pace| pace.distance_bytes());
        let generous = self.watched.file.written() + (distance / 2).min(STALL_BYTES);
        let prepared = match self.watched.file.prepare(end.max(generous)) {
            // The last bytes of a disk are good for what is really needed.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => self.watched.file.prepare(end),
            prepared => prepared,
        };
        prepared.inspect_err(|_| {
            counters.failures.fetch_add(1, Ordering::Relaxed);
        })?;
        // Also after a failure of the thread, which does not try again by itself.
        *self.watched.failure.lock() = None;
        self.watched.wake_at.store(self.watched.file.written() + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the error at which the thread gave the file up, if it did. It goes on after the next [`Ahead::ensure`] that
    /// prepares.
    #[must_use]
    pub fn take_failure(&self) -> Option<io::Error> {
        self.watched.failure.lock().take()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.watched.detached.store(true, Ordering::Release);
    }
}

impl Inner {
    #[cold]
    fn enqueue(&self, watched: &Arc<Watched>) {
        if watched.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.queue.lock().files.push_back(Arc::clone(watched));
        self.wake.notify_one();
    }

    fn run(&self) {
        while let Some(watched) = self.next() {
            // Cleared before `written` is read: whoever writes more afterwards queues the file again.
            watched.queued.store(false, Ordering::Release);
            self.serve(&watched);
        }
    }

    fn next(&self) -> Option<Arc<Watched>> {
        let mut queue = self.queue.lock();
        loop {
            if self.stopped.load(Ordering::Acquire) {
                return None;
            }
            if let Some(watched) = queue.files.pop_front() {
                return Some(watched);
            }
            self.wake.wait(&mut queue);
        }
    }

    fn serve(&self, watched: &Watched) {
        let file = &*watched.file;
        let plan = watched.pace.lock().plan(file.written(), Instant::now(), &self.config);
        let end = plan.prepare_to.min(file.capacity());
        self.counters.steps.fetch_add(1, Ordering::Relaxed);
        // By pieces, each of which the appender may use as soon as it is there.
        while file.prepared() < end {
            if watched.detached.load(Ordering::Acquire) || self.stopped.load(Ordering::Acquire) {
                return;
            }
            let before = file.prepared();
            if let Err(error) = file.prepare(end.min((before + 1).next_multiple_of(PIECE_BYTES))) {
                self.counters.failures.fetch_add(1, Ordering::Relaxed);
                *watched.failure.lock() = Some(error);
                watched.wake_at.store(u64::MAX, Ordering::Relaxed);
                return;
            }
            if file.prepared() == before {
                // Its writer has gone.
                return;
            }
        }
        let wake_at = if end == file.capacity() { u64::MAX } else { plan.wake_at };
        watched.wake_at.store(wake_at, Ordering::Relaxed);
    }
}
