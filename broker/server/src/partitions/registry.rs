//! Which partitions are open here, by topic name and by topic id, and how they come and go with the cluster's metadata.
//!
//! Must not know: requests, who changes the metadata.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cairn_metadata::names::CLUSTER_METADATA_TOPIC;
use cairn_metadata::{Change, ConfigResource, Delta, Image, Topic};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{LeaderEpoch, PartitionIndex, TopicId};
use cairn_storage::DataDir;
use cairn_storage::dir::{Closed, DirOffline, ReplaceError, SpaceState};
use cairn_storage::log::{CreateLogError, Log, LogName, OpenLogError};
use parking_lot::RwLock;
use rapidhash::fast::RandomState;

use super::{Flusher, Partition, Settings, parallel};
use crate::config::LiveConfig;

/// All partitions that this broker keeps.
#[derive(Debug)]
pub(crate) struct Partitions {
    /// None once the broker has stopped.
    dir: RwLock<Option<Arc<DataDir>>>,
    by_id: papaya::HashMap<TopicId, Arc<TopicPlaces>, RandomState>,
    by_name: papaya::HashMap<Arc<str>, Arc<TopicPlaces>, RandomState>,
    flusher: Arc<Flusher>,
    config: Arc<LiveConfig>,
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
    #[error("{0}")]
    Offline(Arc<str>),
}

impl NotHere {
    /// What a client is told.
    pub(crate) fn error_code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic | Self::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownTopicId => ErrorCode::UnknownTopicId,
            Self::Offline(_) => ErrorCode::KafkaStorageError,
        }
    }
}

/// How many partitions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) open: i64,
    pub(crate) offline: i64,
}

impl Partitions {
    pub(crate) fn new(dir: Arc<DataDir>, flusher: Arc<Flusher>, config: Arc<LiveConfig>) -> Arc<Self> {
        Arc::new(Self {
            dir: RwLock::new(Some(dir)),
            by_id: papaya::HashMap::with_hasher(RandomState::new()),
            by_name: papaya::HashMap::with_hasher(RandomState::new()),
            flusher,
            config,
        })
    }

    /// The partition of the topic with this name.
    pub(crate) fn by_name(&self, name: &str, index: PartitionIndex) -> Result<Arc<Partition>, NotHere> {
        self.by_name.pin().get(name).ok_or(NotHere::UnknownTopic)?.get(index)
    }

    /// The partition of the topic with this id.
    pub(crate) fn by_id(&self, id: TopicId, index: PartitionIndex) -> Result<Arc<Partition>, NotHere> {
        self.by_id.pin().get(&id).ok_or(NotHere::UnknownTopicId)?.get(index)
    }

    /// All partitions that are open.
    pub(crate) fn all(&self) -> Vec<Arc<Partition>> {
        let mut all = Vec::new();
        for topic in self.by_id.pin().values() {
            all.extend(topic.places.load().iter().filter_map(Place::open).cloned());
        }
        all
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts { open: 0, offline: 0 };
        for topic in self.by_id.pin().values() {
            for place in topic.places.load().iter() {
                match place {
                    Place::Open(_) => counts.open += 1,
                    Place::Offline(_) => counts.offline += 1,
                }
            }
        }
        counts
    }

    /// How full the disk is.
    pub(crate) fn look_at_disk(&self) -> Result<SpaceState, DirOffline> {
        self.with_dir(|dir| dir.failure().map_or_else(|| dir.refresh_space(), Err))
    }

    /// What the allocator could not prepare in time.
    pub(crate) fn allocator_stalls(&self) -> u64 {
        self.dir.read().as_ref().and_then(|dir| dir.allocator_stats()).map_or(0, |stats| stats.stalls)
    }

    /// Notes up to where partitions are durable. Blocks.
    pub(crate) fn write_checkpoint(&self) {
        if let Err(error) = self.with_dir(DataDir::write_changed_checkpoint) {
            tracing::error!(%error, "checkpoint not written");
        }
    }

