//! Brokers tell the controller how far their logs go, for elections in which nobody has everything for certain.
//!
//! Must not know: who is elected by it.

use std::time::Duration;

use bytes::Bytes;
use cairn_metadata::{BrokerEpoch, LogTold};
use cairn_peers::{Lane, Peers, Target};
use cairn_protocol::ids::{BrokerId, PartitionIndex, TopicId};

use super::receiving::Receiver;
use super::wire::PartitionId;
use crate::partitions::Partitions;

/// The kind of a request that asks for logs.
pub(crate) const LOGS: u8 = super::wire::PUSHES + 1;
/// Partitions in one request.
const PARTITIONS_MAX: usize = 10_000;
/// How long a broker may take to tell.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

type Told = (PartitionId, LogTold);

/// How far logs go here; those that are not open are left out.
pub(crate) fn tell_logs(
    partitions: &Partitions,
    (broker, epoch): (BrokerId, BrokerEpoch),
    of: &[(TopicId, PartitionIndex)],
) -> Vec<Told> {
    let told = |&(topic, index): &(TopicId, PartitionIndex)| {
        let partition = partitions.kept_by_id(topic, index).ok()?;
        let (last_epoch, start, end) = partition.extent()?;
        Some(((topic, index), LogTold { broker, epoch, last_epoch, start, end }))
    };
    of.iter().filter_map(told).collect()
}

/// Asks a broker; nothing where it does not answer.
pub(crate) async fn ask_for_logs(peers: &Peers, target: &Target, of: &[(TopicId, PartitionIndex)]) -> Vec<Told> {
    let mut told = Vec::new();
    for some in of.chunks(PARTITIONS_MAX) {
        let request = postcard::to_extend(some, vec![LOGS]).expect("fields encode into memory");
        match peers
            .call(target, Lane::Quorum, Bytes::from(request), ANSWER_WITHIN)
            .await
            .map(|answer| read::<Told>(&answer))
        {
            Ok(Some(mut answer)) => told.append(&mut answer),
            Ok(None) => tracing::warn!(%target, "how far logs go is not understood"),
            Err(error) => tracing::debug!(%target, %error, "a broker did not tell how far its logs go"),
        }
    }
    told
}

impl Receiver {
    /// The answer to a request, behind its kind; none when it is not understood.
    pub(crate) fn tell(&self, request: &Bytes) -> Option<Bytes> {
        let of = read::<(TopicId, PartitionIndex)>(request)?;
        let told = tell_logs(self.partitions(), self.me(), &of);
        Some(postcard::to_stdvec(&told).expect("fields encode into memory").into())
    }
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<Vec<T>> {
    match postcard::take_from_bytes::<Vec<T>>(bytes) {
        Ok((fields, [])) if fields.len() <= PARTITIONS_MAX => Some(fields),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use cairn_protocol::ids::{LeaderEpoch, Offset};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_told_is_read_and_what_is_cut_is_not() {
        let of = (TopicId(Uuid::from_u128(7)), PartitionIndex(3));
        let log = LogTold {
            broker: BrokerId(1),
            epoch: BrokerEpoch(9),
            last_epoch: Some(LeaderEpoch(4)),
            start: Offset(2),
            end: Offset(90),
        };
        let bytes = postcard::to_stdvec(&[(of, log)][..]).unwrap();
        assert_eq!(read::<Told>(&bytes), Some(vec![(of, log)]));
        for cut in 0..bytes.len() {
            assert_eq!(read::<Told>(&bytes[..cut]), None);
        }
        assert_eq!(read::<Told>(&[255, 255, 255, 255, 15]), None, "a count alone makes room for nothing");
    }
}
