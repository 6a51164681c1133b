//! What is wrong with partitions, by Kafka's terms, and what to do about it. Pure.
//!
//! Must not know: requests, how it is shown.

use std::collections::BTreeSet;

use cairn_client::{BrokerId, PartitionDescription, TopicPartition};

use super::survey::Survey;

/// The worst that is wrong with a partition; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// Nobody leads it: it can be neither written nor read.
    Offline,
    /// Fewer are in sync than `min.insync.replicas`: acks=all is refused.
    UnderMinIsr,
    /// Replicas are missing, and one more would be too many.
    AtMinIsr,
    /// Replicas are missing.
    UnderReplicated,
}

/// A partition that lacks something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) partition: TopicPartition,
    pub(super) state: State,
    /// Replicas that are not in sync.
    pub(super) missing: Vec<BrokerId>,
    /// What to do about it.
    pub(super) advice: String,
}

/// How much there is of each. A partition may be of several, but for at-min-ISR and under-min-ISR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) partitions: usize,
    pub(super) offline: usize,
    pub(super) under_min_isr: usize,
    pub(super) at_min_isr: usize,
    pub(super) under_replicated: usize,
}

/// What is wrong, the worst first.
pub(super) fn troubles(survey: &Survey) -> (Vec<Trouble>, Counts) {
    let serves = survey.cluster.brokers.iter().filter(|broker| !broker.is_fenced);
    let serving: BTreeSet<BrokerId> = serves.map(|broker| broker.id).collect();
    let (mut troubles, mut counts) = (Vec::new(), Counts::default());
    for topic in &survey.topics {
        for it in &topic.partitions {
            let partition = TopicPartition::new(&*topic.name, it.partition.0);
            let coming = survey.moves.get(&partition).map(|moving| &*moving.adding).unwrap_or_default();
            let min = survey.min_in_sync.get(&topic.name).copied().unwrap_or(1);
            counts.partitions += 1;
            if let Some(trouble) = look(partition, it, coming, min, &serving) {
                counts.add(&trouble);
                troubles.push(trouble);
            }
        }
    }
    troubles.sort_by(|one, other| (one.state, &one.partition).cmp(&(other.state, &other.partition)));
    (troubles, counts)
}

fn look(
    partition: TopicPartition,
    it: &PartitionDescription,
    coming: &[BrokerId],
    min: usize,
    serving: &BTreeSet<BrokerId>,
) -> Option<Trouble> {
    // Who is only on its way lacks nothing yet.
    let kept: Vec<BrokerId> = it.replicas.iter().copied().filter(|id| !coming.contains(id)).collect();
    let missing: Vec<BrokerId> = kept.iter().copied().filter(|id| !it.in_sync.contains(id)).collect();
    // As in Kafka, no more can be asked for than there are.
    let min = min.min(kept.len());
    let state = match it.in_sync.len() {
        _ if it.leader.is_none() => State::Offline,
        in_sync if in_sync < min => State::UnderMinIsr,
        _ if missing.is_empty() => return None,
        in_sync if in_sync == min => State::AtMinIsr,
        _ => State::UnderReplicated,
    };
    let advice = advise(it, state, &missing, serving);
    Some(Trouble { partition, state, missing, advice })
}

fn advise(it: &PartitionDescription, state: State, missing: &[BrokerId], serving: &BTreeSet<BrokerId>) -> String {
    if state == State::Offline {
        let complete = [&it.in_sync, &it.eligible, &it.last_known].into_iter().find(|known| !known.is_empty());
        let holders = names(complete.unwrap_or(&it.replicas));
        return format!(
            "start broker {holders}; while they are gone, only an unclean election brings the partition back, and loses what they alone have"
        );
    }
    let down: Vec<BrokerId> = missing.iter().copied().filter(|id| !serving.contains(id)).collect();
    if down.is_empty() {
        return format!("broker {} serves and is behind: look at its log, disk and network", names(missing));
    }
    let start = format!("start broker {}", names(&down));
    // Only then is there a broker that could take its place.
    if serving.len() >= it.replicas.len() {
        return format!("{start}; gone for good: cairn cluster drain --broker {}", down[0]);
    }
    start
}

