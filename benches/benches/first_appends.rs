//! Question: what do the first appends of many partitions at once take, which have no files yet, beside the next ones?
//!
//! A broker of its own and one connection. One produce with acks=all brings a record of 1 KiB to each partition of a new topic, and
//! the same request again goes to files that are there. Under `synced` both wait for the disk.
//!
//! `CAIRN_BIN=target/release/cairn cargo bench -p cairn-benches --bench first_appends`, with `CAIRN_BENCH_DIR` for the disk,
//! `CAIRN_BENCH_PARTITIONS` (default "10 100 1000") and `CAIRN_BENCH_TURNS` (default 5), of which the median is told.

use std::time::{Duration, Instant};

use cairn_benches::machine::{self, nanos};
use cairn_benches::served::{Broker, Connection, batch};
use cairn_protocol::messages::ProduceRequest;
use cairn_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};

/// One record for each partition.
fn request(topic: &str, partitions: i32) -> ProduceRequest {
    let records = batch(0, 1);
    let partition = |index| PartitionProduceData { index, records: Some(records.clone()) };
    let topic = TopicProduceData {
        name: topic.into(),
        partition_data: (0..partitions).map(partition).collect(),
        ..TopicProduceData::default()
    };
    ProduceRequest { acks: -1, timeout_ms: 60_000, topic_data: vec![topic], transactional_id: None }
}

fn timed(connection: &mut Connection, request: &ProduceRequest) -> Duration {
    let begun = Instant::now();
    let answer = connection.call(Connection::PRODUCE_VERSION, request);
    let took = begun.elapsed();
    let partitions = &answer.responses[0].partition_responses;
    assert!(partitions.iter().all(|partition| partition.error_code == 0), "a produce was refused");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    if machine::is_trial() {
        println!("nothing to try: it needs a broker's binary");
        return;
    }
    let sizes = machine::setting("CAIRN_BENCH_PARTITIONS", "10 100 1000".to_owned());
    let turns = machine::setting("CAIRN_BENCH_TURNS", 5u32);
    let folder = machine::folder();
    let broker = Broker::start(&[&folder.path().join("data")], &[]);
    let mut connection = Connection::open(&broker.bootstrap);
    println!("| durability | partitions | first | again | first, each |");
    println!("|---|---|---|---|---|");
    for durability in ["replicated", "synced"] {
        for partitions in sizes.split_whitespace() {
            let (mut first, mut again) = (Vec::new(), Vec::new());
            let count: i32 = partitions.parse().expect("numbers in CAIRN_BENCH_PARTITIONS");
            for turn in 0..turns {
                let topic = format!("{durability}-{partitions}-{turn}");
                let config = format!("durability={durability}");
                broker.cairn(&["topic", "create", &topic, "--partitions", partitions, "--config", &config]);
                let request = request(&topic, count);
                first.push(timed(&mut connection, &request));
                again.push(timed(&mut connection, &request));
                broker.cairn(&["topic", "delete", &topic]);
            }
            let (first, again) = (median(first), median(again));
            let shown = |time: Duration| nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            let each = first / count.unsigned_abs();
            println!("| {durability} | {partitions} | {} | {} | {} |", shown(first), shown(again), shown(each));
        }
    }
}
