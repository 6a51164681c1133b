//! The demo's accounts: which records were promised to be safe, and which were seen.
//!
//! Records have numbers, from 0. Must not know: sockets, clocks (whoever calls says when it was).

use std::collections::HashMap;
use std::time::Duration;

use cairn_client::{Offset, PartitionIndex};
use tokio::time::Instant;

/// Where a record is.
pub(crate) type Place = (PartitionIndex, Offset);

/// Who has promised and who has seen what.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    written: u64,
    acked: HashMap<u64, Option<Place>>,
    failed: u64,
    /// Where each number was seen first.
    read: HashMap<u64, Place>,
    repeated: u64,
    doubled: u64,
    /// When each partition had a record acknowledged last.
    acked_at: HashMap<PartitionIndex, Instant>,
    longest_pause: Duration,
    awaited: Option<Awaited>,
}

/// The first acknowledgement of a partition for what is written from some record on.
#[derive(Debug)]
struct Awaited {
    partition: PartitionIndex,
    from: u64,
    at: Option<Instant>,
}

/// The end of the accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Balance {
    /// Records that the broker has acknowledged.
    pub(crate) acked: u64,
    /// Different records that were read.
    pub(crate) read: u64,
    /// Acknowledged and never read, or not where they were said to be.
    pub(crate) lost: u64,
    /// Reads of records that had been read before.
    pub(crate) repeated: u64,
    /// Records that are in the log twice.
    pub(crate) doubled: u64,
    /// Records that the broker did not acknowledge, and nobody promised anything about.
    pub(crate) failed: u64,
}

impl Accounts {
    /// The number of the next record, which is now written.
    pub(crate) fn next_number(&mut self) -> u64 {
        let number = self.written;
        self.written += 1;
        number
    }

    /// The broker has acknowledged it.
    pub(crate) fn on_acked(&mut self, number: u64, place: Option<Place>, now: Instant) {
        self.acked.insert(number, place);
        let Some((partition, _)) = place else { return };
        if let Some(before) = self.acked_at.insert(partition, now) {
            self.longest_pause = self.longest_pause.max(now - before);
        }
        if let Some(awaited) = &mut self.awaited
            && awaited.partition == partition
            && number >= awaited.from
        {
            awaited.at.get_or_insert(now);
        }
    }

    /// From now on [`Accounts::awaited`] tells when the partition first had a record acknowledged that was written later than this.
    pub(crate) fn await_ack(&mut self, partition: PartitionIndex) {
        self.awaited = Some(Awaited { partition, from: self.written, at: None });
    }

    /// When that was.
    #[must_use]
    pub(crate) fn awaited(&self) -> Option<Instant> {
        self.awaited.as_ref()?.at
    }

    /// The longest time between two acknowledgements of one partition.
    #[must_use]
    pub(crate) fn longest_pause(&self) -> Duration {
        self.longest_pause
    }

    /// The broker has not acknowledged it.
    pub(crate) fn on_failed(&mut self) {
        self.failed += 1;
    }

    /// It was read at this place.
    pub(crate) fn on_read(&mut self, number: u64, place: Place) {
        match self.read.get(&number) {
            None => {
                self.read.insert(number, place);
            }
            Some(first) => {
                self.repeated += 1;
                self.doubled += u64::from(*first != place);
            }
        }
    }

    /// Records that were given to the producer.
    #[must_use]
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// As of now.
    #[must_use]
    pub(crate) fn balance(&self) -> Balance {
        let is_lost = |(number, place): &(&u64, &Option<Place>)| match (self.read.get(number), place) {
            (None, _) => true,
            (Some(_), None) => false,
            // What is read elsewhere too was counted as doubled; here it is enough that it is there.
            (Some(seen), Some(place)) => seen != place && self.doubled == 0,
        };
        Balance {
            acked: self.acked.len() as u64,
            read: self.read.len() as u64,
            lost: self.acked.iter().filter(is_lost).count() as u64,
            repeated: self.repeated,
            doubled: self.doubled,
            failed: self.failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Place {
        (PartitionIndex(0), Offset(offset))
    }

    #[test]
    fn what_was_promised_must_be_seen() {
        let mut accounts = Accounts::default();
        for _ in 0..4 {
            accounts.next_number();
        }
        accounts.on_acked(0, Some(at(0)), Instant::now());
        accounts.on_acked(1, Some(at(1)), Instant::now());
        accounts.on_acked(2, None, Instant::now());
        accounts.on_failed();
        accounts.on_read(0, at(0));
        accounts.on_read(0, at(0));
        accounts.on_read(3, at(7));
        let balance = accounts.balance();
        assert_eq!(balance, Balance { acked: 3, read: 2, lost: 2, repeated: 1, doubled: 0, failed: 1 });
        accounts.on_read(1, at(1));
        accounts.on_read(2, at(2));
        assert_eq!(accounts.balance().lost, 0);
    }

    #[test]
    fn a_record_at_another_place_than_promised_is_lost() {
        let mut accounts = Accounts::default();
        accounts.on_acked(0, Some(at(5)), Instant::now());
        accounts.on_read(0, at(4));
        assert_eq!(accounts.balance().lost, 1);
    }

    #[test]
    fn a_record_at_two_places_is_doubled() {
        let mut accounts = Accounts::default();
        accounts.on_acked(0, Some(at(5)), Instant::now());
        accounts.on_read(0, at(4));
        accounts.on_read(0, at(5));
        let balance = accounts.balance();
        assert_eq!((balance.lost, balance.repeated, balance.doubled), (0, 1, 1));
    }

    #[test]
    fn the_longest_pause_is_of_one_partition() {
        let (mut accounts, begun) = (Accounts::default(), Instant::now());
        let place = |partition, offset| Some((PartitionIndex(partition), Offset(offset)));
        let after = |ms| begun + Duration::from_millis(ms);
        accounts.on_acked(0, place(0, 0), after(0));
        accounts.on_acked(1, place(1, 0), after(10));
        accounts.on_acked(2, place(1, 1), after(30));
        assert_eq!(accounts.longest_pause(), Duration::from_millis(20));
        accounts.on_acked(3, place(0, 1), after(100));
        assert_eq!(accounts.longest_pause(), Duration::from_millis(100));
    }

    #[test]
    fn what_was_written_before_does_not_end_the_wait() {
        let (mut accounts, begun) = (Accounts::default(), Instant::now());
        let place = |partition, offset| Some((PartitionIndex(partition), Offset(offset)));
        let (before, other, after) = (accounts.next_number(), accounts.next_number(), 2);
        accounts.await_ack(PartitionIndex(0));
        accounts.on_acked(before, place(0, 0), begun);
        assert_eq!(accounts.awaited(), None);
        assert_eq!(accounts.next_number(), after);
        accounts.on_acked(other, place(1, 0), begun);
        accounts.on_acked(after, place(0, 1), begun + Duration::from_millis(7));
        accounts.on_acked(after + 1, place(0, 2), begun + Duration::from_millis(9));
        assert_eq!(accounts.awaited(), Some(begun + Duration::from_millis(7)));
    }
}
