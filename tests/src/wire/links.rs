//! What becomes of a packet between two hosts.
//!
//! It must not know packets.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::LATE_MAX;
use crate::dice::Dice;

/// One direction between two hosts; the default loses nothing and holds nothing back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// How many of a thousand packets are lost.
    pub lost_permille: u16,
    /// How long each is held back at least.
    pub late: Duration,
    /// And how much longer at most: packets overtake each other.
    pub spread: Duration,
}

impl Link {
    /// Nothing arrives.
    pub const CUT: Link = Link { lost_permille: 1000, late: Duration::ZERO, spread: Duration::ZERO };
}

#[derive(Debug, Default)]
pub(super) struct Links {
    /// Those that are not as they were at first.
    changed: Mutex<HashMap<(u8, u8), Link>>,
    lost: AtomicU64,
}

impl Links {
    pub(super) fn set(&self, from: u8, to: u8, link: Link) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert((from, to), link);
    }

    pub(super) fn clear(&self) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How late a packet arrives; none if it does not.
    pub(super) fn passes(&self, from: u8, to: u8, dice: &mut Dice) -> Option<Duration> {
        let changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner).get(&(from, to)).copied();
        let Some(Link { lost_permille, late, spread }) = changed else { return Some(Duration::ZERO) };
        if dice.among(0..1000) < u64::from(lost_permille) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let spread = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX).min(LATE_MAX.as_secs() * 1_000_000);
        Some((late + Duration::from_micros(dice.among(0..spread + 1))).min(LATE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_one_direction() {
        let (links, mut dice) = (Links::default(), Dice::new(1));
        links.set(1, 2, Link::CUT);
        assert_eq!(links.passes(1, 2, &mut dice), None);
        assert_eq!(links.passes(2, 1, &mut dice), Some(Duration::ZERO));
        assert_eq!(links.lost(), 1);
        links.clear();
        assert_eq!(links.passes(1, 2, &mut dice), Some(Duration::ZERO));
    }

    #[test]
    fn a_link_loses_and_holds_back_what_it_is_told_to() {
        let (links, mut dice) = (Links::default(), Dice::new(1));
        let late = Duration::from_millis(50);
        links.set(1, 2, Link { lost_permille: 200, late, spread: late });
        let passed: Vec<Duration> = (0..10_000).filter_map(|_| links.passes(1, 2, &mut dice)).collect();
        assert!((7_800..8_200).contains(&passed.len()), "{} of 10000 passed", passed.len());
        assert!(passed.iter().all(|&time| (late..=2 * late).contains(&time)));
        assert!(passed.iter().any(|&time| time < late * 5 / 4) && passed.iter().any(|&time| time > late * 7 / 4));
    }
}
