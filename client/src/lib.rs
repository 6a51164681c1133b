//! An async Kafka client in pure Rust: producer, consumer, table, admin. It speaks to any Kafka broker: Cairn, Apache Kafka, and others.
//!
//! Everything begins with a [`Client`], which is a cheap handle to one cluster. All handles are `Send + Sync + Clone`, nothing
//! blocks in `Drop`, records are owned, and there are no callbacks: what is to come is a future.
//!
//! ```no_run
//! use std::time::Duration;
//! use cairn_client::{Client, NewTopic, OffsetReset, ProducerRecord};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("localhost:9092")?;
//! client.admin().create_topic(&NewTopic::new("greetings").partitions(3)).await?;
//!
//! // Idempotent, acks=all, batches of up to 128 KiB that linger for 5 ms: the defaults.
//! let producer = client.producer().build()?;
//! let delivery = producer.send(ProducerRecord::to("greetings").key("en").value("hello")).await?;
//! let written = delivery.await?;
//! println!("partition {} offset {:?}", written.partition, written.offset);
//! producer.close(Duration::from_secs(10)).await?;
//!
//! // A member of a group: it shares the topic's partitions with the others.
//! let consumer = client.consumer().group("readers").offset_reset(OffsetReset::Earliest).build()?;
//! consumer.subscribe(["greetings"])?;
//! let record = consumer.recv().await?;
//! println!("{:?}", record.value);
//! consumer.commit().await?;
//! consumer.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # In five minutes
//!
//! **Write.** [`Producer::send`] waits for room in the buffer and gives a [`Delivery`], which resolves when the record is in the log; dropping
//! the delivery is fire and forget. Records with the same key go to the same partition, where Java's producer would put them.
//!
//! **Write all or nothing.** A [`TransactionalProducer`] begins a [`Transaction`], in which records to many partitions, and the offsets of the
//! group that they were made from, are committed as one: see `client/examples/exactly_once.rs`.
//!
//! **Read.** A [`Consumer`] reads partitions that you [assign](Consumer::assign), or shares topics with the other members of its group once
//! it has [subscribed](Consumer::subscribe), by names or by [pattern](Consumer::subscribe_pattern). [`recv`](Consumer::recv) gives record
//! after record, [`stream`](Consumer::stream) the same as a `Stream`, and [`recv_batches`](Consumer::recv_batches) what a fetch brought, whose
//! records borrow the received bytes. [`seek`](Consumer::seek), [`pause`](Consumer::pause) and [`lag`](Consumer::lag) do what they say.
//!
//! **Commit.** Either it happens by itself ([`auto_commit`](ConsumerBuilder::auto_commit)), or with [`commit`](Consumer::commit) and
//! [`commit_offsets`](Consumer::commit_offsets), which carry metadata if you like; who does not want to wait spawns it on a clone.
//! [`rebalances`](Consumer::rebalances) tells what comes and goes, and the group waits while you hold an event:
//!
//! ```no_run
//! # async fn example(consumer: cairn_client::Consumer) -> Result<(), Box<dyn std::error::Error>> {
//! let mut rebalances = consumer.rebalances();
//! loop {
//!     tokio::select! {
//!         Some(rebalance) = rebalances.next() => println!("{:?} {:?}", rebalance.kind(), rebalance.partitions()),
//!         record = consumer.recv() => println!("{:?}", record?.value),
//!     }
//! }
//! # }
//! ```
//!
//! **Keep a table.** A [`Table`] holds the newest value of each key of a compacted topic, and comes back after a crash from a checkpoint plus
//! what the log has after it:
//!
//! ```no_run
//! # async fn example(client: cairn_client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let table = client.table("accounts").checkpoint("/var/lib/app/accounts.table").open().await?;
//! table.put("alice", "100").await?;
//! println!("{:?}, restored {:?}", table.get("alice"), table.restored());
//! table.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! **Administer.** [`Client::admin`] has topics, configs, groups and their offsets, reassignments, elections and log dirs.
//!
//! **Stay safe.** [`ClientBuilder::security`] takes TLS ([`Tls`]) and a login ([`Sasl`]), or what Java's properties say
//! ([`Security::from_properties`]). Who is refused hears it at once, and what is wrong.
//!
//! **Look inside.** What happens is told through `tracing`, and in numbers by [`Client::stats`], [`Producer::stats`] and [`Consumer::stats`].
//!
//! **Bring your settings.** The builders have methods for all settings, and [`ClientBuilder::properties`], [`ProducerBuilder::properties`] and
//! [`ConsumerBuilder::properties`] take them by Kafka's names.
//!
//! **Test.** `cairn_broker::InProcessBroker` is a whole broker in your test's own process, there in milliseconds, without a file or a fixed
//! port: `let broker = InProcessBroker::start(&[]).await?; let client = Client::new(broker.bootstrap())?;`. Any number of them run beside
//! each other. `cli/examples/in_process_broker.rs` is a whole test.
//!
//! The examples in `client/examples` end by themselves and take the bootstrap address: produce, consume, group, exactly_once, table, admin.
//!
//! # What is promised
//!
//! - **Order.** Records to one partition are written in the order in which [`Producer::send`] was called, also when batches have
//!   to be sent again.
//! - **Once.** With the default settings a record is written once, however often it had to be sent. When a delivery fails, its
//!   error says whether the record [may be in the log](ProduceError::possibly_written) all the same.
//! - **Groups.** A partition goes from one member to another only between two records, after its offset was committed (when that
//!   happens by itself); a member that the group went on without cannot commit.
//! - **Bounds.** A producer holds at most `buffer.memory`, and `send` waits for room; a consumer fetches ahead at most
//!   `prefetch_bytes`; a broker that announces an absurd answer loses its connection.
//! - **Cancellation.** Every async function says whether it is cancel-safe.
//! - **Retries.** What may pass is tried again, up to a deadline; every error has `is_retriable`.
//!
//! Must not know: the server. This crate stands on `cairn-protocol` alone.

