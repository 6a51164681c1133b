//! Settings by Kafka's property names, as the Java clients take them: one table for each kind of client.
//!
//! What one kind does not know may be another's: a file with the properties of all can be given to each. What nobody knows is an error.
//! Must not know: what the settings mean.

mod tables;

use self::tables::{CLIENT, CONSUMER, PRODUCER, Property};
use crate::config::ClientBuilder;
use crate::consumer::ConsumerBuilder;
use crate::producer::ProducerBuilder;
use crate::security::{Security, SecurityError};

/// Two names that differ by no more than so many letters, and a third of them, are taken for the same one, mistyped.
const MISTYPED_MAX: usize = 4;

/// A property that cannot be taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PropertyError {
    /// No client has such a property.
    #[error("no property is called {name}{}", nearest.map_or(String::new(), |nearest| format!("; perhaps {nearest} is meant")))]
    Unknown {
        /// What was given.
        name: Box<str>,
        /// The name that is most like it.
        nearest: Option<&'static str>,
    },
    /// The value is none of those that are allowed.
    #[error("{name} must be {wanted}, is {given:?}")]
    Value {
        /// The property.
        name: &'static str,
        /// What is allowed.
        wanted: &'static str,
        /// What was given.
        given: Box<str>,
    },
    /// One of `security.*`, `ssl.*` and `sasl.*`.
    #[error(transparent)]
    Security(#[from] SecurityError),
}

/// What Java's clients need and this one does not: records are bytes here. `transactional.id` is given where such a producer is built.
const WITHOUT_EFFECT: [&str; 5] =
    ["key.serializer", "value.serializer", "key.deserializer", "value.deserializer", "transactional.id"];

fn names() -> impl Iterator<Item = &'static str> {
    let of_client = CLIENT.iter().map(|property| property.name);
    let of_producer = PRODUCER.iter().map(|property| property.name);
    let of_consumer = CONSUMER.iter().map(|property| property.name);
    of_client.chain(of_producer).chain(of_consumer).chain(WITHOUT_EFFECT).chain(Security::names())
}

/// Sets what the table knows, in the order given.
fn set_all<'p, B>(
    mut builder: B,
    table: &[Property<B>],
    properties: impl IntoIterator<Item = (&'p str, &'p str)>,
) -> Result<B, PropertyError> {
    for (name, value) in properties {
        let Some(property) = table.iter().find(|property| property.name == name) else {
            known(name)?;
            continue;
        };
        let (name, wanted) = (property.name, property.wanted);
        builder = (property.set)(builder, value.trim()).ok_or_else(|| PropertyError::Value {
            name,
            wanted,
            given: value.into(),
        })?;
    }
    Ok(builder)
}

/// Fails on a name that no kind of client knows.
fn known(name: &str) -> Result<(), PropertyError> {
    if names().any(|known| known == name) {
        return Ok(());
    }
    let nearest = names().min_by_key(|known| strsim::levenshtein(known, name));
    let nearest = nearest.filter(|known| strsim::levenshtein(known, name) <= MISTYPED_MAX.min(name.len() / 3));
    Err(PropertyError::Unknown { name: name.into(), nearest })
}

impl ClientBuilder {
    /// Settings by Kafka's names, those of `security.*`, `ssl.*` and `sasl.*` among them; see [`Security::from_properties`]. What producers and
    /// consumers know is passed over here.
    ///
    /// ```
    /// # use cairn_client::Client;
    /// let properties = [("bootstrap.servers", "localhost:9092"), ("linger.ms", "5"), ("group.id", "readers")];
    /// let client = Client::builder("").properties(properties)?.build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When nobody knows a name, or a value is not allowed.
    pub fn properties<'p>(
        self,
        properties: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<Self, PropertyError> {
        let properties: Vec<(&str, &str)> = properties.into_iter().collect();
        let builder = set_all(self, CLIENT, properties.iter().copied())?;
        if properties.iter().any(|(name, _)| Security::knows(name)) {
            return Ok(builder.security(Security::from_properties(properties)?));
        }
        Ok(builder)
    }
}

