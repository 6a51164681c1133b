//! Keeps the picture of the cluster fresh: asks when something unknown is wanted, when something known was wrong, and when it is
//! old. Many who ask at once share one request.
//!
//! Must not know: who wants it for what.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::BrokerId;
use cairn_protocol::messages::metadata_request::MetadataRequestTopic;
use cairn_protocol::messages::{MetadataRequest, MetadataResponse};
use rand::seq::SliceRandom;
use tokio::time::Instant;

use super::{TopicInfo, View};
use crate::backoff::Attempts;
use crate::config::ClientConfig;
use crate::error::{MetadataError, RequestError};
use crate::network::{Address, Connection, Lane, Pool, Target};
use crate::stats::Traffic;

/// Versions that are spoken. Version 4 is the first that can refuse to create topics.
const VERSIONS: std::ops::RangeInclusive<i16> = 4..=12;

/// What to do about a topic that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Ask the broker to create it, as it does for Kafka's own producers where its settings allow.
    Create,
    /// Say so.
    Refuse,
}

/// The picture of the cluster, shared by all that a client does.
pub(crate) struct Metadata {
    config: Arc<ClientConfig>,
    pool: Arc<Pool>,
    view: ArcSwap<View>,
    /// Held while asking: who waits for it looks first whether the answer has come meanwhile.
    asking: tokio::sync::Mutex<()>,
    traffic: Arc<Traffic>,
}

impl Metadata {
    pub(crate) fn new(config: Arc<ClientConfig>, pool: Arc<Pool>, traffic: Arc<Traffic>) -> Self {
        Self { config, pool, view: ArcSwap::default(), asking: tokio::sync::Mutex::default(), traffic }
    }

    /// What is known now.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// A topic that is known and fresh, without asking.
    pub(crate) fn known_topic(&self, name: &str) -> Option<Arc<TopicInfo>> {
        let view = self.view.load();
        let info = view.topics.get(name)?;
        (info.learnt.elapsed() < self.config.metadata_max_age).then(|| Arc::clone(info))
    }

    /// A topic; asks, with retries, when it is unknown or old.
    ///
    /// Cancel-safe.
    pub(crate) async fn topic(&self, name: &Arc<str>, unknown: Unknown) -> Result<Arc<TopicInfo>, MetadataError> {
        let mut attempts = Attempts::new(self.config.backoff, self.config.operation_timeout);
        // A topic that was just created takes a moment to be known everywhere; one that is not, need not be waited for long.
        let mut unknown_again = 3;
        loop {
            if let Some(info) = self.known_topic(name) {
                return Ok(info);
            }
            let refreshing = self.refresh(std::slice::from_ref(name), unknown, Instant::now());
            let error = match attempts.attempt(refreshing).await {
                Ok(mut errors) => match errors.remove(name) {
                    None => continue,
                    Some(ErrorCode::UnknownTopicOrPartition) => MetadataError::NoSuchTopic { topic: Arc::clone(name) },
                    Some(code) => MetadataError::Refused { topic: Arc::clone(name), code },
                },
                Err(error) => MetadataError::Request(error),
            };
            if matches!(error, MetadataError::NoSuchTopic { .. }) && unknown == Unknown::Refuse {
                unknown_again -= 1;
                if unknown_again == 0 {
                    return Err(error);
                }
            }
            if !error.is_retriable() || !attempts.again(&error).await {
                return Err(error);
            }
        }
    }

    /// Asks anew about these topics and all that are known, unless that was done since `wanted`. Gives what was wrong with topics.
    ///
    /// Cancel-safe.
    pub(crate) async fn refresh(
        &self,
        topics: &[Arc<str>],
        unknown: Unknown,
        wanted: Instant,
    ) -> Result<HashMap<Arc<str>, ErrorCode>, RequestError> {
        let _asking = self.asking.lock().await;
        let view = self.view.load_full();
        let is_new = |name: &Arc<str>| view.topics.get(name).is_some_and(|info| info.learnt >= wanted);
        if !topics.is_empty() && topics.iter().all(is_new) {
            return Ok(HashMap::new());
        }
        let mut names: Vec<&Arc<str>> = view.topics.keys().collect();
        names.extend(topics.iter().filter(|name| !view.topics.contains_key(*name)));
        let topic = |name: &Arc<str>| MetadataRequestTopic { name: Some((&**name).into()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(names.into_iter().map(topic).collect()),
            allow_auto_topic_creation: unknown == Unknown::Create,
            ..MetadataRequest::default()
        };
        let answer = self.ask(&view, &request).await?;
        let (updated, errors) = view.updated(&answer, Instant::now());
        self.view.store(Arc::new(updated));
        self.traffic.metadata_refreshes.add(1);
        Ok(errors)
    }

    /// Makes sure that brokers are known at all.
    ///
    /// Cancel-safe.
    pub(crate) async fn ready(&self) -> Result<Arc<View>, RequestError> {
        if self.view.load().brokers.is_empty() {
            self.refresh(&[], Unknown::Refuse, Instant::now()).await?;
        }
        Ok(self.view())
    }

    /// A connection to a broker by its id.
    ///
    /// Cancel-safe.
    pub(crate) async fn connect(&self, id: BrokerId, lane: Lane) -> Result<Connection, RequestError> {
        let view = self.ready().await?;
        let address = view.brokers.get(&id).ok_or(RequestError::UnknownBroker { id: id.0 })?;
        self.pool.get(Target::Broker(id), address, lane).await
    }

    /// A connection to any broker: one that is known, else one that the user named.
    ///
    /// Cancel-safe.
    pub(crate) async fn connect_any(&self, lane: Lane) -> Result<Connection, RequestError> {
        let view = self.view();
        self.any_of(&view, lane).await
    }

    async fn any_of(&self, view: &View, lane: Lane) -> Result<Connection, RequestError> {
        let mut known: Vec<(Target, &Address)> =
            view.brokers.iter().map(|(id, address)| (Target::Broker(*id), address)).collect();
        known.shuffle(&mut rand::rng());
        let named = self.config.bootstrap.iter().map(|address| (Target::Bootstrap(address.clone()), address));
        let mut tried = Vec::new();
        let mut last = None;
        for (target, address) in known.into_iter().chain(named) {
            match self.pool.get(target, address, lane).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
            tried.push(address.to_string());
        }
        tried.dedup();
        let last = last.unwrap_or(RequestError::UnknownBroker { id: -1 });
        Err(RequestError::NoBroker { tried: tried.join(", ").into(), last: Box::new(last) })
    }

    async fn ask(&self, view: &View, request: &MetadataRequest) -> Result<MetadataResponse, RequestError> {
        let connection = self.any_of(view, Lane::Control).await?;
        let version = connection.version_of::<MetadataRequest>(VERSIONS)?;
        let answer = connection.call(version, request, self.config.request_timeout).await?;
        tracing::debug!(brokers = answer.brokers.len(), topics = answer.topics.len(), "metadata refreshed");
        Ok(answer)
    }
}