mod admin;
mod backoff;
mod client;
mod cluster;
mod config;
mod consumer;
mod consumer_protocol;
mod error;
mod network;
mod producer;
mod properties;
mod security;
mod stats;
mod table;
mod topic_partition;

pub use admin::{
    Admin, AdminError, BrokerDescription, ClusterDescription, ConfigChange, ConfigEntry, ConfigResource, ConfigSource,
    Election, GroupDescription, GroupFilter, GroupListing, GroupState, GroupType, LogDescription, LogDirDescription,
    MemberDescription, NewTopic, OffsetSpec, OngoingReassignment, PartitionDescription, ProducerDescription,
    Reassignment, RemovedMember, TopicDescription, TopicListing,
};
pub use cairn_protocol::error_code::ErrorCode;
pub use cairn_protocol::ids::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};
pub use cairn_protocol::records::Record;
pub use client::Client;
pub use config::{AutoCreateTopics, ClientBuilder, ConfigError};
pub use consumer::{
    Assignor, CommittedOffset, ConsumeError, Consumer, ConsumerBuilder, ConsumerRecord, GroupProtocol, IsolationLevel,
    MembershipError, OffsetReset, OffsetsError, Rebalance, RebalanceKind, Rebalances, RecordBatches, StartAt,
};
pub use error::{MetadataError, RequestError};
pub use producer::{
    Acks, Compression, Delivery, FlushTimeout, Idempotence, PossiblyWritten, ProduceError, Producer, ProducerBuilder,
    ProducerRecord, RecordMetadata, Transaction, TransactionError, TransactionalProducer,
};
pub use properties::PropertyError;
pub use security::{HostNames, Sasl, Security, SecurityError, Tls, TlsError, Token, TokenError};
pub use stats::{ClientStats, ConsumerStats, ProducerStats};
pub use table::{Restored, Table, TableBuilder, TableError};
pub use topic_partition::TopicPartition;
