//! What leader and follower of a partition decide: an event and the time in, effects out.
//!
//! One [`Replica`] stands for one replica of one partition in one incarnation of its broker. A leader pushes records to its
//! followers before it acknowledges them; nobody polls. Whoever drives a replica owns the log, shows it as a [`LogView`], and
//! carries out what is decided, all under the partition's lock:
//!
//! ```text
//!   metadata        on_metadata(assignment)  -> Turn: takes office (the epoch goes into the log: on_epoch_noted), or loses it
//!
//!   leader          may_append(acks)         -> the epoch to append in, or a refusal
//!                   on_log_changed()         -> the high watermark, where it rose      appended, or more of it on disk
//!                   next_send(to)            -> a Push, and how many bytes behind it   then on_sent
//!                   on_ack, on_nack          -> the high watermark; office lost to somebody newer
//!                   on_connection_changed    what was sent is unanswered for ever
//!                   due_proposal()           -> who shall be in sync; on_outcome when the quorum has decided
//!                   commit_state(epoch, end) -> Committed | Waiting | OfficeLost       asked right before an answer goes out
//!
//!   follower        on_push(push, spans)     -> Ignore | Refuse | Cut | DeleteBefore | StartAnew | Suspect | Append
//!                   on_taken(push, end)      -> the ack, the high watermark
//!                   on_flushed()             -> the ack that waited for the disk
//! ```
//! Every high watermark that an event answers is to be told to readers and to produces that wait. There are no timers inside:
//! `next_send` and `due_proposal` are asked again as time passes.
//!
//! What must hold, and the rule that sees to it (`docs/replication.md` numbers them; [`Rule`] names those that tests can
//! switch off):
//!
//! - A record is committed when everyone in sync, and everyone proposed to be, is known to have it, heard in this leader epoch
//!   and of this incarnation: `leader/mod.rs`. Under `synced` "to have" means on disk, the leader's own disk too.
//! - A follower's log is the leader's up to what a push has proven: the record before is of the same epoch. It is cut at the
//!   first record that differs, never below its high watermark: `follower.rs`.
//! - Who is in sync is decided by the quorum alone ([`cairn_metadata::Partition::decide`]), each proposal once: `leader/isr.rs`.
//! - Per follower there are some offsets and a bounded list of pushes under way, and no records: `leader/progress.rs`.
//!
//! A broker's [`Lease`] says how long it may act on what it last saw.
//!
//! Must not know: bytes, files, sockets, clocks, randomness, tokio; other partitions.

mod rules;
mod ticks;

mod log_view;
mod messages;

mod assignment;

mod follower;
mod holes;
mod leader;

mod replica;

mod lease;
mod sessions;

pub use assignment::{Assignment, InSync, MayJoin, Member};
pub use follower::{Taken, Verdict};
pub use holes::with_holes;
pub use leader::{
    BYTES_IN_FLIGHT_MAX, CannotPropose, HEARTBEAT_MS, IDLE_HIGH_WATERMARK_MS, IsrChange, PROPOSAL_RETRY_MS,
    PUSHES_IN_FLIGHT_MAX, Send,
};
pub use lease::Lease;
pub use log_view::{EpochEnd, LogView};
pub use messages::{AckWhen, Content, Generation, NackReason, Position, Push, PushAck, PushNack, Span};
pub use replica::{Acks, AppendRefused, CommitState, Replica, Turn};
pub use rules::{Rule, Rules};
pub use sessions::{Expired, Heartbeat, Sessions, WhyExpired};
pub use ticks::Ticks;
