use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::fetch_request::ForgottenTopic;
use cairn_protocol::messages::{FetchRequest, FetchResponse};

use crate::harness::{Client, TestBroker};
use crate::records::{batch, fetch, fetch_topic, make_topic, produce, values};

/// A fetch in a session.
fn of(session_id: i32, session_epoch: i32, partitions: &[(i32, i64)]) -> FetchRequest {
    FetchRequest {
        session_id,
        session_epoch,
        topics: partitions.iter().map(|(partition, offset)| fetch_topic("t", *partition, *offset)).collect(),
        ..fetch("t", 0, 0)
    }
}

/// Which partitions an answer names, with how many records.
fn shown(response: &FetchResponse) -> Vec<(i32, usize)> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let mut shown: Vec<_> = partitions.map(|data| (data.partition_index, values(data).len())).collect();
    shown.sort_unstable();
    shown
}

async fn broker() -> (TestBroker, Client) {
    let broker = TestBroker::with(&[("num.partitions", "3"), ("max.incremental.fetch.session.cache.slots", "2")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    (broker, client)
}

#[tokio::test]
async fn answers_of_a_session_name_what_is_new() {
    let (_broker, mut client) = broker().await;
    let first = client.call(11, &of(0, 0, &[(0, 0), (1, 0), (2, 0)])).await;
    assert_ne!(first.session_id, 0);
    assert_eq!(shown(&first), [(0, 0), (1, 0), (2, 0)], "the first answer names all");
    let id = first.session_id;
    assert_eq!(shown(&client.call(11, &of(id, 1, &[])).await), []);

    client.call(9, &produce("t", 1, -1, batch(&["a", "b"]))).await;
    let second = client.call(11, &of(id, 2, &[])).await;
    assert_eq!((second.session_id, shown(&second)), (id, vec![(1, 2)]));
    let again = client.call(11, &of(id, 3, &[])).await;
    assert_eq!(shown(&again), [(1, 2)], "the offset has not moved");
    assert_eq!(shown(&client.call(11, &of(id, 4, &[(1, 2)])).await), []);

    let forgotten = ForgottenTopic { topic: "t".into(), partitions: vec![1], ..ForgottenTopic::default() };
    let request = FetchRequest { forgotten_topics_data: vec![forgotten], ..of(id, 5, &[]) };
    client.call(9, &produce("t", 1, -1, batch(&["c"]))).await;
    client.call(9, &produce("t", 2, -1, batch(&["d"]))).await;
    assert_eq!(shown(&client.call(11, &request).await), [(2, 1)]);
}

#[tokio::test]
async fn a_session_waits_for_all_that_it_remembers() {
    let (broker, mut client) = broker().await;
    let mut producer = broker.connect().await;
    let id = client.call(11, &of(0, 0, &[(0, 0), (1, 0), (2, 0)])).await.session_id;
    let sent = client.send(11, &FetchRequest { max_wait_ms: 300_000, ..of(id, 1, &[]) }).await;
    producer.call(9, &produce("t", 2, -1, batch(&["a"]))).await;
    assert_eq!(shown(&client.receive::<FetchRequest>(sent).await), [(2, 1)]);
}

#[tokio::test]
async fn wrong_sessions_are_refused() {
    let (_broker, mut client) = broker().await;
    let id = client.call(11, &of(0, 0, &[(0, 0)])).await.session_id;
    let unknown = client.call(11, &of(id.wrapping_add(1).max(1), 1, &[])).await;
    assert_eq!(unknown.error_code, ErrorCode::FetchSessionIdNotFound.code());
    let wrong_epoch = client.call(11, &of(id, 7, &[])).await;
    assert_eq!(wrong_epoch.error_code, ErrorCode::InvalidFetchSessionEpoch.code());
    let by_id = client.call(13, &of(id, 1, &[])).await;
    assert_eq!(by_id.error_code, ErrorCode::FetchSessionTopicIdError.code());
    assert_eq!(client.call(11, &of(id, 1, &[])).await.error_code, 0, "a refused request does not count");
    assert_eq!(client.call(11, &of(id, -1, &[(0, 0)])).await.session_id, 0);
    let ended = client.call(11, &of(id, 2, &[])).await;
    assert_eq!(ended.error_code, ErrorCode::FetchSessionIdNotFound.code(), "the request before has ended it");
}

#[tokio::test]
async fn without_room_there_is_no_session() {
    let (_broker, mut client) = broker().await;
    let ids = [
        client.call(11, &of(0, 0, &[(0, 0)])).await.session_id,
        client.call(11, &of(0, 0, &[(0, 0)])).await.session_id,
        client.call(11, &of(0, 0, &[(0, 0)])).await.session_id,
    ];
    assert!(ids[0] != 0 && ids[1] != 0 && ids[0] != ids[1]);
    assert_eq!(ids[2], 0);
    let replaced = client.call(11, &of(ids[0], 0, &[(0, 0)])).await.session_id;
    assert!(replaced != 0 && replaced != ids[0], "a client that begins anew gives its place up first");
}

#[tokio::test]
async fn partitions_take_turns_at_a_small_answer() {
    let (_broker, mut client) = broker().await;
    for partition in 0..3 {
        client.call(9, &produce("t", partition, -1, batch(&["a"]))).await;
    }
    let small = |id, epoch, partitions: &[(i32, i64)]| FetchRequest { max_bytes: 1, ..of(id, epoch, partitions) };
    let first = client.call(11, &small(0, 0, &[(0, 0), (1, 0), (2, 0)])).await;
    let mut with_records = vec![shown(&first).into_iter().find(|(_, records)| *records > 0).unwrap().0];
    for epoch in 1..3 {
        let next = client.call(11, &small(first.session_id, epoch, &[])).await;
        with_records.push(shown(&next).into_iter().find(|(_, records)| *records > 0).unwrap().0);
    }
    with_records.sort_unstable();
    assert_eq!(with_records, [0, 1, 2]);
}
