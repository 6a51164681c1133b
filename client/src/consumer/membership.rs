//! Membership in a group: which of its partitions this consumer reads, for as long as it takes part.
//!
//! A protocol decides, as a pure core (`classic`, `next`); a task carries its steps out (`task`), and partitions change hands in
//! between (`transfer`). The cores and the task speak in the words of `step`. Must not know: how records are fetched.

mod assignor;
mod beats;
mod classic;
pub(super) mod handover;
mod next;
pub(super) mod pattern;
mod protocol;
mod step;
mod task;
mod transfer;
mod wire;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::assignor::Assignor;
pub(super) use self::transfer::{commit, commit_all};
use super::offsets::Committer;
use super::{ConsumeError, OffsetsError, RecordBatches, Shared};
use crate::topic_partition::TopicPartition;

/// By which protocol a consumer takes part in its group (`group.protocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupProtocol {
    /// Members join, and one of them assigns (JoinGroup, SyncGroup).
    Classic,
    /// The coordinator assigns, and nobody waits for the others (KIP-848). The assignors, the session timeout and the heartbeat
    /// interval are the group's, not the member's.
    Consumer,
}

/// A member's settings, by Kafka's names and defaults.
#[derive(Clone, Debug)]
pub(crate) struct MemberConfig {
    pub(crate) protocol: GroupProtocol,
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) session_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) max_poll_interval: Duration,
    pub(crate) assignors: Vec<Assignor>,
    pub(crate) auto_commit: Option<Duration>,
}

impl Default for MemberConfig {
    fn default() -> Self {
        Self {
            protocol: GroupProtocol::Classic,
            instance: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: Duration::from_secs(300),
            assignors: vec![Assignor::Range, Assignor::CooperativeSticky],
            auto_commit: None,
        }
    }
}

/// What happens to partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RebalanceKind {
    /// This consumer reads them from now on. They begin where the group has committed; a [`seek`](super::Consumer::seek) before the
    /// event is dropped has them begin elsewhere.
    Assigned,
    /// They go to another member, who begins where this one commits before the event is dropped.
    Revoked,
    /// They are gone: the group went on without this consumer, and nothing can be committed for them any more.
    Lost,
}

/// Partitions change hands. While this is held, no record is given out and the group waits, for at most `max.poll.interval.ms`:
/// drop it when what has to be done about it is done.
#[derive(Debug)]
pub struct Rebalance {
    kind: RebalanceKind,
    partitions: Vec<TopicPartition>,
    /// Who waits sees it dropped.
    _done: oneshot::Sender<()>,
}

impl Rebalance {
    /// What happens to them.
    #[must_use]
    pub fn kind(&self) -> RebalanceKind {
        self.kind
    }

    /// The partitions that change hands; others stay as they are. May be empty when a member gets nothing.
    #[must_use]
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }
}

/// The [`Rebalance`]s of a consumer, as they happen; a stream that ends with the consumer, or when another is asked for.
#[derive(Debug)]
pub struct Rebalances {
    events: mpsc::UnboundedReceiver<Rebalance>,
}

impl Rebalances {
    /// The next one.
    ///
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Rebalance> {
        self.events.recv().await
    }
}

impl Stream for Rebalances {
    type Item = Rebalance;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Rebalance>> {
        self.events.poll_recv(context)
    }
}

/// What the consumer tells its membership.
#[derive(Debug)]
enum Command {
    Subscribe(Vec<Arc<str>>),
    /// Commit if that is automatic, leave, and drop this.
    Leave(oneshot::Sender<()>),
}

/// What a consumer keeps of its membership, if it has one.
#[derive(Debug, Default)]
pub(super) struct Membership {
    task: Mutex<Option<mpsc::UnboundedSender<Command>>>,
    listener: Mutex<Option<mpsc::UnboundedSender<Rebalance>>>,
    /// As whom it commits; none while it is no member of the generation.
    committer: Mutex<Option<Committer>>,
    /// It is about to leave: nothing is waited for any more.
    leaving: Mutex<CancellationToken>,
    /// The topics that it wants.
    topics: Mutex<Vec<Arc<str>>>,
    /// Ends what looks for topics by a pattern.
    watching: Mutex<Option<DropGuard>>,
}

impl Membership {
    /// As whom a consumer commits: as a member if it has subscribed, else as nobody.
    pub(super) fn committer(&self, group: &Arc<str>) -> Result<Committer, OffsetsError> {
        if !self.is_subscribed() {
            return Ok(Committer::default());
        }
        self.committer.lock().clone().ok_or_else(|| OffsetsError::NoMember { group: Arc::clone(group) })
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.task.lock().is_some()
    }

    /// Events go to who asked last.
    pub(super) fn listen(&self) -> Rebalances {
        let (sender, events) = mpsc::unbounded_channel();
        *self.listener.lock() = Some(sender);
        Rebalances { events }
    }

    /// Leaves, if it is a member. Gives when it has.
    pub(super) async fn leave(&self) {
        self.stop_watching();
        let task = self.task.lock().clone();
        let (done, is_done) = oneshot::channel();
        self.leaving.lock().cancel();
        if let Some(task) = task
            && task.send(Command::Leave(done)).is_ok()
        {
            // An error says that it is dropped: done.
            let _ = is_done.await;
        }
        *self.task.lock() = None;
        *self.committer.lock() = None;
    }

    /// Ends what looked for topics, and gives what ends what looks from now on.
    pub(super) fn watch_anew(&self) -> CancellationToken {
        let until = CancellationToken::new();
        *self.watching.lock() = Some(until.clone().drop_guard());
        until
    }

    /// Nobody looks for topics any more.
    pub(super) fn stop_watching(&self) {
        *self.watching.lock() = None;
    }

    fn topics(&self) -> Vec<Arc<str>> {
        self.topics.lock().clone()
    }

    fn leaving(&self) -> CancellationToken {
        self.leaving.lock().clone()
    }
}

/// Takes part in the group, or changes the topics.
pub(super) fn subscribe(
    shared: &Arc<Shared>,
    topics: Vec<Arc<str>>,
    errors: mpsc::UnboundedSender<Result<RecordBatches, ConsumeError>>,
) {
    let mut task = shared.membership.task.lock();
    shared.membership.topics.lock().clone_from(&topics);
    let command = Command::Subscribe(topics);
    let command = match &*task {
        None => command,
        Some(sender) => match sender.send(command) {
            Ok(()) => return,
            // It was refused for good; another attempt may go better.
            Err(refused) => refused.0,
        },
    };
    let (sender, commands) = mpsc::unbounded_channel();
    // The receiver is there.
    let _ = sender.send(command);
    *shared.membership.leaving.lock() = CancellationToken::new();
    *task = Some(sender);
    drop(task);
    tokio::spawn(task::run(Arc::clone(shared), commands, errors));
}
