//! What a transaction's coordinator is asked, with retries.
//!
//! Must not know: when.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use cairn_protocol::Request;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{ProducerEpoch, ProducerId};
use cairn_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use cairn_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use cairn_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, TxnOffsetCommitRequest,
};

use super::TransactionError;
use crate::Client;
use crate::backoff::Attempts;
use crate::cluster::{CoordinatorOf, FindError};
use crate::consumer::{CommittedOffset, Committer};
use crate::error::check;
use crate::network::Lane;
use crate::producer::batch::Identity;
use crate::topic_partition::TopicPartition;

const INIT_VERSIONS: RangeInclusive<i16> = 0..=4;
/// The epoch is told from version 3 on, so that a producer that was fenced does not fence the newer one (KIP-360).
const INIT_AGAIN_VERSIONS: RangeInclusive<i16> = 3..=4;
/// From version 4 on brokers ask each other.
const ADD_PARTITIONS_VERSIONS: RangeInclusive<i16> = 0..=3;
const ADD_OFFSETS_VERSIONS: RangeInclusive<i16> = 0..=4;
/// Later ones are of KIP-890's second part.
const COMMIT_OFFSETS_VERSIONS: RangeInclusive<i16> = 0..=4;
/// Members are told from version 3 on (KIP-447).
const COMMIT_AS_MEMBER_VERSIONS: RangeInclusive<i16> = 3..=4;
const END_VERSIONS: RangeInclusive<i16> = 0..=4;

/// The coordinator of one transactional id.
#[derive(Debug)]
pub(crate) struct Coordinator {
    client: Client,
    id: Arc<str>,
    /// After so long it aborts a transaction by itself.
    timeout: Duration,
}

impl Coordinator {
    pub(crate) fn new(client: Client, id: Arc<str>, timeout: Duration) -> Self {
        Self { client, id, timeout }
    }

    pub(crate) fn fenced(&self) -> TransactionError {
        TransactionError::Fenced { id: Arc::clone(&self.id) }
    }

