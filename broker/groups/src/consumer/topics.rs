//! What a coordinator has to know of topics, and the hash by which a group sees that something about its own has changed.
//!
//! Must not know: where topics are kept, groups.

use std::fmt::Debug;

use cairn_protocol::ids::{PartitionIndex, TopicId};
use twox_hash::XxHash3_64;

/// The topics that there are at one moment. It never changes: when topics do, there is another one.
pub trait Topics: Debug + Send + Sync {
    /// Another number whenever a topic came, went, got partitions, or has replicas on other racks.
    fn version(&self) -> i64;

    /// A topic's id.
    fn id(&self, name: &str) -> Option<TopicId>;

    /// A topic's name.
    fn name(&self, id: TopicId) -> Option<&str>;

    /// How many partitions a topic has; 0 where there is no such topic.
    fn partition_count(&self, id: TopicId) -> i32;

    /// The racks of a partition's replicas, in no order.
    fn racks(&self, id: TopicId, partition: PartitionIndex) -> Vec<&str>;

    /// All names, in no order.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;
}

/// No topics at all: what is known before somebody tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoTopics;

impl Topics for NoTopics {
    fn version(&self) -> i64 {
        -1
    }

    fn id(&self, _: &str) -> Option<TopicId> {
        None
    }

    fn name(&self, _: TopicId) -> Option<&str> {
        None
    }

    fn partition_count(&self, _: TopicId) -> i32 {
        0
    }

    fn racks(&self, _: TopicId, _: PartitionIndex) -> Vec<&str> {
        Vec::new()
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(std::iter::empty())
    }
}

/// Kafka's hash of a group's topics (KIP-1101): 0 where none of them is there. `names` have to be sorted.
pub(crate) fn metadata_hash<'a>(names: impl Iterator<Item = &'a str>, topics: &dyn Topics) -> i64 {
    let mut all = Bytes::default();
    for name in names {
        if let Some(id) = topics.id(name) {
            all.long(topic_hash(name, id, topics));
        }
    }
    if all.0.is_empty() { 0 } else { all.hash().cast_signed() }
}

/// Kafka's hash of one topic: its id, name, partitions and their racks.
fn topic_hash(name: &str, id: TopicId, topics: &dyn Topics) -> u64 {
    let (high, low) = id.0.as_u64_pair();
    let count = topics.partition_count(id);
    let mut bytes = Bytes(vec![FORMAT]);
    bytes.long(high);
    bytes.long(low);
    bytes.text(name);
    bytes.int(count);
    for index in 0..count {
        bytes.int(index);
        let mut racks = topics.racks(id, PartitionIndex(index));
        racks.sort_unstable();
        for rack in racks {
            bytes.int(units(rack));
            bytes.text(rack);
        }
    }
    bytes.hash()
}

/// What is hashed begins with this number, so that it can be told apart should it ever be another.
const FORMAT: u8 = 0;

/// What is hashed, laid out as Kafka's library does: little endian, a text as its UTF-16 units and their number.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn long(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn int(&mut self, number: i32) {
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        self.int(units(text));
    }

    fn hash(&self) -> u64 {
        XxHash3_64::oneshot(&self.0)
    }
}

fn units(text: &str) -> i32 {
    i32::try_from(text.encode_utf16().count()).unwrap_or(i32::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Topics of tests: an id, and the racks of each partition.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Fixed {
        pub(crate) version: i64,
        pub(crate) topics: BTreeMap<String, (TopicId, Vec<Vec<String>>)>,
    }

    impl Fixed {
        /// The same topics, and this one.
        pub(crate) fn with(mut self, name: &str, id: u128, partitions: usize) -> Self {
            self.set(name, id, partitions);
            self
        }

        pub(crate) fn set(&mut self, name: &str, id: u128, partitions: usize) {
            self.version += 1;
            self.topics.insert(name.to_owned(), (topic_id(id), vec![Vec::new(); partitions]));
        }

        pub(crate) fn remove(&mut self, name: &str) {
            self.version += 1;
            self.topics.remove(name);
        }

        fn at(&self, id: TopicId) -> Option<(&str, &Vec<Vec<String>>)> {
            let found = self.topics.iter().find(|(_, (other, _))| *other == id);
            found.map(|(name, (_, partitions))| (&**name, partitions))
        }
    }

    pub(crate) fn topic_id(id: u128) -> TopicId {
        TopicId(uuid::Uuid::from_u128(id))
    }

    impl Topics for Fixed {
        fn version(&self) -> i64 {
            self.version
        }

        fn id(&self, name: &str) -> Option<TopicId> {
            self.topics.get(name).map(|(id, _)| *id)
        }

        fn name(&self, id: TopicId) -> Option<&str> {
            self.at(id).map(|(name, _)| name)
        }

        fn partition_count(&self, id: TopicId) -> i32 {
            self.at(id).map_or(0, |(_, partitions)| i32::try_from(partitions.len()).expect("few"))
        }

        fn racks(&self, id: TopicId, partition: PartitionIndex) -> Vec<&str> {
            let partitions = self.at(id).map(|(_, partitions)| partitions);
            let racks = partitions.and_then(|all| all.get(usize::try_from(partition.0).ok()?));
            racks.into_iter().flatten().map(|rack| &**rack).collect()
        }

        fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
            Box::new(self.topics.keys().map(|name| &**name))
        }
    }

    /// The numbers were printed by the library that Apache Kafka 4.3.1 hashes with, fed as its `Utils` feeds it.
    #[test]
    fn hashes_are_kafkas() {
        let mut topics =
            Fixed::default().with("other", 7, 40).with("topic", 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10, 2);
        let racks = vec!["bé".to_owned(), "a".to_owned()];
        topics.topics.get_mut("topic").expect("set").1[0] = Vec::new();
        let hash = |name: &str, topics: &Fixed| topic_hash(name, topics.id(name).expect("set"), topics).cast_signed();
        topics.topics.get_mut("topic").expect("set").1[1] = racks;
        assert_eq!(hash("topic", &topics), TOPIC_HASH);
        assert_eq!(hash("other", &topics), -1_738_899_301_958_848_949);
        assert_eq!(metadata_hash(["other", "there is none", "topic"].into_iter(), &topics), GROUP_HASH);
        assert_eq!(metadata_hash(["there is none"].into_iter(), &topics), 0);
        assert_eq!(metadata_hash(std::iter::empty(), &topics), 0);
    }

    const TOPIC_HASH: i64 = -8_002_037_035_309_182_977;
    const GROUP_HASH: i64 = 1_102_941_502_746_836_268;
}
