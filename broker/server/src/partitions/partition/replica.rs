//! What the metadata means for a partition here, and what is committed by it: the log as [`Replica`] sees it, and what follows from
//! its decisions.
//!
//! Everything is decided and noted under the partition's lock; who has to hear of it is told when that is let go ([`Tidings`]).
//!
//! Must not know: connections, how metadata arrives.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_metadata::configs::Durability;
use cairn_metadata::{Broker, BrokerEpoch, Image, Topic};
use cairn_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use cairn_replication::{Assignment, CommitState, EpochEnd, LogView, Member, Ticks, Turn};
use cairn_storage::log::Log;

use super::leading::Stream;
use super::moving::durable_end;
use super::{Mirror, Partition, Ticket, Writer};

/// The epoch of who does not lead.
pub(super) const NOWHERE: i32 = -1;

/// Which life of which broker this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Me {
    pub(crate) broker: BrokerId,
    pub(crate) incarnation: BrokerEpoch,
}

/// A log at this moment: nobody changes it while the partition's lock is held.
pub(super) struct View<'l> {
    log: &'l Log,
    durable_end: Offset,
}

/// A log, and a copy of it that may take its place.
pub(super) fn view<'l>(log: &'l Log, mirror: Option<&Mirror>) -> View<'l> {
    View { log, durable_end: durable_end(log, mirror) }
}

impl LogView for View<'_> {
    fn start(&self) -> Offset {
        self.log.start_offset()
    }

    fn end(&self) -> Offset {
        self.log.end_offset()
    }

    fn durable_end(&self) -> Offset {
        self.durable_end
    }

    fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let is_inside = (self.start()..self.end()).contains(&offset);
        is_inside.then(|| self.log.epochs().epoch_at(offset))?
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.log.epochs().latest().map(|latest| latest.epoch)
    }

    fn end_for(&self, epoch: LeaderEpoch) -> EpochEnd {
        let epochs = self.log.epochs();
        match (epochs.end_for(epoch, self.end()), epochs.latest()) {
            (Some(known), _) => EpochEnd { epoch: known.epoch, end: known.end },
            (None, Some(latest)) => EpochEnd { epoch: latest.epoch, end: self.end() },
            (None, None) => EpochEnd { epoch, end: self.start() },
        }
    }
}

/// How many ends are kept apart: as many as may be in flight when all is well.
const UNREAD_MAX: usize = 4096;

/// How many bytes become readable where the high watermark rises: the ends of what was appended above it.
#[derive(Debug, Default)]
pub(super) struct Unread(VecDeque<(Offset, usize)>);

impl Unread {
    pub(super) fn push(&mut self, end: Offset, bytes: usize) {
        let is_full = self.0.len() >= UNREAD_MAX;
        match self.0.back_mut().filter(|_| is_full) {
            // Nothing has been committed for long. Who waits for bytes hears of these all at once.
            Some(last) => *last = (end, last.1 + bytes),
            None => self.0.push_back((end, bytes)),
        }
    }

    fn take(&mut self, high_watermark: Offset) -> usize {
        let mut bytes = 0;
        while let Some((_, read)) = self.0.pop_front_if(|(end, _)| *end <= high_watermark) {
            bytes += read;
        }
        bytes
    }
}

/// What is to be told when the lock is let go.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Tidings {
    /// So many bytes can be read that could not be before.
    arrived: Option<usize>,
    /// Who waited, and need not any longer.
    pub(super) tickets: Vec<Ticket>,
    /// Followers that there may be something for.
    streams: Option<Arc<[Arc<Stream>]>>,
    /// Somebody else leads, or nobody, or this broker does.
    is_office: bool,
}

impl Tidings {
    /// What a follower's readers hear. How much it is they see themselves: nobody here has counted it.
    pub(super) fn of_follower(before: Offset, after: Offset) -> Self {
        Self { arrived: (after > before).then_some(usize::MAX), ..Self::default() }
    }

    /// Whether the high watermark has risen.
    pub(super) fn rises(&self) -> bool {
        self.arrived.is_some()
    }

    /// There may be something for the followers.
    pub(super) fn wake(&mut self, streams: &Arc<[Arc<Stream>]>) {
        if !streams.is_empty() {
            self.streams = Some(Arc::clone(streams));
        }
    }

