//! A broker inside somebody's test: in the same process, on a port that is free, with all of its data in memory.
//!
//! Must not know: what is tested.

use std::sync::Arc;

use cairn_storage::disk::memory::MemoryDisk;

use crate::broker::{Broker, StartError};
use crate::config::{BrokerConfig, ConfigError, Sources};

/// A whole broker of one node, which starts in milliseconds and leaves nothing behind: any number of them run beside each other.
/// `cli/examples/in_process_broker.rs` has a producer and a consumer beside one.
///
/// It needs a tokio runtime of several threads. What it holds is lost when it is shut down; when it is dropped, it goes on until the
/// runtime ends.
#[derive(Debug)]
pub struct InProcessBroker {
    broker: Broker,
    bootstrap: String,
}

/// A broker in this process did not start.
#[derive(Debug, thiserror::Error)]
pub enum InProcessError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl InProcessBroker {
    /// Starts one; when this returns, it serves. `settings` are keys and values by Kafka's names, as in `config/broker.toml`.
    ///
    /// Cancel-safe: what was begun ends.
    ///
    /// # Errors
    /// When a setting makes no sense, or it cannot start.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Self, InProcessError> {
        let sources = Sources::none()
            .set("listeners", "PLAINTEXT://127.0.0.1:0")
            .set("log.dir", "/in-memory")
            .set("offsets.topic.num.partitions", "1")
            .set("group.initial.rebalance.delay.ms", "0");
        let sources = settings.iter().fold(sources, |sources, (key, value)| sources.set(key, value));
        let config = BrokerConfig::load(&sources)?;
        let broker = Broker::start_on(Arc::new(MemoryDisk::new()), config).await?;
        let bootstrap = broker.addresses().kafka.first().map(|(_, address)| address.to_string()).unwrap_or_default();
        Ok(Self { broker, bootstrap })
    }

    /// What clients are told to connect to: `HOST:PORT`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Stops it, after what was begun is answered.
    ///
    /// Not cancel-safe: when dropped, it may go on for as long as the runtime.
    pub async fn shutdown(self) {
        self.broker.shutdown().await;
    }
}
