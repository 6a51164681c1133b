//! When nothing goes wrong any more, everything becomes whole: everybody serves, every replica is in sync and has the same bytes,
//! every write was acknowledged, everything that was acknowledged can be read.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::records::{BatchIter, DecompressLimits};

use crate::held::read_all;
use crate::setup::{DATA_PARTITIONS, PARTITIONS};
use crate::world::{World, partition_id, place_of};

impl World {
    /// What is not whole yet.
    pub(crate) fn what_is_missing(&self) -> Option<String> {
        let image = self.quorum.newest();
        let fenced = image.brokers().find(|broker| broker.fenced || broker.shutting_down);
        if let Some(fenced) = fenced {
            return Some(format!("broker {} does not serve", fenced.id));
        }
        for partition in 0..PARTITIONS {
            let (topic, index) = partition_id(partition);
            let known = image.topic(topic)?.partition(index)?;
            let Some(leader) = known.leader else { return Some(format!("nobody leads partition {partition}")) };
            if known.isr.len() < known.replicas.len() || known.moving.is_some() {
                return Some(format!("partition {partition} is not in sync: {known:?}"));
            }
            let end = |broker: usize| {
                let held = self.machines[broker].process.as_ref()?.held.get(&partition)?;
                Some((held.log.end_offset(), held.replica.high_watermark()))
            };
            let ends: Vec<_> = known.replicas.iter().map(|id| end(place_of(*id))).collect();
            let of_leader = end(place_of(leader));
            if ends.iter().any(|end| *end != of_leader) || of_leader.is_none_or(|(end, committed)| end != committed) {
                return Some(format!("replicas of partition {partition} are not level: {ends:?}"));
            }
        }
        let waits = self.producers.iter().find(|producer| !producer.is_done());
        waits.map(|producer| format!("producer {} was not answered: {}", producer.node, producer.told()))
    }

    /// The last look, when all is whole: at the bytes.
    pub(crate) fn finish(&mut self) {
        if self.violation.is_some() {
            return;
        }
        self.check_candidates();
        let image = Arc::clone(self.quorum.newest());
        for partition in 0..PARTITIONS {
            let (topic, index) = partition_id(partition);
            let Some(known) = image.topic(topic).and_then(|topic| topic.partition(index)) else { continue };
            let mut bytes: Option<Vec<u8>> = None;
            for replica in &known.replicas {
                let held = self.machines[place_of(*replica)].process.as_ref().and_then(|it| it.held.get(&partition));
                let read = held.and_then(|held| read_all(&held.log.reader(), held.log.end_offset()).ok());
                let read: Vec<u8> = read.into_iter().flatten().flatten().collect();
                if bytes.as_ref().is_some_and(|bytes| *bytes != read) {
                    return self.wrong("whole", || format!("replicas of partition {partition} have other bytes"));
                }
                bytes = Some(read);
            }
            if partition < DATA_PARTITIONS {
                let log = values(&Bytes::from(bytes.unwrap_or_default()));
                self.check_lost(partition, &log);
                self.check_duplicates(partition, &log);
                self.check_order(partition, &log);
                self.check_reads(partition, &log);
            }
        }
    }
}

/// The values of a log by their offsets.
fn values(bytes: &Bytes) -> BTreeMap<i64, Vec<u8>> {
    let mut values = BTreeMap::new();
    for batch in BatchIter::new(bytes).map(|batch| batch.expect("the log is sound")) {
        batch.verify_crc().expect("the log is sound");
        let records = batch.records(bytes, &DecompressLimits::default()).expect("the log is sound");
        for record in records.iter().map(|record| record.expect("the log is sound")) {
            values.insert(record.offset.0, record.value.unwrap_or_default().to_vec());
        }
    }
    values
}
