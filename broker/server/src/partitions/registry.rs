//! Which partitions are open here, by topic name and by topic id, and how they come and go with the cluster's metadata.
//!
//! Must not know: requests, who changes the metadata.

mod assigned;
mod moves;
mod open;
mod waiting;

use std::sync::Arc;

use arc_swap::ArcSwap;
use cairn_metadata::{Change, ConfigResource, Delta, Image, Topic};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{BrokerId, Offset, PartitionIndex, TopicId};
use cairn_storage::DataDir;
use cairn_storage::dir::{DirOffline, ReplaceError};
use cairn_storage::log::LogName;
use parking_lot::{Mutex, RwLock};
use rapidhash::fast::RandomState;

pub(crate) use self::moves::FutureLog;
use self::moves::Moves;
pub(super) use self::moves::{Move, Step};
use self::waiting::Carried;
use super::dirs::{DirLook, LogDirs, stopped};
use super::{DirAt, Flusher, Links, Me, Partition, Settings, parallel};
use crate::clock;
use crate::config::LiveConfig;
use crate::lease::HeldLease;

/// All partitions that this broker keeps.
#[derive(Debug)]
pub(crate) struct Partitions {
    /// None once the broker has stopped.
    dirs: RwLock<Option<LogDirs>>,
    by_id: papaya::HashMap<TopicId, Arc<TopicPlaces>, RandomState>,
    by_name: papaya::HashMap<Arc<str>, Arc<TopicPlaces>, RandomState>,
    flusher: Arc<Flusher>,
    links: Arc<Links>,
    me: Me,
    lease: Arc<HeldLease>,
    config: Arc<LiveConfig>,
    /// Held while partitions come and go.
    carried: Mutex<Carried>,
    moves: Moves,
    /// Partitions of which nobody knows where the newer log is, and why; they are taken offline soon.
    in_doubt: Mutex<Vec<(moves::Id, Arc<str>)>>,
}

/// The partitions of one topic by index.
#[derive(Debug)]
struct TopicPlaces {
    name: Arc<str>,
    places: ArcSwap<Vec<Place>>,
}

#[derive(Clone, Debug)]
enum Place {
    Open(Arc<Partition>),
    /// It is here, and cannot be served.
    Offline(Arc<str>),
    /// It found no room on the disk when it was to be opened or made, and is tried again.
    Waiting,
    /// Other brokers keep it.
    Elsewhere,
}

/// Why a partition cannot be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotHere {
    #[error("no topic has this name")]
    UnknownTopic,
    #[error("no topic has this id")]
    UnknownTopicId,
    #[error("the topic has no such partition")]
    UnknownPartition,
    #[error("another broker leads the partition")]
    Elsewhere,
    #[error("{0}")]
    Offline(Arc<str>),
    #[error("there is no space left on disk to open the partition; it is tried again")]
    NoSpace,
}

impl NotHere {
    /// What a client is told.
    pub(crate) fn error_code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic | Self::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownTopicId => ErrorCode::UnknownTopicId,
            Self::Elsewhere => ErrorCode::NotLeaderOrFollower,
            Self::Offline(_) | Self::NoSpace => ErrorCode::KafkaStorageError,
        }
    }
}

/// How many partitions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) open: i64,
    /// Cannot be served, those that wait among them.
    pub(crate) offline: i64,
    /// Wait for room on the disk.
    pub(crate) waiting: i64,
}

impl Partitions {
    pub(crate) fn new(
        dirs: LogDirs,
        (flusher, links): (Arc<Flusher>, Arc<Links>),
        (me, lease): (Me, Arc<HeldLease>),
        config: Arc<LiveConfig>,
    ) -> Arc<Self> {
        Arc::new(Self {
            dirs: RwLock::new(Some(dirs)),
            by_id: papaya::HashMap::with_hasher(RandomState::new()),
            by_name: papaya::HashMap::with_hasher(RandomState::new()),
            flusher,
            links,
            me,
            lease,
            config,
            carried: Mutex::default(),
            moves: Moves::default(),
            in_doubt: Mutex::default(),
        })
    }

