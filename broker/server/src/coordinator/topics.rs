//! The cluster's topics, as groups of the consumer protocol look at them.
//!
//! Must not know: groups.

use std::sync::Arc;

use cairn_groups::Topics;
use cairn_metadata::Image;
use cairn_protocol::ids::{PartitionIndex, TopicId};

/// The topics of one image.
#[derive(Debug)]
pub(super) struct ImageTopics(pub(super) Arc<Image>);

impl Topics for ImageTopics {
    /// The image's: it changes more often than topics do, which costs a group no more than another look.
    fn version(&self) -> i64 {
        i64::try_from(self.0.version()).unwrap_or(i64::MAX)
    }

    fn id(&self, name: &str) -> Option<TopicId> {
        self.0.topic_by_name(name).map(|topic| topic.id)
    }

    fn name(&self, id: TopicId) -> Option<&str> {
        self.0.topic(id).map(|topic| &*topic.name)
    }

    fn partition_count(&self, id: TopicId) -> i32 {
        self.0.topic(id).map_or(0, |topic| topic.partition_count())
    }

    fn racks(&self, id: TopicId, partition: PartitionIndex) -> Vec<&str> {
        let partition = self.0.topic(id).and_then(|topic| topic.partition(partition));
        let brokers = partition.into_iter().flat_map(|partition| &partition.replicas);
        brokers.filter_map(|broker| self.0.broker(*broker)?.rack.as_deref()).collect()
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.topics().map(|topic| &*topic.name))
    }
}
