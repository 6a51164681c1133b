//! How an application is tested against a whole broker that lives in the test's own process:
//! `cargo run -p cairn --example in_process_broker`.
//!
//! In a project of your own: `cairn-broker` and `cairn-client` among the `[dev-dependencies]`, and `#[tokio::test(flavor = "multi_thread")]`.

use std::time::{Duration, Instant};

use cairn_broker::InProcessBroker;
use cairn_client::{Client, NewTopic, ProducerRecord, StartAt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let broker = InProcessBroker::start(&[]).await?;
    println!("a broker at {} after {:?}", broker.bootstrap(), begun.elapsed());

    // What is tested begins here: it is told where to connect to, and nothing else.
    let client = Client::new(broker.bootstrap())?;
    client.admin().create_topic(&NewTopic::new("orders")).await?;
    let producer = client.producer().build()?;
    producer.send(ProducerRecord::to("orders").key("customer-7").value("a book")).await?.await?;
    let consumer = client.consumer().build()?;
    consumer.assign_topic("orders", StartAt::Beginning).await?;
    let record = consumer.recv().await?;
    assert_eq!(record.value.as_deref(), Some(&b"a book"[..]));
    println!("written and read after {:?}", begun.elapsed());

    producer.close(Duration::from_secs(5)).await?;
    consumer.close().await;
    broker.shutdown().await;
    Ok(())
}
