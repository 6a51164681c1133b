//! Question: what does a produce take longer because quotas are set: none at all, one of another client, one of this client that it
//! never reaches?
//!
//! A broker of its own, one connection, one record of 1 KiB at a time with acks=all: the round trip of the same request. A
//! thousand further clients have quotas of their own in the last two, so that looking one's own up has to find it among them.
//!
//! `CAIRN_BIN=target/release/cairn cargo bench -p cairn-benches --bench quotas`, with `CAIRN_BENCH_DIR` for the disk.

use cairn_benches::machine;
use cairn_benches::served::{Broker, Connection, batch};
use cairn_protocol::messages::AlterClientQuotasRequest;
use cairn_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use criterion::Criterion;

const TOPIC: &str = "t";
const OTHERS: usize = 1_000;
/// Clients of one request.
const STEP: usize = 500;
/// More than this machine sends.
const RATE: f64 = 1e12;

/// Gives these clients a quota of produced bytes, and one of the time that their requests take.
fn limit(connection: &mut Connection, clients: impl Iterator<Item = String>) {
    let quota = |key: &str, value| OpData { key: key.into(), value, remove: false };
    let entry = |client: String| EntryData {
        entity: vec![EntityData { entity_type: "client-id".into(), entity_name: Some(client.into()) }],
        ops: vec![quota("producer_byte_rate", RATE), quota("request_percentage", RATE)],
    };
    let request = AlterClientQuotasRequest { entries: clients.map(entry).collect(), validate_only: false };
    let answer = connection.call(1, &request);
    assert!(answer.entries.iter().all(|entry| entry.error_code == 0), "{answer:?}");
}

fn main() {
    if machine::is_trial() {
        println!("nothing to try: it needs a broker's binary");
        return;
    }
    let folder = machine::folder();
    let broker = Broker::start(&[&folder.path().join("data")], &[]);
    broker.cairn(&["topic", "create", TOPIC, "--partitions", "1"]);
    let mut connection = Connection::open(&broker.bootstrap);
    let records = batch(0, 1);
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("produce 1 KiB");
    let mut measure = |name: &str, connection: &mut Connection| {
        group.bench_function(name, |bencher| bencher.iter(|| connection.produce(TOPIC, records.clone())));
    };
    measure("no quota", &mut connection);
    for first in (0..OTHERS).step_by(STEP) {
        limit(&mut connection, (first..first + STEP).map(|number| format!("other {number}")));
    }
    measure("quotas of others", &mut connection);
    limit(&mut connection, std::iter::once("bench".to_owned()));
    measure("a quota of its own", &mut connection);
    group.finish();
    criterion.final_summary();
}