    /// Whether this broker is one of those that keep the partition.
    fn is_kept_here(&self, partition: &cairn_metadata::Partition) -> bool {
        partition.replicas.contains(&self.me.broker)
    }

    /// The partition of the topic with this name, where this broker leads it.
    pub(crate) fn by_name(&self, name: &str, index: PartitionIndex) -> Result<Arc<Partition>, NotHere> {
        self.led(self.kept_by_name(name, index)?)
    }

    /// The partition of the topic with this id, where this broker leads it.
    pub(crate) fn by_id(&self, id: TopicId, index: PartitionIndex) -> Result<Arc<Partition>, NotHere> {
        self.led(self.kept_by_id(id, index)?)
    }

    /// The partition, where this broker leads it for all that it can know.
    pub(crate) fn led(&self, kept: Arc<Partition>) -> Result<Arc<Partition>, NotHere> {
        if kept.leads() && self.lease.holds() { Ok(kept) } else { Err(NotHere::Elsewhere) }
    }

    /// The partition as consumers may read it here: led for all that this broker can know, or followed.
    pub(crate) fn readable(&self, kept: Arc<Partition>) -> Result<Arc<Partition>, NotHere> {
        if kept.leads() { self.led(kept) } else { Ok(kept) }
    }

    /// The partition of the topic with this name, whoever leads it.
    pub(crate) fn kept_by_name(&self, name: &str, index: PartitionIndex) -> Result<Arc<Partition>, NotHere> {
        self.by_name.pin().get(name).ok_or(NotHere::UnknownTopic)?.get(index)
    }

    /// The partition of the topic with this id, whoever leads it.
    pub(crate) fn kept_by_id(&self, id: TopicId, index: PartitionIndex) -> Result<Arc<Partition>, NotHere> {
        self.by_id.pin().get(&id).ok_or(NotHere::UnknownTopicId)?.get(index)
    }

    /// All partitions that are open, whoever leads them.
    pub(crate) fn all(&self) -> Vec<Arc<Partition>> {
        let mut all = Vec::new();
        for topic in self.by_id.pin().values() {
            all.extend(topic.places.load().iter().filter_map(Place::open).cloned());
        }
        all
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts { open: 0, offline: 0, waiting: 0 };
        for topic in self.by_id.pin().values() {
            for place in topic.places.load().iter() {
                match place {
                    Place::Open(_) => counts.open += 1,
                    Place::Offline(_) => counts.offline += 1,
                    Place::Elsewhere => {}
                    Place::Waiting => {
                        counts.offline += 1;
                        counts.waiting += 1;
                    }
                }
            }
        }
        counts
    }

    /// Whether the partition is here and cannot be served before a person has done something about it.
    pub(crate) fn is_offline(&self, id: TopicId, index: PartitionIndex) -> bool {
        matches!(self.kept_by_id(id, index), Err(NotHere::Offline(_)))
    }

    /// How full and how well each log dir is. Blocks.
    pub(crate) fn look_at_dirs(&self) -> Vec<DirLook> {
        self.dirs.read().as_ref().map_or_else(Vec::new, LogDirs::look)
    }

    /// How many folders of unknown topics were set aside.
    pub(crate) fn count_strays(&self) -> Result<usize, DirOffline> {
        let mut strays = 0;
        self.each_dir(|dir| {
            strays += dir.count_strays()?;
            Ok::<_, DirOffline>(())
        })?;
        Ok(strays)
    }

    /// What allocators could not prepare in time.
    pub(crate) fn allocator_stalls(&self) -> u64 {
        let stalls = |dir: &Arc<DataDir>| dir.allocator_stats().map_or(0, |stats| stats.stalls);
        self.dirs.read().as_ref().map_or(0, |dirs| dirs.online().map(|(_, dir)| stalls(dir)).sum())
    }

