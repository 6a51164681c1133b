//! Reads a topic as a member of a group, and says which partitions come and go: start it several times.
//!
//! `cargo run -p cairn-client --example group -- localhost:9092 orders billing`

use std::time::Duration;

use cairn_client::{Assignor, Client, OffsetReset};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(bootstrap), Some(topic), Some(group)) = (words.next(), words.next(), words.next()) else {
        return Err("usage: group HOST:PORT TOPIC GROUP".into());
    };
    let consumer = Client::new(&bootstrap)?
        .consumer()
        .group(group)
        .offset_reset(OffsetReset::Earliest)
        .assignors(&[Assignor::CooperativeSticky])
        .auto_commit(Duration::from_secs(1))
        .build()?;
    let mut rebalances = consumer.rebalances();
    consumer.subscribe([topic])?;
    loop {
        tokio::select! {
            // While the event lives, the partitions are still ours: here is where to finish what was begun.
            Some(rebalance) = rebalances.next() => println!("{:?}: {:?}", rebalance.kind(), rebalance.partitions()),
            record = consumer.recv() => {
                let record = record?;
                println!("{}-{} {}: {:?}", record.topic, record.partition, record.offset, record.value);
            }
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    consumer.close().await;
    Ok(())
}
