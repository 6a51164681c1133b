//! A machine and the broker on it: what outlives a process, what outlives power, and what neither does.
//!
//! Must not know: the network, the quorum's log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cairn_metadata::{BrokerEpoch, IsrProposal, NewBroker};
use cairn_protocol::ids::{BrokerId, Offset};
use cairn_replication::{Lease, Push, PushAck, PushNack, Sessions};
use cairn_storage::DataDir;
use cairn_storage::dir::{DirConfig, Preparing};
use cairn_storage::disk::memory::MemoryDisk;
use uuid::Uuid;

use crate::coordinator::Coordinator;
use crate::held::{Held, Reply};
use crate::network::{CallId, Node};
use crate::setup::CleanMarks;

/// What is there while no process runs.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) disk: MemoryDisk,
    /// Counts how often the machine was started.
    pub(crate) boot: u64,
    /// Counts the processes.
    pub(crate) life: u64,
    /// The metadata that is on its disk.
    pub(crate) version: usize,
    /// The last incarnation.
    pub(crate) last: Option<BrokerEpoch>,
    pub(crate) process: Option<Process>,
    /// It does nothing until then.
    pub(crate) paused_until: u64,
    pub(crate) slow_disk_until: u64,
    pub(crate) slow_metadata_until: u64,
}

/// Why a broker calls.
#[derive(Debug)]
pub(crate) enum Pending {
    Frame { partitions: Vec<usize> },
    Heartbeat { sent: u64 },
    Proposal { partition: usize, proposal: IsrProposal },
    Register,
    Other,
}

/// A frame whose answer waits for the disk.
#[derive(Debug)]
pub(crate) struct OpenFrame {
    pub(crate) reply: Reply,
    pub(crate) answers: Vec<(usize, Result<PushAck, PushNack>)>,
    pub(crate) waits: Vec<(usize, Push, Offset)>,
}

/// A broker's process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) dir: DataDir,
    /// None until it is registered.
    pub(crate) incarnation: Option<BrokerEpoch>,
    pub(crate) seen: usize,
    /// The version that shows it as registered.
    pub(crate) held: BTreeMap<usize, Held>,
    pub(crate) lease: Lease,
    pub(crate) coordinator: Option<Coordinator>,
    pub(crate) logs_opened: u64,
    /// While it leads the quorum, and in which term.
    pub(crate) sessions: Option<(u64, Sessions)>,
    pub(crate) calls: BTreeMap<CallId, (Node, Pending)>,
    pub(crate) frames: Vec<OpenFrame>,
    pub(crate) rests_until: BTreeMap<usize, u64>,
    pub(crate) heartbeat_at: u64,
    pub(crate) propose_at: u64,
    pub(crate) checkpoint_at: u64,
    /// It is to stop in good order.
    pub(crate) stops: bool,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self {
            disk: MemoryDisk::new(),
            boot: 1,
            life: 0,
            version: 0,
            last: None,
            process: None,
            paused_until: 0,
            slow_disk_until: 0,
            slow_metadata_until: 0,
        }
    }

    /// Starts the process.
    pub(crate) fn start(&mut self, broker: usize, session_ms: u64, now: u64) -> Result<(), String> {
        let boot_id = Some(Uuid::from_u128(u128::from(self.boot) << 8 | broker as u128));
        let config = DirConfig { reserve_bytes: Some(0), preparing: Preparing::OnAppend, boot_id };
        let disk = Arc::new(self.disk.until_crash());
        let dir = DataDir::open(disk, Path::new("/data"), &config).map_err(|error| error.to_string())?;
        self.life += 1;
        self.process = Some(Process {
            dir,
            incarnation: None,
            seen: self.version,
            held: BTreeMap::new(),
            coordinator: None,
            logs_opened: 0,
            lease: Lease::of_session(session_ms),
            sessions: None,
            calls: BTreeMap::new(),
            frames: Vec::new(),
            rests_until: BTreeMap::new(),
            heartbeat_at: now,
            propose_at: now,
            checkpoint_at: now,
            stops: false,
        });
        Ok(())
    }

    /// How the process registers.
    pub(crate) fn registration(&self, broker: usize, marks: CleanMarks) -> Option<NewBroker> {
        let process = self.process.as_ref()?;
        let clean_shutdown = match marks {
            CleanMarks::Removed => process.dir.closed_by().map(BrokerEpoch),
            CleanMarks::Left => self.last,
        };
        Some(NewBroker {
            id: BrokerId(i32::try_from(broker).expect("few")),
            incarnation: Uuid::from_u128(u128::from(self.life) << 8 | broker as u128),
            endpoints: Vec::new(),
            rack: None,
            storage_ids: vec![process.dir.storage_id()],
            boot_id: Some(Uuid::from_u128(u128::from(self.boot))),
            clean_shutdown,
        })
    }
}
