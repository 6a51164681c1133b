//! What happens to groups when time passes: one task for each partition that has any.
//!
//! Must not know: what is due.

use std::sync::{Arc, Weak};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::groups::Groups;
use crate::clock;

/// Has what is due done until the groups are gone. Between two times the task holds nothing of them.
pub(super) async fn run(groups: Weak<Groups>, earlier: Arc<Notify>) {
    loop {
        let next = match groups.upgrade() {
            Some(groups) => groups.on_time(),
            None => return,
        };
        match next {
            None => earlier.notified().await,
            Some(at) => {
                let at = Instant::from_std(clock::instant_of(at));
                tokio::select! {
                    () = sleep_until(at) => {}
                    () = earlier.notified() => {}
                }
            }
        }
    }
}
