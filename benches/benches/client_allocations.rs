//! How often does our client allocate for a record that it writes, and for one that it reads?
//!
//! A batch costs a few allocations, a record none: with thousands of records in a batch, what is left for each is next to nothing.
//! Everything of the client runs in this one thread, so that all of it is counted; the broker is a process of its own.
//!
//! `CAIRN_BIN=target/release/cairn cargo bench -p cairn-benches --bench client_allocations`, with `CAIRN_BENCH_DIR` for the
//! broker's disk. Fails when a path allocates for each record.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_benches::{machine, served};
use cairn_client::{Client, Delivery, OffsetReset, Producer, ProducerRecord, StartAt};
use tokio::runtime::Runtime;

const TOPIC: &str = "allocations";
/// Deliveries that are awaited at a time.
const UNSETTLED: usize = 10_000;
/// Allocations for a record that are still those of its batch.
const SHARE_MAX: f64 = 0.1;

fn main() {
    if machine::is_trial() {
        println!("nothing to try: it needs a broker's binary");
        return;
    }
    let folder = machine::folder();
    let broker = served::Broker::start(&[folder.path()], &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = Client::new(&broker.bootstrap).expect("an address");
    broker.cairn(&["topic", "create", TOPIC]);
    let records = machine::setting("CAIRN_BENCH_RECORDS", 200_000_u32);
    let producer = runtime.block_on(async { client.producer().build().expect("a producer") });
    let value = Bytes::from(vec![b'x'; 100]);
    // Buffers that are used again are made now.
    produce(&runtime, &producer, &value, records);
    let paths = [
        ("written, delivery awaited", allocated(records, || produce(&runtime, &producer, &value, records))),
        ("read by batches", allocated(records, || consume_batches(&runtime, &client, records))),
        ("read by recv", allocated(records, || consume(&runtime, &client, records))),
    ];
    runtime.block_on(producer.close(Duration::from_secs(10))).expect("closed");
    for (path, share) in paths {
        println!("{path}: {share:.4} allocations a record");
    }
    let worst = paths.iter().map(|(_, share)| *share).fold(0.0, f64::max);
    assert!(worst < SHARE_MAX, "a path allocates for each record");
}

/// Allocations of this thread for each record.
fn allocated(records: u32, work: impl FnOnce()) -> f64 {
    let count = allocation_counter::measure(work).count_total;
    f64::from(u32::try_from(count).expect("fewer than four billion")) / f64::from(records)
}

fn produce(runtime: &Runtime, producer: &Producer, value: &Bytes, records: u32) {
    let topic: Arc<str> = TOPIC.into();
    runtime.block_on(async {
        let mut deliveries: Vec<Delivery> = Vec::with_capacity(UNSETTLED);
        for _ in 0..records {
            let record = ProducerRecord::to(Arc::clone(&topic)).value(value.clone());
            deliveries.push(producer.send(record).await.expect("taken"));
            if deliveries.len() == UNSETTLED {
                settle(&mut deliveries).await;
            }
        }
        settle(&mut deliveries).await;
    });
}

async fn settle(deliveries: &mut Vec<Delivery>) {
    for delivery in deliveries.drain(..) {
        delivery.await.expect("written");
    }
}

fn consume_batches(runtime: &Runtime, client: &Client, records: u32) {
    runtime.block_on(async {
        let consumer = client.consumer().offset_reset(OffsetReset::Earliest).build().expect("a consumer");
        consumer.assign_topic(TOPIC, StartAt::Beginning).await.expect("assigned");
        let mut read = 0;
        while read < records {
            consumer.recv_batches().await.expect("records").for_each(|_| read += 1).expect("whole");
        }
        consumer.close().await;
    });
}

fn consume(runtime: &Runtime, client: &Client, records: u32) {
    runtime.block_on(async {
        let consumer = client.consumer().offset_reset(OffsetReset::Earliest).build().expect("a consumer");
        consumer.assign_topic(TOPIC, StartAt::Beginning).await.expect("assigned");
        for _ in 0..records {
            consumer.recv().await.expect("a record");
        }
        consumer.close().await;
    });
}