    /// Tells. Without the lock.
    pub(super) fn tell(self, partition: &Partition) {
        drop(self.tickets);
        if let Some(bytes) = self.arrived {
            partition.waiting.on_arrived(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        if self.is_office {
            partition.waiting.wake_all();
        }
        if let Some(streams) = self.streams {
            streams.iter().for_each(Stream::due);
        }
    }
}

impl Writer {
    /// The log has grown, or more of it is on disk.
    pub(super) fn on_log_changed(&mut self, partition: &Partition) -> Tidings {
        let Some(log) = &self.log else { return Tidings::default() };
        let risen = self.replica.on_log_changed(&view(log, self.mirror.as_ref()));
        self.has_risen(risen, partition)
    }

    /// The high watermark is here now, if anywhere else than before.
    pub(super) fn has_risen(&mut self, to: Option<Offset>, partition: &Partition) -> Tidings {
        let Some(to) = to else { return Tidings::default() };
        partition.high_watermark.store(to.0, Ordering::SeqCst);
        Tidings { arrived: Some(self.unread.take(to)), tickets: self.commits.release(to), ..Tidings::default() }
    }

    /// Nobody here will hear that anything is durable, or committed.
    pub(super) fn release_all(&mut self) -> Tidings {
        let mut tickets = self.acks.release_all();
        tickets.append(&mut self.commits.release_all());
        Tidings { tickets, is_office: true, ..Tidings::default() }
    }
}

impl Partition {
    /// Does what a version of the metadata says of this partition. May wait for the disk, where this broker begins to lead.
    pub(in crate::partitions) fn on_metadata(
        self: &Arc<Self>,
        image: &Image,
        topic: &Topic,
        partition: &cairn_metadata::Partition,
        now: Ticks,
    ) {
        let standing = |id: BrokerId| image.broker(id).map(Broker::standing);
        let members: Vec<Member> = Member::all_of(partition, &standing).collect();
        let policy = image.policy(topic);
        let mut assignment = Assignment::new(partition, &policy, &members);
        {
            // What this broker's own file says is known to it alone. It may ask for more than the cluster does, not for less; and
            // what is on which disks, all have to see alike.
            let settings = self.settings.load();
            let wanted = usize::try_from(settings.topic.min_insync_replicas).unwrap_or(usize::MAX);
            // On its way to other replicas it takes what it took before.
            let of = partition.moving.as_ref().map_or(members.len(), |moving| moving.from.len());
            assignment.min_isr = assignment.min_isr.max(wanted.min(of));
            if members.len() == 1 && settings.is_synced() {
                assignment.durability = Durability::Synced;
            }
        }
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        let Some(log) = &mut writer.log else { return };
        let turn = writer.replica.on_metadata(&assignment, &view(log, writer.mirror.as_ref()), now);
        let risen = match turn {
            Turn::Same(risen) => risen,
            Turn::TakesOffice(epoch) => {
                // Alone it has nobody to compare epochs with: the first record that it appends notes it.
                let noted = if members.len() > 1 { log.assign_epoch(epoch) } else { Ok(()) };
                match noted {
                    Ok(()) => writer.replica.on_epoch_noted(epoch, &view(log, writer.mirror.as_ref())),
                    Err(error) => {
                        let (topic, index) = (&*self.topic, self.index.0);
                        tracing::error!(topic, partition = index, %error, "cannot lead: the epoch was not noted");
                        None
                    }
                }
            }
            Turn::LosesOffice | Turn::Leaves => None,
        };
        let mut tidings = writer.has_risen(risen, self);
        self.leader_epoch.store(writer.replica.known_epoch().0, Ordering::Release);
        self.set_streams(writer, assignment.members);
        self.on_role(writer, &mut tidings);
        tidings.wake(&writer.streams);
        drop(guard);
        tidings.tell(self);
    }

    /// Whoever looks without the lock sees what this replica is by now.
    pub(super) fn on_role(&self, writer: &mut Writer, tidings: &mut Tidings) {
        self.high_watermark.store(writer.replica.high_watermark().0, Ordering::SeqCst);
        self.in_sync.store(u32::try_from(writer.replica.in_sync()).unwrap_or(u32::MAX), Ordering::Release);
        let leads_in = writer.replica.leads().map_or(NOWHERE, |epoch| epoch.0);
        let before = self.leads_in.swap(leads_in, Ordering::AcqRel);
        if before == leads_in {
            return;
        }
        tidings.is_office = true;
        if before != NOWHERE {
            // The outcome is unknown, and never success: who waits asks for it and hears so.
            tidings.tickets.append(&mut writer.commits.release_all());
            writer.unread = Unread::default();
        }
        if leads_in == NOWHERE {
            writer.streams = Arc::default();
            self.links.forget(self);
        }
    }

    fn set_streams(self: &Arc<Self>, writer: &mut Writer, members: &[Member]) {
        if writer.replica.leads().is_none() || members.len() <= 1 && writer.streams.is_empty() {
            return;
        }
        let me = self.links.me();
        let stream = |member: &Member| {
            let there = writer.streams.iter().find(|stream| stream.to() == member.broker);
            there.cloned().unwrap_or_else(|| Stream::new(self.links.to(member.broker), self))
        };
        writer.streams = members.iter().filter(|member| member.broker != me).map(stream).collect();
        if writer.streams.is_empty() {
            self.links.forget(self);
        } else {
            self.links.note(self);
        }
    }

    /// Where an append stands. Asked when it is to be answered, not before.
    pub(crate) fn commit_state(&self, epoch: LeaderEpoch, end: Offset) -> CommitState {
        self.writer.lock().replica.commit_state(epoch, end)
    }

    /// Whether this leader knows all that was committed before it: until then nobody is told where the log ends (KIP-207).
    pub(crate) fn knows_the_end(&self) -> bool {
        self.writer.lock().replica.knows_the_end()
    }
}
