//! What compaction has left: a log whose batches do not follow on each other.
//!
//! The leader names what is missing, one [`Content::Hole`] for each epoch that it was written in. So a push is dense whatever
//! was removed, and a follower that still has records there finds out whether they were the leader's. Without that it would
//! append behind a tail that nobody else ever had.
//!
//! Must not know: which records compaction removes.

use cairn_protocol::ids::Offset;

use crate::log_view::LogView;
use crate::messages::{Content, Span};

/// The leader's log from `from` to `to`: its batches, and the holes between them and up to `to`.
pub fn with_holes<'l>(
    from: Offset,
    batches: impl Iterator<Item = Span> + 'l,
    to: Offset,
    log: &'l impl LogView,
) -> impl Iterator<Item = Span> + 'l {
    let mut batches = batches.fuse().peekable();
    let mut at = from;
    std::iter::from_fn(move || {
        let next = batches.peek().map_or(to, |batch| batch.base);
        let span = if at < next {
            let epoch = log.epoch_at(at)?;
            let end = log.end_for(epoch).end.min(next);
            Span { base: at, end, epoch, content: Content::Hole }
        } else {
            batches.next()?
        };
        at = span.end;
        Some(span)
    })
}
