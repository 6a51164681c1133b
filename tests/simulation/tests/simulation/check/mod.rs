//! What must hold, an invariant in each file, and what is known for certain to judge by.
//!
//! Must not know: how brokers decide.

mod candidates;
mod duplicates;
mod ends;
mod leases;
mod lost;
mod offsets;
mod order;
mod reads;
mod superset;
mod told;
mod watermarks;
mod whole;

use std::collections::BTreeMap;

use crate::held::Piece;
use crate::setup::PARTITIONS;

/// What nobody in the cluster can know as a whole: what was committed by any leader, and what clients were told.
#[derive(Debug)]
pub(crate) struct Truth {
    /// What was committed, by partition.
    pub(crate) committed: Vec<Vec<Piece>>,
    /// What producers were told: the value, and where it is.
    pub(crate) acked: Vec<BTreeMap<Vec<u8>, i64>>,
    /// The end of what is acknowledged.
    pub(crate) acked_end: Vec<i64>,
    /// What consumers have read, by offset.
    pub(crate) read: Vec<BTreeMap<i64, Vec<u8>>>,
    /// The most that anybody was told that a consumer has committed.
    pub(crate) told: BTreeMap<usize, Option<i64>>,
}

impl Default for Truth {
    fn default() -> Self {
        Self {
            committed: vec![Vec::new(); PARTITIONS],
            acked: vec![BTreeMap::new(); PARTITIONS],
            acked_end: vec![0; PARTITIONS],
            read: vec![BTreeMap::new(); PARTITIONS],
            told: BTreeMap::new(),
        }
    }
}

/// Whether a log has all of this.
pub(crate) fn has(pieces: &[Piece], all: &[Piece]) -> bool {
    pieces.len() >= all.len() && pieces[..all.len()] == *all
}
