//! Tables of the client library, against a real broker: Cairn, or the one that `CAIRN_TEST_BOOTSTRAP` names.
//!
//! With Apache Kafka: `CAIRN_TEST_BOOTSTRAP=localhost:9092 cargo test -p cairn --test table`.

mod support;

use std::path::Path;
use std::time::Duration;

use cairn_client::{Client, ErrorCode, NewTopic, ProducerRecord, Restored, Table, TableError};

use crate::support::place::{Place, unique};

/// More than any of it takes, so that it only ends what hangs.
const LONG: Duration = Duration::from_secs(90);

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let bounded = async { tokio::time::timeout(LONG, work).await.expect("it does not hang") };
    runtime.expect("a runtime").block_on(bounded)
}

async fn create(client: &Client, topic: &str) {
    let topic = NewTopic::new(topic).partitions(3).config("cleanup.policy", "compact");
    // One that was deleted may be on its way yet.
    while let Err(error) = client.admin().create_topic(&topic).await {
        assert_eq!(error.code(), Some(ErrorCode::TopicAlreadyExists), "{error}");
    }
}

async fn open(client: &Client, topic: &str, file: &Path) -> Table {
    client.table(topic).checkpoint(file).open().await.expect("it opens")
}

fn rows(table: &Table) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let mut rows: Vec<_> = table.rows().iter().map(|(key, value)| (text(key), text(value))).collect();
    rows.sort();
    rows
}

#[test]
fn a_table_comes_back_from_its_checkpoint_and_what_the_log_has_after_it() {
    let place = Place::new();
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (client, topic, file) = (place.client(), unique("table"), folder.path().join("table"));
        create(&client, &topic).await;
        let table = open(&client, &topic, &file).await;
        assert_eq!((table.restored(), table.is_empty()), (Restored { from_checkpoint: 0, replayed: 0 }, true));
        for key in 0..50 {
            table.put(format!("k{key}"), "first").await.expect("put");
        }
        table.checkpoint().await.expect("written");
        for key in 0..10 {
            table.put(format!("k{key}"), "second").await.expect("put");
        }
        table.remove("k49").await.expect("removed");
        assert_eq!((table.get("k0").as_deref(), table.get("k49"), table.len()), (Some(&b"second"[..]), None, 49));
        let before = rows(&table);
        // As a process that dies: nothing is closed.
        drop(table);

        let table = open(&client, &topic, &file).await;
        assert_eq!(table.restored(), Restored { from_checkpoint: 50, replayed: 11 });
        assert_eq!(rows(&table), before);
        table.close().await.expect("closed");
        let table = open(&client, &topic, &file).await;
        assert_eq!(table.restored(), Restored { from_checkpoint: 49, replayed: 0 });
        drop(table);

        // A checkpoint that is damaged is none.
        let mut bytes = std::fs::read(&file).expect("read");
        *bytes.last_mut().expect("some") ^= 1;
        std::fs::write(&file, bytes).expect("written");
        let table = open(&client, &topic, &file).await;
        assert_eq!(table.restored().from_checkpoint, 0);
        assert_eq!(rows(&table), before);
    });
}

#[test]
fn what_others_write_shows_and_a_topic_that_is_another_is_read_anew() {
    let place = Place::new();
    let folder = tempfile::tempdir().expect("a folder");
    block_on(async {
        let (client, topic, file) = (place.client(), unique("table"), folder.path().join("table"));
        let unknown = client.table(topic.as_str()).open().await;
        assert!(matches!(unknown, Err(TableError::Metadata(_))), "{unknown:?}");
        create(&client, &topic).await;
        let table = open(&client, &topic, &file).await;
        let producer = client.producer().build().expect("valid");
        let record = ProducerRecord::to(topic.as_str()).key("theirs").value("1");
        producer.send(record).await.expect("sent").await.expect("written");
        // Ours goes to the same partition, behind theirs.
        table.put("theirs", "2").await.expect("put");
        assert_eq!(rows(&table), [("theirs".to_owned(), "2".to_owned())]);
        table.close().await.expect("closed");

        client.admin().delete_topic(&topic).await.expect("deleted");
        create(&client, &topic).await;
        let again = place.client();
        let table = open(&again, &topic, &file).await;
        assert_eq!((table.restored().from_checkpoint, table.len()), (0, 0));
        table.put("theirs", "3").await.expect("put");
        assert_eq!(table.get("theirs").as_deref(), Some(&b"3"[..]));
    });
}
