//! Answers that wait until what they tell is durable.
//!
//! Most answers come with a change and go out with it. One without a change tells of earlier ones: as long as those are on
//! their way, it must not overtake them, or a member would know of partitions that nobody remembers after a crash.
//!
//! Must not know: what is written.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;

use crate::replies::{Reply, Waiter};

/// Which write of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WriteNumber(u64);

/// The writes of consumer groups that are on their way, and the answers behind them.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    begun: u64,
    groups: HashMap<Arc<str>, OfGroup>,
}

#[derive(Debug, Default)]
struct OfGroup {
    writing: BTreeSet<WriteNumber>,
    /// Each behind the last write that there was when it was given.
    replies: Vec<(WriteNumber, Waiter, Reply)>,
}

impl Pending {
    /// Something of a group is being written.
    pub(crate) fn begin(&mut self, group: &Arc<str>) -> WriteNumber {
        self.begun += 1;
        let number = WriteNumber(self.begun);
        self.groups.entry(Arc::clone(group)).or_default().writing.insert(number);
        number
    }

    /// Has an answer wait behind what is being written; gives it back when nothing is.
    pub(crate) fn hold(&mut self, group: &str, waiter: Waiter, reply: Reply) -> Option<Reply> {
        let Some(of_group) = self.groups.get_mut(group) else { return Some(reply) };
        let last = *of_group.writing.last().expect("a group is kept while something is written");
        of_group.replies.push((last, waiter, reply));
        None
    }

    /// How a write went; gives the answers that have waited for it.
    pub(crate) fn finish(
        &mut self,
        group: &str,
        number: WriteNumber,
        written: Result<(), ErrorCode>,
    ) -> Vec<(Waiter, Reply)> {
        let Some(of_group) = self.groups.get_mut(group) else { return Vec::new() };
        of_group.writing.remove(&number);
        let first = of_group.writing.first().copied();
        let is_free = |behind: WriteNumber| written.is_err() && behind >= number || first.is_none_or(|at| behind < at);
        let (free, held) = of_group.replies.drain(..).partition(|(behind, ..)| is_free(*behind));
        of_group.replies = held;
        if of_group.writing.is_empty() {
            self.groups.remove(group);
        }
        let told = |(behind, waiter, reply): (WriteNumber, Waiter, Reply)| match written {
            Err(error) if behind >= number => (waiter, reply.refused(error)),
            _ => (waiter, reply),
        };
        let free: Vec<(WriteNumber, Waiter, Reply)> = free;
        free.into_iter().map(told).collect()
    }
}
