//! Transactions: records to many partitions, and offsets of a group, that all are seen or none (KIP-98).
//!
//! ```text
//!   begin -> send .. send_offsets -> commit | abort
//!            the sender adds each new partition at the coordinator before the first batch to it goes
//! ```
//! The protocol is that of before KIP-890's second part, which every broker serves since Kafka 0.11: partitions are added by request, and the epoch
//! grows when something went wrong. Must not know: batches, how they are sent.

mod coordinator;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_protocol::error_code::ErrorCode;
use tokio::sync::{Mutex, OwnedMutexGuard};

pub(super) use self::coordinator::Coordinator;
use super::batch::Identity;
use super::{Delivery, FlushTimeout, PossiblyWritten, ProduceError, Producer, ProducerRecord};
use crate::consumer::{CommittedOffset, Consumer, OffsetsError};
use crate::error::RequestError;
use crate::stats::ProducerStats;
use crate::topic_partition::TopicPartition;

/// Why a transaction was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransactionError {
    /// A newer producer with the same transactional id has taken over. This one is of no use any more.
    #[error("another producer with transactional.id={id} has taken over")]
    Fenced {
        /// The transactional id.
        id: Arc<str>,
    },
    /// A record of it could not be written, so the transaction was aborted.
    #[error("transaction was aborted, as a record was not written: {0}")]
    Failed(Arc<ProduceError>),
    /// Nobody knows whether it was committed: the coordinator did not answer. The next transaction begins after that is settled.
    #[error("transaction may be committed or not: {0}")]
    Unknown(Arc<TransactionError>),
    /// The coordinator refused.
    #[error("transaction coordinator refused: {code}")]
    Refused {
        /// Kafka's code.
        code: ErrorCode,
    },
    /// The offsets cannot be committed: the consumer is no member of the generation any more, or has no group.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// No answer.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl TransactionError {
    /// Whether another transaction of this producer may succeed.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Fenced { .. } => false,
            Self::Failed(_) | Self::Unknown(_) => true,
            Self::Refused { code } => code.is_retriable() || *code == ErrorCode::TransactionAbortable,
            Self::Offsets(error) => error.is_retriable(),
            Self::Request(error) => error.is_retriable(),
        }
    }
}

/// A producer whose records are written in transactions, one after the other. Cloning it is cheap.
///
/// Consumers with [`IsolationLevel::ReadCommitted`](crate::IsolationLevel::ReadCommitted) see the records of those that were committed.
#[derive(Clone, Debug)]
pub struct TransactionalProducer {
    producer: Producer,
    coordinator: Arc<Coordinator>,
    standing: Arc<Mutex<Standing>>,
}

/// Where the producer stands between two transactions.
#[derive(Debug, Default)]
struct Standing {
    identity: Option<Identity>,
    /// The coordinator has to be asked for another epoch first, which ends what is open there.
    is_stale: bool,
    /// A transaction has begun, and neither end was asked for: its handle was dropped.
    is_open: bool,
    has_offsets: bool,
    is_fenced: bool,
}

/// A transaction that has begun. When it is dropped, nothing of it is seen: the next one aborts it first, and so does the coordinator after
/// `transaction.timeout.ms`.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction {
    producer: Producer,
    coordinator: Arc<Coordinator>,
    standing: OwnedMutexGuard<Standing>,
}

impl TransactionalProducer {
    pub(super) fn new(producer: Producer, coordinator: Arc<Coordinator>) -> Self {
        Self { producer, coordinator, standing: Arc::default() }
    }

    /// Begins a transaction, after the one before has ended. The first one finds the coordinator, which fences all older producers with this
    /// transactional id and aborts what they left.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When a newer producer has taken over, or no coordinator answers.
    pub async fn begin(&self) -> Result<Transaction, TransactionError> {
        let standing = Arc::clone(&self.standing).lock_owned().await;
        let mut transaction =
            Transaction { producer: self.producer.clone(), coordinator: Arc::clone(&self.coordinator), standing };
        transaction.begin().await?;
        Ok(transaction)
    }

    /// What it has written so far, committed or not, and what it holds.
    #[must_use]
    pub fn stats(&self) -> ProducerStats {
        self.producer.stats()
    }

    /// Ends it; see [`Producer::close`]. What was not committed is not seen.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When something had to be given up.
    pub async fn close(&self, timeout: Duration) -> Result<(), FlushTimeout> {
        self.producer.close(timeout).await
    }
}

impl Transaction {
    async fn begin(&mut self) -> Result<(), TransactionError> {
        if self.standing.is_fenced {
            return Err(self.coordinator.fenced());
        }
        if self.standing.is_open {
            self.abort_open().await?;
        }
        let identity = match self.standing.identity {
            Some(identity) if !self.standing.is_stale => identity,
            before => {
                let asked = self.coordinator.init(before).await;
                self.heed(asked)?
            }
        };
        *self.standing = Standing { identity: Some(identity), is_open: true, ..Standing::default() };
        self.producer.shared.accumulator.lock().begin_transaction(identity);
        Ok(())
    }

