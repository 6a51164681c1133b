//! Scrubbing: sealed segments are read and checked although nobody asks for them, so that damage on the disk is found while
//! there is still something to mend it with.
//!
//! Must not know: how often, how fast, who is told.

use std::sync::Arc;

use cairn_protocol::ids::Offset;

use super::{FirstBatch, Limits, LogReader, ReadError, locate};

/// What one step has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// How much it was.
    pub bytes: u64,
    /// The offset to go on with.
    pub next_offset: Offset,
}

impl LogReader {
    /// Reads and checks whole batches of a sealed segment from `offset` on, about `max_bytes` of them, also those that were
    /// checked before. Nothing once it has come to the segment that takes appends. Waits for the disk.
    ///
    /// # Errors
    /// When the bytes cannot be read or trusted.
    pub fn scrub(&self, offset: Offset, max_bytes: u64) -> Result<Option<Scrubbed>, ReadError> {
        self.undisturbed(|| self.scrub_once(offset, max_bytes))
    }

    fn scrub_once(&self, offset: Offset, max_bytes: u64) -> Result<Option<Scrubbed>, ReadError> {
        let (segment, end) = {
            let segments = self.shared.segments.load();
            let at = segments.partition_point(|segment| segment.base <= offset).saturating_sub(1);
            let Some(next) = segments.get(at + 1) else { return Ok(None) };
            (Arc::clone(&segments[at]), next.base)
        };
        // Retention may have been faster.
        let offset = offset.max(segment.base);
        let limits = Limits { max_bytes, first_batch: FirstBatch::AtLeastOne, end };
        self.heed(segment.offsets.populate().map_err(|error| segment.io(error)))?;
        let Some(range) = self.heed(locate(&segment, offset, limits))? else {
            return Ok(Some(Scrubbed { bytes: 0, next_offset: end }));
        };
        let populated = segment.bytes.populate(range.from..range.to);
        self.heed(populated.map_err(|error| segment.io(error)))?;
        let bytes = self.heed(segment.slice(range.from, range.to))?;
        self.heed(self.verify(&segment, &range, &bytes))?;
        let next_offset = if range.next_offset > offset { range.next_offset } else { end };
        Ok(Some(Scrubbed { bytes: range.to - range.from, next_offset }))
    }
}
