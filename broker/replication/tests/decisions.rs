//! What leader and follower decide, one event after the other, with time.

use cairn_metadata::configs::Durability;
use cairn_metadata::{BrokerEpoch, IsrOutcome, IsrProposal, IsrRefused, PartitionEpoch, ProposalSeq, SafeIn};
use cairn_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use cairn_replication::{
    AckWhen, Acks, AppendRefused, Assignment, BYTES_IN_FLIGHT_MAX, CommitState, Content, EpochEnd, Generation,
    HEARTBEAT_MS, InSync, IsrChange, LogView, MayJoin, Member, NackReason, PROPOSAL_RETRY_MS, PUSHES_IN_FLIGHT_MAX,
    Position, Push, PushAck, PushNack, Replica, Rules, Span, Ticks, Turn, Verdict, with_holes,
};

const LEADER: BrokerId = BrokerId(1);
const FOLLOWER: BrokerId = BrokerId(2);
const OTHER: BrokerId = BrokerId(3);
const LAG_MAX_MS: u64 = 10_000;

/// A log as the epochs of its records, from `start` on.
#[derive(Clone, Debug, Default, PartialEq)]
struct Log {
    start: i64,
    /// Of removed records too.
    epochs: Vec<i32>,
    /// What compaction has removed.
    removed: Vec<i64>,
    durable: i64,
}

/// A log from a drawing: "1 1 2" has three records, of epochs 1, 1 and 2.
fn log(start: i64, drawing: &str) -> Log {
    let epochs: Vec<i32> = drawing.split_whitespace().map(|epoch| epoch.parse().expect("an epoch")).collect();
    Log { start, durable: start, epochs, removed: Vec::new() }
}

impl Log {
    fn at(&self, offset: Offset) -> Option<i32> {
        self.epochs.get(usize::try_from(offset.0 - self.start).ok()?).copied()
    }

    /// Whether both have the same records, where both begin.
    fn is_like(&self, other: &Self) -> bool {
        let from = self.start.max(other.start);
        self.end() == other.end() && (from..self.end().0).all(|at| self.at(Offset(at)) == other.at(Offset(at)))
    }

    fn spans(&self, from: Offset, to: Offset) -> Vec<Span> {
        let batches = (from.0..to.0).filter(|at| !self.removed.contains(at)).map(|at| Span {
            base: Offset(at),
            end: Offset(at + 1),
            epoch: LeaderEpoch(self.at(Offset(at)).expect("in the log")),
            content: Content::Batch,
        });
        with_holes(from, batches, to, self).collect()
    }
}

impl LogView for Log {
    fn start(&self) -> Offset {
        Offset(self.start)
    }
    fn end(&self) -> Offset {
        Offset(self.start + i64::try_from(self.epochs.len()).expect("short"))
    }
    fn durable_end(&self) -> Offset {
        Offset(self.durable).min(self.end())
    }
    fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.at(offset).map(LeaderEpoch)
    }
    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.last().copied().map(LeaderEpoch)
    }
    fn end_for(&self, epoch: LeaderEpoch) -> EpochEnd {
        let count = self.epochs.iter().take_while(|known| **known <= epoch.0).count();
        let known = count.checked_sub(1).map_or(epoch, |last| LeaderEpoch(self.epochs[last]));
        EpochEnd { epoch: known, end: Offset(self.start + i64::try_from(count).expect("short")) }
    }
}

fn members(in_sync: &[BrokerId]) -> [Member; 3] {
    [LEADER, FOLLOWER, OTHER].map(|broker| Member {
        broker,
        incarnation: BrokerEpoch(10 + i64::from(broker.0)),
        sync: if in_sync.contains(&broker) { InSync::Yes } else { InSync::No },
        may_join: MayJoin::Yes,
    })
}

fn assignment(members: &[Member; 3], epoch: i32, version: i32) -> Assignment<'_> {
    Assignment {
        leader: Some(LEADER),
        leader_epoch: LeaderEpoch(epoch),
        partition_epoch: PartitionEpoch(version),
        members,
        decided: None,
        min_isr: 2,
        durability: Durability::Replicated,
        safe_in: SafeIn::Memory,
        unclean_epoch: None,
    }
}

/// A leader of epoch 5 with these in sync beside it.
fn leader(log: &Log, in_sync: &[BrokerId]) -> Replica {
    let mut replica = Replica::new(LEADER, BrokerEpoch(11), Offset(0), log, Rules::ALL);
    let members = members(&[&[LEADER], in_sync].concat());
    assert_eq!(replica.on_metadata(&assignment(&members, 5, 1), log, Ticks(0)), Turn::TakesOffice(LeaderEpoch(5)));
    assert_eq!(replica.leads(), None, "its epoch is not noted");
    assert_eq!(replica.may_append(Acks::Fewer), Err(AppendRefused::NotLeader));
    replica.on_epoch_noted(LeaderEpoch(5), log);
    assert_eq!(replica.leads(), Some(LeaderEpoch(5)));
    replica
}

