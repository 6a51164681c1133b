//! What the group coordinator decides: a request and the time in, replies and records out.
//!
//! One [`Shard`] stands for one partition of `__consumer_offsets` and for the groups that [`partition_of`] gives it. It
//! holds committed offsets; whoever drives it appends the records that it asks for, tells it when they are durable, and
//! only then lets the answers go:
//!
//! ```text
//!   commit(request, now) -> records, results      decide; nothing has changed yet
//!   append records to the log -> first offset
//!   on_appended(first, records)                   in the order of the log
//!   ... wait until they are durable ...
//!   on_committed(end)                             now fetches see them; now answer
//! ```
//! After a restart every record of the partition goes through [`Shard::load`].
//!
//! Must not know: files, sockets, clocks, how a log makes records durable.

mod partition;
mod records;

mod commit;
mod offsets;

mod shard;

pub use commit::{Commit, CommitError, CommitOutcome, GroupCommit, METADATA_CHARS_MAX, PartitionCommit};
pub use offsets::CommittedOffset;
pub use partition::{OFFSETS_PARTITIONS_DEFAULT, partition_of};
pub use records::{Record, RecordError};
pub use shard::{Loaded, OFFSETS_RETENTION_MS_DEFAULT, Shard};
