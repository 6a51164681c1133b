//! What is known of a log before its files are looked at: where it lies, whose it is, how it is to be kept.
//!
//! Must not know: segments, whether the log is there.

use std::sync::Arc;

use cairn_protocol::ids::TopicId;

use super::layout::METADATA_FILE;
use super::{Folder, LogConfig, LogName};
use crate::dir::state::DirState;

/// The largest `partition.metadata` that is read.
const METADATA_MAX_BYTES: u64 = 4096;

/// What is known of a log before its files are looked at.
#[derive(Debug)]
pub(crate) struct Foundation {
    pub(crate) dir: Arc<DirState>,
    pub(crate) name: LogName,
    pub(crate) topic_id: TopicId,
    pub(crate) config: LogConfig,
    pub(crate) folder: Folder,
    pub(crate) folder_name: String,
}

impl Foundation {
    pub(crate) fn new(dir: Arc<DirState>, name: LogName, topic_id: TopicId, config: LogConfig) -> Self {
        let folder_name = name.to_string();
        Self::in_folder(dir, name, topic_id, config, folder_name)
    }

    /// The same for a copy, whose folder has another name than the log.
    pub(crate) fn in_folder(
        dir: Arc<DirState>,
        name: LogName,
        topic_id: TopicId,
        config: LogConfig,
        folder_name: String,
    ) -> Self {
        let folder = Folder::new(dir.root.join(&folder_name));
        Self { dir, name, topic_id, config, folder, folder_name }
    }
}

/// The topic's id as `partition.metadata` says, or else the checkpoint; all zeros when neither does, as in folders of old Kafka
/// versions.
pub(crate) fn read_topic_id(foundation: &Foundation) -> TopicId {
    stated_topic_id(foundation).unwrap_or_else(|| foundation.dir.known_topic_id(&foundation.folder_name))
}

/// The topic's id as `partition.metadata` says.
pub(crate) fn stated_topic_id(foundation: &Foundation) -> Option<TopicId> {
    let bytes = foundation.dir.disk.read(&foundation.folder.metadata(), METADATA_MAX_BYTES).ok()?;
    let stated = parse_topic_id(&bytes);
    if stated.is_none() {
        tracing::warn!(log = %foundation.name, "cannot read {METADATA_FILE}");
    }
    stated
}

/// What [`parse_topic_id`] reads.
pub(crate) fn topic_id_text(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// Kafka's text: `version: 0`, then `topic_id: ` and 22 characters.
pub(crate) fn parse_topic_id(bytes: &[u8]) -> Option<TopicId> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    if lines.next()? != "version: 0" {
        return None;
    }
    lines.next()?.strip_prefix("topic_id: ")?.parse().ok()
}
