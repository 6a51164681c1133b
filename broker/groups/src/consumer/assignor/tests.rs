//! What assignors promise, on groups of all kinds.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::super::topics::tests::topic_id;
use super::*;
use cairn_protocol::ids::PartitionIndex;

/// Members with what they ask for, over topics with these numbers of partitions.
fn spec(topics: &[i32], members: &[(Option<&str>, Vec<usize>)]) -> Spec {
    let id = |at: usize| topic_id(at as u128 + 1);
    let asked: BTreeSet<usize> = members.iter().flat_map(|(_, topics)| topics.iter().copied()).collect();
    let member = |(at, (instance, topics)): (usize, &(Option<&str>, Vec<usize>))| {
        let spec = MemberSpec {
            instance: instance.map(Into::into),
            topics: Arc::new(topics.iter().map(|at| id(*at)).collect()),
            before: Arc::default(),
        };
        (format!("m{at:02}").into(), spec)
    };
    Spec {
        members: members.iter().enumerate().map(member).collect(),
        topics: asked.into_iter().map(|at| (id(at), topics[at])).collect(),
    }
}

fn loads(assignment: &BTreeMap<Arc<str>, Partitions>) -> Vec<usize> {
    assignment.values().map(|given| given.values().map(BTreeSet::len).sum()).collect()
}

/// Every partition that somebody asks for goes to exactly one who asks for it.
fn check_whole(spec: &Spec, assignment: &BTreeMap<Arc<str>, Partitions>) {
    assert!(assignment.keys().eq(spec.members.keys()));
    let mut given = BTreeSet::new();
    for (id, partitions) in assignment {
        for (topic, partitions) in partitions {
            assert!(spec.members[id].topics.contains(topic), "{id} does not ask for it");
            assert!(!partitions.is_empty());
            for partition in partitions {
                assert!((0..spec.topics[topic]).contains(&partition.0), "there is no such partition");
                assert!(given.insert((*topic, *partition)), "{topic} {partition:?} is given twice");
            }
        }
    }
    let all: usize = spec.topics.values().map(|count| usize::try_from(*count).expect("small")).sum();
    assert_eq!(given.len(), all, "all are given");
}

/// No partition can be moved to somebody who asks for it and would still have fewer than its owner.
fn check_balanced(spec: &Spec, assignment: &BTreeMap<Arc<str>, Partitions>) {
    let load: BTreeMap<&Arc<str>, usize> = assignment.keys().zip(loads(assignment)).collect();
    for (owner, partitions) in assignment {
        for topic in partitions.keys() {
            for (other, member) in &spec.members {
                assert!(
                    !member.topics.contains(topic) || load[owner] <= load[other] + 1,
                    "{owner} has more than {other}"
                );
            }
        }
    }
}

fn then(spec: &Spec, assignment: BTreeMap<Arc<str>, Partitions>) -> Spec {
    let mut next = spec.clone();
    for (id, given) in assignment {
        next.members.get_mut(&id).expect("a member").before = Arc::new(given);
    }
    next
}

/// How many partitions have another owner than before.
fn moved(spec: &Spec, assignment: &BTreeMap<Arc<str>, Partitions>) -> usize {
    let is_new = |id: &Arc<str>, topic: &TopicId, partition: &PartitionIndex| {
        !spec.members[id].before.get(topic).is_some_and(|before| before.contains(partition))
    };
    let new = assignment.iter().flat_map(|(id, given)| given.iter().map(move |(topic, all)| (id, topic, all)));
    new.map(|(id, topic, all)| all.iter().filter(|partition| is_new(id, topic, partition)).count()).sum()
}

fn any_spec() -> impl Strategy<Value = Spec> {
    vec(0..9i32, 1..6).prop_flat_map(|topics| {
        let asked = btree_set(0..topics.len(), 0..=topics.len()).prop_map(|set| set.into_iter().collect::<Vec<_>>());
        let member = (proptest::option::of(0..40u8), asked);
        let members = vec(member, 1..9);
        (Just(topics), members).prop_map(|(topics, members)| {
            let mut taken = BTreeSet::new();
            let instances: Vec<Option<String>> = members
                .iter()
                .map(|(instance, _)| instance.filter(|i| taken.insert(*i)).map(|i| format!("i{i:02}")))
                .collect();
            let members: Vec<_> =
                instances.iter().zip(members).map(|(instance, (_, asked))| (instance.as_deref(), asked)).collect();
            spec(&topics, &members)
        })
    })
}

fn same_for_all() -> impl Strategy<Value = Spec> {
    (vec(0..12i32, 1..5), 1..9usize).prop_map(|(topics, members)| {
        let all: Vec<usize> = (0..topics.len()).collect();
        spec(&topics, &vec![(None, all); members])
    })
}

