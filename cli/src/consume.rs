//! `cairn consume`: prints records, follows topics, takes part in a group, commits what was printed.
//!
//! Must not know: fetches, the wire, how a group divides partitions.

mod plan;

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context as _;
use cairn_client::{
    CommittedOffset, Consumer, ConsumerRecord, GroupProtocol, Offset, OffsetReset, OffsetsError, Rebalance,
    RebalanceKind, Rebalances, TopicPartition,
};
use indicatif::ProgressBar;
use tokio::time::{Instant, MissedTickBehavior};

use self::plan::{Of, Plan, Stop};
use crate::args::{ConsumeArgs, GroupProtocolArg};
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
    if args.partition.is_some() && args.topics.len() > 1 {
        return Err(Failure::usage("--partition needs one topic: whose partition is it?"));
    }
    let mut consumer = client(&args.cluster)?.consumer().offset_reset(OffsetReset::Earliest);
    if let Some(group) = &args.group {
        let protocol = match args.group_protocol {
            GroupProtocolArg::Classic => GroupProtocol::Classic,
            GroupProtocolArg::Consumer => GroupProtocol::Consumer,
        };
        consumer = consumer.group(group.as_str()).group_protocol(protocol);
    }
    let consumer = consumer.build().map_err(|error| Failure::usage(error.to_string()))?;
    let mut ending = Ending::listen()?;
    // Who names a partition is no member: a group divides all of them.
    let is_member = args.group.is_some() && args.partition.is_none();
    let (plan, rebalances) = if is_member {
        let plan = plan::make_for_member(&consumer, &args).await?;
        let rebalances = consumer.rebalances();
        consumer.subscribe(args.topics.iter().map(String::as_str)).map_err(anyhow::Error::new)?;
        (plan, Some(rebalances))
    } else {
        let plan = plan::make(&consumer, &args, from).await?;
        consumer.assign(plan.begin.iter().map(|(partition, at)| (partition.clone(), *at)));
        (plan, None)
    };
    let progress = show_progress(&plan);
    let mut printer = Printer {
        progress,
        args: &args,
        from,
        consumer,
        output: Output::stdout(),
        is_flushed: true,
        rebalances,
        is_given: false,
        printed: HashMap::new(),
        committed: HashMap::new(),
    };
    let stopped = printer.print_all(&plan, &mut ending).await;
    printer.progress.finish_and_clear();
    let ended = match stopped {
        // The reader is gone: nobody knows what it has read, so nothing more is committed.
        Err(failure) => Err(failure),
        Ok(()) => printer.end().await,
    };
    printer.consumer.close().await;
    ended
}

/// How far it has come, for a person who sees stderr while the records go elsewhere.
fn show_progress(plan: &Plan) -> ProgressBar {
    match plan.total() {
        Some(total) if !std::io::stdout().is_terminal() => progress::bar(Some(total), Unit::Records),
        _ => ProgressBar::hidden(),
    }
}

/// The next rebalance of a member; never for who is none.
async fn next_of(rebalances: &mut Option<Rebalances>) -> Option<Rebalance> {
    match rebalances {
        Some(rebalances) => rebalances.next().await,
        None => std::future::pending().await,
    }
}

struct Printer<'a> {
    args: &'a ConsumeArgs,
    from: StartAt,
    consumer: Consumer,
    output: Output,
    /// Nothing is kept back.
    is_flushed: bool,
    progress: ProgressBar,
    /// A member's.
    rebalances: Option<Rebalances>,
    /// The group has given this member its partitions, be it none.
    is_given: bool,
    /// The offset after the last record that was printed.
    printed: HashMap<TopicPartition, Offset>,
    committed: HashMap<TopicPartition, Offset>,
}

impl Printer<'_> {
    async fn print_all(&mut self, plan: &Plan, ending: &mut Ending) -> Outcome {
        let of = if self.rebalances.is_some() { Of::Member } else { Of::Plan };
        let mut stop = Stop::new(plan, self.args.count, of);
        let mut commits = tokio::time::interval_at(Instant::now() + COMMIT_EVERY, COMMIT_EVERY);
        commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let consumer = self.consumer.clone();
        while !stop.is_reached(|| self.is_given.then(|| consumer.assigned())) {
            tokio::select! {
                // In this order: a signal is heeded even when records never cease.
                biased;
                _ = ending.asked() => return Ok(()),
                _ = commits.tick(), if self.args.group.is_some() => {
                    self.flush()?;
                    // A broker that is away for a moment comes back; the last commit tells whether it did.
                    if let Err(error) = self.commit().await {
                        tracing::warn!(%error, "not committed yet");
                    }
                }
                Some(rebalance) = next_of(&mut self.rebalances) => self.on_rebalance(rebalance).await?,
                record = consumer.recv() => {
                    let record = record.context("cannot read")?;
                    let end = Offset(record.offset.0 + 1);
                    let partition = TopicPartition { topic: record.topic.clone(), partition: record.partition };
                    if stop.takes(&partition, record.offset) {
                        self.print(&record)?;
                        self.progress.inc(1);
                        self.is_flushed = false;
                        stop.on_printed(&partition, end);
                        self.printed.insert(partition, end);
                    }
                }
                () = tokio::time::sleep(IDLE), if !self.is_flushed => self.flush()?,
                // Compaction may have removed the last record before the end.
                () = tokio::time::sleep(IDLE), if self.is_flushed && stop.has_ends() => {
                    stop.on_positions(|of| consumer.position(of));
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Outcome {
        self.is_flushed = true;
        self.output.flush()
    }

    /// Partitions come and go; until the event is dropped, the group waits.
    async fn on_rebalance(&mut self, rebalance: Rebalance) -> Outcome {
        let partitions = rebalance.partitions();
        match rebalance.kind() {
            RebalanceKind::Assigned => {
                self.is_given = true;
                self.begin(partitions).await
            }
            RebalanceKind::Revoked => {
                self.flush()?;
                // What is not committed is printed again, by whom it goes to.
                if let Err(error) = self.commit().await {
                    tracing::warn!(%error, "not committed before partitions go to others");
                }
                self.forget(partitions);
                Ok(())
            }
            RebalanceKind::Lost => {
                self.forget(partitions);
                Ok(())
            }
        }
    }

    /// Has new partitions begin where `--from` says, if the group has committed nothing for them.
    async fn begin(&self, partitions: &[TopicPartition]) -> Outcome {
        if matches!(self.from, StartAt::Stored | StartAt::Beginning) {
            return Ok(());
        }
        let committed = self.consumer.committed(partitions).await.context("cannot read the group's offsets")?;
        for partition in partitions.iter().filter(|partition| !committed.contains_key(*partition)) {
            self.consumer.seek(partition, plan::place(self.from));
        }
        Ok(())
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.printed.remove(partition);
            self.committed.remove(partition);
        }
    }

    async fn end(&mut self) -> Outcome {
        self.flush()?;
        Ok(self.commit().await.context("cannot commit")?)
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
