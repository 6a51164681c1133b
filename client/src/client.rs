//! The handle from which everything begins: one cluster, one pool of connections, one picture of the cluster.
//!
//! Must not know: records, offsets, topics' configuration.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use cairn_protocol::Request;
use cairn_protocol::ids::BrokerId;

use crate::admin::Admin;
use crate::cluster::{Coordinators, Metadata};
use crate::config::{ClientBuilder, ClientConfig};
use crate::consumer::ConsumerBuilder;
use crate::error::RequestError;
use crate::network::{Connection, Dialer, Lane, Pool};
use crate::producer::ProducerBuilder;
use crate::security::TlsError;
use crate::stats::{ClientStats, Traffic};
use crate::table::TableBuilder;

/// A Kafka cluster, seen from here. Cloning it is cheap, and all clones share connections and metadata.
///
/// Making one connects to nothing; the first operation does. There is nothing to close: connections end when the last handle
/// and all that was made from it are dropped, and dropping never blocks.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<ClientConfig>,
    pool: Arc<Pool>,
    metadata: Arc<Metadata>,
    coordinators: Coordinators,
    traffic: Arc<Traffic>,
}

/// Which broker is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Any,
    /// The one that changes metadata. KRaft brokers pass such requests on; older ones do not.
    Controller,
    Broker(BrokerId),
}

impl Client {
    /// A client with default settings. `bootstrap` is `HOST:PORT`, several separated by commas.
    ///
    /// # Errors
    /// When `bootstrap` is no list of addresses.
    pub fn new(bootstrap: &str) -> Result<Self, crate::ConfigError> {
        Self::builder(bootstrap).build()
    }

    /// A client with settings of its own. `bootstrap` is `HOST:PORT`, several separated by commas.
    pub fn builder(bootstrap: &str) -> ClientBuilder {
        ClientBuilder::new(bootstrap)
    }

    pub(crate) fn from_config(config: ClientConfig) -> Result<Self, TlsError> {
        let config = Arc::new(config);
        let traffic = Arc::new(Traffic::default());
        let pool = Arc::new(Pool::new(Dialer::new(Arc::clone(&config), Arc::clone(&traffic))?, config.backoff));
        let metadata = Arc::new(Metadata::new(Arc::clone(&config), Arc::clone(&pool), Arc::clone(&traffic)));
        let coordinators = Coordinators::new(Arc::clone(&metadata));
        Ok(Self { shared: Arc::new(Shared { config, pool, metadata, coordinators, traffic }) })
    }

    /// A producer, to be configured.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone())
    }

    /// A consumer, to be configured.
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone())
    }

    /// A table on a compacted topic, to be opened.
    pub fn table(&self, topic: impl Into<Arc<str>>) -> TableBuilder {
        TableBuilder::new(self.clone(), topic.into())
    }

    /// Topics, configurations, the cluster itself.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// What it and all that was made from it have sent and received so far.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.shared.traffic.snapshot()
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    pub(crate) fn metadata(&self) -> &Metadata {
        &self.shared.metadata
    }

    pub(crate) fn coordinators(&self) -> &Coordinators {
        &self.shared.coordinators
    }

    /// A connection for `ask` on a lane.
    ///
    /// Cancel-safe.
    pub(crate) async fn connect(&self, ask: Ask, lane: Lane) -> Result<Connection, RequestError> {
        let metadata = self.metadata();
        let id = match ask {
            Ask::Any => None,
            Ask::Controller => metadata.ready().await?.controller,
            Ask::Broker(id) => Some(id),
        };
        match id {
            Some(id) => metadata.connect(id, lane).await,
            None => metadata.connect_any(lane).await,
        }
    }

    /// One request, without retries; `make` gets the version that both sides know within `versions`.
    ///
    /// Cancel-safe for the client; the broker may have done what was asked.
    pub(crate) async fn call<R: Request>(
        &self,
        ask: Ask,
        versions: RangeInclusive<i16>,
        timeout: Duration,
        make: impl FnOnce(i16) -> R,
    ) -> Result<R::Response, RequestError> {
        let connection = self.connect(ask, Lane::Control).await?;
        let version = connection.version_of::<R>(versions)?;
        connection.call(version, &make(version), timeout).await
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("bootstrap", &self.shared.config.bootstrap).finish_non_exhaustive()
    }
}