    /// The same, for who has to know. Blocks.
    pub(crate) fn checkpoint(&self) -> Result<(), ReplaceError> {
        self.with_dir(DataDir::write_checkpoint)
    }

    fn with_dir<T, E: From<DirOffline>>(&self, work: impl FnOnce(&DataDir) -> Result<T, E>) -> Result<T, E> {
        match &*self.dir.read() {
            Some(dir) => work(dir),
            None => Err(DirOffline {
                path: self.config.start().data_dir().to_owned(),
                cause: "the broker has stopped".into(),
            }
            .into()),
        }
    }

    /// Opens all partitions of the image, many at a time. Blocks. One that cannot be opened does not keep the others back.
    pub(crate) fn open_all(&self, image: &Image) {
        let dir = self.dir.read();
        let Some(dir) = &*dir else { return };
        let mut names = Vec::with_capacity(image.partition_count());
        for topic in image.topics() {
            for (index, _) in topic.partitions() {
                names.extend(LogName::new(&topic.name, index));
            }
        }
        self.report_strays(dir, &names);
        let parallelism = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let topic_of = |name: &LogName| image.topic_by_name(name.topic()).expect("the names are of this image");
        parallel::each(&names, |name| {
            if let Err(offline) = free_name(dir, topic_of(name), name) {
                tracing::error!(folder = %name, %offline, "folder of another topic not set aside");
            }
        });
        let opened = dir.open_logs(&names, parallelism, |name| self.settings(topic_of(name)).log);
        let mut opened: HashMap<LogName, _> = opened.into_iter().collect();
        for topic in image.topics() {
            let settings = self.settings(topic);
            let mut places = Vec::with_capacity(topic.partitions.len());
            for (index, partition) in topic.partitions() {
                let log = log_name(&topic.name, index).and_then(|name| {
                    let result = opened.remove(&name).expect("each legal name was opened");
                    self.admit(dir, topic, &name, &settings, result)
                });
                places.push(self.place(topic, index, partition.leader_epoch, &settings, log));
            }
            self.insert(topic, places);
        }
        parallel::each(&self.all(), Partition::settle);
        if let Err(offline) = dir.remove_deleted_logs() {
            tracing::error!(%offline, "deleted partitions not removed");
        }
        Self::note_logs(dir);
    }

    /// Has the data directory know which logs it has: one that is missing later is lost, and not to be made.
    fn note_logs(dir: &DataDir) {
        if let Err(error) = dir.write_checkpoint() {
            tracing::error!(%error, "logs not noted");
        }
    }

    /// Tells of folders that belong to no topic. They stay: only a person can say whether they are wanted.
    fn report_strays(&self, dir: &DataDir, known: &[LogName]) {
        let Ok(there) = dir.list_logs() else { return };
        let known: std::collections::HashSet<&LogName> = known.iter().collect();
        let strays = there.iter().filter(|name| name.topic() != CLUSTER_METADATA_TOPIC && !known.contains(name));
        for stray in strays {
            tracing::warn!(folder = %stray, data = %self.config.start().data_dir().display(), "folder belongs to no topic");
        }
    }

    /// Carries out a change of the metadata here. Blocks.
    pub(crate) fn carry_out(&self, image: &Image, delta: &Delta) {
        for change in &delta.changes {
            match change {
                Change::TopicCreated { id, .. } => self.on_partitions(image, *id, PartitionIndex(0)),
                Change::PartitionsAdded { id, first, .. } => self.on_partitions(image, *id, *first),
                Change::TopicDeleted { id, name, .. } => self.on_deleted(*id, name),
                Change::PartitionsChanged { id, partitions, .. } => self.on_changed(image, *id, partitions),
                Change::TopicConfigsChanged { id, .. } => self.on_configs(image, *id),
                Change::ConfigsChanged(resource) => self.on_broker_configs(image, resource),
                Change::ClusterIdSet
                | Change::BrokerChanged(_)
                | Change::ProducerIdsAllocated
                | Change::QuotasChanged(_) => {}
            }
        }
    }

