//! What the tests of compaction share: records with keys, a round of compaction, and what a consumer sees afterwards.
//!
//! Must not know: what is tested.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::ids::{Offset, ProducerEpoch, ProducerId, Timestamp};
use cairn_protocol::records::{BatchBuilder, BatchIter, BatchProducer, Compression, DecompressLimits, NewRecord};
use cairn_storage::DataDir;
use cairn_storage::disk::Disk;
use cairn_storage::disk::memory::MemoryDisk;
use cairn_storage::log::{
    Cleanup, CompactError, CompactionStats, FirstBatch, Limits, Log, LogConfig, LogReader, MapMemory, Pacing,
    ReadError, Stale, Stopped,
};

use super::{append, name, open_dir, small, sync, topic_id};

/// A record with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

/// A key, if there is one, and a value, if it is no tombstone.
pub type KeyValue<'a> = (Option<&'a str>, Option<&'a str>);

pub fn keyed_batch(records: &[KeyValue<'_>], timestamp: i64, codec: Compression) -> Bytes {
    keyed_batch_from(None, records, timestamp, codec)
}

pub fn keyed_batch_from(
    producer: Option<(i64, i32)>,
    records: &[KeyValue<'_>],
    timestamp: i64,
    codec: Compression,
) -> Bytes {
    let mut builder = BatchBuilder::new().with_compression(codec, None).expect("every codec has a default level");
    for (key, value) in records {
        let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
        let record = NewRecord { timestamp: Timestamp(timestamp), key, value, headers: &[] };
        builder.append(&record).expect("a small record fits");
    }
    let producer = producer.map(|(id, base_sequence)| BatchProducer {
        id: ProducerId(id),
        epoch: ProducerEpoch(0),
        base_sequence,
    });
    builder.finish(producer).expect("a small batch is whole")
}

/// Segments of 4 KiB that are compacted as soon as anything is dirty; tombstones stay for a second.
pub fn compacted() -> LogConfig {
    LogConfig { cleanup: Cleanup::Compact, delete_retention_ms: 1000, min_dirty_millionths: 0, ..small() }
}

pub const ENOUGH: MapMemory = MapMemory { bytes: 1 << 20, load_percent: 90 };

/// Stops after so many calls.
pub struct StopAfter(pub std::cell::Cell<u64>);

impl Pacing for StopAfter {
    fn spend(&self, _bytes: u64) -> Result<(), Stopped> {
        let left = self.0.get().checked_sub(1).ok_or(Stopped)?;
        self.0.set(left);
        Ok(())
    }
}

/// Does not stop.
pub struct Unpaced;

impl Pacing for Unpaced {
    fn spend(&self, _bytes: u64) -> Result<(), Stopped> {
        Ok(())
    }
}

/// One round, if one is due. Answers up to where the log is clean, and what was done.
pub fn compact_with(
    dir: &DataDir,
    log: &mut Log,
    now: i64,
    memory: MapMemory,
    pacing: &dyn Pacing,
) -> Result<Option<(Offset, CompactionStats)>, CompactError> {
    let now = Timestamp(now);
    let cleanable = log.prospect(log.end_offset()).look(dir.cleaned_to(&name()), now)?;
    if !cleanable.is_due() {
        return Ok(None);
    }
    let mut compaction = log.begin_compaction(&cleanable, now);
    compaction.map_keys(memory, pacing)?;
    while let Some(group) = compaction.rewrite_next(pacing)? {
        match log.begin_swap(group) {
            Ok(swap) => swap.run()?,
            Err(Stale(group)) => {
                group.discard()?;
                return Err(CompactError::Gone);
            }
        }
    }
    dir.note_cleaned(&name(), compaction.end())?;
    Ok(Some((compaction.end(), compaction.stats())))
}

pub fn compact(dir: &DataDir, log: &mut Log, now: i64) -> Option<(Offset, CompactionStats)> {
    compact_with(dir, log, now, ENOUGH, &Unpaced).expect("a round on a sound disk ends")
}

/// All records from `from` on, as a consumer reads them. Batches are sound and in order.
pub fn read_keyed(reader: &LogReader, from: Offset, max_bytes: u64) -> Result<Vec<Keyed>, ReadError> {
    let mut seen: Vec<Keyed> = Vec::new();
    let mut offset = from;
    let end = reader.end_offset();
    while offset < end {
        let read = reader.read(offset, Limits { max_bytes, first_batch: FirstBatch::AtLeastOne, end })?;
        if read.bytes.is_empty() {
            break;
        }
        for view in BatchIter::new(&read.bytes) {
            let view = view.expect("a read has whole batches");
            view.verify_crc().expect("a read has sound batches");
            for record in &view.records(&read.bytes, &DecompressLimits::default()).expect("readable") {
                let record = record.expect("readable");
                assert!(seen.last().is_none_or(|last| last.offset < record.offset.0), "offsets rise");
                if record.offset >= offset {
                    seen.push(Keyed {
                        offset: record.offset.0,
                        timestamp: record.timestamp.0,
                        key: record.key.map(<[u8]>::to_vec),
                        value: record.value.map(<[u8]>::to_vec),
                    });
                }
            }
        }
        assert!(read.next_offset > offset, "a read that has batches gets on");
        offset = read.next_offset;
    }
    Ok(seen)
}

/// What a consumer that reads all of it knows in the end.
pub fn table(records: &[Keyed]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut table = BTreeMap::new();
    for record in records {
        let Some(key) = &record.key else { continue };
        match &record.value {
            Some(value) => drop(table.insert(key.clone(), value.clone())),
            None => drop(table.remove(key)),
        }
    }
    table
}

/// A log on a disk that forgets in a crash what was not synced.
pub fn memory_log(config: LogConfig) -> (MemoryDisk, DataDir, Log) {
    let memory = MemoryDisk::new();
    let dir = open_dir(&(Arc::new(memory.clone()) as Arc<dyn Disk>));
    let log = dir.create_log(&name(), topic_id(), config).unwrap();
    (memory, dir, log)
}

/// Appends one batch; answers its offset.
pub fn put(log: &mut Log, records: &[KeyValue<'_>], timestamp: i64) -> i64 {
    append(log, &keyed_batch(records, timestamp, Compression::None), 1, timestamp).unwrap().base_offset.0
}

/// Fills the active segment with records of one other key, so that what came before is sealed, and syncs.
pub fn seal(log: &mut Log, timestamp: i64) {
    let before = log.reader().segment_count();
    while log.reader().segment_count() == before {
        put(log, &[(Some("filler"), Some(&"f".repeat(600)))], timestamp);
    }
    sync(log);
}

/// All that a consumer sees.
pub fn seen(log: &Log) -> Vec<Keyed> {
    read_keyed(&log.reader(), log.start_offset(), 700).unwrap()
}

/// Offsets of the records with this key.
pub fn offsets_of(records: &[Keyed], key: &str) -> Vec<i64> {
    records.iter().filter(|record| record.key.as_deref() == Some(key.as_bytes())).map(|record| record.offset).collect()
}
