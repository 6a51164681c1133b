//! Dead tails: what a cut has left behind the end of a segment that stays, until nobody can hold it any more.
//!
//! Readers may hold bytes of it, or be about to take some. The segment that stays has a handle of its own, which does not
//! reach there; once that of before and all that was taken by it are gone, the file is cut at the segment's last batch.
//!
//! Must not know: why a log was cut.

use std::sync::{Arc, Weak};

use cairn_protocol::ids::Offset;

use super::Log;
use super::segment::Segment;
use crate::dir::state::DirOffline;
use crate::disk::Readable;

/// A handle of a segment's file, by which readers may have taken bytes.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    handle: Weak<dyn Readable>,
    slices: Weak<()>,
}

impl Holder {
    fn is_there(&self) -> bool {
        self.handle.strong_count() > 0 || self.slices.strong_count() > 0
    }

    /// All of a segment's file so far: that of the segment, and those that it had while it took appends, or before its indexes
    /// were made anew.
    pub(super) fn all_of(segment: &Segment) -> Vec<Self> {
        let own = Self { handle: Arc::downgrade(&segment.bytes), slices: segment.bytes.slices() };
        segment.earlier.iter().filter(|holder| holder.is_there()).cloned().chain([own]).collect()
    }
}

/// What a cut has left behind the end of a segment.
#[derive(Debug)]
pub(super) struct DeadTail {
    base: Offset,
    holders: Vec<Holder>,
}

impl DeadTail {
    /// Of a segment as it was before the cut.
    pub(super) fn of(segment: &Segment) -> Self {
        Self { base: segment.base, holders: Holder::all_of(segment) }
    }

    fn is_held(&self) -> bool {
        self.holders.iter().any(Holder::is_there)
    }
}

impl Log {
    /// Cuts off the dead tails that nobody holds any more. Others go at a later look, or when the log is opened again.
    pub(super) fn cut_dead_tails(&mut self) -> Result<(), DirOffline> {
        // While compaction is exchanging files, the names may be those of copies.
        if self.dead_tails.is_empty() || self.is_swapping() {
            return Ok(());
        }
        let (held, free): (Vec<_>, Vec<_>) = self.dead_tails.drain(..).partition(DeadTail::is_held);
        self.dead_tails = held;
        let segments = self.shared.segments.load();
        for DeadTail { base, .. } in free {
            let sealed = segments[..segments.len() - 1].iter().find(|segment| segment.base == base);
            let Some(segment) = sealed.filter(|_| self.dead_tails.iter().all(|held| held.base != base)) else {
                continue;
            };
            let cut = self.dir.disk.truncate(&self.folder.segment(base), segment.end_position());
            self.dir.heed("cut off the dead tail of a segment", cut)?;
        }
        Ok(())
    }
}
