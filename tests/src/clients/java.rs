//! Apache Kafka's own console tools, and its tool that dumps a segment.
//!
//! It must not know what a suite writes.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};

use super::{Client, Codec, From, Place, Writes, install_hint, on_path};
use crate::broker::kafka_script;
use crate::process::run;
use crate::record::{Outgoing, Record};

/// Separate the parts of a record in the tools' input and output: no record of a suite holds these bytes.
const PART_END: char = '\u{1}';
const NONE: &str = "\u{3}";
const RECORD_END: &str = "\u{2}\n";

/// `kafka-console-producer` and `kafka-console-consumer`.
#[derive(Debug, Clone, Copy)]
pub struct Console;

impl Client for Console {
    fn name(&self) -> &'static str {
        "kafka-console"
    }

    fn writes(&self) -> Writes {
        Writes::Text
    }

    fn missing(&self) -> Option<String> {
        if !on_path("java") {
            return Some(install_hint("java"));
        }
        // The script fetches the jars by itself, but only a machine that has Maven or the jars can.
        run(kafka_script().arg("jars"), b"").err().map(|error| install_hint(&format!("Apache Kafka ({error})")))
    }

    fn produce(&self, to: &Place, codec: Codec, records: &[Outgoing]) -> anyhow::Result<()> {
        let mut command = kafka_script();
        command.args(["tool", "org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", &to.bootstrap]);
        command.args(["--topic", &to.topic, "--compression-codec", codec.name()]);
        command.args(["--command-property", "acks=all", "--command-property", "linger.ms=50"]);
        for property in ["parse.key=true", "parse.headers=true"] {
            command.args(["--reader-property", property]);
        }
        for property in ["key.separator", "headers.delimiter"] {
            command.args(["--reader-property", &format!("{property}={PART_END}")]);
        }
        command.args(["--reader-property", &format!("null.marker={NONE}")]);

        let mut input = String::new();
        for record in records {
            let headers: Vec<String> = record.headers.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            let headers = if headers.is_empty() { NONE.to_owned() } else { headers.join(",") };
            input.push_str(&headers);
            for part in [&record.key, &record.value] {
                input.push(PART_END);
                input.push_str(std::str::from_utf8(part.as_deref().unwrap_or(NONE.as_bytes()))?);
            }
            input.push('\n');
        }
        let said = run(&mut command, input.as_bytes())?;
        ensure!(!said.stderr.contains("ERROR"), "the console producer said: {}", said.stderr);
        Ok(())
    }

    fn consume(&self, place: &Place, from: From, count: usize) -> anyhow::Result<Vec<Record>> {
        let offset = match from {
            From::Offset(offset) => offset,
            From::Time(ms) => offset_at(place, ms)?,
        };
        let mut command = kafka_script();
        command.args(["tool", "org.apache.kafka.tools.consumer.ConsoleConsumer"]);
        command.args(["--bootstrap-server", &place.bootstrap, "--topic", &place.topic]);
        command.args(["--partition", &place.partition.to_string(), "--offset", &offset.to_string()]);
        command.args(["--max-messages", &count.to_string(), "--timeout-ms", "30000"]);
        for part in ["timestamp", "offset", "headers", "key"] {
            command.args(["--formatter-property", &format!("print.{part}=true")]);
        }
        command.args(["--formatter-property", &format!("key.separator={PART_END}")]);
        command.args(["--formatter-property", &format!("line.separator={RECORD_END}")]);
        command.args(["--formatter-property", &format!("null.literal={NONE}")]);
        parse(&run(&mut command, b"")?.stdout)
    }

    fn resume(&self, _place: &Place, _group: &str, _count: usize) -> anyhow::Result<Vec<Record>> {
        bail!("the console consumer commits for members of groups only")
    }
}

/// The offset of the first record at or after a time, by Kafka's own tool.
fn offset_at(place: &Place, ms: i64) -> anyhow::Result<i64> {
    let mut command = kafka_script();
    command.args(["tool", "org.apache.kafka.tools.GetOffsetShell", "--bootstrap-server", &place.bootstrap]);
    command.args(["--topic-partitions", &format!("{}:{}", place.topic, place.partition), "--time", &ms.to_string()]);
    let said = run(&mut command, b"")?;
    let line = said.text()?.trim();
    let offset = line.rsplit(':').next().context("topic:partition:offset")?;
    offset.parse().with_context(|| format!("an offset in {line:?}; it said: {}", said.stderr))
}

/// What one of Kafka's own tools says about a broker.
pub fn tool(class: &str, bootstrap: &str, args: &[&str]) -> anyhow::Result<String> {
    let mut command = kafka_script();
    command.args(["tool", class]);
    command.args(["--bootstrap-server", bootstrap]).args(args);
    Ok(run(&mut command, b"")?.text()?.to_owned())
}

/// What Kafka's own dump tool says about a segment: one line per batch.
pub fn dump_log(segment: &PathBuf) -> anyhow::Result<String> {
    let mut command = kafka_script();
    command.args(["tool", "org.apache.kafka.tools.DumpLogSegments", "--files"]).arg(segment);
    Ok(run(&mut command, b"")?.text()?.to_owned())
}

/// What Kafka's own dump tool says about segments of `__consumer_offsets`: one line per record, decoded.
pub fn dump_groups(segments: &[PathBuf]) -> anyhow::Result<String> {
    let names: Vec<String> = segments.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let mut command = kafka_script();
    command.args(["tool", "org.apache.kafka.tools.DumpLogSegments", "--offsets-decoder", "--files", &names.join(",")]);
    Ok(run(&mut command, b"")?.text()?.to_owned())
}

/// `kafka-consumer-groups`.
pub fn consumer_groups(bootstrap: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = kafka_script();
    command.args(["tool", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"]);
    command.args(["--bootstrap-server", bootstrap]).args(arguments);
    Ok(run(&mut command, b"")?.text()?.to_owned())
}

fn parse(output: &[u8]) -> anyhow::Result<Vec<Record>> {
    let end = RECORD_END.as_bytes();
    let mut rest = output;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let at = rest.windows(end.len()).position(|window| window == end).context("an end of a record")?;
        records.push(record(&rest[..at])?);
        rest = &rest[at + end.len()..];
    }
    Ok(records)
}

fn record(line: &[u8]) -> anyhow::Result<Record> {
    let parts: Vec<&[u8]> = line.split(|&byte| char::from(byte) == PART_END).collect();
    let &[timestamp, offset, headers, key, value] = parts.as_slice() else {
        bail!("{} parts in {:?}", parts.len(), String::from_utf8_lossy(line));
    };
    let number = |part: &[u8]| -> anyhow::Result<i64> {
        let text = std::str::from_utf8(part)?;
        text.rsplit(':').next().context("name:number")?.parse().with_context(|| text.to_owned())
    };
    let part = |bytes: &[u8]| (bytes != NONE.as_bytes()).then(|| bytes.to_vec());
    Ok(Record {
        offset: number(offset)?,
        timestamp_ms: number(timestamp)?,
        key: part(key),
        value: part(value),
        headers: names_and_values(std::str::from_utf8(headers)?)?,
    })
}

fn names_and_values(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    if text == "NO_HEADERS" || text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|header| {
            let (name, value) = header.split_once(':').with_context(|| format!("header {header}"))?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}
