//! Writes a hundred records and says where they went: `cargo run --example produce -- localhost:9092`.

use std::time::Duration;

use cairn_client::{Client, Compression, ProducerRecord};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bootstrap = std::env::args().nth(1).unwrap_or_else(|| "localhost:9092".to_owned());
    let client = Client::new(&bootstrap)?;
    let producer = client.producer().compression(Compression::Lz4).build()?;

    let topic: std::sync::Arc<str> = "example-orders".into();
    let mut deliveries = Vec::new();
    for number in 0..100 {
        // Waits only when the buffer is full; the records travel in batches.
        let record =
            ProducerRecord::to(topic.clone()).key(format!("customer-{}", number % 7)).value(format!("order {number}"));
        deliveries.push(producer.send(record).await?);
    }
    for delivery in deliveries {
        let written = delivery.await?;
        println!("partition {} offset {:?}", written.partition, written.offset.map(|offset| offset.0));
    }
    producer.close(Duration::from_secs(10)).await?;
    Ok(())
}
