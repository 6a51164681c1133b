//! From the folders of the data directory to partitions: opened where they are, made where they were never made.
//!
//! Must not know: who asks for partitions, what is done with those that cannot be had.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;

use cairn_metadata::names::CLUSTER_METADATA_TOPIC;
use cairn_metadata::{Image, Topic};
use cairn_protocol::ids::{LeaderEpoch, PartitionIndex};
use cairn_storage::DataDir;
use cairn_storage::dir::DirOffline;
use cairn_storage::log::{CreateLogError, Log, LogName, OpenLogError};

use super::{Partitions, Place};
use crate::partitions::{Partition, Settings, parallel};

/// A partition's log cannot be had.
#[derive(Debug)]
pub(super) enum NoLog {
    /// For want of room; that passes.
    NoSpace,
    /// Until a person does something about it.
    Broken(Arc<str>),
}

impl NoLog {
    /// With all that is known of the cause: a person has to find out what to do.
    fn broken(error: &dyn Error) -> Self {
        let mut told = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            told = format!("{told}: {error}");
            cause = error.source();
        }
        Self::Broken(told.into())
    }
}

impl From<OpenLogError> for NoLog {
    fn from(error: OpenLogError) -> Self {
        match error {
            OpenLogError::DiskFull => Self::NoSpace,
            other => Self::broken(&other),
        }
    }
}

impl From<CreateLogError> for NoLog {
    fn from(error: CreateLogError) -> Self {
        match error {
            CreateLogError::DiskFull => Self::NoSpace,
            other => Self::broken(&other),
        }
    }
}

impl From<DirOffline> for NoLog {
    fn from(offline: DirOffline) -> Self {
        Self::broken(&offline)
    }
}

impl Partitions {
    /// Opens all partitions of the image, many at a time. Blocks. One that cannot be opened does not keep the others back.
    pub(crate) fn open_all(&self, image: &Arc<Image>) {
        let mut carried = self.carried.lock();
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
                let log = log_name(topic, index).and_then(|name| {
                    let result = opened.remove(&name).expect("each legal name was opened");
                    admit(dir, topic, &name, &settings, result)
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
        carried.on_carried_out(image);
    }

    /// Has the data directory know which logs it has: one that is missing later is lost, and not to be made.
    pub(super) fn note_logs(dir: &DataDir) {
        if let Err(error) = dir.write_checkpoint() {
            tracing::error!(%error, "logs not noted");
        }
    }

    /// Tells of folders that belong to no topic. They stay: only a person can say whether they are wanted.
    fn report_strays(&self, dir: &DataDir, known: &[LogName]) {
        let Ok(there) = dir.list_logs() else { return };
        let known: HashSet<&LogName> = known.iter().collect();
        let strays = there.iter().filter(|name| name.topic() != CLUSTER_METADATA_TOPIC && !known.contains(name));
        for stray in strays {
            tracing::warn!(folder = %stray, data = %self.config.start().data_dir().display(), "folder belongs to no topic");
        }
    }

    /// The place of a partition whose log was asked for.
    pub(super) fn place(
        &self,
        topic: &Topic,
        index: PartitionIndex,
        epoch: LeaderEpoch,
        settings: &Settings,
        log: Result<Log, NoLog>,
    ) -> Place {
        match log {
            Ok(log) => {
                let (name, id, flusher) = (Arc::clone(&topic.name), topic.id, Arc::clone(&self.flusher));
                Place::Open(Partition::new((name, id, index), log, settings.clone(), epoch, flusher))
            }
            Err(NoLog::Broken(why)) => {
                tracing::error!(topic = &*topic.name, partition = index.0, why = &*why, "partition is offline");
                Place::Offline(why)
            }
            Err(NoLog::NoSpace) => {
                tracing::error!(
                    topic = &*topic.name,
                    partition = index.0,
                    "partition is offline: no space left on disk to open it; it is tried again when there is"
                );
                Place::Waiting
            }
        }
    }

    /// The log of a partition that has none yet, as far as the metadata tells.
    pub(super) fn create(
        &self,
        dir: &DataDir,
        topic: &Topic,
        index: PartitionIndex,
        settings: &Settings,
    ) -> Result<Log, NoLog> {
        let name = log_name(topic, index)?;
        match dir.create_log(&name, topic.id, settings.log.clone()) {
            Err(CreateLogError::Exists { .. }) => self.open_or_create(dir, topic, index, settings),
            created => Ok(created?),
        }
    }

    /// The log of a partition, whether it was made before or not.
    pub(super) fn open_or_create(
        &self,
        dir: &DataDir,
        topic: &Topic,
        index: PartitionIndex,
        settings: &Settings,
    ) -> Result<Log, NoLog> {
        let name = log_name(topic, index)?;
        free_name(dir, topic, &name)?;
        admit(dir, topic, &name, settings, dir.open_log(&name, settings.log.clone()))
    }
}

/// What was opened, or what there has to be instead.
fn admit(
    dir: &DataDir,
    topic: &Topic,
    name: &LogName,
    settings: &Settings,
    opened: Result<Log, OpenLogError>,
) -> Result<Log, NoLog> {
    match opened {
        // The broker was stopped between the topic's creation and its folders', or there was no room for them. A folder
        // that was there is not made anew.
        Err(OpenLogError::Missing { .. }) => Ok(dir.create_log(name, topic.id, settings.log.clone())?),
        opened => Ok(opened?),
    }
}

fn log_name(topic: &Topic, index: PartitionIndex) -> Result<LogName, NoLog> {
    LogName::new(&topic.name, index).map_err(|error| NoLog::broken(&error))
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
