//! Reads what is written, or a backlog again and again, and counts it.
//!
//! Must not know: topics' making, producers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_client::{ConsumeError, Consumer, Offset, StartAt, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::control::Control;
use crate::outcome::Lane;
use crate::sender::due;

/// Between two looks whether to stop.
const LOOK: Duration = Duration::from_millis(100);
/// When records that were acknowledged and do not come are given up.
const STALL_MAX: Duration = Duration::from_secs(20);

/// Why reading ended too soon.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The consumer failed.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// Nothing came for a while.
    #[error("only {read} of {acked} acknowledged records could be read; nothing more came within {STALL_MAX:?}")]
    Stalled {
        /// Records that came.
        read: u64,
        /// Records that were acknowledged.
        acked: u64,
    },
    /// Somebody else's record, or none of ours.
    #[error("partition {partition} has a record that this load did not write")]
    Foreign {
        /// Where.
        partition: TopicPartition,
    },
}

/// Whoever reads, and what counts it.
pub(crate) struct Reading {
    pub(crate) consumer: Consumer,
    pub(crate) lane: Arc<Mutex<Lane>>,
    pub(crate) control: Arc<Control>,
}

impl Reading {
    /// Reads until as many records came as `acked` tells in the end. Stamps count from `epoch`.
    pub(crate) async fn along(&self, epoch: Instant, mut acked: watch::Receiver<Option<u64>>) -> Result<(), ReadError> {
        let mut stalled = Duration::ZERO;
        loop {
            let wanted = *acked.borrow_and_update();
            let read = self.lane.lock().records();
            match wanted {
                Some(wanted) if read >= wanted => return Ok(()),
                Some(wanted) if stalled >= STALL_MAX => return Err(ReadError::Stalled { read, acked: wanted }),
                _ => {}
            }
            let Ok(batches) = timeout(LOOK, self.consumer.recv_batches()).await else {
                stalled = if wanted.is_some() { stalled + LOOK } else { Duration::ZERO };
                continue;
            };
            stalled = Duration::ZERO;
            let batches = batches?;
            let now = Instant::now();
            let (mut records, mut foreign) = (0, false);
            {
                let mut lane = self.lane.lock();
                batches.for_each(|record| {
                    let value = record.value.unwrap_or_default();
                    match due(epoch, value) {
                        Some(due) => lane.on_record(now, due, value.len()),
                        None => foreign = true,
                    }
                    records += 1;
                })?;
            }
            if foreign {
                return Err(ReadError::Foreign { partition: batches.partition().clone() });
            }
            self.control.on_read(records);
        }
    }

    /// Reads all partitions to these ends, and again from their beginnings, until the time is over.
    pub(crate) async fn again_and_again(
        &self,
        ends: &HashMap<TopicPartition, Offset>,
        until: Instant,
    ) -> Result<(), ReadError> {
        while !self.control.is_stopped() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let Ok(batches) = timeout(left.min(LOOK), self.consumer.recv_batches()).await else { continue };
            let batches = batches?;
            let (mut records, mut bytes) = (0, 0);
            batches.for_each(|record| {
                records += 1;
                bytes += record.value.map_or(0, <[u8]>::len);
            })?;
            self.lane.lock().on_records(Instant::now(), records, bytes);
            self.control.on_read(records);
            let partition = batches.partition();
            if ends.get(partition).is_some_and(|end| batches.end_offset() >= *end) {
                self.consumer.seek(partition, StartAt::Offset(Offset(0)));
            }
        }
        Ok(())
    }
}
