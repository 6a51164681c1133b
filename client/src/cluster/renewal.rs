//! What a task does when a leader is not where it was, or a broker does not answer: it has the metadata asked for anew, one
//! question at a time, and not faster than leaders are elected.
//!
//! Must not know: what the task wanted of the broker.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::time::Instant;

use super::Unknown;
use crate::client::Client;

/// One task's questions.
#[derive(Debug, Default)]
pub(crate) struct Renewal {
    under_way: bool,
}

impl Renewal {
    /// Begins to ask about these topics and all that are known, unless a question is under way. The task awaits what is
    /// answered, and then calls [`Self::on_done`].
    pub(crate) fn begin(&mut self, client: &Client, topics: Vec<Arc<str>>) -> Option<BoxFuture<'static, ()>> {
        if std::mem::replace(&mut self.under_way, true) {
            return None;
        }
        let client = client.clone();
        Some(Box::pin(async move {
            if let Err(error) = client.metadata().refresh(&topics, Unknown::Refuse, Instant::now()).await {
                tracing::debug!(%error, "cannot refresh metadata");
            }
            // Leaders are elected in their own time: asking faster does not help.
            tokio::time::sleep(client.config().backoff.wait_after(1)).await;
        }))
    }

    /// The next question may begin.
    pub(crate) fn on_done(&mut self) {
        self.under_way = false;
    }
}
