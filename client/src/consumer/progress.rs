//! How far one assignment of one partition has come: shared by what is fetched, what is given out, and what is committed.
//!
//! Must not know: how records are fetched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use cairn_protocol::ids::Offset;

/// A new assignment or a seek makes a new one, and what was fetched for the old one is dropped. A pause drops what was fetched, too,
/// but keeps what was consumed: it begins another round.
#[derive(Debug)]
pub(crate) struct Progress {
    current: AtomicBool,
    round: AtomicU64,
    /// Where it begins, once that is known; -1 before.
    begin: AtomicI64,
    /// The offset after the last record that was handed out; -1 before the first.
    consumed: AtomicI64,
    /// The same of the last record that the application is done with.
    settled: AtomicI64,
    /// What was committed by itself.
    committed: AtomicI64,
    /// The partition's end for readers, as the last answer told it; -1 before.
    log_end: AtomicI64,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        let none = || AtomicI64::new(-1);
        Arc::new(Self {
            current: AtomicBool::new(true),
            round: AtomicU64::new(0),
            begin: none(),
            consumed: none(),
            settled: none(),
            committed: none(),
            log_end: none(),
        })
    }

    /// Whether what was fetched in this round is still wanted.
    pub(crate) fn is_current(&self, round: u64) -> bool {
        self.current.load(Ordering::Acquire) && self.round() == round
    }

    pub(super) fn round(&self) -> u64 {
        self.round.load(Ordering::Acquire)
    }

    /// Nothing of it is wanted any more.
    pub(super) fn end(&self) {
        self.current.store(false, Ordering::Release);
    }

    /// What was fetched and not consumed is not wanted any more.
    pub(super) fn begin_round(&self) {
        self.round.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn on_begin(&self, at: Offset) {
        self.begin.store(at.0, Ordering::Release);
    }

    pub(super) fn on_log_end(&self, end: Offset) {
        self.log_end.store(end.0, Ordering::Release);
    }

    pub(crate) fn on_consumed(&self, end: Offset) {
        self.consumed.store(end.0, Ordering::Release);
    }

    /// The application is done with all that was handed out.
    pub(crate) fn settle(&self) {
        self.settled.store(self.consumed.load(Ordering::Acquire), Ordering::Release);
    }

    pub(crate) fn on_committed(&self, end: Offset) {
        self.committed.store(end.0, Ordering::Release);
    }

    /// What the application is done with and nobody has committed.
    pub(super) fn to_commit(&self) -> Option<Offset> {
        let settled = self.settled.load(Ordering::Acquire);
        (settled > self.committed.load(Ordering::Acquire)).then_some(Offset(settled))
    }

    pub(super) fn consumed(&self) -> Option<Offset> {
        known(&self.consumed)
    }

    /// The offset of the next record that is given out.
    pub(super) fn position(&self) -> Option<Offset> {
        self.consumed().or_else(|| known(&self.begin))
    }

    /// How many offsets are left before the end, as far as is known.
    pub(super) fn lag(&self) -> Option<i64> {
        Some((known(&self.log_end)?.0 - self.position()?.0).max(0))
    }
}

fn known(offset: &AtomicI64) -> Option<Offset> {
    let offset = offset.load(Ordering::Acquire);
    (offset >= 0).then_some(Offset(offset))
}