fn follower(log: &Log, high_watermark: i64) -> Replica {
    Replica::new(FOLLOWER, BrokerEpoch(12), Offset(high_watermark), log, Rules::ALL)
}

fn ack(push: &Push, matched: Offset, flushed: Offset) -> PushAck {
    let (leader_epoch, generation) = (push.leader_epoch, push.generation);
    PushAck { leader_epoch, incarnation: push.target, generation, matched, flushed }
}

fn nack(push: &Push, reason: NackReason, log_end: i64) -> PushNack {
    PushNack {
        leader_epoch: push.leader_epoch,
        incarnation: push.target,
        generation: push.generation,
        at: push.prev.offset,
        reason,
        log_end: Offset(log_end),
    }
}

/// Sends what is due until a follower's log is the leader's. Answers how many pushes that took.
fn catch_up(leader: &mut Replica, from: &Log, follower: &mut Replica, to: &mut Log) -> usize {
    for pushes in 0..100 {
        let now = Ticks(u64::try_from(pushes).expect("few") * HEARTBEAT_MS);
        let Some(send) = leader.next_send(FOLLOWER, from, now).filter(|_| !to.is_like(from)) else { return pushes };
        let end =
            if send.max_bytes > 0 { from.end().min(send.push.prev.offset.plus(3)) } else { send.push.prev.offset };
        let spans = from.spans(send.push.prev.offset, end);
        leader.on_sent(FOLLOWER, &send.push, end, 100, now);
        loop {
            match follower.on_push(&send.push, spans.iter().copied(), to) {
                Verdict::Cut { to: end } => to.epochs.truncate(usize::try_from(end.0 - to.start).expect("in the log")),
                Verdict::StartAnew { at } => *to = log(at.0, ""),
                Verdict::DeleteBefore { at } => {
                    to.epochs.drain(..usize::try_from(at.0 - to.start).expect("in the log"));
                    to.start = at.0;
                }
                Verdict::Append { from: first, end } => {
                    to.epochs.extend(from.spans(first, end).iter().map(|span| span.epoch.0));
                    let taken = follower.on_taken(&send.push, end, to);
                    leader.on_ack(FOLLOWER, &taken.ack.expect("not synced"), from, now);
                    break;
                }
                Verdict::Refuse(nack) => {
                    assert_eq!(leader.on_nack(FOLLOWER, &nack, from, now), Turn::Same(None));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("{to:?} never became {from:?}")
}

#[test]
fn a_follower_becomes_what_its_leader_is() {
    #[rustfmt::skip]
    let cases = [
        // leader                follower               pushes, at most
        ((0, "1 1 1"),           (0, "1 1 1"),           0),
        ((0, "1 1 1"),           (0, ""),                3),
        ((0, "1 1 2 2 3"),       (0, "1 1"),             3),
        ((0, "1 1 4 4"),         (0, "1 1 1 1 1 1"),     3), // an end that was never committed
        ((0, "1 1 3 3"),         (0, "1 1 2 2 2"),       3), // KIP-101: cut where the epochs part
        ((0, "1 2 2 4"),         (0, "1 1 1 3 3 3"),     4), // KIP-279: two changes of the leader, both missed
        ((0, "1 2 4 4 4 4"),     (0, "1 1 1 3 3 3 3"),   5),
        ((0, "4 4"),             (0, "1 2 3"),           3), // nothing in common
        ((5, "3 3 4"),           (0, "1 1"),             3), // deleted beyond where the follower ends: it starts anew
        ((2, "1 3 3"),           (0, "1 1 1 2 2 2 2"),   3),
        ((0, "1 1 1 1 1 1"),     (4, "1 1"),             2),
    ];
    for (from, to, most) in cases {
        let (from, mut to) = (log(from.0, from.1), log(to.0, to.1));
        let before = to.clone();
        let (mut leader, mut follower) = (leader(&from, &[OTHER]), follower(&to, 0));
        let pushes = catch_up(&mut leader, &from, &mut follower, &mut to);
        assert!(pushes <= most, "{before:?} took {pushes} pushes after {from:?}");
    }
}

#[test]
fn what_a_follower_cannot_take_changes_nothing() {
    let mine = log(0, "1 1 2 2");
    let from = log(0, "1 1 2 2 5 5 5");
    let leader = leader(&from, &[]);
    let push = |offset: i64| {
        let mut push = leader.push(FOLLOWER, &from).expect("leads");
        push.prev.offset = Offset(offset);
        push.prev.epoch = from.epoch_at(Offset(offset - 1));
        push
    };
    let judge = |push: &Push, spans: &[Span], high_watermark: i64| {
        follower(&mine, high_watermark).on_push(push, spans.iter().copied(), &mine)
    };
    let span = |base: i64, end: i64, epoch: i32| Span {
        base: Offset(base),
        end: Offset(end),
        epoch: LeaderEpoch(epoch),
        content: Content::Batch,
    };
    let refused =
        |push: &Push, reason| Verdict::Refuse(PushNack { leader_epoch: LeaderEpoch(5), ..nack(push, reason, 4) });

    let at_end = push(4);
    let malformed = [
        vec![span(5, 6, 5)],                // does not follow on
        vec![span(4, 4, 5)],                // is empty
        vec![span(4, 5, 5), span(6, 7, 5)], // leaves a hole
        vec![span(4, 5, 5), span(5, 6, 4)], // goes back in time
        vec![span(4, 5, 1)],                // the same, across the border
        vec![span(4, 5, 6)],                // is of the future
    ];
    for spans in malformed {
        assert_eq!(judge(&at_end, &spans, 0), refused(&at_end, NackReason::Malformed), "{spans:?}");
    }
    let gap = push(6);
    assert_eq!(judge(&gap, &[], 0), refused(&gap, NackReason::Gap));
    // What differs was committed: nothing that this replica could do would be right.
    let contradiction = push(2);
    assert_eq!(judge(&contradiction, &[span(2, 3, 3)], 3), Verdict::Suspect { at: Offset(2) });
    assert_eq!(judge(&contradiction, &[span(2, 3, 3)], 2), Verdict::Cut { to: Offset(2) });
    // All of it is there: nothing is cut, whatever lies behind.
    assert_eq!(
        judge(&push(1), &[span(1, 2, 1), span(2, 3, 2)], 0),
        Verdict::Append { from: Offset(3), end: Offset(3) }
    );

    let mut knows_newer = follower(&log(0, "1 7"), 0);
    let verdict = knows_newer.on_push(&at_end, std::iter::empty(), &log(0, "1 7"));
    let Verdict::Refuse(answer) = verdict else { panic!("{verdict:?}") };
    assert_eq!((answer.reason, answer.leader_epoch), (NackReason::Fenced, LeaderEpoch(7)));
}

#[test]
fn an_ack_waits_for_the_disk_where_the_leader_does() {
    let mut from = log(0, "5 5 5");
    from.durable = 3;
    let members = members(&[LEADER, FOLLOWER]);
    let synced = Assignment { durability: Durability::Synced, ..assignment(&members, 5, 1) };
    let mut leader = Replica::new(LEADER, BrokerEpoch(11), Offset(0), &from, Rules::ALL);
    let _ = leader.on_metadata(&synced, &from, Ticks(0));
    leader.on_epoch_noted(LeaderEpoch(5), &from);

    let mut to = log(0, "");
    let mut follower = follower(&to, 0);
    let mut push = leader.push(FOLLOWER, &from).expect("leads");
    push.prev.offset = Offset(0);
    push.prev.epoch = None;
    assert_eq!(
        follower.on_push(&push, from.spans(Offset(0), Offset(3)).into_iter(), &to),
        Verdict::Append { from: Offset(0), end: Offset(3) }
    );
    to.epochs = from.epochs.clone();
    let taken = follower.on_taken(&push, Offset(3), &to);
    assert_eq!(taken.ack, None, "nothing is on disk");
    to.durable = 2;
    let some = follower.on_flushed(&to).expect("a part is on disk");
    assert_eq!((some.matched, some.flushed), (Offset(2), Offset(2)));
    assert_eq!(follower.on_flushed(&to), None, "that was told");
    assert_eq!(leader.on_ack(FOLLOWER, &some, &from, Ticks(1)), Some(Offset(2)));
    to.durable = 3;
    let all = follower.on_flushed(&to).expect("all of it");
    assert_eq!(leader.on_ack(FOLLOWER, &all, &from, Ticks(1)), Some(Offset(3)));
    assert_eq!(follower.on_flushed(&to), None, "nothing is owed");
}

#[test]
fn a_leader_counts_what_its_followers_have() {
    let mut from = log(0, "1 1");
    let mut replica = leader(&from, &[FOLLOWER]);
    assert!(!replica.knows_the_end(), "what was committed before may be more than it knows");
    let probe = replica.next_send(FOLLOWER, &from, Ticks(0)).expect("due");
    assert_eq!((probe.push.prev.offset, probe.max_bytes), (Offset(2), 0));
    replica.on_sent(FOLLOWER, &probe.push, Offset(2), 0, Ticks(0));
    assert_eq!(replica.next_send(FOLLOWER, &from, Ticks(9)), None, "it has not answered");
    assert_eq!(replica.on_ack(FOLLOWER, &ack(&probe.push, Offset(2), Offset(0)), &from, Ticks(1)), Some(Offset(2)));
    assert!(replica.knows_the_end());

    let epoch = replica.may_append(Acks::All).expect("two are in sync");
    from.epochs.push(epoch.0);
    assert_eq!(replica.on_log_changed(&from), None);
    assert_eq!(replica.commit_state(epoch, Offset(3)), CommitState::Waiting);
    let send = replica.next_send(FOLLOWER, &from, Ticks(2)).expect("due");
    assert_eq!((send.push.prev.offset, send.max_bytes), (Offset(2), BYTES_IN_FLIGHT_MAX));
    replica.on_sent(FOLLOWER, &send.push, Offset(3), 100, Ticks(2));
    // An ack claims no more than the leader has.
    assert_eq!(replica.on_ack(FOLLOWER, &ack(&send.push, Offset(9), Offset(0)), &from, Ticks(3)), Some(Offset(3)));
    assert_eq!(replica.commit_state(epoch, Offset(3)), CommitState::Committed);
    // The news travels with the next records, or alone after a moment.
    assert_eq!(replica.next_send(FOLLOWER, &from, Ticks(4)), None);
    let news = replica.next_send(FOLLOWER, &from, Ticks(7)).expect("due");
    assert_eq!((news.push.high_watermark, news.max_bytes), (Offset(3), 0));

    let alone = members(&[LEADER]);
    assert_eq!(replica.on_metadata(&assignment(&alone, 5, 2), &from, Ticks(8)), Turn::Same(None));
    from.epochs.push(5);
    assert_eq!(replica.on_log_changed(&from), None, "one is too few");
    assert_eq!(replica.may_append(Acks::All), Err(AppendRefused::NotEnoughReplicas { in_sync: 1, required: 2 }));
    assert_eq!(replica.may_append(Acks::Fewer), Ok(LeaderEpoch(5)));

    let fenced = PushNack { leader_epoch: LeaderEpoch(6), ..nack(&news.push, NackReason::Fenced, 3) };
    assert_eq!(replica.on_nack(OTHER, &fenced, &from, Ticks(9)), Turn::LosesOffice);
    assert_eq!(replica.commit_state(epoch, Offset(3)), CommitState::OfficeLost, "though it was committed");
    assert_eq!(replica.next_send(FOLLOWER, &from, Ticks(9_000)), None);
    // Metadata of before changes nothing.
    assert_eq!(replica.on_metadata(&assignment(&alone, 5, 3), &from, Ticks(9)), Turn::Same(None));
    assert_eq!(replica.leads(), None);
}

#[test]
fn a_follower_that_does_not_answer_is_sent_a_bounded_number_of_pushes() {
    let mut from = log(0, "5");
    let mut replica = leader(&from, &[FOLLOWER]);
    let probe = replica.next_send(FOLLOWER, &from, Ticks(0)).expect("due").push;
    replica.on_sent(FOLLOWER, &probe, Offset(1), 0, Ticks(0));
    replica.on_ack(FOLLOWER, &ack(&probe, Offset(1), Offset(1)), &from, Ticks(0));
    let mut sent = 0;
    for now in 0..100_000 {
        from.epochs.push(5);
        if let Some(send) = replica.next_send(FOLLOWER, &from, Ticks(now)) {
            replica.on_sent(FOLLOWER, &send.push, from.end(), 1, Ticks(now));
            sent += 1;
        }
    }
    assert_eq!(sent, PUSHES_IN_FLIGHT_MAX);
    // A new connection begins with what was proven.
    replica.on_connection_changed(FOLLOWER);
    let send = replica.next_send(FOLLOWER, &from, Ticks(100_000)).expect("due");
    assert_eq!(send.push.prev.offset, Offset(1));
    assert_eq!(replica.on_ack(FOLLOWER, &ack(&probe, Offset(7), Offset(7)), &from, Ticks(100_000)), None, "of before");
    // Large batches close the window sooner.
    replica.on_sent(
        FOLLOWER,
        &send.push,
        Offset(2),
        u32::try_from(BYTES_IN_FLIGHT_MAX).expect("4 MiB"),
        Ticks(100_000),
    );
    assert_eq!(replica.next_send(FOLLOWER, &from, Ticks(100_000)), None);
    // Its disk is full: it is left alone for a while.
    let full = nack(&send.push, NackReason::Storage, 1);
    assert_eq!(replica.on_nack(FOLLOWER, &full, &from, Ticks(100_001)), Turn::Same(None));
    assert_eq!(replica.next_send(FOLLOWER, &from, Ticks(100_001)), None);
    let again = replica.next_send(FOLLOWER, &from, Ticks(100_001 + HEARTBEAT_MS)).expect("due");
    assert_eq!((again.push.prev.offset, again.max_bytes), (Offset(1), BYTES_IN_FLIGHT_MAX));
}

fn isr(proposal: Option<&IsrProposal>) -> Option<(u32, Vec<i32>)> {
    proposal.map(|proposal| (proposal.seq.0, proposal.isr.iter().map(|member| member.broker.0).collect()))
}

#[test]
fn who_does_not_keep_up_is_proposed_out_and_in_again() {
    let from = log(0, "1 1");
    let mut replica = leader(&from, &[FOLLOWER]);
    let answer = |replica: &mut Replica, end: i64, now: u64| {
        let push = replica.push(FOLLOWER, &from).expect("leads");
        replica.on_ack(FOLLOWER, &ack(&push, Offset(end), Offset(0)), &from, Ticks(now))
    };
    answer(&mut replica, 2, 5_000);
    assert_eq!(replica.due_proposal(LAG_MAX_MS, &from, Ticks(15_000)), None);
    assert_eq!(isr(replica.due_proposal(LAG_MAX_MS, &from, Ticks(15_001))), Some((1, vec![1])));
    assert_eq!(replica.due_proposal(LAG_MAX_MS, &from, Ticks(15_002)), None, "it was sent just now");
    let again = Ticks(15_001 + PROPOSAL_RETRY_MS);
    assert_eq!(isr(replica.due_proposal(LAG_MAX_MS, &from, again)), Some((1, vec![1])), "until the outcome is known");
    assert_eq!(replica.maximal_isr().count(), 2, "it counts until then");
    assert_eq!(
        replica.propose(IsrChange::Add(OTHER), &from, again).err().map(|error| error.to_string()).as_deref(),
        Some("another proposal is open")
    );
    let epoch = PartitionEpoch(2);
    replica.on_outcome(LeaderEpoch(5), ProposalSeq(1), IsrOutcome::Accepted(epoch), &from);
    assert_eq!(replica.maximal_isr().count(), 1);
    assert_eq!(replica.due_proposal(LAG_MAX_MS, &from, again), None, "it does not keep up");
    answer(&mut replica, 2, 16_000);
    assert_eq!(isr(replica.due_proposal(LAG_MAX_MS, &from, Ticks(16_000))), Some((2, vec![1, 2])));
    assert_eq!(replica.maximal_isr().count(), 2, "it counts from now on");
    // Metadata of before, and an outcome of another proposal, say nothing about this one.
    let members = members(&[LEADER, FOLLOWER]);
    let _ = replica.on_metadata(&assignment(&members, 5, 1), &from, Ticks(16_001));
    replica.on_outcome(LeaderEpoch(5), ProposalSeq(1), IsrOutcome::Accepted(epoch), &from);
    assert!(replica.open_proposal().is_some());
    // The partition has moved on without it.
    let _ = replica.on_metadata(&assignment(&members, 5, 3), &from, Ticks(16_001));
    assert_eq!((replica.open_proposal(), replica.maximal_isr().count()), (None, 2));
}

fn hole(base: i64, end: i64, epoch: i32) -> Span {
    Span { base: Offset(base), end: Offset(end), epoch: LeaderEpoch(epoch), content: Content::Hole }
}

#[test]
fn what_compaction_has_removed_is_named_by_its_epochs() {
    let mut from = log(0, "1 1 2 3 3 3 5");
    from.removed = vec![1, 2, 3, 5];
    let batch = |at: i64, epoch| Span { content: Content::Batch, ..hole(at, at + 1, epoch) };
    let expected = [batch(0, 1), hole(1, 2, 1), hole(2, 3, 2), hole(3, 4, 3), batch(4, 3), hole(5, 6, 3), batch(6, 5)];
    assert_eq!(from.spans(Offset(0), Offset(7)), expected);
    assert_eq!(from.spans(Offset(2), Offset(4)), expected[2..4]);
    assert_eq!(from.spans(Offset(1), Offset(1)), []);

    // What the follower has there must be of the same epochs.
    let verdicts = [
        ("", 0, Verdict::Append { from: Offset(0), end: Offset(7) }),
        ("1 1 2", 3, Verdict::Append { from: Offset(3), end: Offset(7) }),
        ("1 1 2 3 3 3", 6, Verdict::Append { from: Offset(6), end: Offset(7) }),
        ("1 1 2 3 3 3 5", 7, Verdict::Append { from: Offset(7), end: Offset(7) }),
        ("1 1 1 1", 1, Verdict::Cut { to: Offset(2) }),
        ("1 1 4", 2, Verdict::Cut { to: Offset(2) }),
        ("1 1 1 1", 4, Verdict::Suspect { at: Offset(2) }),
    ];
    let leads = leader(&from, &[]);
    let mut push = leads.push(FOLLOWER, &from).expect("leads");
    (push.prev.offset, push.prev.epoch, push.high_watermark) = (Offset(0), None, Offset(7));
    for (mine, high_watermark, expected) in verdicts {
        let to = log(0, mine);
        let spans = from.spans(Offset(0), Offset(7));
        let verdict = follower(&to, high_watermark).on_push(&push, spans.into_iter(), &to);
        assert_eq!(verdict, expected, "{mine}");
    }
    // Nothing is removed that is not committed.
    push.high_watermark = Offset(5);
    let empty = log(0, "");
    let verdict = follower(&empty, 0).on_push(&push, from.spans(Offset(0), Offset(7)).into_iter(), &empty);
    assert_eq!(verdict, Verdict::Refuse(nack(&push, NackReason::Malformed, 0)));
}

#[test]
fn a_follower_deletes_what_its_leader_has_deleted() {
    let from = log(4, "3 3 5");
    let leads = leader(&from, &[]);
    let mut push = leads.push(FOLLOWER, &from).expect("leads");
    (push.prev.offset, push.high_watermark) = (Offset(7), Offset(6));
    push.prev.epoch = from.epoch_at(Offset(6));
    let to = log(0, "1 1 1 3 3 3 5");
    let mut behind = follower(&to, 2);
    assert_eq!(behind.on_push(&push, std::iter::empty(), &to), Verdict::Append { from: Offset(7), end: Offset(7) });
    let taken = behind.on_taken(&push, Offset(7), &to);
    assert_eq!((taken.high_watermark, taken.log_start), (Some(Offset(6)), Some(Offset(4))));
    // What is not known to be committed may be anything: nothing above it proves it.
    (push.prev.offset, push.prev.epoch) = (Offset(4), None);
    let anything = log(0, "1 2 2 2 2");
    let mut doubtful = follower(&anything, 3);
    let verdict = doubtful.on_push(&push, std::iter::empty(), &anything);
    assert_eq!((verdict, doubtful.high_watermark()), (Verdict::DeleteBefore { at: Offset(4) }, Offset(4)));
    // And nothing more than that: it may have been acknowledged on another way.
    let rest = log(4, "2");
    let verdict = doubtful.on_push(&push, std::iter::empty(), &rest);
    assert_eq!(verdict, Verdict::Append { from: Offset(4), end: Offset(4) });
    let knows = follower(&anything, 4).on_push(&push, std::iter::empty(), &anything);
    assert_eq!(knows, Verdict::Append { from: Offset(4), end: Offset(4) });
}

#[test]
fn what_was_committed_before_an_unclean_election_gives_way() {
    let from = log(0, "1 1 6");
    let to = log(0, "1 1 2 2");
    let members = members(&[LEADER]);
    let unclean = Assignment { unclean_epoch: Some(LeaderEpoch(6)), ..assignment(&members, 6, 1) };
    let mut leads = Replica::new(LEADER, BrokerEpoch(11), Offset(0), &from, Rules::ALL);
    let _ = leads.on_metadata(&unclean, &from, Ticks(0));
    leads.on_epoch_noted(LeaderEpoch(6), &from);
    let mut push = leads.push(FOLLOWER, &from).expect("leads");
    (push.prev.offset, push.prev.epoch) = (Offset(2), Some(LeaderEpoch(1)));
    let spans = from.spans(Offset(2), Offset(3));
    let mut knew = follower(&to, 4);
    assert_eq!(knew.on_push(&push, spans.iter().copied(), &to), Verdict::Cut { to: Offset(2) });
    assert_eq!(knew.high_watermark(), Offset(2), "what was committed is not");
    push.unclean_epoch = Some(LeaderEpoch(2));
    let verdict = follower(&to, 4).on_push(&push, spans.iter().copied(), &to);
    assert_eq!(verdict, Verdict::Suspect { at: Offset(2) }, "what came after the election stays");
    // It has more than the elected leader, and nothing else.
    let (empty, longer) = (log(0, ""), log(0, "1 1"));
    let mut short = Replica::new(LEADER, BrokerEpoch(11), Offset(0), &empty, Rules::ALL);
    let _ = short.on_metadata(&unclean, &empty, Ticks(0));
    short.on_epoch_noted(LeaderEpoch(6), &empty);
    let probe = short.push(FOLLOWER, &empty).expect("leads");
    let mut knew = follower(&longer, 2);
    let proven = Offset(0);
    assert_eq!(knew.on_push(&probe, std::iter::empty(), &longer), Verdict::Append { from: proven, end: proven });
    assert_eq!(
        knew.on_taken(&probe, proven, &longer).high_watermark,
        Some(proven),
        "what it has more is not committed"
    );
    // Its log begins behind everything that the elected leader has.
    let beyond = log(9, "2");
    push.unclean_epoch = Some(LeaderEpoch(6));
    let mut far = follower(&beyond, 10);
    let verdict = far.on_push(&push, spans.iter().copied(), &beyond);
    let Verdict::Refuse(below) = verdict else { panic!("{verdict:?}") };
    assert_eq!(below.reason, NackReason::BelowStart(Offset(9)));
    let below = PushNack { generation: leads.push(FOLLOWER, &from).expect("leads").generation, ..below };
    let _ = leads.on_nack(FOLLOWER, &below, &from, Ticks(1));
    let again = leads.push(FOLLOWER, &from).expect("leads");
    assert_eq!(again.prev, Position { offset: Offset(0), epoch: None });
    assert_eq!(far.on_push(&again, std::iter::empty(), &beyond), Verdict::StartAnew { at: Offset(0) });
    assert_eq!(far.high_watermark(), Offset(0));
}

/// Found by the simulation with its seed 0, without any fault: the first push after a pause was answered with what was on disk before,
/// and nobody told the rest.
#[test]
fn a_push_that_waits_for_the_disk_is_acknowledged_once_and_whole() {
    let mut to = log(0, "1 1 1");
    to.durable = 2;
    let mut follows = follower(&to, 2);
    let push = Push {
        leader_epoch: LeaderEpoch(1),
        target: BrokerEpoch(12),
        generation: Generation(3),
        prev: Position { offset: Offset(2), epoch: Some(LeaderEpoch(1)) },
        high_watermark: Offset(2),
        log_start: Offset(0),
        unclean_epoch: None,
        ack_when: AckWhen::Flushed,
    };
    assert_eq!(follows.on_taken(&push, Offset(3), &to).ack, None, "a part would be all that its leader hears");
    assert_eq!(follows.flushed_ack(&push, Offset(3), &to), None, "it is not on disk");
    to.durable = 3;
    // Another push waits for the same, and has been answered to a connection that is no more.
    assert!(follows.on_flushed(&to).is_some());
    let whole = follows.flushed_ack(&push, Offset(3), &to).expect("it is on disk");
    assert_eq!((whole.generation, whole.matched, whole.flushed), (Generation(3), Offset(3), Offset(3)));
    let newer = Push { leader_epoch: LeaderEpoch(2), prev: Position { offset: Offset(9), epoch: None }, ..push };
    assert!(matches!(follows.on_push(&newer, std::iter::empty(), &to), Verdict::Refuse(_)));
    assert_eq!(follows.flushed_ack(&push, Offset(3), &to), None, "another leader may have it cut");
}

/// Found by walk 20063904 of the mode Unclean: where a log begins there was nothing to compare, so a leader that was
/// elected without what had been deleted there was followed, and counted what the follower never had.
#[test]
fn where_a_log_begins_an_unclean_leader_is_not_believed() {
    let members = members(&[LEADER]);
    let unclean = Assignment { unclean_epoch: Some(LeaderEpoch(6)), ..assignment(&members, 6, 1) };
    for (from, to) in [(log(0, "6"), log(1, "")), (log(0, "6 6"), log(1, "2")), (log(0, "1 6 6"), log(2, "2 2"))] {
        let at = to.start();
        let mut leads = Replica::new(LEADER, BrokerEpoch(11), Offset(0), &from, Rules::ALL);
        let _ = leads.on_metadata(&unclean, &from, Ticks(0));
        leads.on_epoch_noted(LeaderEpoch(6), &from);
        let mut push = leads.push(FOLLOWER, &from).expect("leads");
        push.prev = Position { offset: at, epoch: from.epoch_at(at.plus(-1)) };
        let mut follows = follower(&to, to.end().0);
        let verdict = follows.on_push(&push, std::iter::empty(), &to);
        let Verdict::Refuse(below) = verdict else { panic!("{verdict:?}") };
        assert_eq!((below.reason, below.at), (NackReason::BelowStart(at), at));
        // Its log is another one; only from the leader's start on it can be the same.
        let _ = leads.on_nack(FOLLOWER, &below, &from, Ticks(0));
        let again = leads.push(FOLLOWER, &from).expect("leads");
        assert_eq!(again.prev, Position { offset: Offset(0), epoch: None });
        assert_eq!(follows.on_push(&again, std::iter::empty(), &to), Verdict::StartAnew { at: Offset(0) });
        // Who has followed a leader since has proven what lies before.
        let since = log(at.0, "6");
        let verdict = follower(&since, at.0).on_push(&push, std::iter::empty(), &since);
        assert_eq!(verdict, Verdict::Append { from: at, end: at });
    }
}

/// Its ack was lost, and it has deleted since what the leader knows it to have: the leader goes on where its log begins.
#[test]
fn a_follower_that_has_deleted_what_it_has_proven_is_sent_what_follows() {
    let from = log(0, "1 1 1 1 1");
    let mut leads = leader(&from, &[FOLLOWER]);
    let push = leads.push(FOLLOWER, &from).expect("leads");
    leads.on_ack(FOLLOWER, &ack(&push, Offset(2), Offset(2)), &from, Ticks(0));
    leads.on_connection_changed(FOLLOWER);
    let push = leads.push(FOLLOWER, &from).expect("leads");
    assert_eq!(push.prev.offset, Offset(2));
    let _ = leads.on_nack(FOLLOWER, &nack(&push, NackReason::BelowStart(Offset(4)), 5), &from, Ticks(0));
    assert_eq!(leads.push(FOLLOWER, &from).expect("leads").prev.offset, Offset(4));
}

#[test]
fn a_leader_says_when_everything_committed_is_on_disk() {
    let mut from = log(0, "1 1 5");
    from.durable = 2;
    let members = members(&[LEADER, FOLLOWER]);
    let synced = Assignment { durability: Durability::Synced, ..assignment(&members, 5, 1) };
    let mut replica = Replica::new(LEADER, BrokerEpoch(11), Offset(0), &from, Rules::ALL);
    let _ = replica.on_metadata(&synced, &log(0, "1 1"), Ticks(0));
    replica.on_epoch_noted(LeaderEpoch(5), &from);
    assert_eq!(replica.due_proposal(LAG_MAX_MS, &from, Ticks(1)), None, "the follower was not heard");
    let push = replica.push(FOLLOWER, &from).expect("leads");
    replica.on_ack(FOLLOWER, &ack(&push, Offset(3), Offset(1)), &from, Ticks(1));
    assert_eq!(replica.due_proposal(LAG_MAX_MS, &from, Ticks(1)), None, "not on its disk");
    replica.on_ack(FOLLOWER, &ack(&push, Offset(3), Offset(2)), &from, Ticks(1));
    let said = replica.due_proposal(LAG_MAX_MS, &from, Ticks(1)).expect("all that was committed is on disk");
    assert_eq!((said.safe_in, said.isr.len(), said.seq), (SafeIn::Disk, 2, ProposalSeq(1)));
    replica.on_outcome(LeaderEpoch(5), ProposalSeq(1), IsrOutcome::Refused(IsrRefused::StalePartitionEpoch), &from);
    assert_eq!(replica.due_proposal(LAG_MAX_MS, &from, Ticks(1)), None, "it would be refused again");
    let _ = replica.on_metadata(&Assignment { partition_epoch: PartitionEpoch(2), ..synced }, &from, Ticks(2));
    assert!(replica.due_proposal(LAG_MAX_MS, &from, Ticks(2)).is_some());
    replica.on_outcome(LeaderEpoch(5), ProposalSeq(2), IsrOutcome::Accepted(PartitionEpoch(3)), &from);
    assert_eq!(replica.due_proposal(LAG_MAX_MS, &from, Ticks(3)), None, "it was said");
}

#[test]
fn who_keeps_a_partition_no_more_leaves_it() {
    let from = log(0, "1 1");
    let mut replica = leader(&from, &[FOLLOWER]);
    let others = members(&[FOLLOWER]);
    let without = Assignment { leader: Some(FOLLOWER), members: &others[1..], ..assignment(&others, 6, 2) };
    assert_eq!(replica.on_metadata(&without, &from, Ticks(1)), Turn::Leaves);
    assert_eq!(replica.commit_state(LeaderEpoch(5), Offset(1)), CommitState::OfficeLost);
    // It has taken pushes of a later leader, who counts on it: what is older says nothing any more.
    let mut back = leader(&from, &[FOLLOWER]);
    let mut push = back.push(FOLLOWER, &from).expect("leads");
    (push.target, push.leader_epoch) = (BrokerEpoch(11), LeaderEpoch(7));
    assert!(matches!(back.on_push(&push, std::iter::empty(), &from), Verdict::Append { .. }));
    assert_eq!(back.on_metadata(&without, &from, Ticks(1)), Turn::Same(None));
}
