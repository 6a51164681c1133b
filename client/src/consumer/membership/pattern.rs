//! Subscribes to the topics whose names match a pattern, as they come and go.
//!
//! The names are matched here, by both protocols of groups, as Kafka's own consumer does with a `java.util.regex.Pattern`. Must not
//! know: how members take part.

use std::sync::Arc;

use regex::Regex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{ConsumeError, OffsetsError, RecordBatches, Shared, subscribe};

/// A pattern that has to match the whole of a name.
pub(in super::super) fn parse(pattern: &str) -> Result<Regex, OffsetsError> {
    Regex::new(&format!("^(?:{pattern})$"))
        .map_err(|error| OffsetsError::Pattern { pattern: pattern.into(), reason: error.to_string().into() })
}

/// Looks at all topics again and again, until it is told to end or the consumer is gone.
pub(in super::super) async fn watch(
    shared: Arc<Shared>,
    pattern: Regex,
    until: CancellationToken,
    errors: mpsc::WeakUnboundedSender<Result<RecordBatches, ConsumeError>>,
) {
    let closed = shared.closed.clone();
    let looking = async {
        let mut known = None;
        loop {
            match shared.client.admin().list_topics().await {
                Ok(topics) => {
                    let wanted = topics.iter().filter(|topic| !topic.is_internal && pattern.is_match(&topic.name));
                    let mut wanted: Vec<Arc<str>> = wanted.map(|topic| Arc::from(&*topic.name)).collect();
                    wanted.sort();
                    if until.is_cancelled() {
                        return;
                    }
                    // The fetcher, which has the other end, lives as long as the consumer.
                    if let Some(errors) = errors.upgrade().filter(|_| known.as_ref() != Some(&wanted)) {
                        subscribe(&shared, wanted.clone(), errors);
                        known = Some(wanted);
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot list topics to subscribe to"),
            }
            tokio::time::sleep(shared.client.config().metadata_max_age).await;
        }
    };
    until.run_until_cancelled(closed.run_until_cancelled(looking)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_name_has_to_match() {
        let pattern = parse("orders|orders-.*").expect("a pattern");
        assert!(pattern.is_match("orders") && pattern.is_match("orders-eu"));
        assert!(!pattern.is_match("old-orders") && !pattern.is_match("ordersx"));
        assert!(matches!(parse("("), Err(OffsetsError::Pattern { .. })));
    }
}
