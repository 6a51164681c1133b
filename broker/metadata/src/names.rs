//! Which topic names are legal, by Kafka's rule, and which names of the cluster's own topics are taken.
//!
//! Must not know: which topics exist.

/// The longest topic name in bytes: a folder is named after the topic, the partition and a suffix.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// The topic that committed offsets are kept in.
pub const CONSUMER_OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The log that the cluster's metadata is kept in, which is no topic for clients.
pub const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// Why a topic's name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// The empty name.
    #[error("topic name must not be empty")]
    Empty,
    /// A folder's own name.
    #[error("topic name must not be '.' or '..'")]
    Dots,
    /// Over [`TOPIC_NAME_BYTES_MAX`].
    #[error("topic name is {bytes} bytes long, the most is {TOPIC_NAME_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A character that Kafka does not allow.
    #[error("topic name has the character {0:?}: allowed are ASCII letters and digits, '.', '_' and '-'")]
    Character(char),
    /// The name of [`CLUSTER_METADATA_TOPIC`].
    #[error("topic name '{CLUSTER_METADATA_TOPIC}' is the cluster's own")]
    Reserved,
}

/// Checks a topic's name by Kafka's rule: `[a-zA-Z0-9._-]{1,249}`, neither `.` nor `..`, nor the metadata's own.
pub fn check_topic_name(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(TopicNameError::Dots);
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(TopicNameError::TooLong { bytes: name.len() });
    }
    if name == CLUSTER_METADATA_TOPIC {
        return Err(TopicNameError::Reserved);
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) => Err(TopicNameError::Character(c)),
        None => Ok(()),
    }
}

/// What two names have in common that collide: metrics spell `.` as `_`, so `a.b` and `a_b` may not both exist.
#[must_use]
pub fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

/// Whether the topic is one of the cluster's own: clients see it marked so and may not produce to it.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    name == CONSUMER_OFFSETS_TOPIC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rule() {
        let longest = "a".repeat(TOPIC_NAME_BYTES_MAX);
        for legal in ["a", "A.b-c_9", "...", "-", "__consumer_offsets", &longest] {
            assert_eq!(check_topic_name(legal), Ok(()), "{legal}");
        }
        assert_eq!(check_topic_name("__cluster_metadata"), Err(TopicNameError::Reserved));
        assert_eq!(check_topic_name(""), Err(TopicNameError::Empty));
        assert_eq!(check_topic_name("."), Err(TopicNameError::Dots));
        assert_eq!(check_topic_name(".."), Err(TopicNameError::Dots));
        assert_eq!(check_topic_name(&"a".repeat(250)), Err(TopicNameError::TooLong { bytes: 250 }));
        for (name, wrong) in [("a/b", '/'), ("a b", ' '), ("é", 'é'), ("a\0", '\0'), ("a\\", '\\'), ("a:b", ':')] {
            assert_eq!(check_topic_name(name), Err(TopicNameError::Character(wrong)), "{name}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
        assert_ne!(collision_key("a-b"), collision_key("a_b"));
    }
}
