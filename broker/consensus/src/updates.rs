//! How images reach those who act by them: always the newest, and what changed since the one seen last.
//!
//! There is no queue between the fold and its followers: whoever is slow sees several commands as one change.
//!
//! Must not know: how images come about.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cairn_metadata::{Delta, Image};
use tokio::sync::watch;

/// Where the fold puts its images. A clone publishes to the same followers.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    image: Arc<ArcSwap<Image>>,
    /// None once no more images come.
    version: Arc<watch::Sender<Option<u64>>>,
}

impl Publisher {
    pub(crate) fn new(image: Arc<Image>) -> Self {
        let version = Arc::new(watch::Sender::new(Some(image.version())));
        Self { image: Arc::new(ArcSwap::new(image)), version }
    }

    pub(crate) fn publish(&self, image: Arc<Image>) {
        let version = Some(image.version());
        // The image first: who hears of a version must find it.
        self.image.store(image);
        self.version.send_if_modified(|current| std::mem::replace(current, version) != version);
    }

    pub(crate) fn close(&self) {
        self.version.send_replace(None);
    }

    pub(crate) fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// Follows from `seen` on: what is newer than that is the first update.
    pub(crate) fn follow(&self, seen: Arc<Image>) -> Updates {
        let mut version = self.version.subscribe();
        version.mark_changed();
        Updates { image: Arc::clone(&self.image), version, seen }
    }
}

/// Follows the images.
#[derive(Debug)]
pub struct Updates {
    image: Arc<ArcSwap<Image>>,
    version: watch::Receiver<Option<u64>>,
    seen: Arc<Image>,
}

impl Updates {
    /// Waits for an image that differs from the one seen last, and tells the difference. None when the node has shut
    /// down. Dropping the future loses nothing: the next call tells the same difference, or a larger one.
    pub async fn next(&mut self) -> Option<(Arc<Image>, Delta)> {
        loop {
            self.version.changed().await.ok()?;
            (*self.version.borrow_and_update())?;
            let image = self.image.load_full();
            let delta = Delta::between(&self.seen, &image);
            self.seen = Arc::clone(&image);
            if !delta.changes.is_empty() {
                return Some((image, delta));
            }
        }
    }

    /// The image that the next difference is told against.
    #[must_use]
    pub fn seen(&self) -> &Arc<Image> {
        &self.seen
    }
}