    /// Notes up to where partitions are durable. Blocks.
    pub(crate) fn write_checkpoint(&self) {
        let written = self.each_dir(|dir| {
            if let Err(error) = dir.write_changed_checkpoint() {
                tracing::error!(%error, "checkpoint not written");
            }
            Ok::<_, DirOffline>(())
        });
        if let Err(error) = written {
            tracing::error!(%error, "checkpoint not written");
        }
    }

    /// The same, for who has to know. Blocks.
    pub(crate) fn checkpoint(&self) -> Result<(), ReplaceError> {
        self.each_dir(DataDir::write_checkpoint)
    }

    /// Up to where a partition was compacted.
    pub(super) fn cleaned_to(&self, partition: &Partition) -> Option<Offset> {
        let name = LogName::new(&partition.topic, partition.index).ok()?;
        self.dirs.read().as_ref()?.opened(partition.log_dir())?.cleaned_to(&name)
    }

    /// Notes, durably, up to where a partition was compacted. Blocks.
    pub(super) fn note_cleaned(&self, partition: &Partition, end: Offset) -> Result<(), ReplaceError> {
        let Ok(name) = LogName::new(&partition.topic, partition.index) else { return Ok(()) };
        // Deleted meanwhile: the name is that of nobody, or of another topic's log.
        if self.kept_by_id(partition.topic_id, partition.index).is_err() {
            return Ok(());
        }
        match self.dirs.read().as_ref().and_then(|dirs| dirs.opened(partition.log_dir())) {
            Some(dir) => dir.note_cleaned(&name, end),
            None => Err(stopped(self.config.start().metadata_dir()).into()),
        }
    }

    /// Does `work` with each log dir that serves, until it fails in one.
    fn each_dir<E: From<DirOffline>>(&self, work: impl FnMut(&DataDir) -> Result<(), E>) -> Result<(), E> {
        match &*self.dirs.read() {
            Some(dirs) => dirs.each(work),
            None => Err(stopped(self.config.start().metadata_dir()).into()),
        }
    }

    /// Carries out a change of the metadata here. Blocks.
    pub(crate) fn carry_out(&self, image: &Arc<Image>, delta: &Delta) {
        let mut carried = self.carried.lock();
        for change in &delta.changes {
            match change {
                Change::TopicCreated { id, .. } => self.on_partitions(image, *id, PartitionIndex(0)),
                Change::PartitionsAdded { id, first, .. } => self.on_partitions(image, *id, *first),
                Change::TopicDeleted { id, name, .. } => self.on_deleted(*id, name),
                Change::PartitionsChanged { id, partitions, .. } => self.on_changed(image, *id, partitions),
                Change::TopicConfigsChanged { id, .. } => self.on_configs(image, *id),
                Change::ConfigsChanged(resource) => self.on_broker_configs(image, resource),
                Change::BrokerChanged(broker) => self.on_broker(image, *broker),
                // What it takes to commit may be another number from here on.
                Change::FeaturesChanged => self.on_all(image),
                Change::ClusterIdSet | Change::ProducerIdsAllocated | Change::QuotasChanged(_) => {}
            }
        }
        carried.on_carried_out(image);
    }

    /// A topic has partitions from `first` on that it had not.
    fn on_partitions(&self, image: &Image, id: TopicId, first: PartitionIndex) {
        let dirs = self.dirs.read();
        let (Some(dirs), Some(topic)) = (&*dirs, image.topic(id)) else { return };
        let settings = self.settings(topic);
        let known = self.by_id.pin().get(&id).cloned();
        let mut places = known.map_or_else(Vec::new, |topic| Vec::clone(&topic.places.load()));
        let new: Vec<_> = topic.partitions().filter(|(index, _)| *index >= first).collect();
        // None of it waits for the disk but the note, which does for all of them: one thread, so that none waits for another's
        // hold of the directory.
        places.extend(new.into_iter().map(|(index, partition)| {
            if !self.is_kept_here(partition) {
                return Place::Elsewhere;
            }
            let log = open::create(dirs, topic, index, &settings);
            let place = self.place(dirs, image, topic, index, &settings, log);
            place.open().into_iter().for_each(Partition::settle);
            place
        }));
        dirs.note();
        self.insert(topic, places);
    }

