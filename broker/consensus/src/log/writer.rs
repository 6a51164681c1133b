//! The thread that owns the metadata log's files: one write after the other, appends made durable in groups.
//!
//! Must not know: the library's traits, what entries mean.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_protocol::ids::Timestamp;
use cairn_protocol::records::BatchView;
use cairn_storage::Log;
use cairn_storage::log::{AppendAs, AppendError, Removal};
use openraft::storage::IOFlushed;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use super::State;
use super::batch::{self, index, offset};
use crate::marks::{Marks, MarksFile};
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// How long a full disk is left alone before an append is tried again.
const DISK_FULL_PAUSE: Duration = Duration::from_millis(100);

/// A write. Each is answered; appends twice.
pub(super) enum Job {
    Append { entries: Vec<Entry>, appended: oneshot::Sender<io::Result<()>>, flushed: IOFlushed<TypeConfig> },
    Vote { vote: Vote, done: oneshot::Sender<io::Result<()>> },
    Truncate { end: u64, done: oneshot::Sender<io::Result<()>> },
    Purge { until: LogId, done: oneshot::Sender<io::Result<()>> },
}

/// Whether an append had to wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waited {
    Not,
    ForSpace,
}

#[derive(Debug)]
pub(super) struct Writer {
    pub(super) log: Log,
    pub(super) file: MarksFile,
    pub(super) state: Arc<State>,
    pub(super) clock: fn() -> Timestamp,
}

