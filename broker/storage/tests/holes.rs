//! Holes in a follower's log: it takes over what a compacted log has, ends where it is told, and knows the epochs.

mod common;

use std::sync::Arc;

use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_protocol::records::{BatchIter, Compression};
use cairn_storage::DataDir;
use cairn_storage::disk::Disk;
use cairn_storage::disk::memory::{Crash, CrashUnit, MemoryDisk};
use cairn_storage::inspect;
use cairn_storage::log::{AppendError, EpochHistory, FirstBatch, Hole, Limits, Log, LogConfig, LogReader};
use common::keyed::{compact, compacted, keyed_batch, memory_log, put, seen};
use common::{append, batch, follow, name, open_dir, placed, small, sync, topic_id};

/// A piece of a leader's log, as it is sent to a follower.
enum Piece {
    Batch(Vec<u8>),
    Hole(Hole),
}

/// What a leader sends of its log from `from` on, and where that ends: batches, and holes between and behind them.
fn pieces(leader: &LogReader, from: Offset, max_bytes: u64) -> (Vec<Piece>, Offset) {
    let limits = Limits { max_bytes, first_batch: FirstBatch::AtLeastOne, end: leader.end_offset() };
    let read = leader.read(from, limits).unwrap();
    let (mut pieces, mut at) = (Vec::new(), from);
    for view in BatchIter::new(&read.bytes) {
        let view = view.unwrap();
        if Hole::of(view.header()).is_some() {
            continue;
        }
        pieces.extend(holes(leader, at, view.header().base_offset).map(Piece::Hole));
        pieces.push(Piece::Batch(view.as_bytes().to_vec()));
        at = view.header().end_offset();
    }
    pieces.extend(holes(leader, at, read.next_offset).map(Piece::Hole));
    (pieces, read.next_offset)
}

fn holes(leader: &LogReader, from: Offset, to: Offset) -> impl Iterator<Item = Hole> {
    let epochs = leader.epochs();
    let mut at = from;
    std::iter::from_fn(move || {
        let epoch = (at < to).then(|| epochs.epoch_at(at))??;
        let hole = Hole { base: at, end: epochs.end_for(epoch, to)?.end.min(to), epoch };
        at = hole.end;
        Some(hole)
    })
}

fn take(follower: &mut Log, piece: &Piece) {
    match piece {
        Piece::Batch(bytes) => drop(follow(follower, bytes).unwrap()),
        Piece::Hole(hole) => follower.append_hole(*hole, Timestamp(0)).unwrap(),
    }
}

/// A log of several epochs of which compaction has left little: three epochs have nothing at all.
fn compacted_leader() -> (MemoryDisk, DataDir, Log) {
    let (memory, dir, mut log) = memory_log(compacted());
    for round in 0..150i64 {
        let own = format!("{round}");
        let value = "v".repeat(300);
        let keys = if round % 17 == 0 { [Some("k"), Some(&own)] } else { [Some("k"), Some("l")] };
        let records = keys.map(|key| (key, Some(&*value)));
        let epoch = i32::try_from(round / 10).unwrap();
        append(&mut log, &keyed_batch(&records, round, Compression::None), epoch, round).unwrap();
    }
    sync(&mut log);
    compact(&dir, &mut log, 1000).unwrap();
    assert!(seen(&log).len() < 40 && log.epochs().starts().len() == 15);
    (memory, dir, log)
}

const CRASHES: [Option<Crash>; 4] =
    [None, Some(Crash::KeepAll), Some(Crash::LoseUnsynced), Some(Crash::Random { seed: 5, unit: CrashUnit::Sector })];

