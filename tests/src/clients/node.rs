//! kafkajs, behind a script of `tests/foreign` that speaks lines of JSON.
//!
//! It must not know what a suite writes.

use std::process::Command;

use super::{Client, Codec, From, Place, Writes, install_hint, on_path, tools};
use crate::broker::repository;
use crate::process::run;
use crate::record::{Outgoing, Record, from_lines, to_lines};

/// kafkajs: written in JavaScript from the wire up.
#[derive(Debug, Clone, Copy)]
pub struct Kafkajs;

impl Kafkajs {
    /// The script with the suites' own packages, ready for arguments.
    pub fn command() -> Command {
        let mut command = Command::new("node");
        command.env("NODE_PATH", tools().join("node/node_modules"));
        command.arg(repository().join("tests/foreign/kafkajs/client.js"));
        command
    }

    fn at(job: &str, place: &Place) -> Command {
        let mut command = Kafkajs::command();
        command.args([job, &place.bootstrap, &place.topic, &place.partition.to_string()]);
        command
    }
}

impl Client for Kafkajs {
    fn name(&self) -> &'static str {
        "kafkajs"
    }

    fn writes(&self) -> Writes {
        Writes::BytesAt
    }

    fn missing(&self) -> Option<String> {
        if !on_path("node") {
            return Some(install_hint("node"));
        }
        let installed = tools().join("node/node_modules/kafkajs");
        (!installed.is_dir()).then(|| install_hint(self.name()))
    }

    fn produce(&self, to: &Place, codec: Codec, records: &[Outgoing]) -> anyhow::Result<()> {
        run(Kafkajs::at("produce", to).arg(codec.name()), to_lines(records)?.as_bytes())?;
        Ok(())
    }

    fn consume(&self, place: &Place, from: From, count: usize) -> anyhow::Result<Vec<Record>> {
        let (kind, number) = match from {
            From::Offset(offset) => ("offset", offset),
            From::Time(ms) => ("time", ms),
        };
        let mut command = Kafkajs::at("consume", place);
        from_lines(run(command.args([kind, &number.to_string(), &count.to_string()]), b"")?.text()?)
    }

    fn resume(&self, place: &Place, group: &str, count: usize) -> anyhow::Result<Vec<Record>> {
        let mut command = Kafkajs::at("resume", place);
        from_lines(run(command.args([group, &count.to_string()]), b"")?.text()?)
    }
}