impl Counts {
    fn add(&mut self, trouble: &Trouble) {
        self.under_replicated += usize::from(!trouble.missing.is_empty());
        match trouble.state {
            State::Offline => self.offline += 1,
            State::UnderMinIsr => self.under_min_isr += 1,
            State::AtMinIsr => self.at_min_isr += 1,
            State::UnderReplicated => {}
        }
    }
}

impl State {
    /// As Kafka's tools call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::UnderMinIsr => "under-min-isr",
            Self::AtMinIsr => "at-min-isr",
            Self::UnderReplicated => "under-replicated",
        }
    }
}

/// Ids, separated by commas.
pub(super) fn names(ids: &[BrokerId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(leader: Option<i32>, replicas: &[i32], in_sync: &[i32]) -> PartitionDescription {
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
        PartitionDescription {
            partition: cairn_client::PartitionIndex(0),
            leader: leader.map(BrokerId),
            leader_epoch: None,
            replicas: ids(replicas),
            in_sync: ids(in_sync),
            eligible: Vec::new(),
            last_known: Vec::new(),
        }
    }

    fn state(it: &PartitionDescription, coming: &[i32], min: usize) -> Option<State> {
        let coming: Vec<_> = coming.iter().copied().map(BrokerId).collect();
        let serving = BTreeSet::from([BrokerId(1), BrokerId(2)]);
        look(TopicPartition::new("t", 0), it, &coming, min, &serving).map(|trouble| trouble.state)
    }

    #[test]
    fn the_state_is_the_worst_that_holds() {
        let all = &[1, 2, 3];
        assert_eq!(state(&partition(Some(1), all, all), &[], 2), None);
        assert_eq!(state(&partition(Some(1), all, &[1, 2]), &[], 1), Some(State::UnderReplicated));
        assert_eq!(state(&partition(Some(1), all, &[1, 2]), &[], 2), Some(State::AtMinIsr));
        assert_eq!(state(&partition(Some(1), all, &[1]), &[], 2), Some(State::UnderMinIsr));
        assert_eq!(state(&partition(None, all, &[]), &[], 2), Some(State::Offline));
    }

    #[test]
    fn a_single_replica_is_whole_whatever_the_topic_asks_for() {
        assert_eq!(state(&partition(Some(1), &[1], &[1]), &[], 2), None);
    }

    #[test]
    fn a_replica_that_is_on_its_way_is_not_missing() {
        assert_eq!(state(&partition(Some(1), &[1, 2, 3], &[1, 2]), &[3], 2), None);
        assert_eq!(state(&partition(Some(1), &[1, 2, 3], &[1]), &[3], 1), Some(State::AtMinIsr));
    }

    #[test]
    fn advice_tells_a_dead_broker_from_a_slow_one() {
        let serving = BTreeSet::from([BrokerId(1), BrokerId(2)]);
        let advice = |in_sync: &[i32]| {
            let trouble = look(TopicPartition::new("t", 0), &partition(Some(1), &[1, 2, 3], in_sync), &[], 1, &serving);
            trouble.expect("trouble").advice
        };
        assert_eq!(advice(&[1, 2]), "start broker 3");
        assert!(advice(&[1, 3]).starts_with("broker 2 serves and is behind"));
        let serving = BTreeSet::from([BrokerId(1), BrokerId(2), BrokerId(4)]);
        let trouble = look(TopicPartition::new("t", 0), &partition(Some(1), &[1, 2, 3], &[1, 2]), &[], 1, &serving);
        assert!(trouble.expect("trouble").advice.ends_with("drain --broker 3"));
    }
}
