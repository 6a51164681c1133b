//! Which partitions have something for which follower: a row for each follower's broker, which a task works off.
//!
//! Nothing is queued here but who may have something: each partition stands in each row at most once.
//!
//! Must not know: what is sent, how.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use cairn_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Partition;
use super::partition::Stream;

/// The rows of all followers, and the partitions that have any.
#[derive(Debug)]
pub(crate) struct Links {
    me: BrokerId,
    links: Mutex<HashMap<BrokerId, Arc<Link>>>,
    /// Links that nobody works off yet.
    new: Mutex<Vec<Arc<Link>>>,
    is_new: Notify,
    led: Mutex<HashMap<(TopicId, PartitionIndex), Weak<Partition>>>,
}

/// The row of one follower's broker.
#[derive(Debug)]
pub(crate) struct Link {
    to: BrokerId,
    row: Mutex<VecDeque<Arc<Stream>>>,
    is_due: Notify,
}

impl Links {
    pub(crate) fn new(me: BrokerId) -> Arc<Self> {
        Arc::new(Self {
            me,
            links: Mutex::default(),
            new: Mutex::default(),
            is_new: Notify::new(),
            led: Mutex::default(),
        })
    }

    /// This broker.
    pub(crate) fn me(&self) -> BrokerId {
        self.me
    }

    /// The row of a broker.
    pub(super) fn to(&self, broker: BrokerId) -> Arc<Link> {
        let mut links = self.links.lock();
        let link = links.entry(broker).or_insert_with(|| {
            let link = Arc::new(Link { to: broker, row: Mutex::default(), is_due: Notify::new() });
            self.new.lock().push(Arc::clone(&link));
            self.is_new.notify_one();
            link
        });
        Arc::clone(link)
    }

    /// Waits for links that nobody works off yet.
    pub(crate) async fn next_new(&self) -> Vec<Arc<Link>> {
        loop {
            let new = std::mem::take(&mut *self.new.lock());
            if !new.is_empty() {
                return new;
            }
            self.is_new.notified().await;
        }
    }

    /// This broker leads a partition that others follow.
    pub(super) fn note(&self, partition: &Arc<Partition>) {
        self.led.lock().insert((partition.topic_id, partition.index), Arc::downgrade(partition));
    }

    /// It does no more.
    pub(super) fn forget(&self, partition: &Partition) {
        self.led.lock().remove(&(partition.topic_id, partition.index));
    }

    /// The partitions that this broker leads and others follow.
    pub(crate) fn led(&self) -> Vec<Arc<Partition>> {
        self.led.lock().values().filter_map(Weak::upgrade).collect()
    }
}

impl Link {
    /// The follower's broker.
    pub(crate) fn to(&self) -> BrokerId {
        self.to
    }

    pub(super) fn push(&self, stream: Arc<Stream>) {
        self.row.lock().push_back(stream);
        self.is_due.notify_one();
    }

    /// The next one that may have something; it stands there no more.
    pub(crate) fn next(&self) -> Option<Arc<Stream>> {
        let stream = self.row.lock().pop_front()?;
        stream.taken();
        Some(stream)
    }

    /// Waits until something was put into the row.
    pub(crate) async fn due(&self) {
        self.is_due.notified().await;
    }
}
