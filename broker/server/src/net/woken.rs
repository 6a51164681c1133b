//! A future that is polled when it was woken, and not whenever the task around it is.
//!
//! A task that is polled for each request and also waits for something rare would otherwise ask about the rare with every
//! request; where many tasks wait for the same, that is a lock which all of them share.
//!
//! Must not know: what is waited for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// Polls a future the first time, and then only when it was woken.
pub(super) struct OnlyWhenWoken<'a, F> {
    future: Pin<&'a mut F>,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
}

/// Tells that the future was woken, and wakes the task.
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order: a task that was woken finds the bell rung.
        self.rung.store(true, Ordering::SeqCst);
        self.task.wake();
    }
}

impl<'a, F: Future> OnlyWhenWoken<'a, F> {
    pub(super) fn new(future: Pin<&'a mut F>) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { future, waker: Arc::clone(&bell).into(), bell }
    }

    /// Like the future's own, and as cheap as two looks at this task's memory when nothing has happened.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Before the look at the bell: who rings after it finds the task.
        self.bell.task.register(cx.waker());
        if !self.bell.rung.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        // Before the poll: what rings during it counts for the next.
        self.bell.rung.store(false, Ordering::SeqCst);
        self.future.as_mut().poll(&mut Context::from_waker(&self.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test]
    async fn it_is_polled_once_and_again_when_woken() {
        let (token, mut polls) = (CancellationToken::new(), 0);
        let mut inner = pin!(token.cancelled());
        let counted = pin!(poll_fn(|cx| {
            polls += 1;
            inner.as_mut().poll(cx)
        }));
        let mut woken = OnlyWhenWoken::new(counted);
        for _ in 0..10 {
            assert!(poll_fn(|cx| Poll::Ready(woken.poll(cx))).await.is_pending());
        }
        token.cancel();
        poll_fn(|cx| woken.poll(cx)).await;
        assert_eq!(polls, 2);
    }

    #[tokio::test]
    async fn the_task_is_woken_with_it() {
        let token = CancellationToken::new();
        let waiting = tokio::spawn({
            let token = token.clone();
            async move {
                let cancelled = pin!(token.cancelled());
                let mut cancelled = OnlyWhenWoken::new(cancelled);
                poll_fn(|cx| cancelled.poll(cx)).await;
            }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        token.cancel();
        waiting.await.unwrap();
    }
}
