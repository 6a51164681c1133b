//! Pushes and their answers as bytes: `docs/replication.md` has the tables.
//!
//! Must not know: connections, what a push leads to.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use cairn_metadata::BrokerEpoch;
use cairn_peers::{Message, Request};
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use cairn_protocol::records::BatchView;
use cairn_replication::{AckWhen, Content, EpochEnd, Generation, NackReason, Position, Push, PushAck, PushNack, Span};
use uuid::Uuid;

/// The kind of a request that carries pushes, above those of the quorum and of membership.
pub(crate) const PUSHES: u8 = 64;
/// The version of both messages.
const VERSION: u8 = 0;
/// No epoch.
const NONE: i32 = -1;
/// A push without holes and records.
const PUSH_BYTES_MIN: usize = 16 + 4 + 4 + 8 + 4 + 8 + 4 + 8 + 8 + 4 + 1 + 2 + 4 + 4;
const HOLE_BYTES: usize = 8 + 8 + 4;
const ANSWER_BYTES_MIN: usize = 16 + 4 + 4 + 8 + 4 + 1;

/// A partition, as brokers name it to each other: a topic that was made again has another id.
pub(crate) type PartitionId = (TopicId, PartitionIndex);

/// A push of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionPush {
    pub(crate) of: PartitionId,
    pub(crate) push: Push,
    /// What compaction has left of the leader's log between and behind the batches.
    pub(crate) holes: Vec<Span>,
    /// Batches as they lie on disk: the frame's payload, where all pushes have theirs one behind the other.
    pub(crate) records: Bytes,
}

/// What a follower says to a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionAnswer {
    pub(crate) of: PartitionId,
    pub(crate) answer: Result<PushAck, PushNack>,
}

/// Bytes are no such message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is cut, or of a later release")]
pub(crate) struct Malformed;

impl PartitionPush {
    fn len(&self) -> usize {
        PUSH_BYTES_MIN + self.holes.len() * HOLE_BYTES
    }

    fn encode(&self, out: &mut BytesMut) {
        let push = &self.push;
        put_id(out, self.of);
        out.put_i32(push.leader_epoch.0);
        out.put_i64(push.target.0);
        out.put_u32(push.generation.0);
        out.put_i64(push.prev.offset.0);
        out.put_i32(push.prev.epoch.map_or(NONE, |epoch| epoch.0));
        out.put_i64(push.high_watermark.0);
        out.put_i64(push.log_start.0);
        out.put_i32(push.unclean_epoch.map_or(NONE, |epoch| epoch.0));
        out.put_u8(match push.ack_when {
            AckWhen::Appended => 0,
            AckWhen::Flushed => 1,
        });
        out.put_u16(u16::try_from(self.holes.len()).expect("a push has few holes"));
        for hole in &self.holes {
            out.put_i64(hole.base.0);
            out.put_i64(hole.end.0);
            out.put_i32(hole.epoch.0);
        }
        out.put_u32(u32::try_from(self.records.len()).expect("a payload is smaller"));
        out.put_u32(unchecked(&self.records));
    }

    fn decode(bytes: &mut Bytes, payload: &mut Bytes) -> Result<Self, Malformed> {
        has(bytes, PUSH_BYTES_MIN)?;
        let of = get_id(bytes);
        let push = Push {
            leader_epoch: LeaderEpoch(bytes.get_i32()),
            target: BrokerEpoch(bytes.get_i64()),
            generation: Generation(bytes.get_u32()),
            prev: Position { offset: Offset(bytes.get_i64()), epoch: epoch(bytes.get_i32()) },
            high_watermark: Offset(bytes.get_i64()),
            log_start: Offset(bytes.get_i64()),
            unclean_epoch: epoch(bytes.get_i32()),
            ack_when: match bytes.get_u8() {
                0 => AckWhen::Appended,
                1 => AckWhen::Flushed,
                _ => return Err(Malformed),
            },
        };
        let holes = usize::from(bytes.get_u16());
        has(bytes, holes * HOLE_BYTES + 8)?;
        let hole = |_| {
            let (base, end) = (Offset(bytes.get_i64()), Offset(bytes.get_i64()));
            Span { base, end, epoch: LeaderEpoch(bytes.get_i32()), content: Content::Hole }
        };
        let holes = (0..holes).map(hole).collect();
        let length = usize::try_from(bytes.get_u32()).map_err(|_| Malformed)?;
        has(payload, length)?;
        let records = payload.split_to(length);
        if bytes.get_u32() != unchecked(&records) {
            return Err(Malformed);
        }
        Ok(Self { of, push, holes, records })
    }
}

