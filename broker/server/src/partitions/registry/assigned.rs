//! Partitions that are given to this broker, and taken away from it, by the metadata.
//!
//! ```text
//!   given        it was not kept here a version ago: an empty log is made, which the leader fills
//!   taken away   its log is closed, its folder renamed, and both forgotten; then the files are removed
//! ```
//!
//! Only what the quorum has decided is seen here, in the order in which it was: so who is newly given a partition is told apart from
//! who has lost it by what this broker was before. A start sees nothing older than its own registration; what was taken away while
//! the broker was down is removed then. What a crash leaves between the new name and the note is found at the next start: the
//! folder by its name, the note by the metadata.
//!
//! Must not know: why partitions move, when a move is over.

use std::collections::HashSet;

use cairn_metadata::{Image, Topic};
use cairn_protocol::ids::PartitionIndex;
use cairn_storage::DataDir;
use cairn_storage::dir::DirOffline;
use cairn_storage::log::{DeletedLog, LogName};

use super::{Partitions, Place, open};
use crate::clock;
use crate::partitions::Partition;
use crate::partitions::dirs::LogDirs;

impl Partitions {
    /// Makes the logs of those of the changed partitions that are new here, and removes those that are not kept here any more.
    /// Only with `carried` held. Blocks.
    pub(super) fn on_assigned(&self, image: &Image, topic: &Topic, changed: &[PartitionIndex]) {
        let dirs = self.dirs.read();
        let (Some(dirs), Some(held)) = (&*dirs, self.by_id.pin().get(&topic.id).cloned()) else { return };
        let before = held.places.load_full();
        let (mut given, mut taken) = (Vec::new(), Vec::new());
        for index in changed {
            let place = usize::try_from(index.0).ok().and_then(|at| before.get(at));
            let (Some(place), Some(partition)) = (place, topic.partition(*index)) else { continue };
            match (place, self.is_kept_here(partition)) {
                (Place::Elsewhere, true) => given.push(*index),
                // It has come back since, its new leader was sooner than the metadata, and what is here counts already.
                (Place::Open(held), false) if held.heard_epoch() > partition.leader_epoch => {}
                (Place::Open(_) | Place::Offline(_) | Place::Waiting, false) => taken.push((*index, place)),
                _ => {}
            }
        }
        if given.is_empty() && taken.is_empty() {
            return;
        }
        let closed: Vec<_> =
            taken.into_iter().map(|(index, place)| self.take_away(dirs, image, topic, (index, place))).collect();
        for index in given {
            self.give(dirs, image, topic, index);
        }
        // What is forgotten durably before the files go cannot be taken for lost.
        dirs.note();
        for deleted in closed.into_iter().flatten() {
            if let Err(offline) = deleted.remove() {
                tracing::error!(topic = &*topic.name, %offline, "files of a partition that is kept elsewhere not removed");
            }
        }
    }

    /// An empty log, whatever lies here by its name: it was nobody's a version ago.
    fn give(&self, dirs: &LogDirs, image: &Image, topic: &Topic, index: PartitionIndex) {
        if let Ok(name) = LogName::new(&topic.name, index) {
            forget(dirs, topic, index, &name);
        }
        let settings = self.settings(topic);
        let log = open::create(dirs, topic, index, &settings);
        let place = self.place(dirs, image, topic, index, &settings, log);
        place.open().into_iter().for_each(Partition::settle);
        if matches!(place, Place::Open(_)) {
            tracing::info!(topic = &*topic.name, partition = index.0, "partition comes to this broker");
        }
        self.put(topic, index, place);
    }

    /// Ends a partition here; what is left of it are files by a name that is no log's.
    fn take_away(
        &self,
        dirs: &LogDirs,
        image: &Image,
        topic: &Topic,
        (index, place): (PartitionIndex, &Place),
    ) -> Option<DeletedLog> {
        // Whoever looks for it finds it elsewhere, before it is closed.
        self.put(topic, index, Place::Elsewhere);
        tracing::info!(topic = &*topic.name, partition = index.0, "partition is kept elsewhere from now on");
        let name = LogName::new(&topic.name, index).ok()?;
        let Place::Open(held) = place else {
            forget(dirs, topic, index, &name);
            return None;
        };
        if let Some(partition) = topic.partition(index) {
            // Whoever waits hears that this broker does not lead.
            held.on_metadata(image, topic, partition, clock::ticks());
        }
        self.give_up(dirs, held, None);
        let log = held.close()?;
        let at = held.log_dir();
        dirs.count_out(at);
        dirs.forget_one(topic.id, index);
        let deleted = dirs.opened(at).map(|dir| dir.delete_log(log))?;
        deleted.inspect_err(|offline| not_deleted(topic, index, offline)).ok()
    }

    /// Removes what was taken away while the broker was down. To be called before anything is opened, with an image that is no
    /// older than this start. Blocks.
    pub(super) fn remove_unassigned(&self, dirs: &LogDirs, image: &Image) {
        let there: HashSet<LogName> = dirs.online().filter_map(|(_, dir)| dir.list_logs().ok()).flatten().collect();
        for topic in image.topics() {
            for (index, partition) in topic.partitions() {
                let Ok(name) = LogName::new(&topic.name, index) else { continue };
                if self.is_kept_here(partition) {
                    continue;
                }
                dirs.forget_one(topic.id, index);
                let is_of_topic = |dir: &DataDir| dir.topic_id_of(&name) == topic.id;
                let has_folder = there.contains(&name) && dirs.online().any(|(_, dir)| is_of_topic(dir));
                if has_folder || dirs.online().any(|(_, dir)| dir.knows_log(&name, topic.id)) {
                    tracing::info!(folder = %name, "partition was given to other brokers: removed here");
                    forget(dirs, topic, index, &name);
                }
            }
        }
    }
}

/// Removes whatever there is of a partition that is not open, and what is known of it.
fn forget(dirs: &LogDirs, topic: &Topic, index: PartitionIndex, name: &LogName) {
    dirs.forget_one(topic.id, index);
    for (_, dir) in dirs.online() {
        if let Err(offline) = dir.delete_folder(name, topic.id) {
            not_deleted(topic, index, &offline);
        }
    }
}

fn not_deleted(topic: &Topic, index: PartitionIndex, offline: &DirOffline) {
    tracing::error!(topic = &*topic.name, partition = index.0, %offline, "partition not deleted");
}