    /// Writes a record in this transaction; see [`Producer::send`].
    ///
    /// Cancel-safe: a dropped call has sent nothing.
    ///
    /// # Errors
    /// When the record cannot be sent, or an earlier one was not written, so that the transaction will be aborted.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ProduceError> {
        self.producer.put(record).await
    }

    /// Commits these offsets for the consumer's group when the transaction is committed, and not otherwise: each is that of the next
    /// record to be read.
    ///
    /// Not cancel-safe: when dropped, the offsets may be part of the transaction or not.
    ///
    /// # Errors
    /// When the consumer is no member of its group any more: then abort, and begin anew where the group has committed.
    pub async fn send_offsets(
        &mut self,
        consumer: &Consumer,
        offsets: &HashMap<TopicPartition, CommittedOffset>,
    ) -> Result<(), TransactionError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let (group, committer) = consumer.committer()?;
        let identity = self.identity();
        // From now on there is something to be ended, whatever comes of it.
        self.standing.has_offsets = true;
        let added = self.coordinator.add_offsets(identity, &group).await;
        self.heed(added)?;
        let committed = self.coordinator.commit_offsets(identity, &group, &committer, offsets).await;
        self.heed(committed)
    }

    /// Waits until all records are written, and has the transaction seen as a whole.
    ///
    /// Not cancel-safe: when dropped, it may be committed, or is aborted when the next one begins.
    ///
    /// # Errors
    /// [`TransactionError::Unknown`] when it may be committed; with any other nothing of it is seen.
    pub async fn commit(mut self) -> Result<(), TransactionError> {
        let written = self.producer.flush(self.producer.shared.longest_delivery()).await;
        let failed = self.producer.shared.accumulator.lock().failed_transaction();
        let late = written.is_err().then_some(ProduceError::GivenUp { written: PossiblyWritten::Yes });
        let failed = failed.or(late);
        if let Some(error) = failed {
            self.standing.is_fenced |= is_fenced(&error);
            self.abort_open().await?;
            let because = TransactionError::Failed(Arc::new(error));
            return Err(if self.standing.is_fenced { self.coordinator.fenced() } else { because });
        }
        if !self.has_something() {
            self.standing.is_open = false;
            return Ok(());
        }
        let ended = self.coordinator.end(self.identity(), true).await;
        self.standing.is_open = false;
        match self.heed(ended) {
            Err(TransactionError::Request(error)) => {
                self.standing.is_stale = true;
                Err(TransactionError::Unknown(Arc::new(error.into())))
            }
            Err(error) => {
                // A new epoch aborts what is open.
                self.standing.is_stale = true;
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Has nothing of it seen. Records that wait are not sent any more; their deliveries fail.
    ///
    /// Not cancel-safe: when dropped, it is aborted when the next one begins.
    ///
    /// # Errors
    /// When the coordinator does not answer: it aborts by itself after `transaction.timeout.ms`, and before the next one begins.
    pub async fn abort(mut self) -> Result<(), TransactionError> {
        self.abort_open().await
    }

    async fn abort_open(&mut self) -> Result<(), TransactionError> {
        // What is in flight comes back before the marker is written, so that nothing comes in behind it.
        self.producer.shared.fail_transaction(&ProduceError::Aborted);
        let back = self.producer.flush(self.producer.shared.longest_delivery()).await;
        let is_clean = back.is_ok() && !self.producer.shared.accumulator.lock().has_lost_place();
        let ended = if self.has_something() { self.coordinator.end(self.identity(), false).await } else { Ok(()) };
        self.standing.is_open = false;
        // Where batches were given up, the sequence of numbers has gaps: another epoch begins anew.
        self.standing.is_stale |= !is_clean || ended.is_err();
        self.heed(ended)
    }

    fn identity(&self) -> Identity {
        self.standing.identity.expect("a transaction that has begun has one")
    }

    fn has_something(&self) -> bool {
        self.standing.has_offsets || self.producer.shared.accumulator.lock().has_added()
    }

    /// Remembers that a newer producer has taken over.
    fn heed<T>(&mut self, outcome: Result<T, TransactionError>) -> Result<T, TransactionError> {
        self.standing.is_fenced |= matches!(outcome, Err(TransactionError::Fenced { .. }));
        outcome
    }
}

/// Whether a record was not written because a newer producer has taken over.
fn is_fenced(error: &ProduceError) -> bool {
    match error {
        ProduceError::Refused { code, .. } => {
            matches!(code, ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch)
        }
        ProduceError::Transaction(error) => matches!(**error, TransactionError::Fenced { .. }),
        _ => false,
    }
}
