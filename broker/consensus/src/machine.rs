//! The library's state machine: folds committed entries into images, publishes them, and makes checkpoints.
//!
//! Must not know: the log's files, who proposed what.

use std::io;
use std::sync::Arc;

use cairn_metadata::Image;
use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::network::Addresses;
use crate::types::{LogId, Reply, SnapshotMeta, StoredMembership, TypeConfig};
use crate::updates::Publisher;

/// A snapshot on its way between nodes: the image itself, shared.
pub(crate) type SnapshotData = Arc<Image>;
type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// The state machine.
#[derive(Debug)]
pub(crate) struct Machine {
    image: Arc<Image>,
    applied: Option<LogId>,
    membership: StoredMembership,
    publisher: Publisher,
    checkpoints: Checkpoints,
    addresses: Addresses,
}

/// The newest durable checkpoint. The lock is only held to take or to put it.
#[derive(Clone, Debug)]
struct Checkpoints {
    file: CheckpointFile,
    current: Arc<Mutex<Option<Checkpoint>>>,
}

impl Machine {
    /// The state at the last checkpoint: what follows it comes out of the log.
    pub(crate) fn open(file: CheckpointFile) -> io::Result<Self> {
        let current = file.read()?;
        let image = current.as_ref().map_or_else(Arc::default, |checkpoint| Arc::clone(&checkpoint.image));
        let meta = current.as_ref().map_or_else(SnapshotMeta::default, |checkpoint| checkpoint.meta.clone());
        let mut machine = Self {
            publisher: Publisher::new(Arc::clone(&image)),
            image,
            applied: meta.last_log_id,
            membership: StoredMembership::default(),
            checkpoints: Checkpoints { file, current: Arc::new(Mutex::new(current)) },
            addresses: Addresses::default(),
        };
        machine.set_membership(meta.last_membership);
        Ok(machine)
    }

    /// Where the members are reached, always as the newest membership says.
    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    fn set_membership(&mut self, membership: StoredMembership) {
        for (node, at) in membership.nodes() {
            self.addresses.put(*node, at);
        }
        self.membership = membership;
    }

    pub(crate) fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    pub(crate) fn applied(&self) -> Option<LogId> {
        self.applied
    }

    fn fold(&mut self, payload: &EntryPayload<crate::types::Proposal, u64, crate::types::Voter>, at: LogId) -> Reply {
        let reply = match payload {
            EntryPayload::Blank => Reply::Nothing,
            EntryPayload::Membership(membership) => {
                self.set_membership(StoredMembership::new(Some(at), membership.clone()));
                Reply::Nothing
            }
            EntryPayload::Normal(proposal) => match self.image.apply(at.index(), &proposal.0) {
                Ok(applied) => {
                    self.image = Arc::new(applied.image);
                    self.publisher.publish(Arc::clone(&self.image));
                    Reply::Accepted(applied.answer)
                }
                Err(rejected) => Reply::Rejected(rejected),
            },
        };
        self.applied = Some(at);
        reply
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let reply = self.fold(&entry.payload, entry.log_id);
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
        let checkpoint = Checkpoint { meta, image: Arc::clone(&self.image) };
        Builder { checkpoint, checkpoints: self.checkpoints.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, image: SnapshotData) -> Result<(), io::Error> {
        let checkpoint = Checkpoint { meta: meta.clone(), image };
        self.checkpoints.put(checkpoint.clone()).await?;
        self.applied = checkpoint.meta.last_log_id;
        self.set_membership(checkpoint.meta.last_membership);
        self.image = checkpoint.image;
        self.publisher.publish(Arc::clone(&self.image));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.checkpoints.current.lock().clone().map(snapshot))
    }
}

/// Makes one checkpoint of the image as it was when it was asked for.
#[derive(Debug)]
pub(crate) struct Builder {
    checkpoint: Checkpoint,
    checkpoints: Checkpoints,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    /// Returns when the checkpoint is durable: only then may the log before it be purged.
    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        self.checkpoints.put(self.checkpoint.clone()).await?;
        Ok(snapshot(self.checkpoint.clone()))
    }
}

impl Checkpoints {
    async fn put(&self, checkpoint: Checkpoint) -> io::Result<()> {
        let this = self.clone();
        let written = spawn_blocking(move || {
            // Held while writing: of two checkpoints at once, the file and the memory must end up with the same one.
            let mut current = this.current.lock();
            let newer_is_there =
                current.as_ref().is_some_and(|there| there.meta.last_log_id > checkpoint.meta.last_log_id);
            if newer_is_there {
                return Ok(());
            }
            this.file.replace(&checkpoint)?;
            *current = Some(checkpoint);
            Ok(())
        });
        written.await.map_err(io::Error::other)?
    }
}

pub(crate) fn snapshot(checkpoint: Checkpoint) -> Snapshot {
    Snapshot { meta: checkpoint.meta, snapshot: checkpoint.image }
}
