//! What a new topic is made of: an id, and brokers for its partitions.
//!
//! Must not know: who asks for it.

use cairn_metadata::{Command, Image, NewTopic, Rejected, names};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{BrokerId, TopicId};
use rand::RngExt;
use uuid::Uuid;

use crate::cluster::ProposeError;
use crate::node::Node;
use crate::placement::{self, Site};

/// There are no brokers for the replicas that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoBrokers {
    #[error("replication factor {wanted} is larger than the {brokers} brokers that serve")]
    TooFew { wanted: usize, brokers: usize },
    #[error("all log dirs of the brokers that serve are cordoned")]
    Cordoned,
}

/// As many replicas as nobody needs to ask for, where there are so many brokers.
const REPLICAS_WANTED: usize = 3;
/// A replication factor that nobody has set.
const UNSET: i16 = -1;

/// How many replicas a broker's config of it means: what it says, or as many as do well on the brokers that serve.
pub(crate) fn replication_factor(configured: i16, image: &Image) -> usize {
    match configured {
        UNSET => sites(image).len().clamp(1, REPLICAS_WANTED),
        said => usize::try_from(said).unwrap_or(0),
    }
}

/// The brokers that take new replicas.
fn sites(image: &Image) -> Vec<Site<'_>> {
    let serving = image.brokers().filter(|broker| !broker.fenced && !broker.shutting_down);
    serving.map(|broker| Site { broker: broker.id, rack: broker.rack.as_deref() }).collect()
}

/// The brokers of `count` partitions, over as many racks as there are.
fn assign(
    image: &Image,
    count: usize,
    replication_factor: usize,
    start: usize,
) -> Result<Vec<Vec<BrokerId>>, NoBrokers> {
    let sites = sites(image);
    if replication_factor == 0 || replication_factor > sites.len() {
        return Err(NoBrokers::TooFew { wanted: replication_factor, brokers: sites.len() });
    }
    Ok(placement::spread(&sites, count, replication_factor, start))
}

/// The same for brokers that have a log dir which takes new partitions. The only broker there is knows that of itself.
pub(crate) fn place(
    node: &Node,
    image: &Image,
    count: usize,
    replication_factor: usize,
    start: usize,
) -> Result<Vec<Vec<BrokerId>>, NoBrokers> {
    if node.partitions.are_dirs_cordoned() {
        return Err(NoBrokers::Cordoned);
    }
    assign(image, count, replication_factor, start)
}

/// A command that makes a topic with an id of its own.
pub(crate) fn create(name: &str, assignments: Vec<Vec<BrokerId>>, configs: Vec<(Box<str>, Box<str>)>) -> Command {
    Command::CreateTopic(NewTopic { name: name.into(), id: new_id(), assignments, configs })
}

/// The configs of the topic that holds committed offsets, whatever the broker's defaults are: the last record of each key is
/// what a group goes on from.
fn offsets_configs(segment_bytes: i32) -> Vec<(Box<str>, Box<str>)> {
    let pair = |name: &str, value: &str| (name.into(), value.into());
    vec![
        pair("cleanup.policy", "compact"),
        pair("compression.type", "producer"),
        pair("segment.bytes", &segment_bytes.to_string()),
    ]
}

/// Makes a topic that somebody asked for, as the broker's configuration says, and tells how many partitions were made. That it
/// exists by now is no error.
pub(crate) async fn make_missing(node: &Node, name: &str) -> Result<usize, ErrorCode> {
    let config = node.config.start();
    let (partitions, replication_factor, configs) = if name == names::CONSUMER_OFFSETS_TOPIC {
        let segment_bytes = config.offsets_topic_segment_bytes;
        (config.offsets_topic_num_partitions, config.offsets_topic_replication_factor, offsets_configs(segment_bytes))
    } else {
        (config.num_partitions, config.default_replication_factor, Vec::new())
    };
    let count = usize::try_from(partitions).unwrap_or(0);
    let image = node.image();
    let replicas = self::replication_factor(replication_factor, &image);
    let assignments =
        place(node, &image, count, replicas, random_start()).map_err(|_| ErrorCode::InvalidReplicationFactor)?;
    match node.cluster.propose(create(name, assignments, configs)).await {
        Ok(_) => Ok(count),
        Err(ProposeError::Rejected(Rejected::TopicExists { .. })) => Ok(0),
        Err(ProposeError::Rejected(Rejected::TopicNameCollision { .. } | Rejected::TopicName { .. })) => {
            Err(ErrorCode::InvalidTopicException)
        }
        Err(error) => {
            tracing::warn!(topic = name, %error, "topic was not made");
            Err(ErrorCode::LeaderNotAvailable)
        }
    }
}

/// Where the spread of a new topic's partitions begins.
pub(crate) fn random_start() -> usize {
    rand::rng().random_range(0..usize::from(u16::MAX))
}

/// A random id whose spelling does not begin with a dash, which tools would take for an option.
fn new_id() -> TopicId {
    loop {
        let id = TopicId(Uuid::new_v4());
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_metadata::{Answer, NewBroker};

    use super::*;

    fn image(brokers: i32) -> Image {
        let mut image = Image::default();
        for id in 1..=brokers {
            let new = NewBroker {
                id: BrokerId(id),
                incarnation: Uuid::from_u128(1),
                endpoints: Vec::new(),
                rack: None,
                storage_ids: Vec::new(),
                boot_id: None,
                clean_shutdown: None,
            };
            let registered = image.apply(image.version() + 1, &Command::RegisterBroker(new)).unwrap();
            let Answer::BrokerRegistered(epoch) = registered.answer else { panic!("{:?}", registered.answer) };
            let unfence = Command::UnfenceBroker { broker: BrokerId(id), epoch };
            image = registered.image.apply(registered.image.version() + 1, &unfence).unwrap().image;
        }
        image
    }

    #[test]
    fn replicas_go_round() {
        let image = image(3);
        let shown = |replicas: Vec<Vec<BrokerId>>| -> Vec<Vec<i32>> {
            replicas.into_iter().map(|ids| ids.into_iter().map(|id| id.0).collect()).collect()
        };
        assert_eq!(shown(assign(&image, 4, 2, 2).unwrap()), [[3, 1], [1, 3], [2, 1], [3, 2]]);
        assert_eq!([2, 3, 4].map(|brokers| replication_factor(-1, &self::image(brokers))), [2, 3, 3]);
        assert_eq!((replication_factor(-1, &Image::default()), replication_factor(2, &image)), (1, 2));
        assert_eq!(assign(&image, 1, 4, 0), Err(NoBrokers::TooFew { wanted: 4, brokers: 3 }));
        assert_eq!(assign(&image, 1, 0, 0), Err(NoBrokers::TooFew { wanted: 0, brokers: 3 }));
    }

    #[test]
    fn ids_do_not_look_like_options() {
        for _ in 0..1000 {
            assert!(!new_id().to_string().starts_with('-'));
        }
    }
}