    fn on_deleted(&self, id: TopicId, name: &Arc<str>) {
        let Some(topic) = self.by_id.pin().remove(&id).cloned() else { return };
        self.by_name.pin().remove(name);
        let dirs = self.dirs.read();
        let Some(dirs) = &*dirs else { return };
        let places = topic.places.load();
        let indexed: Vec<_> = (0..).map(PartitionIndex).zip(places.iter()).collect();
        parallel::each(&indexed, |(index, place)| {
            let deleted = match place {
                Place::Elsewhere => return,
                Place::Open(partition) => {
                    self.give_up(dirs, partition, None);
                    let Some(log) = partition.close() else { return };
                    dirs.count_out(partition.log_dir());
                    let Some(dir) = dirs.opened(partition.log_dir()) else { return };
                    dir.delete_log(log).and_then(|deleted| deleted.remove())
                }
                // What lies there may not judge the next topic of this name.
                Place::Offline(_) | Place::Waiting => match LogName::new(name, *index) {
                    Ok(log) => dirs.each(|dir| dir.delete_folder(&log, id)),
                    Err(_) => return,
                },
            };
            if let Err(offline) = deleted {
                tracing::error!(topic = &**name, partition = index.0, %offline, "partition not deleted");
            }
        });
        dirs.forget(id);
        dirs.note();
    }

    /// Takes the partitions of log dirs that have failed offline, those of the dir with the metadata excepted: nothing could
    /// be changed any more, but they are read on. To be called now and then. Blocks.
    pub(crate) fn drop_failed(&self) {
        let _nothing_comes = self.carried.lock();
        self.drop_doubtful();
        let dirs = self.dirs.read();
        let Some(dirs) = &*dirs else { return };
        let why = |at: DirAt| match dirs.is_essential(at) {
            true => None,
            false => dirs.get(at).online().err(),
        };
        let failed: Vec<Option<Arc<str>>> = dirs.all().map(|(at, _)| why(at)).collect();
        if failed.iter().all(Option::is_none) {
            return;
        }
        let mut taken = 0;
        for topic in self.by_id.pin().values() {
            let before = topic.places.load_full();
            let lost = |place: &Place| failed[place.open()?.log_dir().0].clone();
            if before.iter().all(|place| lost(place).is_none()) {
                continue;
            }
            let after = before.iter().map(|place| lost(place).map_or_else(|| place.clone(), Place::Offline)).collect();
            topic.places.store(Arc::new(after));
            for partition in before.iter().filter(|place| lost(place).is_some()).filter_map(Place::open) {
                partition.on_dir_lost();
                taken += 1;
            }
        }
        if taken > 0 {
            tracing::error!(partitions = taken, "partitions of failed log dirs are offline");
        }
    }

    fn on_changed(&self, image: &Image, id: TopicId, changed: &[PartitionIndex]) {
        let Some(topic) = image.topic(id) else { return };
        self.on_assigned(image, topic, changed);
        for index in changed {
            self.on_metadata(image, topic, *index);
        }
    }

    /// A broker serves, or does not, or is another process: those who lead what it keeps have to know.
    fn on_broker(&self, image: &Image, broker: BrokerId) {
        for topic in image.topics() {
            for (index, partition) in topic.partitions() {
                if partition.replicas.contains(&broker) && partition.replicas.len() > 1 {
                    self.on_metadata(image, topic, index);
                }
            }
        }
    }