/// The checksum of what no batch's own checksum covers: how each of them begins, and whatever is no batch.
fn unchecked(mut records: &[u8]) -> u32 {
    let mut checksum = 0;
    while let Ok(batch) = BatchView::parse_first(records) {
        checksum = crc32c::crc32c_append(checksum, batch.unchecked());
        records = &records[batch.as_bytes().len()..];
    }
    crc32c::crc32c_append(checksum, records)
}

impl PartitionAnswer {
    fn encode(&self, out: &mut BytesMut) {
        put_id(out, self.of);
        match &self.answer {
            Ok(ack) => {
                out.put_i32(ack.leader_epoch.0);
                out.put_i64(ack.incarnation.0);
                out.put_u32(ack.generation.0);
                out.put_u8(0);
                out.put_i64(ack.matched.0);
                out.put_i64(ack.flushed.0);
            }
            Err(nack) => {
                out.put_i32(nack.leader_epoch.0);
                out.put_i64(nack.incarnation.0);
                out.put_u32(nack.generation.0);
                out.put_u8(1);
                out.put_i64(nack.at.0);
                out.put_i64(nack.log_end.0);
                let (reason, hint) = match nack.reason {
                    NackReason::Fenced => (0, None),
                    NackReason::Gap => (1, None),
                    NackReason::Diverged(hint) => (2, Some((hint.epoch.0, hint.end.0))),
                    NackReason::BelowStart(start) => (3, Some((NONE, start.0))),
                    NackReason::Malformed => (4, None),
                    NackReason::Storage => (5, None),
                    NackReason::NotKept => (6, None),
                };
                let (epoch, end) = hint.unwrap_or((NONE, -1));
                out.put_u8(reason);
                out.put_i32(epoch);
                out.put_i64(end);
            }
        }
    }

    fn decode(bytes: &mut Bytes) -> Result<Self, Malformed> {
        has(bytes, ANSWER_BYTES_MIN)?;
        let of = get_id(bytes);
        let leader_epoch = LeaderEpoch(bytes.get_i32());
        let incarnation = BrokerEpoch(bytes.get_i64());
        let generation = Generation(bytes.get_u32());
        let answer = match bytes.get_u8() {
            0 => {
                has(bytes, 16)?;
                let (matched, flushed) = (Offset(bytes.get_i64()), Offset(bytes.get_i64()));
                Ok(PushAck { leader_epoch, incarnation, generation, matched, flushed })
            }
            1 => {
                has(bytes, 8 + 8 + 1 + 4 + 8)?;
                let (at, log_end) = (Offset(bytes.get_i64()), Offset(bytes.get_i64()));
                let (reason, epoch, end) = (bytes.get_u8(), LeaderEpoch(bytes.get_i32()), Offset(bytes.get_i64()));
                let reason = match reason {
                    0 => NackReason::Fenced,
                    1 => NackReason::Gap,
                    2 => NackReason::Diverged(EpochEnd { epoch, end }),
                    3 => NackReason::BelowStart(end),
                    4 => NackReason::Malformed,
                    5 => NackReason::Storage,
                    6 => NackReason::NotKept,
                    _ => return Err(Malformed),
                };
                Err(PushNack { leader_epoch, incarnation, generation, at, reason, log_end })
            }
            _ => return Err(Malformed),
        };
        Ok(Self { of, answer })
    }
}

/// A request with pushes, and their records, which are not copied.
pub(crate) fn encode_pushes(pushes: Vec<PartitionPush>) -> Message {
    let length = 6 + pushes.iter().map(PartitionPush::len).sum::<usize>();
    let mut body = BytesMut::with_capacity(length);
    body.put_u8(PUSHES);
    body.put_u8(VERSION);
    body.put_u32(u32::try_from(pushes.len()).expect("a frame has fewer"));
    pushes.iter().for_each(|push| push.encode(&mut body));
    Message { body: body.freeze(), payload: pushes.into_iter().map(|push| push.records).collect() }
}

/// The pushes of a request.
pub(crate) fn decode_pushes(mut request: Request) -> Result<Vec<PartitionPush>, Malformed> {
    has(&request.body, 1)?;
    request.body.advance(1);
    let payload = &mut request.payload;
    let pushes = decode_all(&mut request.body, PUSH_BYTES_MIN, |bytes| PartitionPush::decode(bytes, payload))?;
    if payload.has_remaining() { Err(Malformed) } else { Ok(pushes) }
}

