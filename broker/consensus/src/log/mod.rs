//! The library's log storage on ours: entries in a [`Log`], vote and marks in a file of their own.
//!
//! One thread owns the files, so that writes happen one after the other and block nobody else. Appends that wait while
//! it syncs are made durable together. Reads go past it, straight to the log's reading side.
//!
//! Must not know: what entries mean, where the data directory is.

mod batch;
mod writer;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_protocol::ids::{Offset, Timestamp};
use cairn_storage::log::{FirstBatch, HotRead, Limits, ReadError};
use cairn_storage::{Log, LogReader};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::marks::{Marks, MarksFile};
use crate::types::{Entry, LogId, TypeConfig, Vote};
use batch::{index, offset};
use writer::{Job, Writer};

/// How many writes may wait for the thread.
const JOBS_WAITING_MAX: usize = 1024;
/// How much is read at once. An entry that is larger is read all the same.
const READ_BYTES: u64 = 1 << 20;

/// The log, as the library sees it.
#[derive(Debug)]
pub(crate) struct LogStore {
    jobs: mpsc::Sender<Job>,
    state: Arc<State>,
}

/// Reads entries. Shares the log's reading side with the writer.
#[derive(Clone, Debug)]
pub(crate) struct EntryReader {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    reader: LogReader,
    /// Set when the node stops: then nobody waits for space on a full disk any more.
    stopping: AtomicBool,
    shared: Mutex<Shared>,
}

/// What reads need besides the log. Written by the writer only.
#[derive(Debug)]
struct Shared {
    marks: Marks,
    last: Option<LogId>,
}

/// The writer's thread, for whoever ends it.
#[derive(Debug)]
pub(crate) struct WriterHandle {
    state: Arc<State>,
    closed: oneshot::Receiver<()>,
}

impl WriterHandle {
    /// From now on no write waits for space on a full disk.
    pub(crate) fn stop(&self) {
        self.state.stopping.store(true, Ordering::Release);
    }

    /// Returns when the thread has closed the log: after the last clone of the store is gone.
    pub(crate) async fn closed(self) {
        // An error means that the thread is gone as well.
        let _ = self.closed.await;
    }
}

impl LogStore {
    /// Puts log and marks together, and starts the thread. Blocks.
    pub(crate) fn open(
        log: Log,
        file: MarksFile,
        marks: Marks,
        clock: fn() -> Timestamp,
    ) -> io::Result<(Self, WriterHandle)> {
        let reader = log.reader();
        let shared = Mutex::new(Shared { marks, last: None });
        let state = Arc::new(State { reader, stopping: AtomicBool::new(false), shared });
        let (jobs, waiting) = mpsc::channel(JOBS_WAITING_MAX);
        let mut writer = Writer { log, file, state: Arc::clone(&state), clock };
        writer.recover()?;
        let (done, closed) = oneshot::channel();
        std::thread::Builder::new().name("metadata-log".into()).spawn(move || {
            writer.run(waiting);
            let _ = done.send(());
        })?;
        let handle = WriterHandle { state: Arc::clone(&state), closed };
        Ok((Self { jobs, state }, handle))
    }

    async fn job(&self, make: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.jobs.send(make(done)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

fn stopped() -> io::Error {
    io::Error::other("the metadata log's thread has stopped")
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = EntryReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let shared = self.state.shared.lock();
        let last_purged_log_id = shared.marks.purged;
        let last_log_id = shared.last.or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> EntryReader {
        EntryReader { state: Arc::clone(&self.state) }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = *vote;
        self.job(|done| Job::Vote { vote, done }).await
    }

    /// Kept in memory, and written with the next vote or purge: as a lower bound it needs no sync of its own.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.state.shared.lock().marks.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.state.shared.lock().marks.committed)
    }

    /// Returns when the entries can be read; `flushed` hears when they are durable.
    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        self.job(|appended| Job::Append { entries, appended, flushed }).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let end = last.map_or(0, |last| last.index() + 1);
        self.job(|done| Job::Truncate { end, done }).await
    }

    async fn purge(&mut self, until: LogId) -> Result<(), io::Error> {
        self.job(|done| Job::Purge { until, done }).await
    }
}

impl RaftLogReader<TypeConfig> for EntryReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, end) = self.state.clamp(&range);
        if from >= end {
            return Ok(Vec::new());
        }
        if let Some(entries) = self.state.read_hot(from, end)? {
            return Ok(entries);
        }
        let state = Arc::clone(&self.state);
        spawn_blocking(move || state.read(from, end)).await.map_err(io::Error::other)?
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.state.shared.lock().marks.vote)
    }
}

impl State {
    /// The part of `range` that there is.
    fn clamp(&self, range: &impl RangeBounds<u64>) -> (Offset, Offset) {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let first = self.shared.lock().marks.first().max(index(self.reader.start_offset()));
        (offset(from.max(first)), offset(end.min(index(self.reader.end_offset()))))
    }

    /// Entries that are in memory; none when the disk would have to be waited for.
    fn read_hot(&self, mut from: Offset, end: Offset) -> io::Result<Option<Vec<Entry>>> {
        let mut entries = Vec::new();
        while from < end {
            match self.reader.read_hot(from, limits(end)).map_err(read_error)? {
                HotRead::Ready(batches) => {
                    entries.extend(batch::decode(batches.bytes).map_err(invalid)?);
                    from = advance(from, batches.next_offset)?;
                }
                HotRead::Cold => return Ok(None),
            }
        }
        Ok(Some(entries))
    }

    /// Entries, wherever they are. Blocks.
    fn read(&self, mut from: Offset, end: Offset) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        while from < end {
            let batches = self.reader.read(from, limits(end)).map_err(read_error)?;
            entries.extend(batch::decode(batches.bytes).map_err(invalid)?);
            from = advance(from, batches.next_offset)?;
        }
        Ok(entries)
    }
}

fn limits(end: Offset) -> Limits {
    Limits { max_bytes: READ_BYTES, first_batch: FirstBatch::AtLeastOne, end }
}

fn advance(from: Offset, next: Offset) -> io::Result<Offset> {
    if next > from { Ok(next) } else { Err(io::Error::other(format!("the metadata log gives nothing at {from}"))) }
}

fn read_error(error: ReadError) -> io::Error {
    io::Error::other(error)
}

fn invalid(error: batch::BatchError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests;
