//! A log against a model of it: random operations with crashes in between, on a memory disk that loses what was not synced.
//!
//! After each crash the log has to be a prefix of what it was, at least as long as it was durable, with epochs and
//! producers to match; nothing that was cut comes back.

mod common;

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_storage::DataDir;
use cairn_storage::disk::Disk;
use cairn_storage::disk::memory::{Crash, CrashUnit, MemoryDisk};
use cairn_storage::log::{FirstBatch, Hole, HotRead, Limits, Log, Outcome, SyncJob};
use common::{Seen, append, batch, batch_from, follow, name, open_dir, placed, read_from, small, topic_id};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Append { records: u8, size: u16, timestamp: i64, producer: Option<u8>, next_epoch: bool },
    Retry { producer: u8 },
    NoteEpoch,
    Follow { records: u8, back: u8 },
    Hole { offsets: u8, back: u8 },
    BeginSync,
    RunSync,
    Checkpoint,
    Truncate { back: u16 },
    Reset { ahead: i16 },
    DeleteRecords { ahead: u16 },
    Maintain { retention_bytes: u32 },
    Read { at: u16, max_bytes: u32 },
    FindTime { timestamp: i64 },
    Reopen { in_good_order: bool },
    Crash { kind: CrashKind, seed: u64 },
}

#[derive(Clone, Copy, Debug)]
enum CrashKind {
    LoseUnsynced,
    Sectors,
    Pages,
    KeepAll,
}

fn op() -> impl Strategy<Value = Op> {
    let append = (1..4u8, 0..700u16, 0..500i64, proptest::option::of(0..3u8), prop::bool::weighted(0.1));
    let crash = prop_oneof![
        Just(CrashKind::LoseUnsynced),
        Just(CrashKind::Sectors),
        Just(CrashKind::Pages),
        Just(CrashKind::KeepAll)
    ];
    prop_oneof![
        30 => append.prop_map(|(records, size, timestamp, producer, next_epoch)| {
            Op::Append { records, size, timestamp, producer, next_epoch }
        }),
        4 => (0..3u8).prop_map(|producer| Op::Retry { producer }),
        1 => Just(Op::NoteEpoch),
        3 => (1..4u8, 0..4u8).prop_map(|(records, back)| Op::Follow { records, back }),
        3 => (1..30u8, 0..4u8).prop_map(|(offsets, back)| Op::Hole { offsets, back }),
        4 => Just(Op::BeginSync),
        4 => Just(Op::RunSync),
        2 => Just(Op::Checkpoint),
        2 => (0..30u16).prop_map(|back| Op::Truncate { back }),
        1 => (-150..150i16).prop_map(|ahead| Op::Reset { ahead }),
        2 => (0..20u16).prop_map(|ahead| Op::DeleteRecords { ahead }),
        2 => (2_000..40_000u32).prop_map(|retention_bytes| Op::Maintain { retention_bytes }),
        4 => (any::<u16>(), 1..20_000u32).prop_map(|(at, max_bytes)| Op::Read { at, max_bytes }),
        2 => (0..510i64).prop_map(|timestamp| Op::FindTime { timestamp }),
        2 => any::<bool>().prop_map(|in_good_order| Op::Reopen { in_good_order }),
        3 => (crash, any::<u64>()).prop_map(|(kind, seed)| Op::Crash { kind, seed }),
    ]
}

/// A batch that the log has, or had at its start; or a hole, which has no values.
#[derive(Clone, Debug)]
struct Written {
    base: i64,
    end: i64,
    values: Vec<Vec<u8>>,
    timestamp: i64,
    epoch: i32,
    producer: Option<(i64, i32)>,
    bytes: Bytes,
}

struct Model {
    disk: MemoryDisk,
    dir: Option<DataDir>,
    log: Option<Log>,
    jobs: Vec<SyncJob>,
    batches: Vec<Written>,
    start: i64,
    /// Where the log began when it was made or reset.
    origin: i64,
    epoch: i32,
    counter: u64,
}

/// How the log is made.
#[derive(Clone, Copy, Debug)]
enum Made {
    /// With its first files.
    Whole,
    /// As one of many: they come with the first append.
    Begun,
}

