//! What the core looks up in a partition's log. The log itself is its only keeper: the core has no second copy of it.
//!
//! Must not know: segments, files.

use cairn_protocol::ids::{LeaderEpoch, Offset};

/// Where an epoch ends in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The end of its records, exclusive.
    pub end: Offset,
}

/// One partition's log as it is at this moment: nobody changes it while the core looks.
pub trait LogView {
    /// The first offset.
    fn start(&self) -> Offset;

    /// The offset behind the last record.
    fn end(&self) -> Offset;

    /// Everything below is on disk for certain. Never above [`Self::end`]: a truncation takes it back, and a flush that began
    /// before a truncation counts for nothing after it.
    fn durable_end(&self) -> Offset;

    /// The epoch in which `offset` was written, by the log's history of epochs: also where compaction has removed the record.
    /// None outside the log.
    fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch>;

    /// The newest epoch that the log knows, also one without records.
    fn latest_epoch(&self) -> Option<LeaderEpoch>;

    /// The largest known epoch not above `epoch`, and its end; where all are above, `epoch` itself, which ends at the start.
    fn end_for(&self, epoch: LeaderEpoch) -> EpochEnd;
}