/// Opens a log that went away: closed, where nothing crashed. Of a machine that crashed only what was synced is there for certain.
fn again(memory: &MemoryDisk, dir: DataDir, mut log: Log, crash: Option<Crash>, config: &LogConfig) -> (DataDir, Log) {
    match crash {
        None => log.close().unwrap(),
        Some(Crash::KeepAll) => drop(log),
        Some(_) => {
            sync(&mut log);
            drop(log);
        }
    }
    drop(dir);
    crash.into_iter().for_each(|crash| memory.crash(crash));
    let dir = open_dir(&(Arc::new(memory.clone()) as Arc<dyn Disk>));
    let log = dir.open_log(&name(), config.clone()).unwrap();
    (dir, log)
}

#[test]
fn a_follower_ends_where_it_was_told_and_knows_the_epochs_of_holes() {
    let (_memory, _dir, leader) = compacted_leader();
    let leader = leader.reader();
    for crash in CRASHES {
        for max_bytes in [1, 700, 5_000, 1 << 20] {
            let memory = MemoryDisk::new();
            let mut dir = open_dir(&(Arc::new(memory.clone()) as Arc<dyn Disk>));
            let mut follower = dir.create_log(&name(), topic_id(), compacted()).unwrap();
            while follower.end_offset() < leader.end_offset() {
                let (sent, end) = pieces(&leader, follower.end_offset(), max_bytes);
                sent.iter().for_each(|piece| take(&mut follower, piece));
                assert_eq!(follower.end_offset(), end);
                (dir, follower) = again(&memory, dir, follower, crash, &compacted());
                assert_eq!(follower.end_offset(), end, "{crash:?}");
                let mut known = EpochHistory::clone(&leader.epochs()).starts().to_vec();
                known.retain(|known| known.start < end);
                assert_eq!(follower.epochs().starts(), known, "{crash:?}");
            }
            assert_eq!(common::keyed::read_keyed(&follower.reader(), Offset(0), 900).unwrap(), {
                common::keyed::read_keyed(&leader, Offset(0), 900).unwrap()
            });
            // It is compacted like any other, and another one follows it.
            for round in 0..20 {
                append(&mut follower, &keyed_batch(&[(Some("k"), Some("w"))], round, Compression::None), 20, 0)
                    .unwrap();
            }
            follower.maintain(Timestamp(i64::MAX), Offset(0)).unwrap().rolled.unwrap();
            sync(&mut follower);
            let before = seen(&follower);
            compact(&dir, &mut follower, 3000).unwrap();
            assert_eq!(common::keyed::table(&seen(&follower)), common::keyed::table(&before));
        }
    }
}

/// The follower's log ends within what is one batch in that of the next leader, because that one stands for a hole.
#[test]
fn a_log_that_ends_in_a_hole_goes_on_in_it() {
    let (_memory, _dir, mut leader) = memory_log(small());
    append(&mut leader, &batch(&[b"a", b"b"], 1), 3, 0).unwrap();
    leader.append_hole(Hole { base: Offset(2), end: Offset(40), epoch: LeaderEpoch(3) }, Timestamp(0)).unwrap();
    append(&mut leader, &batch(&[b"c"], 1), 4, 0).unwrap();
    for end in 2..40 {
        let (memory, dir, mut follower) = memory_log(small());
        append(&mut follower, &batch(&[b"a", b"b"], 1), 3, 0).unwrap();
        for _ in 2..end {
            append(&mut follower, &batch(&[b"uncompacted"], 1), 3, 0).unwrap();
        }
        let (sent, _) = pieces(&leader.reader(), Offset(end), 1 << 20);
        let Some(Piece::Hole(hole)) = sent.first() else { panic!("a hole comes first") };
        assert_eq!((hole.base, hole.end), (Offset(end), Offset(40)));
        sent.iter().for_each(|piece| take(&mut follower, piece));
        let (_dir, follower) = again(&memory, dir, follower, None, &small());
        assert_eq!((follower.end_offset(), follower.epochs()), (Offset(41), leader.epochs()));
    }
}

