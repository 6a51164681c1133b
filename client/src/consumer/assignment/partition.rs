//! One assigned partition: where it is read next, and what stands in the way.
//!
//! Must not know: the other partitions, the clock.

use std::sync::Arc;

use cairn_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use tokio::time::Instant;

use super::StartAt;
use crate::cluster::PartitionInfo;
use crate::consumer::progress::Progress;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    ToFind(StartAt),
    At(Offset),
    /// An error was told; it waits for a seek.
    Halted,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) place: Place,
    pub(super) progress: Arc<Progress>,
    /// Being fetched or looked up.
    pub(super) busy: bool,
    /// The application wants nothing of it for now.
    pub(super) paused: bool,
    pub(super) failures: u32,
    pub(super) not_before: Option<Instant>,
    /// A replica that is nearer than the leader, and until when that is believed (KIP-392).
    pub(super) nearer: Option<(BrokerId, Instant)>,
    /// The epoch of the leader that wrote what lies before its place.
    pub(super) epoch: Option<LeaderEpoch>,
    /// The leader's epoch in which its place was last known to be in the log.
    pub(super) checked_in: Option<LeaderEpoch>,
}

impl Partition {
    pub(super) fn starting(at: StartAt) -> Self {
        let progress = Progress::new();
        let place = match at {
            StartAt::Offset(offset) => {
                progress.on_begin(offset);
                Place::At(offset)
            }
            at => Place::ToFind(at),
        };
        Self {
            place,
            progress,
            busy: false,
            paused: false,
            failures: 0,
            not_before: None,
            nearer: None,
            epoch: None,
            checked_in: None,
        }
    }

    /// Goes back to what was consumed; what was fetched ahead is dropped.
    pub(super) fn rewind(&mut self) {
        if let (Place::At(_), Some(position)) = (self.place, self.progress.position()) {
            self.progress.begin_round();
            self.place = Place::At(position);
            self.busy = false;
        }
    }

    pub(super) fn arrive(&mut self, place: Offset) {
        self.busy = false;
        self.failures = 0;
        self.not_before = None;
        self.place = Place::At(place);
    }

    /// Whether the log may have been cut before its place since it was last known to be there (KIP-320).
    pub(super) fn check_due(&mut self, leader: PartitionInfo) -> Option<(LeaderEpoch, LeaderEpoch)> {
        let current = leader.epoch?;
        if self.epoch.is_none() || self.checked_in.is_none() {
            self.checked_in = Some(current);
        }
        let is_older = self.checked_in.is_some_and(|checked| checked < current);
        is_older.then_some((self.epoch?, current))
    }
}
