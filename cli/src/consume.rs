//! `cairn consume`: prints records, follows a topic, commits what was printed.
//!
//! Must not know: fetches, the wire.

mod plan;

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context as _;
use cairn_client::{CommittedOffset, Consumer, ConsumerRecord, Offset, OffsetReset, OffsetsError, TopicPartition};
use indicatif::ProgressBar;
use tokio::time::{Instant, MissedTickBehavior};

use self::plan::{Plan, Stop};
use crate::args::ConsumeArgs;
use crate::connect::client;
use crate::exit::{Failure, Outcome};
use crate::output::Output;
use crate::progress::{self, Unit};
use crate::record_json::RecordJson;
use crate::signals::Ending;
use crate::start_at::StartAt;

/// How often what was printed is committed.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// When no record came for so long, what is kept back for a pipe is written.
const IDLE: Duration = Duration::from_millis(50);

/// Prints records until it is told to stop.
pub(crate) async fn run(args: ConsumeArgs) -> Outcome {
    let from = match (args.from, &args.group) {
        (Some(StartAt::Stored), None) => return Err(Failure::usage("--from stored needs --group: who has stored it?")),
        (Some(from), _) => from,
        (None, Some(_)) => StartAt::Stored,
        (None, None) => StartAt::Beginning,
    };
    let mut consumer = client(&args.cluster)?.consumer().offset_reset(OffsetReset::Earliest);
    if let Some(group) = &args.group {
        consumer = consumer.group(group.as_str());
    }
    let consumer = consumer.build().map_err(|error| Failure::usage(error.to_string()))?;
    let mut ending = Ending::listen()?;
    let plan = plan::make(&consumer, &args, from).await?;
    consumer.assign(plan.begin.iter().map(|(partition, at)| (partition.clone(), *at)));
    let progress = show_progress(&plan);
    let mut printer = Printer {
        progress,
        args: &args,
        consumer,
        output: Output::stdout(),
        printed: HashMap::new(),
        committed: HashMap::new(),
    };
    let stopped = printer.print_all(plan, &mut ending).await;
    printer.progress.finish_and_clear();
    match stopped {
        // The reader is gone: nobody knows what it has read, so nothing more is committed.
        Err(Failure::OutputClosed) => Err(Failure::OutputClosed),
        Err(failure) => Err(failure),
        Ok(()) => {
            printer.output.flush()?;
            Ok(printer.commit().await.context("cannot commit")?)
        }
    }
}

/// How far it has come, for a person who sees stderr while the records go elsewhere.
fn show_progress(plan: &Plan) -> ProgressBar {
    match plan.total() {
        Some(total) if !std::io::stdout().is_terminal() => progress::bar(Some(total), Unit::Records),
        _ => ProgressBar::hidden(),
    }
}

struct Printer<'a> {
    args: &'a ConsumeArgs,
    consumer: Consumer,
    output: Output,
    progress: ProgressBar,
    /// The offset after the last record that was printed.
    printed: HashMap<TopicPartition, Offset>,
    committed: HashMap<TopicPartition, Offset>,
}

impl Printer<'_> {
    async fn print_all(&mut self, plan: Plan, ending: &mut Ending) -> Outcome {
        let mut stop = Stop::new(&plan, self.args.count);
        let mut commits = tokio::time::interval_at(Instant::now() + COMMIT_EVERY, COMMIT_EVERY);
        commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let consumer = self.consumer.clone();
        let mut is_flushed = true;
        while !stop.is_reached() {
            tokio::select! {
                // In this order: a signal is heeded even when records never cease.
                biased;
                _ = ending.asked() => return Ok(()),
                _ = commits.tick(), if self.args.group.is_some() => {
                    self.output.flush()?;
                    is_flushed = true;
                    // A broker that is away for a moment comes back; the last commit tells whether it did.
                    if let Err(error) = self.commit().await {
                        tracing::warn!(%error, "not committed yet");
                    }
                }
                record = consumer.recv() => {
                    let record = record.context("cannot read")?;
                    let end = Offset(record.offset.0 + 1);
                    let partition = TopicPartition { topic: record.topic.clone(), partition: record.partition };
                    if stop.takes(&partition, record.offset) {
                        self.print(&record)?;
                        self.progress.inc(1);
                        is_flushed = false;
                        stop.on_printed(&partition, end);
                        self.printed.insert(partition, end);
                    }
                }
                () = tokio::time::sleep(IDLE), if !is_flushed => {
                    self.output.flush()?;
                    is_flushed = true;
                }
                // Compaction may have removed the last record before the end.
                () = tokio::time::sleep(IDLE), if is_flushed && stop.has_ends() => stop.on_positions(|of| consumer.position(of)),
            }
        }
        Ok(())
    }

    fn print(&mut self, record: &ConsumerRecord) -> Outcome {
        if !self.args.json {
            return self.output.line(record.value.as_deref().unwrap_or_default());
        }
        // Header keys are UTF-8 by the protocol; what is not is shown as well as it goes.
        let keys: Vec<_> = record.headers.iter().map(|(key, _)| String::from_utf8_lossy(key)).collect();
        let values = record.headers.iter().map(|(_, value)| value.as_deref());
        let headers: Vec<(&str, Option<&[u8]>)> = keys.iter().map(|key| &**key).zip(values).collect();
        self.output.json(&RecordJson {
            topic: &record.topic,
            partition: record.partition.0,
            offset: record.offset.0,
            timestamp_ms: record.timestamp.0,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        })
    }

    /// Commits what was printed, where that is more than was committed.
    async fn commit(&mut self) -> Result<(), OffsetsError> {
        if self.args.group.is_none() {
            return Ok(());
        }
        let is_new = |(partition, offset): &(&TopicPartition, &Offset)| self.committed.get(partition) != Some(offset);
        let new: HashMap<TopicPartition, CommittedOffset> = self
            .printed
            .iter()
            .filter(is_new)
            .map(|(partition, offset)| (partition.clone(), (*offset).into()))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        self.consumer.commit_offsets(&new).await?;
        self.committed.extend(new.into_iter().map(|(partition, committed)| (partition, committed.offset)));
        Ok(())
    }
}