#[test]
fn a_cut_in_a_hole_ends_there() {
    for crash in CRASHES {
        let mut cut = 299;
        let (memory, mut dir, mut log) = compacted_leader();
        let whole = seen(&log);
        let epochs = log.epochs();
        while cut > 3 {
            let end = log.truncate_to(Offset(cut)).unwrap().0;
            // The tail that was not compacted has batches of two records.
            assert!(end == cut || end == cut - 1 && log.end_offset().0 == end, "{cut}");
            assert!(
                end == cut || whole.iter().any(|record| (end..end + 2).contains(&record.offset)),
                "{cut}: nothing was in the way"
            );
            (dir, log) = again(&memory, dir, log, crash, &compacted());
            assert_eq!(log.end_offset().0, end, "{cut} {crash:?}");
            let expected: Vec<_> = whole.iter().filter(|record| record.offset < end).cloned().collect();
            assert_eq!(seen(&log), expected, "{cut}");
            let mut known = epochs.starts().to_vec();
            known.retain(|known| known.start.0 < end);
            assert_eq!(log.epochs().starts(), known, "{cut}");
            cut -= 7;
        }
        drop(dir);
    }
}

#[test]
fn a_hole_begins_at_the_end_of_the_log_and_in_an_epoch_that_follows_on() {
    let (_memory, _dir, mut log) = memory_log(small());
    let hole = |base, end, epoch| Hole { base: Offset(base), end: Offset(end), epoch: LeaderEpoch(epoch) };
    assert!(matches!(log.append_hole(hole(1, 5, 0), Timestamp(0)), Err(AppendError::OffsetGap { .. })));
    log.append_hole(hole(0, 5, 4), Timestamp(0)).unwrap();
    assert!(matches!(log.append_hole(hole(4, 9, 4), Timestamp(0)), Err(AppendError::OffsetGap { .. })));
    assert!(matches!(log.append_hole(hole(5, 9, 3), Timestamp(0)), Err(AppendError::Epoch(_))));
    let too_long = log.append_hole(hole(5, i64::MAX, 4), Timestamp(0));
    assert!(matches!(too_long, Err(AppendError::HoleTooLong { .. })));
    assert_eq!(log.end_offset(), Offset(5));
    log.append_hole(hole(5, 5, 4), Timestamp(0)).unwrap();
    assert_eq!(log.end_offset(), Offset(5));
    follow(&mut log, &placed(&batch(&[b"x"], 1), 5, 4)).unwrap();
    assert_eq!(log.end_offset(), Offset(6));
}

/// No batch, and no segment, names so many offsets.
#[test]
fn a_hole_may_be_longer_than_a_segment() {
    let (memory, dir, mut log) = memory_log(compacted());
    put(&mut log, &[(Some("k"), Some("v"))], 7);
    let end = Offset(1 << 33);
    log.append_hole(Hole { base: Offset(1), end, epoch: LeaderEpoch(1) }, Timestamp(0)).unwrap();
    put(&mut log, &[(Some("l"), Some("v"))], 8);
    let (_dir, log) = again(&memory, dir, log, Some(Crash::KeepAll), &compacted());
    assert_eq!((log.end_offset(), seen(&log).len()), (end.plus(1), 2));
    assert_eq!(log.reader().offset_for_time(Timestamp(8), log.end_offset()).unwrap().unwrap().offset, end);
    assert_eq!(log.epochs().starts().len(), 1);
}

#[test]
fn whoever_looks_at_the_files_sees_batches_without_records() {
    let (memory, dir, mut log) = memory_log(small());
    append(&mut log, &batch(&[b"a"], 1), 3, 0).unwrap();
    log.append_hole(Hole { base: Offset(1), end: Offset(40), epoch: LeaderEpoch(3) }, Timestamp(0)).unwrap();
    append(&mut log, &batch(&[b"c"], 1), 4, 0).unwrap();
    log.close().unwrap();
    drop(dir);
    let verdict = inspect::verify(&memory, "/data".as_ref()).unwrap();
    assert!(verdict.is_sound() && verdict.remarks.is_empty(), "{verdict}");
    assert_eq!((verdict.batches, verdict.records), (3, 2));
}
