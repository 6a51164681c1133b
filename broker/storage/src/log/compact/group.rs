//! Which segments are put together into one, so that segments do not get ever smaller: Kafka's rules.
//!
//! Must not know: what is in segments.

use std::sync::Arc;

use super::super::config::SEGMENT_MAX_BYTES;
use super::super::index::{Entry, OffsetEntry, TimeEntry};
use super::super::segment::Segment;
use super::LogConfig;
use crate::num::as_u64;

/// Groups of segments that follow each other. As one segment a group would break none of the bounds of segments, even if
/// nothing of it went.
pub(super) fn group(segments: &[Arc<Segment>], config: &LogConfig) -> Vec<Vec<Arc<Segment>>> {
    let mut groups: Vec<Vec<Arc<Segment>>> = Vec::new();
    let mut size = Size::default();
    for segment in segments {
        let with = size.with(segment);
        let fits = |first: &Arc<Segment>| {
            with.bytes <= config.segment_bytes.min(SEGMENT_MAX_BYTES)
                && with.offset_index.max(with.time_index) <= config.segment_index_bytes
                && segment.end_offset().0 - 1 - first.base.0 <= i64::from(i32::MAX)
        };
        match groups.last_mut() {
            Some(group) if group.first().is_some_and(fits) => {
                group.push(Arc::clone(segment));
                size = with;
            }
            _ => {
                groups.push(vec![Arc::clone(segment)]);
                size = Size::default().with(segment);
            }
        }
    }
    groups
}

#[derive(Clone, Copy, Default)]
struct Size {
    bytes: u64,
    offset_index: u64,
    time_index: u64,
}

impl Size {
    fn with(self, segment: &Segment) -> Self {
        Self {
            bytes: self.bytes + segment.end_position(),
            offset_index: self.offset_index + as_u64(segment.offsets.len() * OffsetEntry::BYTES),
            time_index: self.time_index + as_u64(segment.times.len() * TimeEntry::BYTES),
        }
    }
}
