//! Reads what the `produce` example wrote, from where the group got to, and commits: `cargo run --example consume -- localhost:9092`.
//!
//! Run it twice: the second time there is nothing new.

use std::collections::HashMap;

use cairn_client::{Client, OffsetReset, StartAt, TopicPartition};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bootstrap = std::env::args().nth(1).unwrap_or_else(|| "localhost:9092".to_owned());
    let topic = "example-orders";
    let client = Client::new(&bootstrap)?;
    let consumer = client.consumer().group("example-readers").offset_reset(OffsetReset::Earliest).build()?;

    // Where the log ends now: the example stops there, where a service would go on.
    let count = consumer.partition_count(topic).await?;
    let partitions: Vec<TopicPartition> = (0..count).map(|index| TopicPartition::new(topic, index)).collect();
    let ends = consumer.end_offsets(&partitions).await?;
    let committed = consumer.committed(&partitions).await?;
    let beginnings = consumer.beginning_offsets(&partitions).await?;
    let begin = |partition| committed.get(partition).map_or(beginnings[partition], |committed| committed.offset);
    let mut left: HashMap<&TopicPartition, i64> =
        partitions.iter().map(|partition| (partition, ends[partition].0 - begin(partition).0)).collect();
    left.retain(|_, left| *left > 0);

    consumer.assign(left.keys().map(|partition| ((*partition).clone(), StartAt::Committed)));
    while !left.is_empty() {
        let record = consumer.recv().await?;
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let (key, value) = (text(record.key.as_deref()), text(record.value.as_deref()));
        println!("{}-{} {}: {key:?} {value:?}", record.topic, record.partition, record.offset);
        let partition = TopicPartition { topic: record.topic, partition: record.partition };
        if record.offset.0 + 1 >= ends[&partition].0 {
            left.remove(&partition);
        }
    }
    consumer.commit().await?;
    Ok(())
}
