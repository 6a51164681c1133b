//! The cluster's metadata as this broker sees it: the newest image that is carried out here, and the way to change it.
//!
//! Must not know: how commands are made durable and agreed on.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cairn_metadata::{Answer, Command, Image, Rejected};
use tokio::sync::Mutex;

use crate::partitions::Partitions;

/// Reads and changes the cluster's metadata.
#[derive(Debug)]
pub(crate) struct Cluster {
    image: ArcSwap<Image>,
    index: Mutex<u64>,
    partitions: Arc<Partitions>,
}

/// A command did not come to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProposeError {
    /// The cluster's state forbids it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopping,
}

impl Cluster {
    pub(crate) fn new(partitions: Arc<Partitions>) -> Self {
        Self { image: ArcSwap::from_pointee(Image::default()), index: Mutex::new(0), partitions }
    }

    /// The newest image whose partitions are open here.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// Has the command agreed on, and waits until it is carried out here: what follows sees it in [`Self::image`], and new
    /// partitions can be written to.
    pub(crate) async fn propose(&self, command: Command) -> Result<Answer, ProposeError> {
        let mut index = self.index.lock().await;
        *index += 1;
        let applied = self.image().apply(*index, &command)?;
        let image = Arc::new(applied.image);
        let (partitions, carried_out) = (Arc::clone(&self.partitions), Arc::clone(&image));
        tokio::task::spawn_blocking(move || partitions.carry_out(&carried_out, &applied.delta))
            .await
            .map_err(|_| ProposeError::Stopping)?;
        self.image.store(image);
        Ok(applied.answer)
    }
}
