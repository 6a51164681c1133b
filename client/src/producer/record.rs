//! A record that is to be written.
//!
//! Must not know: batches, sending.

use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::ids::{PartitionIndex, Timestamp};

/// A record that is to be written. It owns its bytes; `Bytes` from elsewhere are taken over without a copy.
///
/// ```
/// use cairn_client::ProducerRecord;
///
/// let record = ProducerRecord::to("orders").key("customer-7").value(r#"{"total":12}"#).header("trace", "a1b2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ProducerRecord {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: Option<PartitionIndex>,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<(Arc<str>, Option<Bytes>)>,
}

impl ProducerRecord {
    /// An empty record to `topic`. An `Arc<str>` that is used again spares an allocation a record.
    pub fn to(topic: impl Into<Arc<str>>) -> Self {
        Self { topic: topic.into(), partition: None, timestamp: None, key: None, value: None, headers: Vec::new() }
    }

    /// Its partition. Without one, the key's hash chooses, as Java's producer does; without a key, batches take turns.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(PartitionIndex(partition));
        self
    }

    /// Its time in milliseconds since 1970. Default: now.
    pub fn timestamp_ms(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(Timestamp(timestamp));
        self
    }

    /// Its key.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Its value. A record without one is a tombstone in a compacted topic.
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// One more header. A key may come twice.
    pub fn header(mut self, key: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        self.headers.push((key.into(), Some(value.into())));
        self
    }

    /// One more header without a value.
    pub fn null_header(mut self, key: impl Into<Arc<str>>) -> Self {
        self.headers.push((key.into(), None));
        self
    }

    /// The most bytes that it can take in a batch: its parts, and the largest varints around them.
    pub(crate) fn bytes_max(&self) -> usize {
        /// Length, attributes, timestamp delta, offset delta, key length, value length, header count.
        const AROUND_RECORD: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
        const AROUND_HEADER: usize = 5 + 5;
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|(key, value)| AROUND_HEADER + key.len() + len(value)).sum();
        AROUND_RECORD + len(&self.key) + len(&self.value) + headers
    }
}
