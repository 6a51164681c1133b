//! The cluster's metadata as this broker sees it: the newest image that is carried out here, and the way to change it.
//!
//! ```text
//!   propose -> the quorum commits and folds -> follower: carry out here -> image() shows it -> propose returns
//! ```
//!
//! Must not know: how commands are made durable and agreed on.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cairn_consensus::{MetadataNode, Updates};
use cairn_metadata::{Answer, Change, Command, Image, Rejected};
use cairn_protocol::ids::BrokerId;
use tokio::sync::{Mutex, MutexGuard, watch};

use crate::partitions::Partitions;
use crate::quotas::Quotas;

/// Reads and changes the cluster's metadata.
#[derive(Debug)]
pub(crate) struct Cluster {
    metadata: Arc<MetadataNode>,
    image: ArcSwap<Image>,
    /// The version of `image`.
    version: watch::Sender<u64>,
    members_change: Mutex<()>,
}

/// A command did not come to be, as far as is known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProposeError {
    /// The cluster's state forbids it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// It may come to be, or not: the quorum has no leader here, or the broker is stopping.
    #[error("the cluster's metadata cannot be changed now: {0}")]
    Unavailable(Box<str>),
}

impl From<cairn_consensus::ProposeError> for ProposeError {
    fn from(error: cairn_consensus::ProposeError) -> Self {
        match error {
            cairn_consensus::ProposeError::Rejected(rejected) => Self::Rejected(rejected),
            other => Self::Unavailable(other.to_string().into()),
        }
    }
}

impl Cluster {
    /// Shows `image`, whose partitions are open here; [`Self::follow`] goes on from there.
    pub(crate) fn new(metadata: Arc<MetadataNode>, image: Arc<Image>) -> Self {
        let version = watch::Sender::new(image.version());
        Self { metadata, image: ArcSwap::new(image), version, members_change: Mutex::default() }
    }

    /// The newest image whose partitions are open here.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// This broker's part of the quorum.
    pub(crate) fn quorum(&self) -> &Arc<MetadataNode> {
        &self.metadata
    }

    /// Who is a member is changed by one after the other: two that join at once would get one id, and one that is removed would come back.
    pub(crate) async fn members_change(&self) -> MutexGuard<'_, ()> {
        self.members_change.lock().await
    }

    /// As [`Self::members_change`]; none while another change is under way.
    pub(crate) fn try_members_change(&self) -> Option<MutexGuard<'_, ()>> {
        self.members_change.try_lock().ok()
    }

    /// The broker that decides about the metadata, where that is known.
    pub(crate) fn controller(&self) -> Option<BrokerId> {
        self.metadata.leader()
    }

    /// What has changed since [`Self::image`], for [`Self::follow`].
    pub(crate) fn updates(&self) -> Updates {
        self.metadata.updates(self.image())
    }

    /// Has the command agreed on, and waits until it is carried out here: what follows sees it in [`Self::image`], and new
    /// partitions can be written to.
    pub(crate) async fn propose(&self, command: Command) -> Result<Answer, ProposeError> {
        let proposed = self.metadata.propose(command).await?;
        let version = proposed.image.version();
        let carried_out = self.version.subscribe().wait_for(|carried_out| *carried_out >= version).await.is_ok();
        if !carried_out {
            return Err(ProposeError::Unavailable("the broker is stopping".into()));
        }
        Ok(proposed.answer)
    }

    /// The version of [`Self::image`], and each that it is from now on.
    pub(crate) fn versions(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Waits until what this broker knows by now is carried out here, or the broker stops.
    pub(crate) async fn is_carried_out(&self) {
        let version = self.metadata.image().version();
        let _ = self.version.subscribe().wait_for(|carried_out| *carried_out >= version).await;
    }

    /// Carries out every change of the metadata here, one after the other, until the quorum's node has stopped.
    pub(crate) async fn follow(
        self: Arc<Self>,
        mut updates: Updates,
        partitions: Arc<Partitions>,
        quotas: Arc<Quotas>,
    ) {
        while let Some((image, delta)) = updates.next().await {
            if delta.changes.iter().any(|change| matches!(change, Change::QuotasChanged(_))) {
                quotas.update(image.quotas());
            }
            let (there, carried_out) = (Arc::clone(&partitions), Arc::clone(&image));
            let work = tokio::task::spawn_blocking(move || there.carry_out(&carried_out, &delta));
            if let Err(error) = work.await {
                tracing::error!(%error, "metadata was not carried out");
                return;
            }
            let version = image.version();
            self.image.store(image);
            self.version.send_replace(version);
        }
    }

    /// Stops the quorum's node in order.
    pub(crate) async fn shutdown(&self) {
        self.metadata.shutdown().await;
    }
}
