//! A compacted log against a model of it: random appends with keys and tombstones, rolls, rounds of compaction that end or are
//! stopped, deleted records, crashes, and opening again, on a memory disk that loses what was not synced.
//!
//! Whatever happened, a full read gives for each key what the last append said, each record as it was appended and at its
//! offset; below what was compacted no key is there twice; nothing above is missing; producers are known.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn_protocol::ids::Offset;
use cairn_protocol::records::Compression;
use cairn_storage::disk::Disk;
use cairn_storage::disk::memory::{Crash, CrashUnit, MemoryDisk};
use cairn_storage::log::{CompactError, FirstBatch, HotRead, Limits, Log, LogConfig, MapMemory, Outcome};
use cairn_storage::{DataDir, inspect};
use common::keyed::{
    KeyValue, Keyed, StopAfter, Unpaced, compact_with, compacted, keyed_batch_from, read_keyed, table,
};
use common::{append, name, open_dir, sync, topic_id};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    /// For each record a key (none: no key) and the size of its value (none: a tombstone).
    Append {
        records: Vec<(Option<u8>, Option<u16>)>,
        producer: Option<u8>,
        codec: u8,
    },
    Retry {
        producer: u8,
    },
    Sync,
    Checkpoint,
    Advance {
        ms: u16,
    },
    Compact {
        keys: u8,
    },
    CompactStopped {
        after: u8,
    },
    DeleteRecords {
        ahead: u8,
    },
    Read {
        at: u16,
        max_bytes: u16,
    },
    Reopen {
        in_good_order: bool,
    },
    Crash {
        kind: u8,
        seed: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let record = (prop::option::weighted(0.95, 0..9u8), prop::option::weighted(0.85, 0..500u16));
    let records = proptest::collection::vec(record, 1..5);
    prop_oneof![
        40 => (records, prop::option::weighted(0.3, 0..3u8), 0..5u8)
            .prop_map(|(records, producer, codec)| Op::Append { records, producer, codec }),
        2 => (0..3u8).prop_map(|producer| Op::Retry { producer }),
        6 => Just(Op::Sync),
        1 => Just(Op::Checkpoint),
        4 => (0..900u16).prop_map(|ms| Op::Advance { ms }),
        8 => (1..12u8).prop_map(|keys| Op::Compact { keys }),
        2 => (0..20u8).prop_map(|after| Op::CompactStopped { after }),
        1 => (0..12u8).prop_map(|ahead| Op::DeleteRecords { ahead }),
        4 => (any::<u16>(), 1..9_000u16).prop_map(|(at, max_bytes)| Op::Read { at, max_bytes }),
        1 => any::<bool>().prop_map(|in_good_order| Op::Reopen { in_good_order }),
        3 => (0..4u8, any::<u64>()).prop_map(|(kind, seed)| Op::Crash { kind, seed }),
    ]
}

struct Model {
    disk: MemoryDisk,
    dir: Option<DataDir>,
    log: Option<Log>,
    /// All that was ever appended and not lost, by offset.
    records: Vec<Keyed>,
    /// The last batch of each producer: its first sequence, its records and their offset.
    producers: BTreeMap<i64, (i32, Vec<Keyed>)>,
    start: i64,
    /// Compacted up to here, by rounds that came to their end.
    cleaned_to: i64,
    /// A round may have touched what lies below.
    touched_to: i64,
    now: i64,
    counter: u64,
}

fn config() -> LogConfig {
    compacted()
}