    /// An identity that fences all before, and ends what they have open.
    pub(super) async fn init(&self, before: Option<Identity>) -> Result<Identity, TransactionError> {
        let request = InitProducerIdRequest {
            transactional_id: Some((&*self.id).into()),
            transaction_timeout_ms: i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX),
            producer_id: before.map_or(-1, |identity| identity.id.0),
            producer_epoch: before.map_or(-1, |identity| identity.epoch.0),
            ..InitProducerIdRequest::default()
        };
        let of = (CoordinatorOf::Transaction, &self.id);
        let versions = if before.is_some() { INIT_AGAIN_VERSIONS } else { INIT_VERSIONS };
        let answer = self.ask(of, versions, &request, |answer| answer.error_code).await?;
        Ok(Identity { id: ProducerId(answer.producer_id), epoch: ProducerEpoch(answer.producer_epoch) })
    }

    /// From now on these partitions are told how the transaction ends.
    pub(crate) async fn add_partitions(
        &self,
        identity: Identity,
        partitions: &[TopicPartition],
    ) -> Result<(), TransactionError> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(&partition.topic).or_default().push(partition.partition.0);
        }
        let topic = |(name, partitions): (&str, Vec<i32>)| AddPartitionsToTxnTopic { name: name.into(), partitions };
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: (&*self.id).into(),
            v3_and_below_producer_id: identity.id.0,
            v3_and_below_producer_epoch: identity.epoch.0,
            v3_and_below_topics: topics.into_iter().map(topic).collect(),
            ..AddPartitionsToTxnRequest::default()
        };
        let of = (CoordinatorOf::Transaction, &self.id);
        // Either all are added or none: what says why comes before what only follows from it.
        let worst = |answer: &cairn_protocol::messages::AddPartitionsToTxnResponse| {
            let results = answer.results_by_topic_v3_and_below.iter().flat_map(|topic| &topic.results_by_partition);
            let codes = results.map(|partition| partition.partition_error_code).filter(|code| *code != 0);
            let follows = |code: &i16| *code == ErrorCode::OperationNotAttempted.code();
            codes.min_by_key(follows).unwrap_or(0)
        };
        self.ask(of, ADD_PARTITIONS_VERSIONS, &request, worst).await.map(drop)
    }

    /// From now on the group is told how the transaction ends.
    pub(super) async fn add_offsets(&self, identity: Identity, group: &str) -> Result<(), TransactionError> {
        let request = AddOffsetsToTxnRequest {
            transactional_id: (&*self.id).into(),
            producer_id: identity.id.0,
            producer_epoch: identity.epoch.0,
            group_id: group.into(),
        };
        let of = (CoordinatorOf::Transaction, &self.id);
        self.ask(of, ADD_OFFSETS_VERSIONS, &request, |answer| answer.error_code).await.map(drop)
    }

    /// Asks the group's coordinator.
    pub(super) async fn commit_offsets(
        &self,
        identity: Identity,
        group: &Arc<str>,
        by: &Committer,
        offsets: &HashMap<TopicPartition, CommittedOffset>,
    ) -> Result<(), TransactionError> {
        let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitRequestPartition>> = BTreeMap::new();
        for (partition, committed) in offsets {
            topics.entry(&partition.topic).or_default().push(TxnOffsetCommitRequestPartition {
                partition_index: partition.partition.0,
                committed_offset: committed.offset.0,
                committed_metadata: Some(committed.metadata.clone()),
                ..TxnOffsetCommitRequestPartition::default()
            });
        }
        let topic = |(name, partitions): (&str, Vec<_>)| TxnOffsetCommitRequestTopic { name: name.into(), partitions };
        let request = TxnOffsetCommitRequest {
            transactional_id: (&*self.id).into(),
            group_id: (&**group).into(),
            producer_id: identity.id.0,
            producer_epoch: identity.epoch.0,
            generation_id: by.generation,
            member_id: by.member_id.clone(),
            group_instance_id: by.instance.clone(),
            topics: topics.into_iter().map(topic).collect(),
        };
        let worst = |answer: &cairn_protocol::messages::TxnOffsetCommitResponse| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).find(|code| *code != 0).unwrap_or(0)
        };
        let is_nobody = *by == Committer::default();
        let versions = if is_nobody { COMMIT_OFFSETS_VERSIONS } else { COMMIT_AS_MEMBER_VERSIONS };
        self.ask((CoordinatorOf::Group, group), versions, &request, worst).await.map(drop)
    }

    /// The transaction is over.
    pub(super) async fn end(&self, identity: Identity, committed: bool) -> Result<(), TransactionError> {
        let request = EndTxnRequest {
            transactional_id: (&*self.id).into(),
            producer_id: identity.id.0,
            producer_epoch: identity.epoch.0,
            committed,
        };
        let of = (CoordinatorOf::Transaction, &self.id);
        self.ask(of, END_VERSIONS, &request, |answer| answer.error_code).await.map(drop)
    }

    /// Asks until there is an answer that stands, or the time is up. All of these requests may be repeated.
    async fn ask<R: Request>(
        &self,
        (of, name): (CoordinatorOf, &Arc<str>),
        versions: RangeInclusive<i16>,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, TransactionError> {
        let config = self.client.config();
        let mut attempts = Attempts::new(config.backoff, config.operation_timeout);
        loop {
            let asked = attempts.attempt(self.ask_once((of, name), versions.clone(), request)).await;
            let error = match asked {
                Ok(answer) => match check(code(&answer)) {
                    Ok(()) => return Ok(answer),
                    Err(code) => self.refused(code),
                },
                Err(error) => error,
            };
            let moved = match &error {
                TransactionError::Refused { code } => {
                    matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable)
                }
                TransactionError::Request(_) => true,
                _ => false,
            };
            if moved {
                self.client.coordinators().forget_of(of, name);
            }
            let may_pass = match &error {
                TransactionError::Refused { code } => code.is_retriable() || *code == ErrorCode::ConcurrentTransactions,
                TransactionError::Request(error) => error.is_retriable(),
                _ => false,
            };
            if !may_pass || !attempts.again(&error).await {
                return Err(error);
            }
        }
    }

    async fn ask_once<R: Request>(
        &self,
        (of, name): (CoordinatorOf, &Arc<str>),
        versions: RangeInclusive<i16>,
        request: &R,
    ) -> Result<R::Response, TransactionError> {
        let timeout = self.client.config().request_timeout;
        let connected = self.client.coordinators().connect_of(of, name, Lane::Control, timeout).await;
        let connection = connected.map_err(|error| match error {
            FindError::Request(error) => TransactionError::Request(error),
            FindError::Refused(code) => self.refused(code),
        })?;
        let version = connection.version_of::<R>(versions)?;
        Ok(connection.call(version, request, timeout).await?)
    }

    fn refused(&self, code: ErrorCode) -> TransactionError {
        match code {
            ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch => self.fenced(),
            code => TransactionError::Refused { code },
        }
    }
}
