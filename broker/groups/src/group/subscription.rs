//! The topics that a consumer says it wants, as far as the coordinator has to know them: to tell which offsets are in use.
//!
//! Must not know: groups.

use bytes::{Buf, Bytes};
use cairn_protocol::Reader;
use cairn_protocol::codec::Message;
use cairn_protocol::messages::ConsumerProtocolSubscription;

/// The protocol type of consumers.
pub(crate) const CONSUMER: &str = "consumer";

/// The topics of a consumer's metadata; none when it does not read. Version 0 is what all versions begin with.
pub(crate) fn topics(metadata: &Bytes) -> Option<Vec<Box<str>>> {
    let mut metadata = metadata.clone();
    metadata.try_get_i16().ok().filter(|version| *version >= 0)?;
    ConsumerProtocolSubscription::decode(&mut Reader::new(metadata), 0).ok().map(|subscription| subscription.topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_from_every_version() {
        for version in 0..=3 {
            let subscription =
                ConsumerProtocolSubscription { topics: vec!["a".into(), "b".into()], ..Default::default() };
            let metadata = subscription.to_prefixed_bytes(version, version).expect("encodes");
            assert_eq!(topics(&metadata), Some(vec!["a".into(), "b".into()]), "version {version}");
        }
        // A version of the future, with something behind what is known.
        assert_eq!(
            topics(&Bytes::from_static(b"\0\x09\0\0\0\x01\0\x01t\xff\xff\xff\xffand more")),
            Some(vec!["t".into()])
        );
    }

    #[test]
    fn what_does_not_read_is_no_subscription() {
        for metadata in
            [&b""[..], b"\0", b"\0\0", b"\0\0\xff\xff\xff\xff", b"\xff\xff\0\0\0\0", b"\0\0\0\0\0\x02\0\x01t"]
        {
            assert_eq!(topics(&Bytes::from_static(metadata)), None, "{metadata:?}");
        }
    }
}
