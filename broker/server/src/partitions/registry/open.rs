//! From the folders of the log dirs to partitions: opened where they are, made where they were never made.
//!
//! Must not know: who asks for partitions, what is done with those that cannot be had.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::sync::Arc;

use cairn_metadata::names::CLUSTER_METADATA_TOPIC;
use cairn_metadata::{Image, Topic};
use cairn_protocol::ids::PartitionIndex;
use cairn_storage::DataDir;
use cairn_storage::dir::DirOffline;
use cairn_storage::log::{CreateLogError, Log, LogName, OpenLogError};

use super::{Partitions, Place};
use crate::clock;
use crate::partitions::dirs::{Assigned, LogDirs};
use crate::partitions::{DirAt, Partition, Settings, parallel};

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
        self.cordon_dirs();
        let dirs = self.dirs.read();
        let Some(dirs) = &*dirs else { return };
        report_strays(dirs, image);
        self.remove_unassigned(dirs, image);
        let settings: HashMap<_, _> = image.topics().map(|topic| (topic.id, self.settings(topic))).collect();
        let all: Vec<_> = image.topics().flat_map(|topic| topic.partitions().map(move |held| (topic, held))).collect();
        let placed = parallel::each(&all, |(topic, (index, partition))| {
            if !self.is_kept_here(partition) {
                return Place::Elsewhere;
            }
            let settings = &settings[&topic.id];
            let log = open_or_create(dirs, topic, *index, settings);
            self.place(dirs, image, topic, *index, settings, log)
        });
        let mut placed = placed.into_iter();
        for topic in image.topics() {
            self.insert(topic, placed.by_ref().take(topic.partitions.len()).collect());
        }
        parallel::each(&self.all(), Partition::settle);
        if let Err(offline) = dirs.each(|dir| dir.remove_deleted_logs().map(drop)) {
            tracing::error!(%offline, "deleted partitions not removed");
        }
        self.resume_moves(dirs, image);
        dirs.note();
        carried.on_carried_out(image);
    }

    /// The place of a partition whose log was asked for.
    pub(super) fn place(
        &self,
        dirs: &LogDirs,
        image: &Image,
        topic: &Topic,
        index: PartitionIndex,
        settings: &Settings,
        log: Result<(Log, DirAt), NoLog>,
    ) -> Place {
        match log {
            Ok((log, at)) => {
                dirs.assign(topic.id, index, at);
                let (name, id) = (Arc::clone(&topic.name), topic.id);
                let tools = (Arc::clone(&self.flusher), Arc::clone(&self.links));
                let held = Partition::new((name, id, index), (log, at), settings.clone(), self.me, tools);
                if let Some(partition) = topic.partition(index) {
                    held.on_metadata(image, topic, partition, clock::ticks());
                }
                Place::Open(held)
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
}

/// Tells of folders that belong to no topic. They stay: only a person can say whether they are wanted.
fn report_strays(dirs: &LogDirs, image: &Image) {
    let is_known = |name: &LogName| {
        let topic = image.topic_by_name(name.topic());
        name.topic() == CLUSTER_METADATA_TOPIC || topic.is_some_and(|topic| topic.partition(name.partition()).is_some())
    };
    for (_, dir) in dirs.online() {
        let Ok(there) = dir.list_logs() else { continue };
        for stray in there.iter().filter(|name| !is_known(name)) {
            tracing::warn!(folder = %stray, data = %dir.path().display(), "folder belongs to no topic");
        }
    }
}

/// The log of a partition that has none yet, as far as the metadata tells. It is durable with the next [`LogDirs::note`].
pub(super) fn create(
    dirs: &LogDirs,
    topic: &Topic,
    index: PartitionIndex,
    settings: &Settings,
) -> Result<(Log, DirAt), NoLog> {
    let name = log_name(topic, index)?;
    match create_somewhere(dirs, topic, &name, settings) {
        Err(NotMade::Exists(_)) => open_or_create(dirs, topic, index, settings),
        Err(NotMade::Failed(why)) => Err(why),
        Ok(made) => Ok(made),
    }
}

/// The log of a partition, whether it was made before or not. A new one is durable with the next [`LogDirs::note`].
pub(super) fn open_or_create(
    dirs: &LogDirs,
    topic: &Topic,
    index: PartitionIndex,
    settings: &Settings,
) -> Result<(Log, DirAt), NoLog> {
    let name = log_name(topic, index)?;
    let Some(at) = locate(dirs, topic, index, &name)? else {
        return create_somewhere(dirs, topic, &name, settings).map_err(NoLog::from);
    };
    let dir = dirs.get(at).online().map_err(NoLog::Broken)?;
    let log = match dir.open_log_of(&name, topic.id, settings.log.clone()) {
        // The broker was stopped between the topic's creation and its folders', or there was no room for them. A folder
        // that was there is not made anew.
        Err(OpenLogError::Missing { .. }) => dir.begin_log(&name, topic.id, settings.log.clone())?,
        opened => opened?,
    };
    dirs.count_in(at);
    Ok((log, at))
}

/// A new log was not made.
enum NotMade {
    /// Something of its name is there.
    Exists(CreateLogError),
    Failed(NoLog),
}

impl From<NotMade> for NoLog {
    fn from(not: NotMade) -> Self {
        match not {
            NotMade::Exists(error) => error.into(),
            NotMade::Failed(why) => why,
        }
    }
}

/// Makes a log in the dir with the fewest; in another one where that has no room.
fn create_somewhere(
    dirs: &LogDirs,
    topic: &Topic,
    name: &LogName,
    settings: &Settings,
) -> Result<(Log, DirAt), NotMade> {
    let mut tried = BTreeSet::new();
    while let Some(at) = dirs.claim(&tried) {
        let dir = dirs.get(at).online().map_err(|why| NotMade::Failed(NoLog::Broken(why)))?;
        let error = match dir.begin_log(name, topic.id, settings.log.clone()) {
            Ok(log) => return Ok((log, at)),
            Err(error) => error,
        };
        dirs.count_out(at);
        match error {
            CreateLogError::DiskFull => drop(tried.insert(at)),
            exists @ CreateLogError::Exists { .. } => return Err(NotMade::Exists(exists)),
            other => return Err(NotMade::Failed(other.into())),
        }
    }
    Err(NotMade::Failed(match tried.is_empty() {
        true => NoLog::Broken("no log dir is online".into()),
        false => NoLog::NoSpace,
    }))
}

/// Where the log of a partition lies, or has to lie; `None` where it was never made.
fn locate(dirs: &LogDirs, topic: &Topic, index: PartitionIndex, name: &LogName) -> Result<Option<DirAt>, NoLog> {
    let mut here = Vec::new();
    for (at, dir) in dirs.online() {
        let looked = free_name(dir, topic, name).and_then(|()| Ok(dirs.is_single() || dir.has_folder(name)?));
        // A dir that fails here has told so, and is offline from now on.
        if looked.unwrap_or(false) {
            here.push(at);
        }
    }
    let assigned = dirs.assigned(topic.id, index);
    let paths = |found: &[DirAt]| {
        let paths: Vec<_> = found.iter().map(|at| dirs.get(*at).path.display().to_string()).collect();
        paths.join(" and ")
    };
    let broken = |why: String| Err(NoLog::Broken(why.into()));
    match (&here[..], assigned) {
        ([], Assigned::Online(at)) => Ok(Some(at)),
        ([], Assigned::Offline(path)) => broken(format!("it is in log dir {path}, which is offline")),
        ([], Assigned::Gone(path)) => {
            broken(format!("it was in a log dir at {path} that is no more; put that back, or delete the topic"))
        }
        ([], Assigned::Nowhere) if dirs.is_in_doubt() => broken(
            "no log dir has it; it may be in one that is offline, because what was noted of it is damaged".into(),
        ),
        ([], Assigned::Nowhere) => Ok(dirs.online().find(|(_, dir)| dir.knows_log(name, topic.id)).map(|(at, _)| at)),
        (found, Assigned::Offline(path)) => broken(format!(
            "its newest records are in log dir {path}, which is offline; what lies in {} is older",
            paths(found)
        )),
        ([one], assigned) => {
            // A person has moved it.
            if let Assigned::Online(before) = assigned
                && before != *one
                && let Some(dir) = dirs.opened(before)
            {
                dir.delete_folder(name, topic.id)?;
            }
            Ok(Some(*one))
        }
        (several, Assigned::Online(at)) if several.contains(&at) => {
            for older in several.iter().filter(|other| **other != at) {
                let path = &dirs.get(*older).path;
                tracing::warn!(folder = %name, path = %path.display(), "older copy of a partition is removed");
                if let Some(dir) = dirs.opened(*older) {
                    dir.delete_folder(name, topic.id)?;
                }
            }
            Ok(Some(at))
        }
        (several, _) => broken(format!("it is in {}, and which is newer is not known: remove one", paths(several))),
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
