//! Opening the log dirs: one that cannot be had is offline, and the others serve; but the one with the metadata is essential.
//!
//! Must not know: partitions.

use std::collections::HashSet;
use std::io;
use std::path::{Path, absolute};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cairn_metadata::BrokerEpoch;
use cairn_metadata::names::CLUSTER_METADATA_TOPIC;
use cairn_protocol::ids::PartitionIndex;
use cairn_storage::DataDir;
use cairn_storage::dir::{Assignments, DirConfig, LastShutdown, OpenDirError};
use cairn_storage::disk::Disk;
use cairn_storage::log::LogName;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{LogDir, LogDirs, Noted};
use crate::config::BrokerConfig;

/// The log dirs cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogDirsError {
    /// The dir of the metadata.
    #[error(transparent)]
    Metadata(#[from] OpenDirError),
    /// A broker that begins anew beside its own data would take all of it for somebody else's.
    #[error("the cluster's metadata lies in {there}, but {here} is where it has to be; set metadata.log.dir={there}")]
    MetadataElsewhere {
        /// The dir by configuration.
        here: String,
        /// Another log dir.
        there: String,
    },
}

impl LogDirs {
    /// Takes all of them. Blocks.
    ///
    /// # Errors
    /// When the dir of the metadata cannot be had, or has none while another one has.
    pub(crate) fn open(disk: &Arc<dyn Disk>, config: &BrokerConfig) -> Result<Self, OpenLogDirsError> {
        let dir_config = DirConfig { reserve_bytes: config.log_disk_reserve_bytes, ..DirConfig::default() };
        let open = |path: &Path| DataDir::open(Arc::clone(disk), path, &dir_config).map(Arc::new);
        let essential = config.metadata_dir();
        let metadata = open(essential)?;
        let mut noted = read_noted(&metadata);
        let mut dirs: Vec<LogDir> = Vec::new();
        for given in config.data_dirs() {
            let path = absolute(given).unwrap_or_else(|_| given.clone());
            let opened = match given == essential {
                true => Ok(Arc::clone(&metadata)),
                false => take(&**disk, &noted.assignments, given, &path, open),
            };
            let twin = |dir: &Arc<DataDir>| {
                let before = dirs
                    .iter()
                    .find(|before| before.opened.as_ref().is_ok_and(|before| before.storage_id() == dir.storage_id()));
                before.map(|before| {
                    format!("it has the storage id of {}: one is a copy of the other", before.path.display())
                })
            };
            let opened = opened.and_then(|dir| twin(&dir).map_or(Ok(dir), |why| Err(why.into())));
            if let Err(why) = &opened {
                tracing::error!(path = %path.display(), why = &**why, "log dir is offline: its partitions are not served");
            }
            let cordoned = AtomicBool::new(config.cordoned_log_dirs.contains(&path));
            dirs.push(LogDir { path, opened, cordoned });
        }
        check_metadata(&metadata, &dirs)?;
        noted.is_wanted |= dirs.len() > 1;
        note_dirs(&mut noted, &dirs);
        let filling = Mutex::new(vec![0; dirs.len()]);
        Ok(Self { dirs, metadata, noted: Mutex::new(noted), filling })
    }

    /// Which incarnation of this broker has closed all of them in good order before they were opened. A dir that is new has nothing
    /// to lose; one that is offline has not said anything.
    pub(crate) fn closed_by(&self) -> Option<BrokerEpoch> {
        let opened = self.dirs.iter().map(|dir| dir.opened.as_ref().ok());
        let mut known = opened.filter(|dir| dir.is_none_or(|dir| dir.last_shutdown() != LastShutdown::New));
        let first = known.next()??.closed_by()?;
        known.all(|dir| dir.is_some_and(|dir| dir.closed_by() == Some(first))).then_some(BrokerEpoch(first))
    }

    /// Whether there is a metadata log: the broker has a past.
    pub(crate) fn has_metadata(&self) -> bool {
        let name = LogName::new(CLUSTER_METADATA_TOPIC, PartitionIndex(0)).expect("a legal name");
        self.metadata.has_folder(&name).unwrap_or(true)
    }

    /// The dir of the metadata's log.
    pub(crate) fn metadata(&self) -> &Arc<DataDir> {
        &self.metadata
    }
}

fn check_metadata(metadata: &Arc<DataDir>, dirs: &[LogDir]) -> Result<(), OpenLogDirsError> {
    let name = LogName::new(CLUSTER_METADATA_TOPIC, PartitionIndex(0)).expect("a legal name");
    let has_it = |dir: &DataDir| dir.has_folder(&name).unwrap_or(false);
    if has_it(metadata) {
        return Ok(());
    }
    match dirs.iter().find(|dir| dir.opened.as_ref().is_ok_and(|dir| has_it(dir))) {
        None => Ok(()),
        Some(other) => Err(OpenLogDirsError::MetadataElsewhere {
            here: metadata.path().display().to_string(),
            there: other.path.display().to_string(),
        }),
    }
}

fn read_noted(metadata: &DataDir) -> Noted {
    match metadata.read_assignments() {
        Ok(None) => Noted::default(),
        Ok(Some(assignments)) => Noted { assignments, is_wanted: true, ..Noted::default() },
        Err(error) => {
            tracing::error!(
                path = %metadata.path().display(), %error,
                "log-dir-assignments is damaged: where partitions were that are not found is not known"
            );
            Noted { is_wanted: true, is_damaged: true, is_changed: true, ..Noted::default() }
        }
    }
}

/// Opens a dir that is not essential, unless it was there once and is missing: then its disk is not mounted, and nothing may be
/// made in its place.
fn take(
    disk: &dyn Disk,
    known: &Assignments,
    given: &Path,
    path: &Path,
    open: impl Fn(&Path) -> Result<Arc<DataDir>, OpenDirError>,
) -> Result<Arc<DataDir>, Arc<str>> {
    let was_there = known.dirs.iter().find(|(_, before)| path.as_os_str() == &***before);
    let is_missing = || matches!(disk.list(given), Err(error) if error.kind() == io::ErrorKind::NotFound);
    if was_there.is_some() && is_missing() {
        return Err("it was there before and is missing: is its disk mounted?".into());
    }
    let dir = open(given).map_err(|error| {
        let mut told = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            told = format!("{told}: {cause}");
        }
        Arc::from(told)
    })?;
    if let Some((before, _)) = was_there.filter(|(before, _)| **before != dir.storage_id()) {
        tracing::warn!(
            path = %path.display(), %before, now = %dir.storage_id(),
            "log dir is another one than before; partitions that were in the one before and are nowhere else are offline"
        );
    }
    Ok(dir)
}

/// Notes where the dirs are now. One that is no log dir any more is known for as long as partitions are missing that it had.
fn note_dirs(noted: &mut Noted, dirs: &[LogDir]) {
    let Noted { assignments, is_changed, .. } = noted;
    let needed: HashSet<_> = assignments.logs.values().copied().collect();
    let may_be = |id: Uuid, dir: &LogDir| dir.opened.as_ref().map_or(true, |opened| opened.storage_id() == id);
    let before = assignments.dirs.len();
    assignments.dirs.retain(|id, path| {
        needed.contains(id) || dirs.iter().any(|dir| dir.path.as_os_str() == &**path && may_be(*id, dir))
    });
    *is_changed |= assignments.dirs.len() != before;
    for dir in dirs {
        let Ok(opened) = &dir.opened else { continue };
        let path: Box<str> = dir.path.to_string_lossy().into();
        if assignments.dirs.insert(opened.storage_id(), path.clone()) != Some(path) {
            *is_changed = true;
        }
    }
}
