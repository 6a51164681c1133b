//! Reads orders and writes a bill for each, so that each is billed once, although the service is cut off in the middle and started anew.
//! `cargo run -p cairn-client --example exactly_once -- localhost:9092`

use std::collections::HashMap;
use std::time::Duration;

use cairn_client::{
    Client, CommittedOffset, IsolationLevel, NewTopic, OffsetReset, ProducerRecord, StartAt, TopicPartition,
};

const ORDERS: i32 = 60;
/// So many orders are billed in a transaction.
const AT_A_TIME: i32 = 10;

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let bootstrap = std::env::args().nth(1).unwrap_or_else(|| "localhost:9092".to_owned());
    let client = Client::new(&bootstrap)?;
    let (orders, bills) = (format!("orders-{}", std::process::id()), format!("bills-{}", std::process::id()));
    for topic in [&orders, &bills] {
        client.admin().create_topic(&NewTopic::new(topic)).await?;
    }
    let producer = client.producer().build()?;
    for number in 0..ORDERS {
        drop(producer.send(ProducerRecord::to(orders.as_str()).value(number.to_string())).await?);
    }
    producer.close(Duration::from_secs(10)).await?;

    // The first one ends in the middle of a transaction, after it has written half of its bills.
    let billed = serve(&client, &orders, &bills, Some(25)).await?;
    println!("the first billed {billed} orders and was cut off");
    let billed = serve(&client, &orders, &bills, None).await?;
    println!("the second went on and billed {billed}");

    let seen = read_all(&client, &bills).await?;
    println!("{} bills are seen", seen.len());
    let expected: Vec<String> = (0..ORDERS).map(|number| format!("bill for order {number}")).collect();
    if seen != expected {
        return Err(format!("each order has to be billed once: {seen:?}").into());
    }
    for topic in [&orders, &bills] {
        client.admin().delete_topic(topic).await?;
    }
    Ok(())
}

/// Bills orders until none is left, or is cut off after `cut_off_after` of them. Gives how many it has billed for good.
async fn serve(client: &Client, orders: &str, bills: &str, cut_off_after: Option<i32>) -> Result<i32, Error> {
    // The same id each time: whoever is new takes over from whoever hangs.
    let producer = client.producer().build_transactional(format!("billing-{orders}"))?;
    // A transaction that was left open is ended here, before anything is read.
    producer.begin().await?.commit().await?;
    let consumer = client.consumer().group(orders).offset_reset(OffsetReset::Earliest).build()?;
    let partition = TopicPartition::new(orders, 0);
    consumer.assign([(partition.clone(), StartAt::Committed)]);
    let end = consumer.end_offsets(std::slice::from_ref(&partition)).await?[&partition];
    let mut billed = 0;
    while consumer.position(&partition).is_none_or(|position| position < end) {
        let mut transaction = producer.begin().await?;
        for _ in 0..AT_A_TIME {
            let order = consumer.recv().await?;
            let number = String::from_utf8(order.value.unwrap_or_default().to_vec())?;
            let bill = ProducerRecord::to(bills).value(format!("bill for order {number}"));
            drop(transaction.send(bill).await?);
            billed += 1;
            if cut_off_after == Some(billed) {
                // As in a crash: nobody ends the transaction.
                return Ok(billed - billed % AT_A_TIME);
            }
        }
        // Where the orders go on belongs to the same transaction as their bills.
        let next = consumer.position(&partition).ok_or("it was read")?;
        let offsets = HashMap::from([(partition.clone(), CommittedOffset::from(next))]);
        transaction.send_offsets(&consumer, &offsets).await?;
        transaction.commit().await?;
    }
    producer.close(Duration::from_secs(10)).await?;
    consumer.close().await;
    Ok(billed)
}

/// What is committed, in order.
async fn read_all(client: &Client, topic: &str) -> Result<Vec<String>, Error> {
    let consumer = client.consumer().isolation_level(IsolationLevel::ReadCommitted).build()?;
    let partition = TopicPartition::new(topic, 0);
    consumer.assign([(partition, StartAt::Beginning)]);
    let mut seen = Vec::new();
    let last = format!("bill for order {}", ORDERS - 1);
    while seen.last() != Some(&last) {
        let record = consumer.recv().await?;
        seen.push(String::from_utf8(record.value.unwrap_or_default().to_vec())?);
    }
    consumer.close().await;
    Ok(seen)
}
