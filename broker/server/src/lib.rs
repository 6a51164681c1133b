//! The tokio shell of the broker.