    /// A topic has partitions from `first` on that it had not.
    fn on_partitions(&self, image: &Image, id: TopicId, first: PartitionIndex) {
        let dir = self.dir.read();
        let (Some(dir), Some(topic)) = (&*dir, image.topic(id)) else { return };
        let settings = self.settings(topic);
        let known = self.by_id.pin().get(&id).cloned();
        let mut places = known.map_or_else(Vec::new, |topic| Vec::clone(&topic.places.load()));
        let new: Vec<_> = topic.partitions().filter(|(index, _)| *index >= first).collect();
        places.extend(parallel::each(&new, |(index, partition)| {
            let log = log_name(&topic.name, *index).and_then(|name| self.create(dir, topic, &name, &settings));
            let place = self.place(topic, *index, partition.leader_epoch, &settings, log);
            place.open().into_iter().for_each(Partition::settle);
            place
        }));
        Self::note_logs(dir);
        self.insert(topic, places);
    }

    fn on_deleted(&self, id: TopicId, name: &Arc<str>) {
        let Some(topic) = self.by_id.pin().remove(&id).cloned() else { return };
        self.by_name.pin().remove(name);
        let dir = self.dir.read();
        let Some(dir) = &*dir else { return };
        let places = topic.places.load();
        let indexed: Vec<_> = (0..).map(PartitionIndex).zip(places.iter()).collect();
        parallel::each(&indexed, |(index, place)| {
            let deleted = match place {
                Place::Open(partition) => {
                    let Some(log) = partition.close() else { return };
                    dir.delete_log(log).and_then(|deleted| deleted.remove())
                }
                // What lies there may not judge the next topic of this name.
                Place::Offline(_) => match LogName::new(name, *index) {
                    Ok(log) => dir.delete_folder(&log, id),
                    Err(_) => return,
                },
            };
            if let Err(offline) = deleted {
                tracing::error!(topic = &**name, partition = index.0, %offline, "partition not deleted");
            }
        });
        Self::note_logs(dir);
    }

    fn on_changed(&self, image: &Image, id: TopicId, changed: &[PartitionIndex]) {
        let Some(topic) = image.topic(id) else { return };
        for index in changed {
            if let (Ok(held), Some(partition)) = (self.by_id(id, *index), topic.partition(*index)) {
                held.set_leader_epoch(partition.leader_epoch);
            }
        }
    }

    fn on_configs(&self, image: &Image, id: TopicId) {
        let Some(topic) = image.topic(id) else { return };
        let settings = self.settings(topic);
        for (index, _) in topic.partitions() {
            if let Ok(held) = self.by_id(id, index) {
                held.update(settings.clone());
            }
        }
    }