impl Model {
    fn new(made: Made) -> Self {
        let disk = MemoryDisk::new();
        let dir = open_dir(&as_disk(&disk));
        let log = match made {
            Made::Whole => dir.create_log(&name(), topic_id(), small()).unwrap(),
            Made::Begun => {
                let log = dir.begin_log(&name(), topic_id(), small()).unwrap();
                dir.write_checkpoint().unwrap();
                log
            }
        };
        Self {
            disk,
            dir: Some(dir),
            log: Some(log),
            jobs: Vec::new(),
            batches: Vec::new(),
            start: 0,
            origin: 0,
            epoch: 0,
            counter: 0,
        }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn end(&self) -> i64 {
        self.batches.last().map_or(self.origin, |batch| batch.end)
    }

    fn last_of(&self, producer: i64) -> Option<&Written> {
        self.batches.iter().rev().find(|batch| batch.producer.is_some_and(|(id, _)| id == producer))
    }

    fn records(&self, from: i64, to: i64) -> Vec<Seen> {
        let mut records = Vec::new();
        for batch in &self.batches {
            for (offset, value) in (batch.base..).zip(&batch.values) {
                if offset >= from && offset < to {
                    records.push(Seen { offset, timestamp: batch.timestamp, value: value.clone() });
                }
            }
        }
        records
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append { records, size, timestamp, producer, next_epoch } => {
                self.epoch += i32::from(next_epoch);
                self.append(records, size, timestamp, producer.map(i64::from));
            }
            Op::Retry { producer } => self.retry(i64::from(producer)),
            Op::NoteEpoch => {
                self.epoch += 1;
                let epoch = LeaderEpoch(self.epoch);
                self.log().assign_epoch(epoch).unwrap();
            }
            Op::Follow { records, back } => self.follow(records, i32::from(back)),
            Op::Hole { offsets, back } => self.skip(i64::from(offsets), i32::from(back)),
            Op::BeginSync => {
                let job = self.log().begin_sync();
                self.jobs.extend(job);
            }
            Op::RunSync => {
                for job in std::mem::take(&mut self.jobs) {
                    let synced = job.run().unwrap();
                    self.log().on_synced(synced);
                }
            }
            Op::Checkpoint => self.dir.as_ref().unwrap().write_checkpoint().unwrap(),
            Op::Truncate { back } => self.truncate(self.end() - i64::from(back)),
            Op::Reset { ahead } => {
                let to = (self.end() + i64::from(ahead)).max(0);
                self.log().reset_to(Offset(to)).unwrap();
                self.batches.clear();
                (self.start, self.origin) = (to, to);
            }
            Op::DeleteRecords { ahead } => {
                let to = (self.start + i64::from(ahead)).min(self.end());
                let removal = self.log().delete_records_before(Offset(to)).unwrap();
                self.start = self.start.max(to);
                removal.into_iter().for_each(|removal| removal.run().unwrap());
            }
            Op::Maintain { retention_bytes } => self.maintain(u64::from(retention_bytes)),
            Op::Read { at, max_bytes } => self.read(i64::from(at), u64::from(max_bytes)),
            Op::FindTime { timestamp } => self.find_time(timestamp),
            Op::Reopen { in_good_order } => self.reopen(in_good_order),
            Op::Crash { kind, seed } => self.crash(kind, seed),
        }
        let (start, end) = (self.start, self.end());
        let log = self.log();
        assert_eq!((log.start_offset().0, log.end_offset().0), (start, end), "after {op:?}");
        assert!(log.durable_end().0 <= end, "after {op:?}");
        self.check_epochs(op);
    }

    /// The history of epochs is that of the batches, but for one that begins at the log's end.
    fn check_epochs(&mut self, op: &Op) {
        let mut expected: Vec<(i32, i64)> = Vec::new();
        for batch in self.batches.iter().filter(|batch| batch.end > self.start) {
            if expected.last().is_none_or(|last| last.0 != batch.epoch) {
                expected.push((batch.epoch, batch.base.max(self.start)));
            }
        }
        let end = self.end();
        let epochs = self.log().epochs();
        let known = epochs.starts().iter().filter(|known| known.start.0 < end);
        assert_eq!(known.map(|known| (known.epoch.0, known.start.0)).collect::<Vec<_>>(), expected, "after {op:?}");
    }

