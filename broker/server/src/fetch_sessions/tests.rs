use super::*;

fn begin(topics: i32) -> SessionRequest {
    let partition = |partition| FetchPartition { partition, ..FetchPartition::default() };
    let topic =
        FetchTopic { topic: "t".into(), partitions: (0..topics).map(partition).collect(), ..FetchTopic::default() };
    SessionRequest { session_id: 0, epoch: BEGIN, by: Naming::Name, topics: vec![topic], forgotten: Vec::new() }
}

fn next(session_id: i32, epoch: i32) -> SessionRequest {
    SessionRequest { session_id, epoch, by: Naming::Name, topics: Vec::new(), forgotten: Vec::new() }
}

#[test]
fn only_a_session_that_was_not_used_for_long_makes_room() {
    let sessions = FetchSessions::new(1);
    let start = Instant::now();
    let old = sessions.on_request(begin(1), start).unwrap().session_id();
    assert_ne!(old, 0);
    let almost = start + KEPT_AT_LEAST - Duration::from_millis(1);
    assert_eq!(sessions.on_request(begin(1), almost).unwrap().session_id(), 0);
    let used = sessions.on_request(next(old, 1), almost).unwrap();
    assert_eq!(used.session_id(), old);
    assert_eq!(sessions.on_request(begin(1), start + KEPT_AT_LEAST).unwrap().session_id(), 0, "it was used meanwhile");
    let new = sessions.on_request(begin(1), almost + KEPT_AT_LEAST).unwrap().session_id();
    assert!(new != 0 && new != old);
    assert_eq!(sessions.on_request(next(old, 2), almost).unwrap_err(), ErrorCode::FetchSessionIdNotFound);
    assert_eq!(sessions.sessions.lock().len(), 1);
}

#[test]
fn a_session_without_partitions_ends() {
    let sessions = FetchSessions::new(1);
    let now = Instant::now();
    assert_eq!(sessions.on_request(begin(0), now).unwrap().session_id(), 0);
    let id = sessions.on_request(begin(2), now).unwrap().session_id();
    let forgotten = |partitions| vec![ForgottenTopic { topic: "t".into(), partitions, ..ForgottenTopic::default() }];
    let one_left = SessionRequest { forgotten: forgotten(vec![0]), ..next(id, 1) };
    assert_eq!(sessions.on_request(one_left, now).unwrap().wanted.len(), 1);
    let none_left = SessionRequest { forgotten: forgotten(vec![1, 7]), ..next(id, 2) };
    assert_eq!(sessions.on_request(none_left, now).unwrap().session_id(), 0);
    assert!(sessions.sessions.lock().is_empty());
}

#[test]
fn epochs_go_round() {
    let sessions = FetchSessions::new(1);
    let now = Instant::now();
    let id = sessions.on_request(begin(1), now).unwrap().session_id();
    sessions.sessions.lock()[&id].lock().epoch = i32::MAX;
    sessions.on_request(next(id, i32::MAX), now).unwrap();
    sessions.on_request(next(id, 1), now).unwrap();
}
