//! kcat: librdkafka behind a command line.
//!
//! It must not know what a suite writes.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::{Client, Codec, From, Place, Writes, install_hint, on_path};
use crate::process::run;
use crate::record::{Outgoing, Record};

/// Separates keys from values, and records from each other, in kcat's input: no record of a suite holds these bytes.
const KEY_END: &str = "\u{1}";
const RECORD_END: &str = "\u{2}";

/// What kcat prints of a record: a line of numbers and headers, then key and value by their lengths.
const FORMAT: &str = "%o,%T,%K,%S,%h\n%k%s\n";

/// How often, and after which pause, a group's coordinator is asked before it counts as absent.
const TRIES_MAX: usize = 60;
const PAUSE: Duration = Duration::from_millis(250);

/// kcat on the path.
#[derive(Debug, Clone, Copy)]
pub struct Kcat;

impl Kcat {
    fn command(place: &Place) -> Command {
        let mut command = Command::new("kcat");
        command.args(["-b", &place.bootstrap, "-t", &place.topic, "-p", &place.partition.to_string()]);
        command
    }
}

impl Client for Kcat {
    fn name(&self) -> &'static str {
        "kcat"
    }

    fn writes(&self) -> Writes {
        Writes::Bytes
    }

    fn missing(&self) -> Option<String> {
        (!on_path("kcat")).then(|| install_hint("kcat"))
    }

    fn produce(&self, to: &Place, codec: Codec, records: &[Outgoing]) -> anyhow::Result<()> {
        // Headers are given once for a call, so a call takes the records that follow each other with the same ones.
        for records in records.chunk_by(|a, b| a.headers == b.headers) {
            let mut command = Kcat::command(to);
            command.args(["-P", "-z", codec.name(), "-Z", "-K", KEY_END, "-D", RECORD_END, "-X", "acks=all"]);
            // Lingers, so that there is a batch to compress.
            command.args(["-X", "queue.buffering.max.ms=50"]);
            for (name, value) in &records[0].headers {
                command.args(["-H", &format!("{name}={value}")]);
            }
            let mut input = Vec::new();
            for record in records {
                input.extend_from_slice(record.key.as_deref().unwrap_or_default());
                input.extend_from_slice(KEY_END.as_bytes());
                input.extend_from_slice(record.value.as_deref().unwrap_or_default());
                input.extend_from_slice(RECORD_END.as_bytes());
            }
            let said = run(&mut command, &input)?;
            ensure!(!said.stderr.contains("failed"), "kcat said: {}", said.stderr);
        }
        Ok(())
    }

    fn consume(&self, place: &Place, from: From, count: usize) -> anyhow::Result<Vec<Record>> {
        let start = match from {
            From::Offset(offset) => offset.to_string(),
            From::Time(ms) => format!("s@{ms}"),
        };
        let mut command = Kcat::command(place);
        command.args(["-C", "-q", "-f", FORMAT, "-o", &start, "-c", &count.to_string()]);
        parse(&run(&mut command, b"")?.stdout)
    }

    fn resume(&self, place: &Place, group: &str, count: usize) -> anyhow::Result<Vec<Record>> {
        // With a group and `stored` kcat's consumer by assignment keeps its offset at the broker, and commits when it leaves.
        let mut command = Kcat::command(place);
        command.args(["-C", "-q", "-f", FORMAT, "-o", "stored", "-c", &count.to_string()]);
        command.args(["-X", &format!("group.id={group}"), "-X", "topic.auto.offset.reset=earliest"]);
        for _ in 1..TRIES_MAX {
            match run(&mut command, b"") {
                // kcat gives up at once where other clients ask again: a coordinator may still be loading.
                Err(error) if error.to_string().to_lowercase().contains("coordinator") => thread::sleep(PAUSE),
                said => return parse(&said?.stdout),
            }
        }
        parse(&run(&mut command, b"")?.stdout)
    }
}

fn parse(mut output: &[u8]) -> anyhow::Result<Vec<Record>> {
    let mut records = Vec::new();
    while !output.is_empty() {
        let end = output.iter().position(|&byte| byte == b'\n').context("a line of numbers")?;
        let line = std::str::from_utf8(&output[..end])?;
        output = &output[end + 1..];
        let mut fields = line.splitn(5, ',');
        let mut number = || -> anyhow::Result<i64> { Ok(fields.next().context("a number")?.parse()?) };
        let (offset, timestamp_ms, key, value) = (number()?, number()?, number()?, number()?);
        let headers = headers(fields.next().unwrap_or_default())?;
        let key = take(&mut output, key)?;
        let value = take(&mut output, value)?;
        ensure!(output.first() == Some(&b'\n'), "no end of the record at offset {offset}");
        output = &output[1..];
        records.push(Record { offset, timestamp_ms, key, value, headers });
    }
    Ok(records)
}

/// The next `length` bytes; -1 stands for none.
fn take(output: &mut &[u8], length: i64) -> anyhow::Result<Option<Vec<u8>>> {
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    let Some((bytes, rest)) = output.split_at_checked(length) else { bail!("output ends inside a record") };
    *output = rest;
    Ok(Some(bytes.to_vec()))
}

fn headers(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|header| {
            let (name, value) = header.split_once('=').with_context(|| format!("header {header}"))?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}
