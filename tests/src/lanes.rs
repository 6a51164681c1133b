//! Lanes: cases that wait more than they compute run beside each other, each lane against a broker of its own.
//!
//! It must not know what is judged.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::broker::{Broker, Kind};
use crate::report::Suite;

/// Cases that follow each other against one broker, which it leaves running.
pub type Work<'a> = Box<dyn FnOnce(&Suite, &mut Broker) + Send + 'a>;

/// How many brokers of Cairn run at a time. Kafka's tools, most of the load, take a processor each while they start.
const LANES: usize = 4;

/// Does all work, each piece in the lane that is free first, and gives the brokers back. Apache Kafka, which takes a gigabyte and
/// many seconds to start, has one lane.
pub fn run(suite: &Suite, kind: &Kind, settings: &[&str], work: Vec<Work<'_>>) -> Vec<Broker> {
    let lanes = match kind {
        Kind::Cairn(_) => LANES.min(work.len()),
        Kind::Kafka => 1,
    };
    let left = Mutex::new(VecDeque::from(work));
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let start = || {
        let started = Broker::start(kind.clone(), settings);
        started.inspect_err(|error| suite.fail("no broker to judge", error)).ok()
    };
    let lane = || {
        let mut broker = start()?;
        while let Some(work) = next() {
            let failed = suite.failed();
            work(suite, &mut broker);
            // What failed may have left anything behind, a dead broker too; another lane's failure costs a new broker only.
            if suite.failed() > failed {
                broker = start()?;
            }
        }
        Some(broker)
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        // A lane that panicked has said why, and its case has no verdict: that has to be a failure.
        let ended = lanes.into_iter().map(thread::ScopedJoinHandle::join);
        ended.filter_map(|lane| lane.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}