impl ProducerBuilder {
    /// Settings by Kafka's names. What clients and consumers know is passed over here.
    ///
    /// # Errors
    /// When nobody knows a name, or a value is not allowed.
    pub fn properties<'p>(
        self,
        properties: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<Self, PropertyError> {
        set_all(self, PRODUCER, properties)
    }
}

impl ConsumerBuilder {
    /// Settings by Kafka's names. What clients and producers know is passed over here. `enable.auto.commit` is off unless given, unlike in
    /// Java.
    ///
    /// # Errors
    /// When nobody knows a name, or a value is not allowed.
    pub fn properties<'p>(
        self,
        properties: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<Self, PropertyError> {
        set_all(self, CONSUMER, properties)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::tables::{BOOLEAN, BYTES, MILLIS, TEXT};
    use super::*;
    use crate::Client;

    /// A value that the property takes.
    fn example(wanted: &str) -> &str {
        match wanted {
            MILLIS | BYTES => "1234",
            BOOLEAN => "true",
            TEXT => "host:1",
            choices => choices.split([',', ' ']).next().unwrap_or_default(),
        }
    }

    #[test]
    fn every_property_is_taken_by_its_own_kind_and_passed_over_by_the_others() {
        let client = Client::new("h:1").expect("an address");
        let of_client = CLIENT.iter().map(|property| (property.name, property.wanted));
        let of_producer = PRODUCER.iter().map(|property| (property.name, property.wanted));
        let of_consumer = CONSUMER.iter().map(|property| (property.name, property.wanted));
        for (name, wanted) in of_client.chain(of_producer).chain(of_consumer) {
            let given = [(name, example(wanted))];
            Client::builder("h:1").properties(given).map(drop).unwrap_or_else(|error| panic!("{name}: {error}"));
            client.producer().properties(given).map(drop).unwrap_or_else(|error| panic!("{name}: {error}"));
            client.consumer().properties(given).map(drop).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let mut all: Vec<&str> = names().collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count, "each name once");
    }

    #[tokio::test]
    async fn what_is_set_is_what_was_given() {
        let properties = [
            ("bootstrap.servers", "a:1,b:2"),
            ("client.id", "me"),
            ("retry.backoff.ms", "7"),
            ("acks", "all"),
            ("linger.ms", "5"),
            ("compression.type", "zstd"),
            ("group.id", "g"),
            ("enable.auto.commit", "true"),
            ("isolation.level", "read_committed"),
            ("partition.assignment.strategy", "org.apache.kafka.clients.consumer.StickyAssignor, range"),
            ("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer"),
        ];
        let client = Client::builder("").properties(properties).expect("known").build().expect("valid");
        let config = client.config();
        assert_eq!((config.bootstrap.len(), &*config.client_id), (2, "me"));
        assert_eq!(config.backoff.first, Duration::from_millis(7));
        let producer = format!("{:?}", client.producer().properties(properties).expect("known"));
        assert!(producer.contains("linger: 5ms") && producer.contains("compression: Zstd"), "{producer}");
        let consumer = format!("{:?}", client.consumer().properties(properties).expect("known"));
        for part in ["ReadCommitted", "auto_commit: Some(5s)", "[Sticky, Range]", "Some(\"g\")"] {
            assert!(consumer.contains(part), "{part} in {consumer}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        let error = |properties: [(&str, &str); 1]| {
            Client::builder("h:1").properties(properties).map(drop).expect_err("refused").to_string()
        };
        assert_eq!(
            error([("reqest.timeout.ms", "1")]),
            "no property is called reqest.timeout.ms; perhaps request.timeout.ms is meant"
        );
        assert_eq!(error([("foo", "1")]), "no property is called foo");
        assert_eq!(
            error([("request.timeout.ms", "soon")]),
            "request.timeout.ms must be a number of milliseconds, is \"soon\""
        );
        assert!(error([("security.protocol", "TLS")]).starts_with("security.protocol must be"));
        let producer = Client::new("h:1").expect("an address").producer();
        let refused = producer.properties([("acks", "2")]).map(drop).expect_err("refused").to_string();
        assert_eq!(refused, "acks must be all, -1, 1 or 0, is \"2\"");
    }
}
