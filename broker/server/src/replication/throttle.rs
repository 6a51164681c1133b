//! Replicas that catch up at a pace: what `kafka-reassign-partitions.sh --throttle` asks for (KIP-73).
//!
//! ```text
//!   leader.replication.throttled.rate      of a broker: what it sends to followers that are named and not in sync, all together
//!   follower.replication.throttled.rate    of a broker: what each leader sends to it, likewise
//!   *.replication.throttled.replicas       of a topic: which partitions, by leader or by follower
//! ```
//! Who is in sync is never slowed down: producers wait for it. Both rates are kept where records are sent, beside the one that `catch_up` finds.
//!
//! Must not know: streams, frames.

use std::time::Duration;

use cairn_metadata::{ConfigResource, Image};
use cairn_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use parking_lot::Mutex;
use tokio::time::Instant;

const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";
/// Whatever is owed, it is looked again so soon: the rate may be another one by then, or the follower in sync.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Bytes per second; none where nothing slows down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates {
    /// Of all that this leader sends.
    pub(super) leader: Option<u64>,
    /// Of what is sent to this follower: the least of what is asked for and what producers leave to it.
    pub(super) follower: Option<u64>,
}

impl Rates {
    /// What is set for this leader and this follower.
    pub(super) fn of(image: &Image, leader: BrokerId, follower: BrokerId) -> Self {
        let rate = |broker, name| {
            let of = |resource| image.configs(&resource).get(name).and_then(|value| value.parse::<u64>().ok());
            of(ConfigResource::Broker(broker)).or_else(|| of(ConfigResource::Brokers))
        };
        Self { leader: rate(leader, LEADER_RATE), follower: rate(follower, FOLLOWER_RATE) }
    }

    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The same, with one more bound of what is sent to this follower.
    pub(super) fn and_follower(self, rate: Option<u64>) -> Self {
        Self { follower: self.follower.into_iter().chain(rate).min(), ..self }
    }

    /// Those of them that hold for one partition, whose follower is not in sync.
    pub(super) fn for_partition(
        self,
        image: &Image,
        (topic, index): (TopicId, PartitionIndex),
        leader: BrokerId,
        follower: BrokerId,
    ) -> Self {
        let Some(topic) = image.topic(topic) else { return Self::default() };
        let named = |list, broker| topic.configs.get(list).is_some_and(|list| is_named(list, index, broker));
        Self {
            leader: self.leader.filter(|_| named(LEADER_REPLICAS, leader)),
            follower: self.follower.filter(|_| named(FOLLOWER_REPLICAS, follower)),
        }
    }
}

/// Whether a list of PARTITION:BROKER has this one, or `*` for all.
fn is_named(list: &str, index: PartitionIndex, broker: BrokerId) -> bool {
    let is_it = |one: &str| one.split_once(':') == Some((&*index.0.to_string(), &*broker.0.to_string()));
    list == "*" || list.split(',').any(|one| is_it(one.trim()))
}

/// What was sent is paid for by time.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Option<Instant>>);

impl Pace {
    /// Until when nothing may be sent, if so.
    pub(super) fn waits_until(&self, now: Instant) -> Option<Instant> {
        self.0.lock().filter(|paid| *paid > now).map(|paid| paid.min(now + WAIT_MAX))
    }

    /// So much was sent.
    pub(super) fn on_sent(&self, bytes: usize, rate: u64, now: Instant) {
        let mut paid = self.0.lock();
        let from = paid.map_or(now, |paid| paid.max(now));
        let micros = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000_000) / rate.max(1);
        *paid = from.checked_add(Duration::from_micros(micros));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_partitions_of_a_broker() {
        let table = [("*", true), ("", false), ("1:2", true), ("0:2,1:2", true), ("1:3, 11:2", false), ("1", false)];
        for (list, expected) in table {
            assert_eq!(is_named(list, PartitionIndex(1), BrokerId(2)), expected, "{list}");
        }
    }

    #[test]
    fn what_was_sent_is_paid_for_by_time() {
        let (pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.waits_until(now), None);
        pace.on_sent(300, 1000, now);
        pace.on_sent(200, 1000, now);
        let paid = now + Duration::from_millis(500);
        let almost = now + Duration::from_millis(450);
        assert_eq!(pace.waits_until(almost), Some(paid));
        assert_eq!(pace.waits_until(now), Some(now + WAIT_MAX), "the rate is looked at again meanwhile");
        assert_eq!(pace.waits_until(paid), None);
        // What is not used is not saved for later.
        pace.on_sent(5000, 1000, paid + Duration::from_secs(9));
        let late = paid + Duration::from_secs(9);
        assert_eq!(pace.waits_until(late), Some(late + WAIT_MAX));
        assert_eq!(pace.waits_until(late + Duration::from_secs(5)), None);
    }
}