/// The answer to a request with pushes.
pub(crate) fn encode_answers(answers: &[PartitionAnswer]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + answers.len() * (ANSWER_BYTES_MIN + 29));
    out.put_u8(VERSION);
    out.put_u32(u32::try_from(answers.len()).expect("a frame has fewer"));
    answers.iter().for_each(|answer| answer.encode(&mut out));
    out.freeze()
}

/// What a follower has answered.
pub(crate) fn decode_answers(mut bytes: Bytes) -> Result<Vec<PartitionAnswer>, Malformed> {
    decode_all(&mut bytes, ANSWER_BYTES_MIN, PartitionAnswer::decode)
}

fn decode_all<T>(
    bytes: &mut Bytes,
    bytes_min: usize,
    mut decode: impl FnMut(&mut Bytes) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    has(bytes, 5)?;
    if bytes.get_u8() != VERSION {
        return Err(Malformed);
    }
    let count = usize::try_from(bytes.get_u32()).map_err(|_| Malformed)?;
    // Nothing is made room for that has not come.
    has(bytes, count.checked_mul(bytes_min).ok_or(Malformed)?)?;
    let all = (0..count).map(|_| decode(bytes)).collect::<Result<Vec<T>, Malformed>>()?;
    if bytes.has_remaining() { Err(Malformed) } else { Ok(all) }
}

fn has(bytes: &Bytes, length: usize) -> Result<(), Malformed> {
    if bytes.len() < length { Err(Malformed) } else { Ok(()) }
}

fn put_id(out: &mut BytesMut, (topic, index): PartitionId) {
    out.put_slice(topic.0.as_bytes());
    out.put_i32(index.0);
}

fn get_id(bytes: &mut Bytes) -> PartitionId {
    (TopicId(Uuid::from_u128(bytes.get_u128())), PartitionIndex(bytes.get_i32()))
}

fn epoch(value: i32) -> Option<LeaderEpoch> {
    (value != NONE).then_some(LeaderEpoch(value))
}

#[cfg(test)]
mod tests {
    use cairn_protocol::records::{BatchBuilder, NewRecord};
    use proptest::prelude::*;

    use super::*;

    fn id() -> PartitionId {
        (TopicId(Uuid::from_u128(7)), PartitionIndex(3))
    }

    fn push() -> PartitionPush {
        PartitionPush {
            of: id(),
            push: Push {
                leader_epoch: LeaderEpoch(5),
                target: BrokerEpoch(40),
                generation: Generation(2),
                prev: Position { offset: Offset(100), epoch: Some(LeaderEpoch(4)) },
                high_watermark: Offset(90),
                log_start: Offset(10),
                unclean_epoch: None,
                ack_when: AckWhen::Flushed,
            },
            holes: vec![Span { base: Offset(101), end: Offset(103), epoch: LeaderEpoch(4), content: Content::Hole }],
            records: Bytes::from_static(b"records"),
        }
    }

    fn answers() -> Vec<PartitionAnswer> {
        let (leader_epoch, incarnation, generation) = (LeaderEpoch(5), BrokerEpoch(40), Generation(2));
        let ack = PushAck { leader_epoch, incarnation, generation, matched: Offset(9), flushed: Offset(8) };
        let nack =
            |reason| PushNack { leader_epoch, incarnation, generation, at: Offset(1), reason, log_end: Offset(2) };
        let reasons = [
            NackReason::Fenced,
            NackReason::Gap,
            NackReason::Diverged(EpochEnd { epoch: LeaderEpoch(3), end: Offset(6) }),
            NackReason::BelowStart(Offset(77)),
            NackReason::Malformed,
            NackReason::Storage,
            NackReason::NotKept,
        ];
        let refused = reasons.into_iter().map(|reason| Err(nack(reason)));
        refused.chain([Ok(ack)]).map(|answer| PartitionAnswer { of: id(), answer }).collect()
    }

    fn batch() -> Bytes {
        let mut builder = BatchBuilder::new();
        builder.append(&NewRecord { value: Some(b"value"), ..NewRecord::default() }).unwrap();
        builder.finish(None).unwrap()
    }

    fn arrived(message: Message) -> Request {
        Request { body: message.body, payload: message.payload.concat().into() }
    }