impl Model {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        let dir = open_dir(&(Arc::new(disk.clone()) as Arc<dyn Disk>));
        let log = dir.create_log(&name(), topic_id(), config()).unwrap();
        Self {
            disk,
            dir: Some(dir),
            log: Some(log),
            records: Vec::new(),
            producers: BTreeMap::new(),
            start: 0,
            cleaned_to: 0,
            touched_to: 0,
            now: 1,
            counter: 0,
        }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn end(&self) -> i64 {
        i64::try_from(self.records.len()).unwrap()
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append { records, producer, codec } => {
                let codec = Compression::ALL[usize::from(*codec)];
                self.append(records, producer.map(i64::from), codec);
            }
            Op::Retry { producer } => self.retry(i64::from(*producer)),
            Op::Sync => sync(self.log()),
            Op::Checkpoint => self.dir.as_ref().unwrap().write_checkpoint().unwrap(),
            Op::Advance { ms } => self.now += i64::from(*ms),
            Op::Compact { keys } => self.compact(u64::from(*keys)),
            Op::CompactStopped { after } => self.compact_stopped(u64::from(*after)),
            Op::DeleteRecords { ahead } => self.delete_records(i64::from(*ahead)),
            Op::Read { at, max_bytes } => self.read(i64::from(*at), u64::from(*max_bytes)),
            Op::Reopen { in_good_order } => self.reopen(*in_good_order),
            Op::Crash { kind, seed } => self.crash(*kind, *seed),
        }
        self.check();
    }

    fn append(&mut self, records: &[(Option<u8>, Option<u16>)], producer: Option<i64>, codec: Compression) {
        let mut written = Vec::new();
        for (offset, (key, size)) in (self.end()..).zip(records) {
            self.counter += 1;
            let value = size.map(|size| format!("{} {}", self.counter, "v".repeat(usize::from(size))).into_bytes());
            let key = key.map(|key| format!("key {key}").into_bytes());
            written.push(Keyed { offset, timestamp: self.now, key, value });
        }
        let sequence = producer.map(|id| match self.producers.get(&id) {
            Some((first, last)) => (id, first + i32::try_from(last.len()).unwrap()),
            None => (id, 0),
        });
        let batch = keyed_batch_from(sequence, &pairs(&written), self.now, codec);
        let now = self.now;
        let appended = append(self.log(), &batch, 1, now).unwrap();
        assert_eq!((appended.outcome, appended.base_offset.0), (Outcome::Written, self.end()));
        if let Some((id, first)) = sequence {
            self.producers.insert(id, (first, written.clone()));
        }
        self.records.extend(written);
    }

    /// What a producer has sent last is known, whatever became of its records.
    fn retry(&mut self, producer: i64) {
        let known = self.producers.get(&producer).cloned().filter(|(_, last)| !last.is_empty());
        let Some((first, last)) = known else { return };
        let batch = keyed_batch_from(Some((producer, first)), &pairs(&last), last[0].timestamp, Compression::None);
        let appended = append(self.log(), &batch, 1, 0).unwrap();
        assert_eq!((appended.outcome, appended.base_offset.0), (Outcome::Duplicate, last[0].offset));
    }

    fn compact(&mut self, keys: u64) {
        let memory = MapMemory { bytes: 24 * (keys + 1), load_percent: 100 };
        let (dir, log) = (self.dir.as_ref().unwrap(), self.log.as_mut().unwrap());
        self.touched_to = self.touched_to.max(log.durable_end().0);
        match compact_with(dir, log, self.now, memory, &Unpaced) {
            Ok(Some((end, stats))) => {
                assert!(stats.keys <= keys, "{stats:?}");
                self.cleaned_to = end.0;
            }
            Ok(None) | Err(CompactError::MapTooSmall { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn compact_stopped(&mut self, after: u64) {
        let (dir, log) = (self.dir.as_ref().unwrap(), self.log.as_mut().unwrap());
        self.touched_to = self.touched_to.max(log.durable_end().0);
        let memory = MapMemory { bytes: 4096, load_percent: 90 };
        match compact_with(dir, log, self.now, memory, &StopAfter(after.into())) {
            Ok(Some((end, _))) => self.cleaned_to = end.0,
            Ok(None) | Err(CompactError::Stopped(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn delete_records(&mut self, ahead: i64) {
        let to = (self.start + ahead).min(self.end());
        let removal = self.log().delete_records_before(Offset(to)).unwrap();
        removal.into_iter().for_each(|removal| removal.run().unwrap());
        self.dir.as_ref().unwrap().write_checkpoint().unwrap();
        self.start = to;
    }

    /// A read from anywhere gives what a read of everything gives from there on.
    fn read(&mut self, at: i64, max_bytes: u64) {
        let from = self.start + at % (self.end() - self.start + 1);
        let reader = self.log().reader();
        let all = read_keyed(&reader, Offset(self.start), 1 << 20).unwrap();
        let expected: Vec<Keyed> = all.into_iter().filter(|record| record.offset >= from).collect();
        assert_eq!(read_keyed(&reader, Offset(from), max_bytes).unwrap(), expected);
        let limits = Limits { max_bytes, first_batch: FirstBatch::AtLeastOne, end: reader.end_offset() };
        if let HotRead::Ready(hot) = reader.read_hot(Offset(from), limits).unwrap() {
            assert_eq!(hot, reader.read(Offset(from), limits).unwrap());
        }
    }

    fn reopen(&mut self, in_good_order: bool) {
        let (log, dir) = (self.log.take().unwrap(), self.dir.take().unwrap());
        if in_good_order {
            log.close().unwrap();
            dir.close().unwrap();
        } else {
            drop((log, dir));
        }
        self.open();
    }

    fn open(&mut self) {
        let dir = open_dir(&(Arc::new(self.disk.clone()) as Arc<dyn Disk>));
        self.log = Some(dir.open_log(&name(), config()).unwrap());
        self.dir = Some(dir);
    }

    fn crash(&mut self, kind: u8, seed: u64) {
        let durable = self.log().durable_end().0;
        drop((self.log.take(), self.dir.take()));
        let crash = match kind {
            0 => Crash::LoseUnsynced,
            1 => Crash::KeepAll,
            2 => Crash::Random { seed, unit: CrashUnit::Sector },
            _ => Crash::Random { seed, unit: CrashUnit::Page },
        };
        self.disk.crash(crash);
        self.open();
        let end = self.log().end_offset().0;
        let least = if crash == Crash::KeepAll { self.end() } else { durable };
        assert!(end >= least && end <= self.end(), "{crash:?} left {end}, {least} was promised");
        self.records.truncate(usize::try_from(end).unwrap());
        self.forget_lost_batches(end);
    }

    /// What a producer had sent last may be gone with the end of the log; then the model knows it anew from what is left.
    fn forget_lost_batches(&mut self, end: i64) {
        let start = self.start;
        let known: BTreeMap<i64, i32> = self
            .log()
            .producers()
            .filter_map(|state| Some((state.id.0, state.batches.last()?.last_sequence)))
            .collect();
        self.producers.retain(|id, (first, last)| {
            let is_there = last.last().is_some_and(|record| record.offset < end);
            if is_there && (known.contains_key(id) || last[last.len() - 1].offset >= start) {
                assert_eq!(known.get(id), Some(&(*first + i32::try_from(last.len()).unwrap() - 1)), "producer {id}");
                return true;
            }
            match known.get(id) {
                // The one before is the last now; what it was does not matter for what follows.
                Some(sequence) => {
                    (*first, *last) = (sequence + 1, Vec::new());
                    true
                }
                None => false,
            }
        });
    }

    fn check(&mut self) {
        let (start, end) = (self.start, self.end());
        let log = self.log();
        assert_eq!((log.start_offset().0, log.end_offset().0), (start, end));
        let seen = read_keyed(&log.reader(), Offset(start), 3_000).unwrap();
        let from = usize::try_from(start).unwrap();
        let appended = &self.records[from..];
        for record in &seen {
            assert_eq!(record, &self.records[usize::try_from(record.offset).unwrap()], "as it was appended");
        }
        if table(&seen) != table(appended) {
            let offsets: Vec<i64> = seen.iter().map(|record| record.offset).collect();
            panic!(
                "the newest of each key is not in {offsets:?}, log {start}..{end}, compacted to {}",
                self.cleaned_to
            );
        }
        let untouched = |record: &&Keyed| record.offset >= self.touched_to.max(start);
        let (above, there) = (appended.iter().filter(untouched), seen.iter().filter(untouched));
        assert!(above.eq(there), "nothing is missing that no round may have touched");
        let mut keys = BTreeSet::new();
        for record in seen.iter().rev().filter(|record| record.offset < self.cleaned_to) {
            let key = record.key.as_ref().expect("records without keys go");
            assert!(keys.insert(key.clone()), "{key:?} is there twice below {}", self.cleaned_to);
        }
    }
}

fn pairs(records: &[Keyed]) -> Vec<KeyValue<'_>> {
    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }
    records.iter().map(|record| (record.key.as_deref().map(text), record.value.as_deref().map(text))).collect()
}

/// More than by default with `CAIRN_MODEL_CASES`.
fn cases() -> u32 {
    std::env::var("CAIRN_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_compacted_log_is_what_its_model_is(ops in proptest::collection::vec(op(), 1..150)) {
        let mut model = Model::new();
        for op in &ops {
            model.apply(op);
        }
        model.reopen(true);
        model.check();
        drop((model.log.take(), model.dir.take()));
        let verdict = inspect::verify(&model.disk, "/data".as_ref()).unwrap();
        prop_assert!(verdict.is_sound(), "{}", verdict);
    }
}
