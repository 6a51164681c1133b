//! One broker's fetch session (KIP-227): what it knows of this consumer's partitions need not be said again, and it answers only for
//! those that have something new.
//!
//! Must not know: connections, what records are.

use std::collections::HashMap;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::fetch_request::{FetchPartition, ForgottenTopic};
use cairn_protocol::messages::{FetchRequest, FetchResponse};

use crate::topic_partition::TopicPartition;

/// The first version that has sessions.
const FROM: i16 = 7;
/// Topics go by their ids from here on.
const BY_ID_FROM: i16 = 13;
/// Asks for a new session, and has the one that is named closed.
const NEW: i32 = 0;
/// Outside of any session.
const NONE: i32 = -1;

type TopicKey = [u8; 16];

/// A session, or none yet.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    id: i32,
    epoch: i32,
    by_id: bool,
    known: HashMap<TopicPartition, (TopicKey, FetchPartition)>,
}

impl FetchSession {
    /// Leaves out of a request what the broker knows, and names what it is to forget.
    pub(super) fn shorten(&mut self, request: &mut FetchRequest, version: i16) {
        if version < FROM {
            request.session_epoch = NONE;
            return;
        }
        let by_id = version >= BY_ID_FROM;
        if by_id != self.by_id {
            self.begin_anew();
            self.by_id = by_id;
        }
        (request.session_id, request.session_epoch) = (self.id, self.epoch);
        let mut wanted = HashMap::new();
        for topic in &mut request.topics {
            let key = topic.topic_id.into_bytes();
            let is_full = self.epoch == NEW;
            topic.partitions.retain(|partition| {
                let of = TopicPartition::new(&*topic.topic, partition.partition);
                let state = (key, partition.clone());
                let is_known = self.known.get(&of) == Some(&state);
                wanted.insert(of, state);
                is_full || !is_known
            });
        }
        request.topics.retain(|topic| !topic.partitions.is_empty());
        // A topic that was made anew under its name is forgotten under its old id.
        let is_gone = |(of, (key, _)): &(&TopicPartition, &(TopicKey, FetchPartition))| {
            wanted.get(*of).is_none_or(|(wanted, _)| wanted != key)
        };
        for (of, (key, _)) in self.known.iter().filter(is_gone) {
            request.forgotten_topics_data.push(ForgottenTopic {
                topic: (&*of.topic).into(),
                topic_id: uuid::Uuid::from_bytes(*key),
                partitions: vec![of.partition.0],
            });
        }
        self.known = wanted;
    }

    /// What the broker made of it. Gives whether it has to be told all again.
    pub(super) fn on_answer(&mut self, answer: &FetchResponse) -> Told {
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None) => {}
            Some(ErrorCode::FetchSessionIdNotFound) if self.epoch != NEW => {
                *self = Self { by_id: self.by_id, ..Self::default() };
                return Told::Again;
            }
            Some(ErrorCode::InvalidFetchSessionEpoch | ErrorCode::FetchSessionTopicIdError) if self.epoch != NEW => {
                self.begin_anew();
                return Told::Again;
            }
            _ => {
                self.begin_anew();
                return Told::Enough;
            }
        }
        if self.epoch == NEW {
            self.id = answer.session_id;
        }
        if self.id == 0 {
            // It has no room for sessions.
            self.begin_anew();
        } else {
            self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
        }
        Told::Enough
    }

    /// Nobody knows what the broker has heard.
    pub(super) fn begin_anew(&mut self) {
        self.epoch = NEW;
        self.known.clear();
    }
}

/// Whether the broker knows what it has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Enough,
    /// It has forgotten the session: the same is asked again, in whole.
    Again,
}

#[cfg(test)]
mod tests {
    use cairn_protocol::messages::fetch_request::FetchTopic;

    use super::*;

    fn request(offsets: &[(i32, i64)]) -> FetchRequest {
        let partition = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
            partition: *partition,
            fetch_offset: *fetch_offset,
            ..FetchPartition::default()
        };
        let partitions = offsets.iter().map(partition).collect();
        let topic = FetchTopic { topic: "t".into(), partitions, ..FetchTopic::default() };
        FetchRequest { topics: vec![topic], ..FetchRequest::default() }
    }

    /// The partitions that are named, and those to forget.
    fn sent(session: &mut FetchSession, offsets: &[(i32, i64)]) -> (i32, i32, Vec<i32>, Vec<i32>) {
        let mut request = request(offsets);
        session.shorten(&mut request, 12);
        let named = request.topics.iter().flat_map(|topic| topic.partitions.iter().map(|it| it.partition)).collect();
        let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| topic.partitions.clone()).collect();
        (request.session_id, request.session_epoch, named, forgotten)
    }

    fn answer(code: ErrorCode, session_id: i32) -> FetchResponse {
        FetchResponse { error_code: code.code(), session_id, ..FetchResponse::default() }
    }

    #[test]
    fn only_what_has_changed_is_said_again() {
        let mut session = FetchSession::default();
        assert_eq!(sent(&mut session, &[(0, 5), (1, 5)]), (0, 0, vec![0, 1], vec![]));
        assert_eq!(session.on_answer(&answer(ErrorCode::None, 77)), Told::Enough);
        assert_eq!(sent(&mut session, &[(0, 5), (1, 6)]), (77, 1, vec![1], vec![]));
        session.on_answer(&answer(ErrorCode::None, 77));
        assert_eq!(sent(&mut session, &[(1, 6)]), (77, 2, vec![], vec![0]));
        session.on_answer(&answer(ErrorCode::None, 77));
        assert_eq!(sent(&mut session, &[(0, 5), (1, 6)]), (77, 3, vec![0], vec![]));
    }

    #[test]
    fn a_session_that_is_lost_is_begun_anew() {
        let mut session = FetchSession::default();
        sent(&mut session, &[(0, 5)]);
        session.on_answer(&answer(ErrorCode::None, 77));
        sent(&mut session, &[(0, 5)]);
        assert_eq!(session.on_answer(&answer(ErrorCode::FetchSessionIdNotFound, 0)), Told::Again);
        assert_eq!(sent(&mut session, &[(0, 5)]), (0, 0, vec![0], vec![]));
        session.on_answer(&answer(ErrorCode::None, 78));
        session.begin_anew();
        assert_eq!(sent(&mut session, &[(0, 5)]), (78, 0, vec![0], vec![]), "the old one is closed with it");
        assert_eq!(
            session.on_answer(&answer(ErrorCode::InvalidFetchSessionEpoch, 0)),
            Told::Enough,
            "who refuses a new session is not asked at once again"
        );
    }

    #[test]
    fn a_broker_without_room_is_told_all_each_time() {
        let mut session = FetchSession::default();
        for _ in 0..3 {
            assert_eq!(sent(&mut session, &[(0, 5)]), (0, 0, vec![0], vec![]));
            session.on_answer(&answer(ErrorCode::None, 0));
        }
    }
}