    fn on_all(&self, image: &Image) {
        for topic in image.topics() {
            for (index, _) in topic.partitions() {
                self.on_metadata(image, topic, index);
            }
        }
    }

    fn on_metadata(&self, image: &Image, topic: &Topic, index: PartitionIndex) {
        if let (Ok(held), Some(partition)) = (self.kept_by_id(topic.id, index), topic.partition(index)) {
            held.on_metadata(image, topic, partition, clock::ticks());
        }
    }

    fn on_configs(&self, image: &Image, id: TopicId) {
        let Some(topic) = image.topic(id) else { return };
        let settings = self.settings(topic);
        for (index, _) in topic.partitions() {
            if let Ok(held) = self.kept_by_id(id, index) {
                held.update(settings.clone());
                self.on_metadata(image, topic, index);
            }
        }
    }

    /// Configs of brokers changed: what topics do not say themselves may have.
    fn on_broker_configs(&self, image: &Image, resource: &ConfigResource) {
        if !self.config.is_of(resource) {
            return;
        }
        self.config.update(image);
        self.cordon_dirs();
        for topic in image.topics() {
            self.on_configs(image, topic.id);
        }
    }

    /// Has the log dirs know which of them take no new partitions.
    fn cordon_dirs(&self) {
        if let Some(dirs) = &*self.dirs.read() {
            dirs.cordon(&self.config.load().cordoned_log_dirs);
        }
    }

    /// Whether no log dir that serves takes new partitions.
    pub(crate) fn are_dirs_cordoned(&self) -> bool {
        self.dirs.read().as_ref().is_some_and(LogDirs::are_all_cordoned)
    }

    fn settings(&self, topic: &Topic) -> Settings {
        let config = self.config.load();
        Settings::new(&topic.configs, &config.topic_defaults, &config)
    }

    fn insert(&self, topic: &Topic, places: Vec<Place>) {
        let by_id = self.by_id.pin();
        if let Some(known) = by_id.get(&topic.id) {
            known.places.store(Arc::new(places));
            return;
        }
        let new = Arc::new(TopicPlaces { name: Arc::clone(&topic.name), places: ArcSwap::from_pointee(places) });
        by_id.insert(topic.id, Arc::clone(&new));
        self.by_name.pin().insert(Arc::clone(&new.name), new);
    }

    /// Wakes all waiting fetches, so that the broker can stop without waiting for them.
    pub(crate) fn wake_fetches(&self) {
        for partition in self.all() {
            partition.wake_fetches();
        }
    }

    /// Closes everything in good order. Blocks. Whoever still holds a partition finds it closed.
    pub(crate) fn close(&self) {
        let _nothing_comes = self.carried.lock();
        self.moves.stop();
        parallel::each(&self.all(), |partition| {
            let Some(log) = partition.close() else { return };
            if let Err(offline) = log.close() {
                tracing::error!(topic = &*partition.topic, partition = partition.index.0, %offline, "not closed well");
            }
        });
        if let Some(dirs) = self.dirs.write().take() {
            dirs.close(self.me.incarnation);
        }
    }
}

impl TopicPlaces {
    fn get(&self, index: PartitionIndex) -> Result<Arc<Partition>, NotHere> {
        let at = usize::try_from(index.0).map_err(|_| NotHere::UnknownPartition)?;
        match self.places.load().get(at) {
            Some(Place::Open(partition)) => Ok(Arc::clone(partition)),
            Some(Place::Offline(why)) => Err(NotHere::Offline(Arc::clone(why))),
            Some(Place::Waiting) => Err(NotHere::NoSpace),
            Some(Place::Elsewhere) => Err(NotHere::Elsewhere),
            None => Err(NotHere::UnknownPartition),
        }
    }
}

impl Place {
    fn open(&self) -> Option<&Arc<Partition>> {
        match self {
            Self::Open(partition) => Some(partition),
            Self::Offline(_) | Self::Waiting | Self::Elsewhere => None,
        }
    }
}