    fn values(&mut self, records: u8, size: u16) -> Vec<Vec<u8>> {
        let mut value = || {
            self.counter += 1;
            let mut value = self.counter.to_be_bytes().to_vec();
            value.resize(8 + usize::from(size), b'.');
            value
        };
        (0..records).map(|_| value()).collect()
    }

    /// An epoch of before that may still follow on, as a leader's is that was elected without what this log noted last.
    fn epoch_back(&self, back: i32) -> i32 {
        (self.epoch - back).max(self.batches.last().map_or(0, |batch| batch.epoch))
    }

    fn follow(&mut self, records: u8, back: i32) {
        let values = self.values(records, 100);
        let slices: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let (base, epoch) = (self.end(), self.epoch_back(back));
        let bytes = Bytes::from(placed(&batch(&slices, 5), base, epoch));
        follow(self.log(), &bytes).unwrap();
        let end = base + i64::from(records);
        self.batches.push(Written { base, end, values, timestamp: 5, epoch, producer: None, bytes });
    }

    fn skip(&mut self, offsets: i64, back: i32) {
        let (base, epoch) = (self.end(), self.epoch_back(back));
        let end = base + offsets;
        let hole = Hole { base: Offset(base), end: Offset(end), epoch: LeaderEpoch(epoch) };
        self.log().append_hole(hole, Timestamp(0)).unwrap();
        let bytes = Bytes::from_static(&[0; 61]);
        self.batches.push(Written { base, end, values: Vec::new(), timestamp: -1, epoch, producer: None, bytes });
    }

    fn append(&mut self, records: u8, size: u16, timestamp: i64, producer: Option<i64>) {
        let values = self.values(records, size);
        let slices: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let producer = producer.map(|id| {
            let next = |last: &Written| last.producer.unwrap().1 + i32::try_from(last.values.len()).unwrap();
            (id, self.last_of(id).map_or(0, next))
        });
        let bytes = match producer {
            Some((id, sequence)) => batch_from(id, 0, sequence, &slices, timestamp),
            None => batch(&slices, timestamp),
        };
        let (base, epoch) = (self.end(), self.epoch);
        let appended = append(self.log(), &bytes, epoch, 0).unwrap();
        assert_eq!((appended.base_offset.0, appended.outcome), (base, Outcome::Written));
        let end = base + i64::from(records);
        self.batches.push(Written { base, end, values, timestamp, epoch, producer, bytes });
    }

    fn retry(&mut self, producer: i64) {
        let Some(last) = self.last_of(producer).cloned() else { return };
        if last.base < self.start {
            // Whether it is still known depends on which snapshots there were.
            return;
        }
        let epoch = self.epoch;
        let again = append(self.log(), &last.bytes, epoch, 0).unwrap();
        assert_eq!((again.outcome, again.base_offset.0), (Outcome::Duplicate, last.base));
    }

    fn truncate(&mut self, to: i64) {
        if to < self.start {
            assert!(self.log().truncate_to(Offset(to)).is_err());
            return;
        }
        let end = self.log().truncate_to(Offset(to)).unwrap().0;
        while self.batches.last().is_some_and(|batch| batch.end > to) {
            let last = self.batches.pop().unwrap();
            if last.values.is_empty() && last.base < to {
                self.batches.push(Written { end: to, ..last });
            }
        }
        assert_eq!(end, self.end());
        // A batch that begins before the log's start may be cut whole.
        self.start = self.start.min(end);
    }

    fn maintain(&mut self, retention_bytes: u64) {
        let end = Offset(self.end());
        let mut config = small();
        config.retention_bytes = Some(retention_bytes);
        self.log().update_config(config);
        let done = self.log().maintain(Timestamp(0), end).unwrap();
        done.removal.into_iter().for_each(|removal| removal.run().unwrap());
        let start = self.log().start_offset().0;
        assert!(start >= self.start);
        assert!(start == self.start || self.batches.iter().any(|batch| batch.base == start) || start == end.0);
        self.start = start;
    }