    #[test]
    fn a_changed_bit_of_records_is_seen_by_one_checksum_or_the_other() {
        let records = batch();
        let sent = PartitionPush { holes: Vec::new(), records: records.clone(), ..push() };
        let request = arrived(encode_pushes(vec![sent]));
        for bit in 0..records.len() * 8 {
            let mut changed = records.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let taken = decode_pushes(Request { payload: changed.clone().into(), ..request.clone() });
            let is_whole = BatchView::parse_first(&changed).is_ok_and(|batch| batch.verify_crc().is_ok());
            assert!(taken.is_err() || !is_whole, "bit {bit}");
        }
    }

    proptest! {
        /// Whatever is changed, cut or added: it is refused, or taken as something that is written the same.
        #[test]
        fn changed_frames_are_refused_or_mean_something(
            at in any::<prop::sample::Index>(),
            with in prop::collection::vec(any::<u8>(), 0..24),
            dropped in 0_usize..24,
            in_payload in any::<bool>(),
        ) {
            let records = PartitionPush { holes: Vec::new(), records: batch(), ..push() };
            let Request { body, payload } = arrived(encode_pushes(vec![push(), records]));
            let change = |bytes: &Bytes| {
                let mut changed = bytes.to_vec();
                let from = at.index(changed.len());
                let to = changed.len().min(from + dropped);
                changed.splice(from..to, with.iter().copied());
                Bytes::from(changed)
            };
            let request = if in_payload {
                Request { payload: change(&payload), body }
            } else {
                Request { body: change(&body), payload }
            };
            if let Ok(pushes) = decode_pushes(request.clone()) {
                prop_assert_eq!(arrived(encode_pushes(pushes)), request);
            }
            let told = change(&encode_answers(&answers()));
            if let Ok(answers) = decode_answers(told) {
                prop_assert_eq!(decode_answers(encode_answers(&answers)), Ok(answers));
            }
        }
    }

    #[test]
    fn golden_bytes_of_a_push() {
        let message = encode_pushes(vec![push()]);
        let expected = [
            &[64, 0, 0, 0, 0, 1][..],                            // kind, version, count
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],   // topic
            &[0, 0, 0, 3, 0, 0, 0, 5],                           // partition, leader epoch
            &[0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 2],              // target, generation
            &[0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 4],             // what it follows on
            &[0, 0, 0, 0, 0, 0, 0, 90, 0, 0, 0, 0, 0, 0, 0, 10], // high watermark, log start
            &[255, 255, 255, 255, 1, 0, 1],                      // no unclean epoch, flushed, one hole
            &[0, 0, 0, 0, 0, 0, 0, 101, 0, 0, 0, 0, 0, 0, 0, 103, 0, 0, 0, 4],
            &[0, 0, 0, 7],
            &crc32c::crc32c(b"records").to_be_bytes(),
        ]
        .concat();
        assert_eq!(message, Message { body: expected.into(), payload: vec![Bytes::from_static(b"records")] });
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let pushes = vec![push(), PartitionPush { holes: Vec::new(), records: Bytes::new(), ..push() }];
        assert_eq!(decode_pushes(arrived(encode_pushes(pushes.clone()))), Ok(pushes));
        assert_eq!(decode_answers(encode_answers(&answers())), Ok(answers()));
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused() {
        let Request { body, payload } = arrived(encode_pushes(vec![push(), push()]));
        let told = encode_answers(&answers());
        for cut in 0..body.len() {
            let request = Request { body: body.slice(..cut), payload: payload.clone() };
            assert_eq!(decode_pushes(request), Err(Malformed), "{cut}");
        }
        for cut in 0..payload.len() {
            let request = Request { body: body.clone(), payload: payload.slice(..cut) };
            assert_eq!(decode_pushes(request), Err(Malformed), "{cut}");
        }
        for cut in 0..told.len() {
            assert_eq!(decode_answers(told.slice(..cut)), Err(Malformed), "{cut}");
        }
        let longer = |bytes: &Bytes| Bytes::from([&bytes[..], &[0]].concat());
        assert_eq!(decode_pushes(Request { body: longer(&body), payload: payload.clone() }), Err(Malformed));
        assert_eq!(decode_pushes(Request { body, payload: longer(&payload) }), Err(Malformed));
        assert_eq!(decode_answers(Bytes::from_static(&[0, 255, 255, 255, 255])), Err(Malformed));
        assert_eq!(decode_answers(Bytes::from_static(&[1, 0, 0, 0, 0])), Err(Malformed), "a later version");
    }
}
