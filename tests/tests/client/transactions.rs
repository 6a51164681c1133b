//! Transactions with Apache Kafka: all of one is seen or nothing, over lost connections and a newer producer of the same name.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use cairn_client::{
    Client, CommittedOffset, IsolationLevel, NewTopic, Offset, ProducerRecord, StartAt, TopicPartition, Transaction,
    TransactionError, TransactionalProducer,
};
use cairn_tests::broker::{Broker, Kind, kafka_script};
use cairn_tests::dice::Dice;
use cairn_tests::process::run;
use cairn_tests::proxy::Proxy;

use super::{NEVER, must_be_gone, runtime};

const PARTITIONS: i32 = 3;
const RECORDS: i32 = 30;
const CUTS: i32 = 20;

pub(super) fn judge() -> anyhow::Result<String> {
    let mut dice = Dice::from_environment("client transactions");
    let proxy = Proxy::start(Dice::new(dice.roll()))?;
    let broker = Broker::start_behind(Kind::Kafka, &["auto.create.topics.enable=false"], &proxy)?;
    let runtime = runtime()?;
    let client = Client::builder(&proxy.address().to_string())
        .request_timeout(Duration::from_secs(5))
        .retry_backoff(Duration::from_millis(5), Duration::from_millis(200))
        .build()?;
    runtime.block_on(async {
        for topic in ["ends", "offsets", "fenced", "cuts"] {
            let new = NewTopic::new(topic).partitions(PARTITIONS).config("max.message.bytes", "100000");
            client.admin().create_topic(&new).await?;
        }
        ends(&client).await.context("ends")?;
        offsets(&client).await.context("offsets")?;
        fenced(&client).await.context("fenced")?;
        cuts(&client, &proxy).await.context("cuts")
    })?;
    // What Java reads is what was committed.
    let arguments = ["tool", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server"];
    let reads = ["--isolation-level", "read_committed", "--from-beginning", "--timeout-ms", "4000", "--topic", "ends"];
    let said = run(kafka_script().args(arguments).arg(broker.bootstrap()).args(reads), b"")?;
    let mut seen: Vec<&str> = said.text()?.lines().collect();
    seen.sort_unstable();
    ensure!(seen == sorted(&["first", "fourth", "sixth"]), "Java reads {seen:?}");
    drop(client);
    // The broker reaches itself through the proxy, too.
    must_be_gone(&runtime, || 0)?;
    Ok(format!("committed, aborted, dropped, fenced, {CUTS} with their connections cut"))
}

fn producer(client: &Client, id: &str) -> anyhow::Result<TransactionalProducer> {
    Ok(client.producer().linger(Duration::from_millis(1)).build_transactional(id)?)
}

async fn send(transaction: &Transaction, topic: &str, value: &str) -> anyhow::Result<()> {
    for number in 0..RECORDS {
        let record = ProducerRecord::to(topic).partition(number % PARTITIONS).value(value.to_owned());
        drop(transaction.send(record).await?);
    }
    Ok(())
}

/// Each value as often as a transaction has sent it.
fn sorted(values: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = values.iter().flat_map(|value| (0..RECORDS).map(|_| (*value).to_owned())).collect();
    all.sort_unstable();
    all
}

/// The values up to the end of each partition.
async fn values(client: &Client, topic: &str, isolation: IsolationLevel) -> anyhow::Result<Vec<String>> {
    let consumer = client.consumer().isolation_level(isolation).build()?;
    let partitions: Vec<TopicPartition> = (0..PARTITIONS).map(|index| TopicPartition::new(topic, index)).collect();
    let ends = consumer.end_offsets(&partitions).await?;
    consumer.assign_topic(topic, StartAt::Beginning).await?;
    let mut values = Vec::new();
    let at_end = || ends.iter().all(|(at, end)| consumer.position(at).is_some_and(|position| position >= *end));
    let reading = async {
        while !at_end() {
            // Behind the last record may be markers only, which are passed over without a record.
            let Ok(record) = tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await else { continue };
            values.push(String::from_utf8(record?.value.context("a value")?.to_vec())?);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(NEVER, reading).await.context("it does not get to the end")??;
    consumer.close().await;
    values.sort_unstable();
    Ok(values)
}

/// What is committed becomes this: the partitions hear of the end of a transaction a moment after it is decided.
async fn shows(client: &Client, topic: &str, expected: &[String]) -> anyhow::Result<()> {
    let mut last = Vec::new();
    let looking = async {
        while last != expected {
            last = values(client, topic, IsolationLevel::ReadCommitted).await?;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(NEVER, looking).await {
        Ok(found) => found,
        Err(_) => anyhow::bail!("{topic} shows {last:?}"),
    }
}

async fn ends(client: &Client) -> anyhow::Result<()> {
    let producer = producer(client, "ends")?;
    let first = producer.begin().await?;
    send(&first, "ends", "first").await?;
    first.commit().await?;

    let second = producer.begin().await?;
    send(&second, "ends", "second").await?;
    second.abort().await?;

    // Written, and its handle dropped: the next one aborts it.
    let third = producer.begin().await?;
    send(&third, "ends", "third").await?;
    third.send(ProducerRecord::to("ends").value("third")).await?.await?;
    drop(third);

    let fourth = producer.begin().await?;
    send(&fourth, "ends", "fourth").await?;
    fourth.commit().await?;
    // One without anything in it costs nothing.
    producer.begin().await?.commit().await?;

    shows(client, "ends", &sorted(&["first", "fourth"])).await?;
    let all = values(client, "ends", IsolationLevel::ReadUncommitted).await?;
    ensure!(all.iter().any(|value| value == "third"), "the third was written");
    // Too large a record fails the transaction, which says so and is not seen; the producer goes on.
    let fifth = producer.begin().await?;
    send(&fifth, "ends", "fifth").await?;
    let large = ProducerRecord::to("ends").partition(0).value(vec![b'x'; 200_000]);
    let refused = fifth.send(large).await?.await;
    let failed = fifth.commit().await;
    ensure!(refused.is_err() && matches!(failed, Err(TransactionError::Failed(_))), "{refused:?} {failed:?}");
    let sixth = producer.begin().await?;
    send(&sixth, "ends", "sixth").await?;
    sixth.commit().await?;
    shows(client, "ends", &sorted(&["first", "fourth", "sixth"])).await?;
    Ok(producer.close(NEVER).await?)
}

async fn offsets(client: &Client) -> anyhow::Result<()> {
    let producer = producer(client, "offsets")?;
    let consumer = client.consumer().group("copies").build()?;
    let partition = TopicPartition::new("offsets", 0);
    let offsets = |offset| HashMap::from([(partition.clone(), CommittedOffset::from(Offset(offset)))]);
    let mut aborted = producer.begin().await?;
    aborted.send_offsets(&consumer, &offsets(7)).await?;
    aborted.abort().await?;
    let mut committed = producer.begin().await?;
    send(&committed, "offsets", "copy").await?;
    committed.send_offsets(&consumer, &offsets(5)).await?;
    committed.commit().await?;
    // The group's coordinator hears of the end a moment later.
    let found = async {
        loop {
            let found = consumer.committed(std::slice::from_ref(&partition)).await?;
            if let Some(found) = found.get(&partition) {
                return anyhow::Ok(found.offset.0);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let found = tokio::time::timeout(NEVER, found).await.context("nothing is committed")??;
    ensure!(found == 5, "committed is {found}");
    consumer.close().await;
    Ok(producer.close(NEVER).await?)
}

async fn fenced(client: &Client) -> anyhow::Result<()> {
    let (old, new) = (producer(client, "fenced")?, producer(client, "fenced")?);
    let zombie = old.begin().await?;
    send(&zombie, "fenced", "zombie").await?;
    let newer = new.begin().await?;
    send(&newer, "fenced", "newer").await?;
    newer.commit().await?;
    let ended = zombie.commit().await;
    ensure!(matches!(ended, Err(TransactionError::Fenced { .. })), "a zombie's commit gives {ended:?}");
    let again = old.begin().await.map(drop);
    ensure!(matches!(again, Err(TransactionError::Fenced { .. })), "a zombie begins again: {again:?}");
    // The newer one was not fenced by that.
    let newer = new.begin().await?;
    newer.commit().await?;
    shows(client, "fenced", &sorted(&["newer"])).await?;
    old.close(NEVER).await?;
    Ok(new.close(NEVER).await?)
}

/// Every transaction loses its connections somewhere, and half of them are aborted.
async fn cuts(client: &Client, proxy: &Proxy) -> anyhow::Result<()> {
    let producer = producer(client, "cuts")?;
    let mut expected = Vec::new();
    for number in 0..CUTS {
        let value = number.to_string();
        let transaction = producer.begin().await?;
        if number % 3 == 0 {
            proxy.cut();
        }
        send(&transaction, "cuts", &value).await?;
        if number % 3 == 1 {
            proxy.cut();
        }
        if number % 2 == 0 {
            transaction.abort().await?;
        } else {
            transaction.commit().await?;
            expected.extend((0..RECORDS).map(|_| value.clone()));
        }
        if number % 3 == 2 {
            proxy.cut();
        }
    }
    expected.sort_unstable();
    shows(client, "cuts", &expected).await?;
    Ok(producer.close(NEVER).await?)
}
