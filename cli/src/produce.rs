//! `cairn produce`: a line is a record.
//!
//! Must not know: batches, the wire.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use cairn_client::{Acks, Client, Compression, Delivery, Producer, ProducerRecord};
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use crate::args::{AcksArg, CompressionArg, ProduceArgs};
use crate::connect::client;
use crate::exit::{Failure, Outcome};
use crate::input::{self, Piece};
use crate::lines::{self, LineRecord};
use crate::progress::{self, Unit};
use crate::signals::Ending;

/// How many records may be under way before the oldest is waited for: so that an error is noticed soon.
const DELIVERIES_MAX: usize = 10_000;
/// A person waits for the last records no longer than this.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads lines and writes records, until the input ends or a signal asks to stop.
pub(crate) async fn run(args: ProduceArgs) -> Outcome {
    let producer = producer(&client(&args.cluster)?, &args)?;
    let topic: Arc<str> = args.topic.as_str().into();
    let separator = args.key_separator.as_deref().map(str::as_bytes);
    let (input, progress) = open(args.file.as_deref())?;
    let mut ending = Ending::listen()?;
    let mut work =
        Work { producer: producer.clone(), topic, separator, under_way: VecDeque::new(), written: 0, progress };
    let outcome = tokio::select! {
        outcome = work.send_all(input) => outcome,
        // What was read is written all the same.
        _ = ending.asked() => Ok(()),
    };
    let outcome = match outcome {
        Ok(()) => work.settle_all().await,
        failed => failed,
    };
    work.progress.finish_and_clear();
    // All is settled, or nobody needs to wait for the rest.
    let _ = producer.close(if outcome.is_ok() { DELIVERY_TIMEOUT } else { Duration::ZERO }).await;
    outcome.map_err(|failure| match failure {
        Failure::Failed(error) => {
            Failure::Failed(error.context(format!("{} records were written before", work.written)))
        }
        other => other,
    })
}

fn producer(client: &Client, args: &ProduceArgs) -> Result<Producer, Failure> {
    let acks = match args.acks {
        AcksArg::None => Acks::None,
        AcksArg::Leader => Acks::Leader,
        AcksArg::All => Acks::All,
    };
    let compression = match args.compression {
        CompressionArg::None => Compression::None,
        CompressionArg::Gzip => Compression::Gzip,
        CompressionArg::Snappy => Compression::Snappy,
        CompressionArg::Lz4 => Compression::Lz4,
        CompressionArg::Zstd => Compression::Zstd,
    };
    let producer = client.producer().acks(acks).compression(compression).delivery_timeout(DELIVERY_TIMEOUT);
    producer.max_block(DELIVERY_TIMEOUT).build().map_err(|error| Failure::usage(error.to_string()))
}

type Input = mpsc::Receiver<Piece>;

fn open(file: Option<&Path>) -> Result<(Input, ProgressBar), Failure> {
    let Some(path) = file else {
        return Ok((input::lines(std::io::stdin()), progress::bar(None, Unit::Records)));
    };
    let named = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).with_context(named)?;
    let size = file.metadata().with_context(named)?.len();
    Ok((input::lines(file), progress::bar(Some(size), Unit::Bytes)))
}

struct Work<'a> {
    producer: Producer,
    topic: Arc<str>,
    separator: Option<&'a [u8]>,
    under_way: VecDeque<Delivery>,
    written: u64,
    progress: ProgressBar,
}

impl Work<'_> {
    async fn send_all(&mut self, mut input: Input) -> Outcome {
        let counts_bytes = self.progress.length().is_some();
        while let Some(piece) = input.recv().await {
            for line in piece.context("cannot read the input")? {
                let progress = if counts_bytes { line.len() as u64 } else { 1 };
                self.send(line).await?;
                self.progress.inc(progress);
            }
        }
        Ok(())
    }

    async fn send(&mut self, line: Bytes) -> Outcome {
        let LineRecord { key, value } = lines::parse(line, self.separator);
        let mut record = ProducerRecord::to(Arc::clone(&self.topic)).value(value);
        if let Some(key) = key {
            record = record.key(key);
        }
        let delivery = self.producer.send(record).await.context("cannot write a record")?;
        self.under_way.push_back(delivery);
        if self.under_way.len() > DELIVERIES_MAX {
            self.settle_oldest().await?;
        }
        Ok(())
    }

    async fn settle_oldest(&mut self) -> Outcome {
        // It stays in the queue until it is settled: a signal may end this call before.
        if let Some(oldest) = self.under_way.front_mut() {
            oldest.await.context("cannot write a record")?;
            self.under_way.pop_front();
            self.written += 1;
        }
        Ok(())
    }

    async fn settle_all(&mut self) -> Outcome {
        // Nothing lingers; what does not arrive in time fails by its own deadline.
        let _ = self.producer.flush(Duration::ZERO).await;
        while !self.under_way.is_empty() {
            self.settle_oldest().await?;
        }
        Ok(())
    }
}
