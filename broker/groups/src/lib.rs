//! What the group coordinator decides: a request and the time in, replies and records out.
//!
//! One [`Shard`] stands for one partition of `__consumer_offsets` and for the groups that [`partition_of`] gives it. It
//! holds committed offsets, and the groups with their members; whoever drives it appends the records
//! that it asks for, tells it when they are durable, and only then lets the answers go:
//!
//! ```text
//!   commit(request, now) -> records, results      decide; no offset has changed yet
//!   append records to the log -> first offset
//!   on_appended(first, records)                   in the order of the log
//!   ... wait until they are durable ...
//!   on_committed(end)                             now fetches see them; now answer
//! ```
//! What members ask is decided at once, on what was decided before, and leads to [`Effects`]:
//!
//! ```text
//!   join(request, waiter, now) -> Effects         replies to this waiter or to others, and writes
//!   each write: append, on_appended, ... and when it is durable, or is known not to be:
//!   on_written(write.then, outcome, now) -> Effects
//!   at next_deadline(): on_time(now) -> Effects   sessions, joins and syncs that run out
//! ```
//! After a restart every record of the partition goes through [`Shard::load`], then [`Shard::on_loaded`] starts the sessions.
//!
//! Groups of the next generation's protocol, KIP-848, lie beside those of the classic one, in `consumer`; a name belongs to
//! one of the two, and goes from one to the other while members are in it:
//!
//! ```text
//!   on_topics(topics)                             at first, and whenever topics have changed
//!   search(request, now) -> Search                regular expressions: run it while nothing is held, it may take a while
//!   consumer_heartbeat(request, found, waiter, now) -> Effects
//!                                                 its write is appended; the group changes by on_appended, and not before
//!   on_written(write.then, ..) -> Effects         the answer, once it is durable
//!   each of effects.assignments: run it while nothing is held, it may take a while, then on_assigned(.., now) -> Effects
//! ```
//! Such a group never is what its records do not say: a decision is made on a copy, and both a restart and the append that
//! follows it take the same steps ([`Shard::on_appended`] must follow before anything else is asked of the shard). Members of
//! the classic protocol in such a group are served by [`Shard::join`], [`Shard::sync`], [`Shard::heartbeat`] and
//! [`Shard::leave`] as elsewhere.
//!
//! Rules and error codes are those of Apache Kafka 4.3's coordinator.
//!
//! Must not know: files, sockets, clocks, how a log makes records durable.

mod partition;
mod settings;
mod timers;

mod group;
mod protocols;
mod stored_group;

mod consumer;

mod record_error;
mod records;

mod commit;
mod offsets;

mod effects;
mod events;
mod replies;
mod turn;

mod join;
mod rebalance;
mod sync;

mod shard;

pub use commit::{Commit, CommitError, CommitOutcome, GroupCommit, PartitionCommit};
pub use consumer::assignment::Partitions;
pub use consumer::assignor::{Assignor, Assignors};
pub use consumer::describe::{DescribedConsumerGroup, DescribedConsumerMember, MemberProtocol};
pub use consumer::heartbeat::{ConsumerHeartbeat, HeartbeatReply};
pub use consumer::regex::{Found, Search};
pub use consumer::settings::{ConsumerSettings, INLINE_WORK_MAX, MigrationPolicy};
pub use consumer::state::ConsumerGroupState;
pub use consumer::target::{Assigned, Assigning, NotAssigned};
pub use consumer::topics::Topics;
pub use effects::{Effects, Split, Then, Write};
pub use events::{Cause, Event, Happened};
pub use group::GroupState;
pub use join::Join;
pub use offsets::CommittedOffset;
pub use partition::{OFFSETS_PARTITIONS_DEFAULT, partition_of};
pub use protocols::Protocol;
pub use record_error::RecordError;
pub use records::Record;
pub use replies::{JoinReply, JoinedMember, Reply, SyncReply, Waiter};
pub use settings::{GroupSettings, METADATA_CHARS_MAX};
pub use shard::admin::{DeletedOffsets, DescribedGroup, DescribedMember, ListedGroup, ListedState};
pub use shard::consumers::GroupOverrides;
pub use shard::{Loaded, OFFSETS_RETENTION_MS_DEFAULT, Shard};
pub use sync::{Identity, Leaver, Sync};
pub use timers::{Now, Ticks};
