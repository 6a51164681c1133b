//! What clients used lately, in bounded memory: who used nothing that still counts is forgotten, which changes nothing for it.
//!
//! Must not know: limits, clocks (the time is given in).

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Clients whose use is followed at a time, for each kind of quota. A client that is new beyond it is not limited until there is
/// room: whoever takes so many names evades limits by name anyway, and must not take the limits of others along.
pub(super) const SENSORS_MAX: usize = 1 << 16;

/// A client's sensor by a keyed hash of its name: no name is kept, however long it is.
#[derive(Debug)]
pub(super) struct Sensors<T> {
    by_client: HashMap<u64, T>,
    looked_through: Option<Instant>,
}

impl<T> Default for Sensors<T> {
    fn default() -> Self {
        Self { by_client: HashMap::new(), looked_through: None }
    }
}

impl<T> Sensors<T> {
    /// The client's sensor, or a new one where there is room. Looks for those that are over at most once each `every`.
    pub(super) fn get(
        &mut self,
        client: u64,
        now: Instant,
        every: Duration,
        is_over: impl Fn(&T) -> bool,
        new: impl FnOnce() -> T,
    ) -> Option<&mut T> {
        if !self.by_client.contains_key(&client) {
            let is_due = self.looked_through.is_none_or(|last| now.saturating_duration_since(last) >= every);
            if is_due {
                self.looked_through = Some(now);
                self.by_client.retain(|_, sensor| !is_over(sensor));
                self.by_client.shrink_to(self.by_client.len() * 2);
            }
            if self.by_client.len() >= SENSORS_MAX {
                return None;
            }
        }
        Some(self.by_client.entry(client).or_insert_with(new))
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_client.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    #[test]
    fn who_is_idle_is_forgotten_and_memory_is_bounded() {
        let begun = Instant::now();
        let mut sensors = Sensors::<Instant>::default();
        let get = |sensors: &mut Sensors<Instant>, client: u64, now: Instant| {
            let idle = |last: &Instant| now.saturating_duration_since(*last) >= EVERY;
            sensors.get(client, now, EVERY, idle, || now).map(|last| *last = now).is_some()
        };
        for client in 0..SENSORS_MAX as u64 {
            assert!(get(&mut sensors, client, begun));
        }
        assert!(!get(&mut sensors, u64::MAX, begun), "no room");
        assert!(get(&mut sensors, 7, begun + EVERY / 2), "known ones are still followed");
        assert!(!get(&mut sensors, u64::MAX, begun + EVERY / 2));
        assert!(get(&mut sensors, u64::MAX, begun + EVERY), "the idle ones are gone");
        assert_eq!(sensors.len(), 2, "the one that was not idle, and the new one");
    }
}