impl Writer {
    /// Brings log and marks together after a crash between the two, and finds the last entry.
    pub(super) fn recover(&mut self) -> io::Result<()> {
        let first = self.state.shared.lock().marks.first();
        self.drop_before(first)?;
        self.sync()?;
        self.find_last()?;
        // What was committed had been durable: where the log ends before it, entries are lost.
        let end = index(self.log.end_offset());
        match &self.state.shared.lock().marks.committed {
            Some(committed) if committed.index() >= end => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "the metadata log ends at {end}, but the entry {} had been committed: entries are lost; restore the \
                     log from a backup",
                    committed.index()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Works until the last sender is gone, then writes the marks once more and closes the log.
    pub(super) fn run(mut self, mut jobs: Receiver<Job>) {
        let mut next = jobs.blocking_recv();
        while let Some(job) = next {
            next = match job {
                Job::Append { entries, appended, flushed } => {
                    let mut unflushed = vec![flushed];
                    let mut result = self.append(&entries);
                    let _ = appended.send(copy(&result));
                    let mut other = None;
                    // Others that came meanwhile are made durable together with this one.
                    while result.is_ok() && other.is_none() {
                        match jobs.try_recv() {
                            Ok(Job::Append { entries, appended, flushed }) => {
                                result = self.append(&entries);
                                let _ = appended.send(copy(&result));
                                unflushed.push(flushed);
                            }
                            Ok(job) => other = Some(job),
                            Err(_) => break,
                        }
                    }
                    let result = result.and_then(|()| self.sync());
                    unflushed.into_iter().for_each(|flushed| flushed.io_completed(copy(&result)));
                    other
                }
                Job::Vote { vote, done } => {
                    let _ = done.send(self.vote(vote));
                    None
                }
                Job::Truncate { end, done } => {
                    let _ = done.send(self.truncate(end));
                    None
                }
                Job::Purge { until, done } => {
                    let _ = done.send(self.purge(until));
                    None
                }
            };
            if next.is_none() {
                next = jobs.blocking_recv();
            }
        }
        self.close();
    }

    fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let Some(first) = entries.first() else { return Ok(()) };
        if self.log.start_offset() == self.log.end_offset() && self.log.end_offset() < offset(first.log_id.index()) {
            // Nothing is there that a gap could open to: a snapshot has taken the place of what came before.
            self.reset(first.log_id.index())?;
        }
        for entry in entries {
            self.append_one(entry)?;
            self.state.shared.lock().last = Some(entry.log_id);
        }
        Ok(())
    }

    fn append_one(&mut self, entry: &Entry) -> io::Result<()> {
        let now = (self.clock)();
        let bytes = batch::encode(entry, now);
        let batch = BatchView::parse(&bytes).expect("made just now");
        let mut waited = Waited::Not;
        loop {
            // As a follower: the entry has its index and term, and the disk's reserve is there for such as this.
            match self.log.append(&batch, AppendAs::Follower { now }) {
                Ok(_) => break,
                Err(AppendError::DiskFull) if !self.state.stopping.load(Ordering::Acquire) => {
                    if waited == Waited::Not {
                        tracing::error!("no space left on disk for the metadata log: commands wait until there is");
                        waited = Waited::ForSpace;
                    }
                    std::thread::sleep(DISK_FULL_PAUSE);
                }
                Err(error) => return Err(other("append to the metadata log", error)),
            }
        }
        if waited == Waited::ForSpace {
            tracing::info!("the metadata log has space again");
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(job) = self.log.begin_sync() {
            let synced = job.run().map_err(|error| other("sync the metadata log", error))?;
            self.log.on_synced(synced);
        }
        Ok(())
    }

    fn vote(&mut self, vote: Vote) -> io::Result<()> {
        self.change_marks(|marks| marks.vote = Some(vote))
    }

    fn truncate(&mut self, end: u64) -> io::Result<()> {
        let end = offset(end).max(self.log.start_offset());
        if end < self.log.end_offset() {
            self.log.truncate_to(end).map_err(|error| other("truncate the metadata log", error))?;
            self.sync()?;
            self.find_last()?;
        }
        Ok(())
    }

    /// First the mark, then the entries: a crash between the two leaves entries that [`Self::recover`] drops.
    fn purge(&mut self, until: LogId) -> io::Result<()> {
        let first = until.index() + 1;
        self.change_marks(|marks| marks.purged = Some(until))?;
        self.drop_before(first)?;
        self.find_last()
    }

    /// Makes `first` the log's first entry, also where the log ends before it.
    fn drop_before(&mut self, first: u64) -> io::Result<()> {
        let to = offset(first);
        if self.log.end_offset() < to {
            return self.reset(first);
        }
        if self.log.start_offset() < to {
            let purged = self.log.delete_records_before(to);
            let removal = purged.map_err(|error| other("purge the metadata log", error))?;
            removal.map_or(Ok(()), Removal::run).map_err(|error| other("purge the metadata log", error))?;
        }
        Ok(())
    }

    fn reset(&mut self, first: u64) -> io::Result<()> {
        self.log.reset_to(offset(first)).map_err(|error| other("reset the metadata log", error))?;
        self.sync()
    }

    /// Changes the marks in memory once they are durable.
    fn change_marks(&mut self, change: impl FnOnce(&mut Marks)) -> io::Result<()> {
        let mut marks = self.state.shared.lock().marks.clone();
        change(&mut marks);
        self.write_marks(&marks)?;
        let mut shared = self.state.shared.lock();
        // Commits are noted meanwhile by others.
        marks.committed = shared.marks.committed.take();
        shared.marks = marks;
        Ok(())
    }

    /// Writes the marks. What they call committed has to be durable on this disk first: the next start insists on it.
    fn write_marks(&mut self, marks: &Marks) -> io::Result<()> {
        self.sync()?;
        let end = index(self.log.end_offset());
        // The quorum may have committed what has not come here yet.
        let committed = marks.committed.filter(|committed| committed.index() < end.max(marks.first()));
        self.file.write(&Marks { committed, ..marks.clone() })
    }

    fn find_last(&mut self) -> io::Result<()> {
        let end = self.log.end_offset();
        let last = if self.log.start_offset() < end {
            let entries = self.state.read(offset(index(end) - 1), end)?;
            entries.last().map(|entry| entry.log_id)
        } else {
            None
        };
        self.state.shared.lock().last = last;
        Ok(())
    }

    fn close(mut self) {
        let marks = self.state.shared.lock().marks.clone();
        if let Err(error) = self.write_marks(&marks) {
            tracing::warn!(%error, "cannot write the metadata log's marks at its end");
        }
        if let Err(error) = self.log.close() {
            tracing::warn!(%error, "cannot close the metadata log");
        }
    }
}

fn other(action: &str, error: impl Display) -> io::Error {
    io::Error::other(format!("{action}: {error}"))
}

/// The same outcome for several who wait for it.
fn copy(result: &io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}
