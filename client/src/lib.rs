//! An async Kafka client.