    /// Configs of brokers changed: what topics do not say themselves may have.
    fn on_broker_configs(&self, image: &Image, resource: &ConfigResource) {
        if !self.config.is_of(resource) {
            return;
        }
        self.config.update(image);
        for topic in image.topics() {
            self.on_configs(image, topic.id);
        }
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

    fn place(
        &self,
        topic: &Topic,
        index: PartitionIndex,
        epoch: LeaderEpoch,
        settings: &Settings,
        log: Result<Log, Arc<str>>,
    ) -> Place {
        match log {
            Ok(log) => {
                let (name, id, flusher) = (Arc::clone(&topic.name), topic.id, Arc::clone(&self.flusher));
                Place::Open(Partition::new((name, id, index), log, settings.clone(), epoch, flusher))
            }
            Err(why) => {
                tracing::error!(topic = &*topic.name, partition = index.0, why = &*why, "partition is offline");
                Place::Offline(why)
            }
        }
    }

    /// What was opened, or what there has to be instead.
    fn admit(
        &self,
        dir: &DataDir,
        topic: &Topic,
        name: &LogName,
        settings: &Settings,
        opened: Result<Log, OpenLogError>,
    ) -> Result<Log, Arc<str>> {
        match opened {
            Ok(log) => Ok(log),
            // The broker was stopped between the topic's creation and its folders'. A folder that was there is not made anew.
            Err(OpenLogError::Missing { .. }) => self.create(dir, topic, name, settings),
            Err(error) => Err(error.to_string().into()),
        }
    }

    fn create(&self, dir: &DataDir, topic: &Topic, name: &LogName, settings: &Settings) -> Result<Log, Arc<str>> {
        match dir.create_log(name, topic.id, settings.log.clone()) {
            Ok(log) => Ok(log),
            Err(CreateLogError::Exists { .. }) => {
                free_name(dir, topic, name).map_err(|error| error.to_string())?;
                match dir.open_log(name, settings.log.clone()) {
                    Ok(log) => Ok(log),
                    // Set aside just now.
                    Err(OpenLogError::Missing { .. }) => {
                        let created = dir.create_log(name, topic.id, settings.log.clone());
                        created.map_err(|error| error.to_string().into())
                    }
                    Err(error) => Err(error.to_string().into()),
                }
            }
            Err(error) => Err(error.to_string().into()),
        }
    }

    /// Wakes all waiting fetches, so that the broker can stop without waiting for them.
    pub(crate) fn wake_fetches(&self) {
        for partition in self.all() {
            partition.wake_fetches();
        }
    }

    /// Closes everything in good order. Blocks. Whoever still holds a partition finds it closed.
    pub(crate) fn close(&self) {
        parallel::each(&self.all(), |partition| {
            let Some(log) = partition.close() else { return };
            if let Err(offline) = log.close() {
                tracing::error!(topic = &*partition.topic, partition = partition.index.0, %offline, "not closed well");
            }
        });
        // Nobody else has it by now but who has forgotten to let it go.
        let Some(dir) = self.dir.write().take().and_then(Arc::into_inner) else { return };
        match dir.close() {
            Ok(Closed::Clean) => {}
            Ok(Closed::Unclean { left_open }) => tracing::warn!(left_open, "data directory closed with open logs"),
            Err(offline) => tracing::error!(%offline, "data directory not closed well"),
        }
    }
}

fn log_name(topic: &str, index: PartitionIndex) -> Result<LogName, Arc<str>> {
    LogName::new(topic, index).map_err(|error| error.to_string().into())
}

/// Sets a folder aside that says that it is another topic's, before anything in it is touched: that topic was deleted, and
/// the broker was stopped before its folder had gone; or the metadata was lost, and these records are all that is left.
/// Which of the two a person has to say. Folders of old Kafka versions do not say whose they are.
fn free_name(dir: &DataDir, topic: &Topic, name: &LogName) -> Result<(), DirOffline> {
    let of_topic = dir.topic_id_of(name);
    if of_topic == topic.id || of_topic.is_zero() {
        return Ok(());
    }
    if let Some(stray) = dir.set_aside_folder(name)? {
        tracing::warn!(folder = %name, %of_topic, stray, "folder of another topic set aside");
    }
    Ok(())
}

impl TopicPlaces {
    fn get(&self, index: PartitionIndex) -> Result<Arc<Partition>, NotHere> {
        let at = usize::try_from(index.0).map_err(|_| NotHere::UnknownPartition)?;
        match self.places.load().get(at) {
            Some(Place::Open(partition)) => Ok(Arc::clone(partition)),
            Some(Place::Offline(why)) => Err(NotHere::Offline(Arc::clone(why))),
            None => Err(NotHere::UnknownPartition),
        }
    }
}

impl Place {
    fn open(&self) -> Option<&Arc<Partition>> {
        match self {
            Self::Open(partition) => Some(partition),
            Self::Offline(_) => None,
        }
    }
}
