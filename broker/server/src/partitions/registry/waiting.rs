//! Partitions that found no room on the disk when they were to be opened or made: they are tried again, ever more rarely,
//! until there is room.
//!
//! What is tried is what a start does: a log that is there is opened, one that was never there is made, and one that was
//! there and is gone stays offline.
//!
//! Must not know: how logs are opened and made, when the disk is looked at.

use std::sync::Arc;

use cairn_metadata::{Image, Topic};
use cairn_protocol::ids::PartitionIndex;

use super::{Partitions, Place, open};
use crate::partitions::Partition;
use crate::partitions::dirs::LogDirs;

/// Looks at the disk from one try to the next: doubled after each try that found no room, up to the largest.
const LOOKS_MIN: u32 = 1;
const LOOKS_MAX: u32 = 64;

/// What is carried out here, and how tries follow each other.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// None until the partitions are opened.
    image: Option<Arc<Image>>,
    pace: Pace,
}

impl Carried {
    /// Partitions are as this image says.
    pub(super) fn on_carried_out(&mut self, image: &Arc<Image>) {
        self.image = Some(Arc::clone(image));
    }
}

/// When the next try is due, counted in looks at the disk.
#[derive(Debug)]
struct Pace {
    /// Looks to let pass before the next try.
    left: u32,
    /// Looks from that to the one behind it.
    next: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { left: 0, next: LOOKS_MIN }
    }
}

impl Pace {
    /// One look at the disk; whether it is time for a try.
    fn is_due(&mut self) -> bool {
        let is_due = self.left == 0;
        self.left = self.left.saturating_sub(1);
        is_due
    }

    /// A try found no room.
    fn back_off(&mut self) {
        self.left = self.next - 1;
        self.next = (self.next * 2).min(LOOKS_MAX);
    }
}

impl Partitions {
    /// Tries again what waits for room, where it is time for that. To be called after each look at the disk that found
    /// some; one try that finds none ends the row. Blocks.
    pub(crate) fn retry_waiting(&self) {
        let mut carried = self.carried.lock();
        let Some(image) = carried.image.clone() else { return };
        let waiting = self.waiting(&image);
        if waiting.is_empty() {
            carried.pace = Pace::default();
            return;
        }
        if !carried.pace.is_due() {
            return;
        }
        let dirs = self.dirs.read();
        let Some(dirs) = &*dirs else { return };
        let mut served = Vec::new();
        let mut left = waiting.into_iter();
        let found_none = left.any(|(topic, index)| match self.retry(dirs, &image, topic, index) {
            Some(place) => {
                served.push((topic, index, place));
                false
            }
            None => true,
        });
        if found_none {
            carried.pace.back_off();
        }
        if !served.is_empty() {
            dirs.note();
        }
        for (topic, index, place) in served {
            place.open().into_iter().for_each(Partition::settle);
            self.put(topic, index, place);
        }
    }

    /// The partitions that wait, in the order of their topics' names.
    fn waiting<'a>(&self, image: &'a Image) -> Vec<(&'a Arc<Topic>, PartitionIndex)> {
        let mut waiting = Vec::new();
        let by_id = self.by_id.pin();
        for topic in image.topics() {
            let Some(held) = by_id.get(&topic.id) else { continue };
            let places = held.places.load();
            let indexed = (0..).map(PartitionIndex).zip(places.iter());
            let wait = indexed.filter(|(_, place)| matches!(place, Place::Waiting));
            waiting.extend(wait.map(|(index, _)| (topic, index)));
        }
        waiting
    }

    /// The new place; none where there was no room.
    fn retry(&self, dirs: &LogDirs, image: &Image, topic: &Topic, index: PartitionIndex) -> Option<Place> {
        topic.partition(index)?;
        let settings = self.settings(topic);
        let log = match open::open_or_create(dirs, topic, index, &settings) {
            Err(open::NoLog::NoSpace) => return None,
            log => log,
        };
        if log.is_ok() {
            tracing::info!(topic = &*topic.name, partition = index.0, "partition is served: there is space again");
        }
        Some(self.place(dirs, image, topic, index, &settings, log))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_become_rarer_and_never_end() {
        let mut pace = Pace::default();
        let mut tries = Vec::new();
        for look in 0..400 {
            if pace.is_due() {
                tries.push(look);
                pace.back_off();
            }
        }
        let gaps: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps, [1, 2, 4, 8, 16, 32, 64, 64, 64, 64, 64]);
    }
}
