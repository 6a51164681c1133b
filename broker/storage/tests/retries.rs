//! Batches of an idempotent producer that come again after the log was opened again.

mod common;

use std::sync::Arc;

use cairn_protocol::ids::Offset;
use cairn_storage::disk::Disk;
use cairn_storage::disk::memory::MemoryDisk;
use cairn_storage::log::Outcome;
use common::{append, batch_from, name, open_dir, small, topic_id};

/// Found by the simulation: the last five batches of a producer lay in several segments, and those before the last roll were
/// forgotten. Who sent them again was told that they are out of order.
#[test]
fn the_last_five_batches_are_known_again_whatever_segments_they_lie_in() {
    for close in [true, false] {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let dir = open_dir(&disk);
        let mut log = dir.create_log(&name(), topic_id(), small()).unwrap();
        let batches: Vec<_> = (0..8).map(|number| batch_from(9, 0, number, &[&[b'x'; 1500]], 7)).collect();
        for batch in &batches {
            append(&mut log, batch, 1, 0).unwrap();
        }
        assert!(log.reader().segment_count() >= 4);
        if close {
            log.close().unwrap();
            dir.close().unwrap();
        } else {
            drop((log, dir));
        }
        let dir = open_dir(&disk);
        let mut log = dir.open_log(&name(), small()).unwrap();
        for (batch, at) in batches.iter().zip(0..).skip(3) {
            let again = append(&mut log, batch, 1, 0).unwrap();
            assert_eq!((again.outcome, again.base_offset), (Outcome::Duplicate, Offset(at)), "closed: {close}");
        }
        assert_eq!(log.end_offset(), Offset(8));
    }
}