    fn read(&mut self, at: i64, max_bytes: u64) {
        let (start, end) = (self.start, self.end());
        let at = start + at % (end - start + 1);
        let reader = self.log().reader();
        let limits = Limits { max_bytes, first_batch: FirstBatch::AtLeastOne, end: Offset(end) };
        let cold = reader.read(Offset(at), limits).unwrap();
        let HotRead::Ready(hot) = reader.read_hot(Offset(at), limits).unwrap() else { panic!("memory is hot") };
        assert_eq!(hot, cold);
        let first = self.batches.iter().find(|batch| batch.end > at).map_or(0, |batch| batch.bytes.len());
        assert!(cold.bytes.len() <= first.max(usize::try_from(max_bytes).unwrap()));
        assert_eq!(read_from(&reader, Offset(at), max_bytes).unwrap(), self.records(at, end));
    }

    fn find_time(&mut self, timestamp: i64) {
        let (start, end) = (self.start, self.end());
        let expected = self.records(start, end).into_iter().find(|record| record.timestamp >= timestamp);
        let reader = self.log().reader();
        let found = reader.offset_for_time(Timestamp(timestamp), Offset(end)).unwrap();
        assert_eq!(found.map(|found| found.offset.0), expected.map(|record| record.offset));
    }

    fn reopen(&mut self, in_good_order: bool) {
        self.jobs.clear();
        let log = self.log.take().unwrap();
        let dir = self.dir.take().unwrap();
        if in_good_order {
            log.close().unwrap();
            dir.close().unwrap();
        } else {
            drop((log, dir));
        }
        self.open(self.end());
        if in_good_order {
            let end = self.end();
            assert_eq!(self.log().durable_end().0, end);
        }
    }

    fn crash(&mut self, kind: CrashKind, seed: u64) {
        let durable = match kind {
            CrashKind::KeepAll => self.end(),
            _ => self.log().durable_end().0,
        };
        let crash = match kind {
            CrashKind::LoseUnsynced => Crash::LoseUnsynced,
            CrashKind::Sectors => Crash::Random { seed, unit: CrashUnit::Sector },
            CrashKind::Pages => Crash::Random { seed, unit: CrashUnit::Page },
            CrashKind::KeepAll => Crash::KeepAll,
        };
        self.disk.crash(crash);
        self.jobs.clear();
        (self.log, self.dir) = (None, None);
        self.open(durable);
    }

    /// Opens what is on disk, and takes over what survived.
    fn open(&mut self, durable: i64) {
        let dir = open_dir(&as_disk(&self.disk));
        let names = dir.list_logs().unwrap();
        let (_, log) = dir.open_logs(&names, NonZeroUsize::MIN, |_| small()).pop().expect("the log is there");
        let log = log.unwrap();
        assert_eq!(log.topic_id(), topic_id());
        let (start, end) = (log.start_offset().0, log.end_offset().0);
        assert!(end >= durable && end <= self.end(), "{durable} <= {end} <= {}", self.end());
        while self.batches.last().is_some_and(|batch| batch.end > end) {
            self.batches.pop();
        }
        if end > self.end() {
            // The deleted start was in a checkpoint, the records before and behind it were not synced.
            assert!(start == end && end <= self.start, "an empty log, where records were deleted: {start}..{end}");
            self.batches.clear();
            self.origin = end;
        }
        assert_eq!(end, self.end(), "the log ends with a batch");
        // A start that was not in a checkpoint goes back to an earlier one.
        assert!(start <= self.start && start >= self.origin, "{} <= {start} <= {}", self.origin, self.start);
        self.start = start;
        assert_eq!(read_from(&log.reader(), Offset(start), 5_000).unwrap(), self.records(start, end));
        self.log = Some(log);
        self.dir = Some(dir);
    }
}

fn as_disk(disk: &MemoryDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![Just(Made::Whole), Just(Made::Begun)]
}

/// More than by default with `CAIRN_MODEL_CASES`.
fn cases() -> u32 {
    std::env::var("CAIRN_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_what_its_model_is(made in made(), ops in proptest::collection::vec(op(), 1..120)) {
        let mut model = Model::new(made);
        for op in &ops {
            model.apply(op);
        }
        model.reopen(false);
    }
}
