//! Work that may wait for the disk goes to a thread that may block.
//!
//! Must not know: what the work is.

use std::any::Any;
use std::panic::resume_unwind;

/// What a panic has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked(pub(crate) Box<str>);

/// Runs `work` on a thread that may block.
pub(crate) async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    run(work).await.unwrap_or_else(|panic| resume_unwind(panic))
}

/// The same for work whose panic ends nothing but itself.
pub(crate) async fn try_on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    run(work).await.map_err(|panic| Panicked(said(&*panic).into()))
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Box<dyn Any + Send>> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => Err(panic),
            // Only a runtime that is being dropped cancels blocking work; nobody waits for the answer then.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The text of a panic, which is one of these two where it has any.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_only_its_own_work() {
        assert_eq!(try_on_blocking_thread(|| 7).await, Ok(7));
        let broken = try_on_blocking_thread(|| -> u8 { panic!("no topic {}", 3) }).await;
        assert_eq!(broken, Err(Panicked("no topic 3".into())));
        let broken = try_on_blocking_thread(|| -> u8 { panic!("at all") }).await;
        assert_eq!(broken, Err(Panicked("at all".into())));
    }
}
