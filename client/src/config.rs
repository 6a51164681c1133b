//! What a client is told once: where the cluster is, its own name, and its patience.
//!
//! Must not know: sockets. Producers and consumers have settings of their own beside them.

use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::network::Address;
use crate::security::{Security, TlsError};

/// The name under which brokers see this client, unless told otherwise.
const DEFAULT_CLIENT_ID: &str = "cairn-client";
/// The largest frame that a broker may send, unless told otherwise. Larger than the largest default of `fetch.max.bytes`, since
/// the first batch of an answer may exceed it.
const DEFAULT_RESPONSE_MAX_BYTES: usize = 128 * 1024 * 1024;

/// A setting makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No bootstrap server was named.
    #[error("no bootstrap server given: name at least one as HOST:PORT")]
    NoBootstrap,
    /// A bootstrap server is no address.
    #[error("bootstrap server {given:?} is no HOST:PORT (IPv6: [::1]:9092)")]
    Bootstrap {
        /// What was given.
        given: Box<str>,
    },
    /// TLS cannot be used as it was told.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A value is out of its range.
    #[error("{key} must be {wanted}, is {given}")]
    OutOfRange {
        /// Kafka's name of the setting.
        key: &'static str,
        /// What is allowed.
        wanted: &'static str,
        /// What was given.
        given: Box<str>,
    },
}

/// All of a [`Client`](crate::Client)'s settings.
#[derive(Clone, Debug)]
pub(crate) struct ClientConfig {
    pub(crate) bootstrap: Vec<Address>,
    pub(crate) client_id: Arc<str>,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) operation_timeout: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) metadata_max_age: Duration,
    pub(crate) response_max_bytes: usize,
    pub(crate) auto_create_topics: AutoCreateTopics,
    pub(crate) security: Security,
}

/// Whether a producer's first record to an unknown topic may create it (when the broker allows it, too).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCreateTopics {
    /// It may, as with Kafka's own producer.
    Allow,
    /// Unknown topics are errors.
    Refuse,
}

/// Builds a [`Client`](crate::Client). Nothing is connected before the first use.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientBuilder {
    bootstrap: Vec<Box<str>>,
    config: ClientConfig,
}

impl ClientBuilder {
    /// `bootstrap` is `HOST:PORT`, several separated by commas (Kafka: `bootstrap.servers`).
    pub(crate) fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: addresses(bootstrap),
            config: ClientConfig {
                bootstrap: Vec::new(),
                client_id: DEFAULT_CLIENT_ID.into(),
                connect_timeout: Duration::from_secs(10),
                request_timeout: Duration::from_secs(30),
                operation_timeout: Duration::from_secs(60),
                backoff: Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(1) },
                metadata_max_age: Duration::from_secs(300),
                response_max_bytes: DEFAULT_RESPONSE_MAX_BYTES,
                auto_create_topics: AutoCreateTopics::Allow,
                security: Security::default(),
            },
        }
    }

    /// Other bootstrap servers instead.
    pub(crate) fn bootstrap(mut self, bootstrap: &str) -> Self {
        self.bootstrap = addresses(bootstrap);
        self
    }

    /// The first wait between two attempts.
    pub(crate) fn first_backoff(mut self, first: Duration) -> Self {
        self.config.backoff.first = first;
        self
    }

    /// The longest wait between two attempts.
    pub(crate) fn longest_backoff(mut self, longest: Duration) -> Self {
        self.config.backoff.longest = longest;
        self
    }

    /// The name under which brokers see this client (`client.id`).
    pub fn client_id(mut self, id: &str) -> Self {
        self.config.client_id = id.into();
        self
    }

    /// How long a connection may take to be made (`socket.connection.setup.timeout.ms`). Default 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How long a broker may take to answer one request (`request.timeout.ms`). Default 30 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.config.request_timeout = timeout;
        self
    }

    /// How long an operation may take with all its retries (`default.api.timeout.ms`). Default 60 s.
    pub fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.config.operation_timeout = timeout;
        self
    }

    /// The first and the longest wait between two attempts (`retry.backoff.ms`, `retry.backoff.max.ms`).
    /// Default 50 ms and 1 s.
    pub fn retry_backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.config.backoff = Backoff { first, longest };
        self
    }

    /// How old cached metadata may get before it is asked for again (`metadata.max.age.ms`). Default 5 minutes.
    pub fn metadata_max_age(mut self, age: Duration) -> Self {
        self.config.metadata_max_age = age;
        self
    }

    /// The largest answer that is read; a broker that announces a larger one loses the connection. Default 128 MiB.
    pub fn response_max_bytes(mut self, bytes: usize) -> Self {
        self.config.response_max_bytes = bytes;
        self
    }

    /// Whether producers may create topics (`allow.auto.create.topics`). Default: they may.
    pub fn auto_create_topics(mut self, auto_create: AutoCreateTopics) -> Self {
        self.config.auto_create_topics = auto_create;
        self
    }

    /// What is done on each new connection: TLS, SASL (`security.protocol`). Default: neither.
    pub fn security(mut self, security: Security) -> Self {
        self.config.security = security;
        self
    }

    /// The client. Needs no runtime yet and connects to nothing.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn build(mut self) -> Result<crate::Client, ConfigError> {
        if self.bootstrap.is_empty() {
            return Err(ConfigError::NoBootstrap);
        }
        for given in &self.bootstrap {
            let address = given.parse().map_err(|_| ConfigError::Bootstrap { given: given.clone() })?;
            self.config.bootstrap.push(address);
        }
        for (key, value) in [
            ("socket.connection.setup.timeout.ms", self.config.connect_timeout),
            ("request.timeout.ms", self.config.request_timeout),
            ("default.api.timeout.ms", self.config.operation_timeout),
            ("retry.backoff.ms", self.config.backoff.first),
            ("metadata.max.age.ms", self.config.metadata_max_age),
        ] {
            out_of_range(key, "longer than nothing", value, value.is_zero())?;
        }
        out_of_range(
            "response_max_bytes",
            "1024 or more",
            self.config.response_max_bytes,
            self.config.response_max_bytes < 1024,
        )?;
        Ok(crate::Client::from_config(self.config)?)
    }
}

fn addresses(text: &str) -> Vec<Box<str>> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Box::from).collect()
}

/// An error about `key` when `is_wrong`.
pub(crate) fn out_of_range(
    key: &'static str,
    wanted: &'static str,
    given: impl std::fmt::Debug,
    is_wrong: bool,
) -> Result<(), ConfigError> {
    if is_wrong { Err(ConfigError::OutOfRange { key, wanted, given: format!("{given:?}").into() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_is_a_list() {
        let client = ClientBuilder::new("a:1, [::1]:2 ,b:3,").build().expect("three addresses");
        let names: Vec<String> = client.config().bootstrap.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a:1", "[::1]:2", "b:3"]);
    }

    #[test]
    fn nonsense_is_named() {
        assert_eq!(ClientBuilder::new(" ,").build().err(), Some(ConfigError::NoBootstrap));
        assert_eq!(ClientBuilder::new("a").build().err(), Some(ConfigError::Bootstrap { given: "a".into() }));
        let error = ClientBuilder::new("a:1").request_timeout(Duration::ZERO).build().expect_err("refused");
        assert_eq!(error.to_string(), "request.timeout.ms must be longer than nothing, is 0ns");
    }
}
