//! confluent-kafka, kafka-python and aiokafka, each behind a script of `tests/foreign` that speaks lines of JSON.
//!
//! It must not know what a suite writes.

use std::process::Command;

use super::{Client, Codec, From, Place, Writes, install_hint, tools};
use crate::broker::repository;
use crate::process::run;
use crate::record::{Outgoing, Record, from_lines, to_lines};

/// A Python client, by its script and module.
#[derive(Debug, Clone, Copy)]
pub struct Python {
    name: &'static str,
    script: &'static str,
    module: &'static str,
}

impl Python {
    /// confluent-kafka: librdkafka.
    pub fn confluent() -> Self {
        Python { name: "confluent-kafka", script: "confluent.py", module: "confluent_kafka" }
    }

    /// kafka-python: written in Python from the wire up.
    pub fn kafka_python() -> Self {
        Python { name: "kafka-python", script: "kafka_python.py", module: "kafka" }
    }

    /// aiokafka: kafka-python's protocol grown on its own, over asyncio.
    pub fn aiokafka() -> Self {
        Python { name: "aiokafka", script: "aio.py", module: "aiokafka" }
    }

    /// The script in the suites' own environment, ready for arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(tools().join("venv/bin/python"));
        command.arg(repository().join("tests/foreign").join(self.script));
        command
    }

    fn at(&self, job: &str, place: &Place) -> Command {
        let mut command = self.command();
        command.args([job, &place.bootstrap, &place.topic, &place.partition.to_string()]);
        command
    }
}

impl Client for Python {
    fn name(&self) -> &'static str {
        self.name
    }

    fn writes(&self) -> Writes {
        Writes::BytesAt
    }

    fn missing(&self) -> Option<String> {
        let mut command = Command::new(tools().join("venv/bin/python"));
        run(command.args(["-c", &format!("import {}", self.module)]), b"").err().map(|_| install_hint(self.name))
    }

    fn produce(&self, to: &Place, codec: Codec, records: &[Outgoing]) -> anyhow::Result<()> {
        run(self.at("produce", to).arg(codec.name()), to_lines(records)?.as_bytes())?;
        Ok(())
    }

    fn consume(&self, place: &Place, from: From, count: usize) -> anyhow::Result<Vec<Record>> {
        let (kind, number) = match from {
            From::Offset(offset) => ("offset", offset),
            From::Time(ms) => ("time", ms),
        };
        let mut command = self.at("consume", place);
        from_lines(run(command.args([kind, &number.to_string(), &count.to_string()]), b"")?.text()?)
    }

    fn resume(&self, place: &Place, group: &str, count: usize) -> anyhow::Result<Vec<Record>> {
        let mut command = self.at("resume", place);
        from_lines(run(command.args([group, &count.to_string()]), b"")?.text()?)
    }
}