proptest! {
    #[test]
    fn every_partition_has_one_owner_who_asks_for_it(spec in any_spec()) {
        for assignor in Assignor::ALL {
            check_whole(&spec, &assignor.assign(&spec));
        }
    }

    #[test]
    fn uniform_is_balanced_and_moves_nothing_without_need(spec in any_spec()) {
        let first = Assignor::Uniform.assign(&spec);
        check_balanced(&spec, &first);
        let again = then(&spec, first.clone());
        prop_assert_eq!(Assignor::Uniform.assign(&again), first);
    }

    #[test]
    fn uniform_stays_balanced_when_members_come_and_go(spec in any_spec(), gone in 0..9usize, more in any_spec()) {
        let mut next = then(&spec, Assignor::Uniform.assign(&spec));
        if let Some(id) = next.members.keys().nth(gone).cloned() {
            next.members.remove(&id);
        }
        for (id, member) in more.members {
            let topics = member.topics.iter().copied().filter(|topic| next.topics.contains_key(topic)).collect();
            let member = MemberSpec { topics: Arc::new(topics), ..member };
            next.members.insert(format!("new-{id}").into(), member);
        }
        let asked: BTreeSet<TopicId> = next.members.values().flat_map(|member| member.topics.iter().copied()).collect();
        next.topics.retain(|topic, _| asked.contains(topic));
        let assignment = Assignor::Uniform.assign(&next);
        check_whole(&next, &assignment);
        check_balanced(&next, &assignment);
    }

    /// With the same subscription for all, no more moves than has to: what nobody has, and what is over a share.
    #[test]
    fn uniform_moves_as_few_as_possible(spec in same_for_all(), joins in 0..4usize, leaves in 0..4usize) {
        let mut next = then(&spec, Assignor::Uniform.assign(&spec));
        let topics = Arc::clone(&next.members.values().next().expect("a member").topics);
        for _ in 0..leaves.min(next.members.len() - 1) {
            next.members.pop_first();
        }
        for at in 0..joins {
            next.members.insert(format!("new-{at}").into(), MemberSpec { topics: Arc::clone(&topics), ..MemberSpec::default() });
        }
        let assignment = Assignor::Uniform.assign(&next);
        check_whole(&next, &assignment);
        let loads = loads(&assignment);
        prop_assert!(loads.iter().max().expect("some") - loads.iter().min().expect("some") <= 1);
        let all: usize = next.topics.values().map(|count| usize::try_from(*count).expect("small")).sum();
        let mut had: Vec<usize> =
            next.members.values().map(|member| member.before.values().map(BTreeSet::len).sum()).collect();
        had.sort_unstable_by_key(|had| std::cmp::Reverse(*had));
        let (share, larger) = (all / had.len(), all % had.len());
        let kept: usize = had.iter().enumerate().map(|(at, had)| (*had).min(share + usize::from(at < larger))).sum();
        prop_assert_eq!(moved(&next, &assignment), all - kept);
    }

    /// Where all ask for the same topics with as many partitions, one number goes to one member.
    #[test]
    fn range_puts_the_same_numbers_together(partitions in 0..12i32, topics in 1..5usize, members in 1..9usize) {
        let all: Vec<usize> = (0..topics).collect();
        let spec = spec(&vec![partitions; topics], &vec![(None, all); members]);
        let assignment = Assignor::Range.assign(&spec);
        check_whole(&spec, &assignment);
        for given in assignment.values() {
            let mut each = given.values();
            let first = each.next();
            prop_assert!(each.all(|other| Some(other) == first));
            prop_assert!(given.is_empty() || given.len() == topics);
            for numbers in given.values() {
                let (low, high) = (numbers.first().expect("some").0, numbers.last().expect("some").0);
                prop_assert_eq!(usize::try_from(high - low + 1).expect("small"), numbers.len(), "a range has no gaps");
            }
        }
    }

    /// For each topic by itself, who asks for it gets as many as the others, or one less.
    #[test]
    fn range_is_even_in_each_topic(spec in any_spec()) {
        let assignment = Assignor::Range.assign(&spec);
        for topic in spec.topics.keys() {
            let asking = spec.members.iter().filter(|(_, member)| member.topics.contains(topic));
            let counts: Vec<usize> = asking.map(|(id, _)| assignment[id].get(topic).map_or(0, BTreeSet::len)).collect();
            prop_assert!(counts.iter().max().expect("some") - counts.iter().min().expect("some") <= 1);
        }
    }
}

#[test]
fn range_places_static_members_by_their_instance() {
    let before = Assignor::Range.assign(&spec(&[3], &[(Some("i1"), vec![0]), (Some("i0"), vec![0])]));
    let given =
        |assignment: &BTreeMap<Arc<str>, Partitions>, id: &str| assignment[id].values().next().map_or(0, BTreeSet::len);
    // The one with the lower instance id comes first, whatever its member id is.
    assert_eq!((given(&before, "m00"), given(&before, "m01")), (1, 2));
}

#[test]
fn assignors_have_kafkas_names() {
    assert_eq!(Assignor::of("uniform"), Some(Assignor::Uniform));
    assert_eq!(Assignor::of("range"), Some(Assignor::Range));
    assert_eq!(Assignor::of("sticky"), None);
    assert_eq!(Assignor::default().name(), "uniform");
}

#[test]
fn nobody_gets_nothing() {
    for assignor in Assignor::ALL {
        assert!(assignor.assign(&Spec::default()).is_empty());
    }
}
