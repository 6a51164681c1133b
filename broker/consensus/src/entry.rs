//! One entry of the metadata log as the value of a record.
//!
//! ```text
//!   0         1      2         10
//!   | version | kind | term    | body ...                          version 1, numbers big-endian
//!               0: blank         nothing: a new leader's first entry
//!               1: command       `cairn_metadata::Command`, with a version of its own
//!               2: membership    postcard of the voters
//! ```
//! The entry's index is the record's offset. `docs/formats/metadata-log.md` draws it.
//!
//! Must not know: record batches, files.

use std::collections::{BTreeMap, BTreeSet};

use cairn_metadata::{Command, CommandDecodeError};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use serde::{Deserialize, Serialize};

use crate::bytes::{Cursor, Malformed, new_log_id, term_of};
use crate::types::{Entry, Membership, NodeId, Proposal, Voter};

const VERSION: u8 = 1;

const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// A record's value is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryDecodeError {
    #[error("entry has the version {0}, known is {VERSION}")]
    Version(u8),
    #[error("entry is of the unknown kind {0}")]
    Kind(u8),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Command(#[from] CommandDecodeError),
}

/// The voters, and where they are reached. More than one set while they change.
#[derive(Serialize, Deserialize)]
pub(crate) struct MembershipV1 {
    configs: Vec<BTreeSet<NodeId>>,
    nodes: BTreeMap<NodeId, Voter>,
}

impl From<&Membership> for MembershipV1 {
    fn from(membership: &Membership) -> Self {
        Self {
            configs: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, voter)| (*id, voter.clone())).collect(),
        }
    }
}

impl TryFrom<MembershipV1> for Membership {
    type Error = Malformed;

    fn try_from(stored: MembershipV1) -> Result<Self, Malformed> {
        if stored.configs.is_empty() && stored.nodes.is_empty() {
            return Ok(Self::default());
        }
        Self::new(stored.configs, stored.nodes).map_err(|_| Malformed)
    }
}

/// The record's value of an entry.
pub(crate) fn encode(entry: &Entry) -> Vec<u8> {
    let (kind, body) = match &entry.payload {
        EntryPayload::Blank => (BLANK, Vec::new()),
        EntryPayload::Normal(proposal) => (COMMAND, proposal.0.encode()),
        EntryPayload::Membership(membership) => (MEMBERSHIP, encode_membership(membership)),
    };
    let mut bytes = vec![VERSION, kind];
    bytes.extend(term_of(&entry.log_id).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// The entry at `index` whose record has this value.
pub(crate) fn decode(index: u64, value: &[u8]) -> Result<Entry, EntryDecodeError> {
    let mut cursor = Cursor(value);
    let version = cursor.u8()?;
    if version != VERSION {
        return Err(EntryDecodeError::Version(version));
    }
    let (kind, term) = (cursor.u8()?, cursor.u64()?);
    let body = cursor.rest();
    let payload = match kind {
        BLANK if body.is_empty() => EntryPayload::Blank,
        BLANK => return Err(Malformed.into()),
        COMMAND => EntryPayload::Normal(Proposal(Command::decode(body)?)),
        MEMBERSHIP => EntryPayload::Membership(decode_membership(body)?),
        other => return Err(EntryDecodeError::Kind(other)),
    };
    Ok(Entry::new(new_log_id(term, index), payload))
}

fn encode_membership(membership: &Membership) -> Vec<u8> {
    postcard::to_stdvec(&MembershipV1::from(membership)).expect("voters encode into memory")
}

fn decode_membership(body: &[u8]) -> Result<Membership, Malformed> {
    match postcard::take_from_bytes::<MembershipV1>(body) {
        Ok((stored, [])) => stored.try_into(),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use cairn_metadata::BrokerEpoch;
    use cairn_protocol::ids::BrokerId;
    use proptest::prelude::*;

    use super::*;

    fn entries() -> Vec<Entry> {
        let command = Command::AllocateProducerIds { broker: BrokerId(1), epoch: BrokerEpoch(2) };
        let voter = Voter { host: "h".into(), port: 9 };
        let voters = Membership::new(vec![BTreeSet::from([1])], BTreeMap::from([(1, voter)])).expect("a voter");
        let payloads = [EntryPayload::Blank, EntryPayload::Normal(Proposal(command)), EntryPayload::Membership(voters)];
        payloads.into_iter().map(|payload| Entry::new(new_log_id(3, 7), payload)).collect()
    }

    #[test]
    fn golden_bytes_of_version_1() {
        let expected: [&[u8]; 3] = [
            &[1, 0, 0, 0, 0, 0, 0, 0, 0, 3],
            &[1, 1, 0, 0, 0, 0, 0, 0, 0, 3, /* command */ 1, 8, 2, 4],
            &[1, 2, 0, 0, 0, 0, 0, 0, 0, 3, /* one set of one */ 1, 1, 1, /* one node */ 1, 1, 1, b'h', 9],
        ];
        for (entry, bytes) in entries().iter().zip(expected) {
            assert_eq!(encode(entry), bytes);
            assert_eq!(decode(7, bytes).as_ref(), Ok(entry));
        }
    }

    #[test]
    fn refuses_what_is_no_entry() {
        for entry in entries() {
            let bytes = encode(&entry);
            for cut in 0..bytes.len() {
                assert!(decode(7, &bytes[..cut]).is_err(), "{entry:?} cut at {cut}");
            }
            assert!(decode(7, &[&bytes[..], &[0]].concat()).is_err());
            assert_eq!(decode(7, &[&[2], &bytes[1..]].concat()), Err(EntryDecodeError::Version(2)));
            assert_eq!(decode(7, &[&[1, 3], &bytes[2..]].concat()), Err(EntryDecodeError::Kind(3)));
        }
    }

    #[test]
    fn voters_that_contradict_themselves_are_refused_or_read() {
        // No set of voters, but a node; a voter without a node; a set without voters.
        for body in [&[0, 1, 1, 1, b'h', 9][..], &[1, 1, 7, 0], &[1, 0, 0], &[2, 0, 0, 0], &[0, 0]] {
            let bytes = [&[1, 2, 0, 0, 0, 0, 0, 0, 0, 3][..], body].concat();
            if let Ok(entry) = decode(7, &bytes) {
                assert_eq!(decode(7, &encode(&entry)).as_ref(), Ok(&entry), "{body:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_or_refused(kind in 0..4u8, body in prop::collection::vec(any::<u8>(), 0..64)) {
            let bytes = [&[1, kind, 0, 0, 0, 0, 0, 0, 0, 3][..], &body].concat();
            if let Ok(entry) = decode(7, &bytes) {
                let again = decode(7, &encode(&entry));
                prop_assert_eq!(again.as_ref(), Ok(&entry));
            }
        }
    }
}
