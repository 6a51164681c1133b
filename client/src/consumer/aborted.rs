//! Which batches of an answer belong to transactions that were aborted, so that who reads what is committed does not see them.
//!
//! The broker names the aborted transactions that touch the answer, by producer and first offset; each ends with a marker among the
//! records (KIP-98). Must not know: where the answer comes from.

use std::collections::HashSet;

use bytes::{Buf, Bytes};
use cairn_protocol::ids::{Offset, ProducerId};
use cairn_protocol::messages::fetch_response::AbortedTransaction;
use cairn_protocol::records::{BatchView, DecompressLimits};

/// The type of a marker that ends a transaction as if it had never been; a marker's key is a version and a type.
const ABORT: i16 = 0;

/// A walk over the batches of one answer, in order.
#[derive(Debug, Default)]
pub(super) struct Aborted {
    /// Those that have not begun yet, the first one last.
    to_come: Vec<(Offset, ProducerId)>,
    open: HashSet<ProducerId>,
}

impl Aborted {
    pub(super) fn new(named: Option<Vec<AbortedTransaction>>) -> Self {
        let named = named.unwrap_or_default();
        let mut to_come: Vec<_> =
            named.iter().map(|it| (Offset(it.first_offset), ProducerId(it.producer_id))).collect();
        to_come.sort_by_key(|(first, _)| std::cmp::Reverse(*first));
        Self { to_come, open: HashSet::new() }
    }

    /// Whether this batch, the next one, is not to be seen. Markers are never seen anyway.
    pub(super) fn hides(&mut self, view: &BatchView<'_>, owner: &Bytes) -> bool {
        let header = view.header();
        while let Some((_, producer)) = self.to_come.pop_if(|(first, _)| *first <= header.last_offset()) {
            self.open.insert(producer);
        }
        let Some(producer) = header.producer.map(|producer| producer.id) else { return false };
        if !self.open.contains(&producer) {
            return false;
        }
        if header.attributes.is_control() {
            if is_abort(view, owner) {
                self.open.remove(&producer);
            }
            return false;
        }
        header.attributes.is_transactional()
    }
}

fn is_abort(view: &BatchView<'_>, owner: &Bytes) -> bool {
    let Ok(records) = view.records(owner, &DecompressLimits::default()) else { return false };
    let Some(Ok(marker)) = records.iter().next() else { return false };
    let mut key = marker.key.unwrap_or_default();
    key.try_get_i16().is_ok() && key.try_get_i16() == Ok(ABORT)
}

#[cfg(test)]
mod tests {
    use cairn_protocol::ids::{LeaderEpoch, ProducerEpoch, Timestamp};
    use cairn_protocol::records::{
        Attributes, BatchBuilder, BatchHeader, BatchIter, BatchProducer, HEADER_BYTES, NewRecord,
    };

    use super::*;

    const CONTROL: i16 = 1 << 5;
    const COMMIT: i16 = 1;

    /// A batch of one record of a transaction, or its marker.
    fn batch(base: i64, producer: i64, marker: Option<i16>) -> Vec<u8> {
        let key = marker.map(|marker| [0_i16.to_be_bytes(), marker.to_be_bytes()].concat());
        let mut builder = BatchBuilder::new().transactional();
        let record = NewRecord { timestamp: Timestamp(1), key: key.as_deref(), value: Some(b"v"), headers: &[] };
        builder.append(&record).expect("small");
        let producer = BatchProducer { id: ProducerId(producer), epoch: ProducerEpoch(0), base_sequence: 0 };
        let bytes = builder.finish(Some(producer)).expect("one record");
        let mut header = BatchHeader::decode(&bytes).expect("whole");
        header.stamp(Offset(base), LeaderEpoch(0));
        if marker.is_some() {
            header.attributes = Attributes(header.attributes.0 | CONTROL);
        }
        let records = &bytes[HEADER_BYTES..];
        [&header.encode_with_crc(records)[..], records].concat()
    }

    fn hidden(batches: &[Vec<u8>], named: &[(i64, i64)]) -> Vec<i64> {
        let bytes = Bytes::from(batches.concat());
        let named = named.iter().map(|(producer_id, first_offset)| AbortedTransaction {
            producer_id: *producer_id,
            first_offset: *first_offset,
        });
        let mut aborted = Aborted::new(Some(named.collect()));
        let views = BatchIter::new(&bytes).map(|view| view.expect("whole"));
        let hidden = views.filter(|view| aborted.hides(view, &bytes));
        hidden.map(|view| view.header().base_offset.0).collect()
    }

    #[test]
    fn an_aborted_transaction_is_hidden_up_to_its_marker() {
        let batches = [
            batch(0, 7, None),
            batch(1, 8, None),
            batch(2, 7, Some(ABORT)),
            batch(3, 7, None),
            batch(4, 8, Some(COMMIT)),
            batch(5, 8, None),
            batch(6, 7, Some(COMMIT)),
            batch(7, 8, Some(ABORT)),
        ];
        assert_eq!(hidden(&batches, &[(8, 5), (7, 0)]), [0, 5]);
        assert_eq!(hidden(&batches, &[]), [0; 0]);
        // An answer that begins in the middle of one, and ends before its marker.
        assert_eq!(hidden(&batches[1..2], &[(8, 0)]), [1]);
    }
}
