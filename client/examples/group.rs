//! Two members share a topic and one of them leaves: who reads what is told as it changes.
//! `cargo run -p cairn-client --example group -- localhost:9092`

use std::time::Duration;

use cairn_client::{Assignor, Client, Consumer, NewTopic, OffsetReset, ProducerRecord, RebalanceKind};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const RECORDS: i32 = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bootstrap = std::env::args().nth(1).unwrap_or_else(|| "localhost:9092".to_owned());
    let client = Client::new(&bootstrap)?;
    let topic = format!("example-group-{}", std::process::id());
    client.admin().create_topic(&NewTopic::new(&topic).partitions(4)).await?;

    let (tell, mut told) = mpsc::unbounded_channel();
    let first = member(&client, &topic)?;
    let working_first = work("first", &first, tell.clone());
    let second = member(&client, &topic)?;
    let working_second = work("second", &second, tell);
    // Both have their share.
    while first.assigned().len() != 2 || second.assigned().len() != 2 {
        told.recv().await.ok_or("both work")?;
    }
    produce(&client, &topic).await?;
    read(&mut told).await?;
    // One leaves, and the other goes on with all of it.
    second.close().await;
    working_second.abort();
    produce(&client, &topic).await?;
    read(&mut told).await?;
    first.close().await;
    working_first.abort();
    client.admin().delete_topic(&topic).await?;
    Ok(())
}

fn member(client: &Client, topic: &str) -> Result<Consumer, Box<dyn std::error::Error>> {
    let consumer = client
        .consumer()
        .group(topic)
        .offset_reset(OffsetReset::Earliest)
        .assignors(&[Assignor::CooperativeSticky])
        .heartbeat_interval(Duration::from_millis(500))
        .auto_commit(Duration::from_secs(1))
        .build()?;
    consumer.subscribe([topic])?;
    Ok(consumer)
}

/// What a member has done.
enum Done {
    Rebalanced,
    Read,
}

/// A service would do this until it is told to end.
fn work(name: &'static str, consumer: &Consumer, tell: mpsc::UnboundedSender<Done>) -> JoinHandle<()> {
    let (consumer, mut rebalances) = (consumer.clone(), consumer.rebalances());
    tokio::spawn(async move {
        loop {
            let done = tokio::select! {
                // While the event lives, the partitions are still ours: here is where to finish what was begun.
                Some(rebalance) = rebalances.next() => {
                    let indexes: Vec<i32> = rebalance.partitions().iter().map(|it| it.partition.0).collect();
                    if rebalance.kind() != RebalanceKind::Assigned || !indexes.is_empty() {
                        println!("{name}: {:?} {indexes:?}", rebalance.kind());
                    }
                    Done::Rebalanced
                }
                record = consumer.recv() => match record {
                    Ok(_) => Done::Read,
                    Err(error) => return println!("{name}: {error}"),
                },
            };
            if tell.send(done).is_err() {
                return;
            }
        }
    })
}

async fn produce(client: &Client, topic: &str) -> Result<(), Box<dyn std::error::Error>> {
    let producer = client.producer().build()?;
    for number in 0..RECORDS {
        drop(producer.send(ProducerRecord::to(topic).partition(number % 4).value(number.to_string())).await?);
    }
    Ok(producer.close(Duration::from_secs(10)).await?)
}

/// At least once: what was read and not committed before partitions changed hands is read again.
async fn read(told: &mut mpsc::UnboundedReceiver<Done>) -> Result<(), Box<dyn std::error::Error>> {
    let mut count = 0;
    while count < RECORDS {
        if matches!(told.recv().await.ok_or("somebody works")?, Done::Read) {
            count += 1;
        }
    }
    println!("{count} records read");
    Ok(())
}
