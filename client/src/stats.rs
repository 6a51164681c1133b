//! What a client, a producer and a consumer have done so far, and hold now, in numbers.
//!
//! A snapshot is a plain struct: take one now and then, and subtract. Taking one costs some atomic loads, counting an atomic addition for each
//! request, batch or fetch, and nothing for a record. Must not know: who wants it, how it is shown.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What all that was made from one [`Client`](crate::Client) have sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStats {
    /// Connections that are open now.
    pub connections_open: u64,
    /// Connections that were made, and were ready for requests.
    pub connections_made: u64,
    /// Attempts to connect that failed: nobody listened, no TLS was agreed on, the login was refused.
    pub connections_failed: u64,
    /// Requests that were handed to a socket.
    pub requests: u64,
    /// Requests that wait for an answer now.
    pub requests_in_flight: u64,
    /// Requests that were given up, as no answer came in time.
    pub requests_timed_out: u64,
    /// Bytes of requests, before TLS.
    pub bytes_out: u64,
    /// Bytes of answers, after TLS.
    pub bytes_in: u64,
    /// Time between a request and its answer, of all that were answered together; long polls are among them.
    pub answered_after: Duration,
    /// Answers.
    pub answers: u64,
    /// How often metadata was asked for and given.
    pub metadata_refreshes: u64,
}

/// What a [`Producer`](crate::Producer) has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerStats {
    /// Records that were written.
    pub records_written: u64,
    /// Records that were not, and whose deliveries have failed.
    pub records_failed: u64,
    /// Batches that were written.
    pub batches_written: u64,
    /// Attempts to write a batch that have to be repeated.
    pub retries: u64,
    /// Bytes of the buffer (`buffer.memory`) that are in use.
    pub bytes_buffered: u64,
    /// Batches that are neither written nor given up.
    pub batches_outstanding: u64,
}

/// What a [`Consumer`](crate::Consumer) has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Fetches that brought records of a partition.
    pub fetches: u64,
    /// Bytes of these, compressed.
    pub bytes_fetched: u64,
    /// Bytes that were fetched and not taken yet (`prefetch_bytes` is the bound).
    pub bytes_prefetched: u64,
    /// Partitions that are assigned.
    pub partitions: u64,
    /// Commits that the group's coordinator has acknowledged.
    pub commits: u64,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What connections count.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) made: Counter,
    pub(crate) failed: Counter,
    pub(crate) ended: Counter,
    pub(crate) requests: Counter,
    pub(crate) settled: Counter,
    pub(crate) timed_out: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) answers: Counter,
    pub(crate) answered_micros: Counter,
    pub(crate) metadata_refreshes: Counter,
}

impl Traffic {
    pub(crate) fn snapshot(&self) -> ClientStats {
        // What ends is read first: a difference is never below nothing.
        let (ended, settled) = (self.ended.get(), self.settled.get());
        let (made, requests) = (self.made.get(), self.requests.get());
        ClientStats {
            connections_open: made.saturating_sub(ended),
            connections_made: made,
            connections_failed: self.failed.get(),
            requests,
            requests_in_flight: requests.saturating_sub(settled),
            requests_timed_out: self.timed_out.get(),
            bytes_out: self.bytes_out.get(),
            bytes_in: self.bytes_in.get(),
            answered_after: Duration::from_micros(self.answered_micros.get()),
            answers: self.answers.get(),
            metadata_refreshes: self.metadata_refreshes.get(),
        }
    }
}
