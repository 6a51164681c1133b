//! Our client library, judged as clients of others are: against Cairn, and with `CAIRN_JUDGE_BROKER=kafka` against Apache Kafka.
//!
//! What Cairn does not serve yet is judged with Apache Kafka in any case. `CAIRN_CLIENT_SECONDS` is how long the faults of a case go on
//! (default 20).

mod faults;
mod members;
mod security;
mod transactions;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use cairn_tests::clients::{Client as _, Console};
use cairn_tests::report::{Suite, Verdict};
use tokio::runtime::{Builder, Runtime};

/// A deadline for what should be there at once: to tell late from never.
const NEVER: Duration = Duration::from_secs(60);

type Judge = fn() -> anyhow::Result<String>;

fn main() -> ExitCode {
    let suite = Suite::new("client");
    suite.case("faults", || faults::judge().map(Verdict::Passed));
    suite.case("members-classic", || members::judge(members::Protocol::Classic).map(Verdict::Passed));
    suite.case("members-consumer", || members::judge(members::Protocol::Consumer).map(Verdict::Passed));
    // Cairn serves neither TLS nor SASL yet, nor transactions.
    let missing = Console.missing();
    let on_kafka = [("security-on-kafka", security::judge as Judge), ("transactions-on-kafka", transactions::judge)];
    for (name, judge) in on_kafka {
        suite.case(name, || match &missing {
            Some(missing) => Ok(Verdict::Skipped(missing.clone())),
            None => judge().map(Verdict::Passed),
        });
    }
    suite.close()
}

/// For a client alone, so that its tasks can be counted.
fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Nothing of a client is left once it was closed: no task, and no connection.
fn must_be_gone(runtime: &Runtime, connections: impl Fn() -> usize) -> anyhow::Result<()> {
    let left = || (runtime.metrics().num_alive_tasks(), connections());
    let gone = async {
        while left() != (0, 0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let is_gone = runtime.block_on(async { tokio::time::timeout(NEVER, gone).await.is_ok() });
    ensure!(is_gone, "tasks and connections that are left: {:?}", left());
    Ok(())
}
