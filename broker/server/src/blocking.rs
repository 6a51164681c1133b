//! Work that may wait for the disk goes to a thread that may block.
//!
//! Must not know: what the work is.

use std::panic::resume_unwind;

/// Runs `work` on a thread that may block.
pub(crate) async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Only a runtime that is being dropped cancels blocking work; nobody waits for the answer then.
            Err(_) => std::future::pending().await,
        },
    }
}
