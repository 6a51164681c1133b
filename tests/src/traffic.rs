//! The traffic of judges of crashes: foreign producers that wait for acks=all, readers that commit, and at the end one who reads all that
//! is there.
//!
//! It must not know what happens to the brokers, nor judge what was seen.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::clients::{Client, Kcat, Place, Python};
use crate::history::{Event, History, Seen, Value};
use crate::process::run;
use crate::streams::{Stream, now_ns};

/// Processes from here on read all partitions at the end, one each.
const LAST_READERS: u32 = 100;

/// Clients at work.
#[derive(Debug)]
pub struct Traffic {
    place: Place,
    partitions: i32,
    /// With the names of those that produce.
    streams: Vec<(Stream, Option<&'static str>)>,
    /// Configs of clients.
    folder: TempDir,
}

/// What they saw.
#[derive(Debug)]
pub struct Observed {
    /// All of it, in the order of time.
    pub history: History,
    /// The longest time in which each producer got no acknowledgement.
    pub pauses: Vec<(&'static str, Duration)>,
}

impl Traffic {
    /// What is missing here to run it, or none.
    pub fn missing() -> Option<String> {
        let clients = [&Kcat as &dyn Client, &Python::confluent(), &Python::kafka_python()];
        clients.iter().find_map(|client| client.missing())
    }

    /// Starts producers of `rate` records a second each (kcat to the place's partition, the others to all), and `readers` of all
    /// partitions, each with a group of its own. The topic has to be there.
    pub fn start(place: &Place, partitions: i32, rate: u32, readers: u32) -> anyhow::Result<Traffic> {
        let (confluent, kafka_python) = (Python::confluent(), Python::kafka_python());
        let mut streams = vec![
            (Stream::produce(&confluent, 0, place, partitions, rate)?, Some(confluent.name())),
            (Stream::produce(&kafka_python, 1, place, partitions, rate)?, Some(kafka_python.name())),
            (Stream::kcat(2, place, rate)?, Some(Kcat.name())),
        ];
        for reader in (3..).take(usize::try_from(readers)?) {
            streams.push((Stream::follow(&confluent, reader, place, partitions)?, None));
        }
        Ok(Traffic { place: place.clone(), partitions, streams, folder: TempDir::with_prefix("cairn-traffic-")? })
    }

    /// Adds Apache Kafka's verifiable producer, and a verifiable consumer with each protocol of groups.
    pub fn add_verifiable(&mut self, rate: u32) -> anyhow::Result<()> {
        let process = u32::try_from(self.streams.len())?;
        let config = self.folder.path().join("producer.properties");
        let producer = Stream::verifiable_producer(process, &self.place, self.partitions, rate, &config)?;
        self.streams.push((producer, Some("verifiable")));
        for (process, protocol) in (process + 1..).zip(["classic", "consumer"]) {
            self.streams.push((Stream::verifiable_consumer(process, &self.place, protocol)?, None));
        }
        Ok(())
    }

    /// Ends it, and reads all that is there. Every producer has to have got through since `healed_ns`, when the last fault was over.
    pub fn end(self, healed_ns: u64) -> anyhow::Result<Observed> {
        let mut history = History::default();
        let mut pauses = Vec::new();
        for (stream, produces) in self.streams {
            let events = stream.end()?;
            if let Some(name) = produces {
                let acked = acknowledgements(&events);
                let last = acked.last().with_context(|| format!("{name} got no acknowledgement"))?;
                ensure!(*last > healed_ns, "{name} got no acknowledgement after the last fault");
                pauses.push((name, longest_pause(&acked)));
            }
            history.add(events);
        }
        for partition in 0..self.partitions {
            history.add(read_to_the_end(&self.place, partition)?);
        }
        Ok(Observed { history: history.in_order(), pauses })
    }
}

/// When acknowledgements came, in order.
fn acknowledgements(events: &[Event]) -> Vec<u64> {
    let acked = events.iter().filter(|event| matches!(event.seen, Seen::Acked(..)));
    let mut times: Vec<u64> = acked.map(|event| event.at).collect();
    times.sort_unstable();
    times
}

fn longest_pause(times: &[u64]) -> Duration {
    Duration::from_nanos(times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0))
}

/// The last reading: all that is there, from the beginning, by a client that has seen nothing before.
fn read_to_the_end(place: &Place, partition: i32) -> anyhow::Result<Vec<Event>> {
    let process = LAST_READERS + u32::try_from(partition)?;
    let mut command = Command::new("kcat");
    command.args(["-C", "-q", "-e", "-o", "beginning", "-f", "%o %s\n", "-b", &place.bootstrap, "-t", &place.topic]);
    command.args(["-p", &partition.to_string()]);
    let said = run(&mut command, b"")?;
    let event = |seen| Event { at: now_ns(), process, partition, seen };
    let mut events = vec![event(Seen::Positioned(0))];
    for line in said.text()?.lines() {
        let (offset, value) = line.split_once(' ').with_context(|| line.to_owned())?;
        events.push(event(Seen::Read(offset.parse()?, Value::from_text(value))));
    }
    Ok(events)
}
