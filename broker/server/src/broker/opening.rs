//! What a broker holds before it is a member of anything: its sockets and its files. Health is told from here on.
//!
//! Must not know: the cluster, what any API does.

use std::sync::Arc;

use cairn_storage::disk::Disk;
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::disk::portable::PortableDisk;
use cairn_storage::map_budget::MapBudget;
use uuid::Uuid;

use super::{Addresses, Life, StartError};
use crate::api;
use crate::blocking::on_blocking_thread;
use crate::config::BrokerConfig;
use crate::descriptors::DescriptorShares;
use crate::net::{BindError, Bound, SocketOptions, bind};
use crate::partitions::{LogDirs, OpenLogDirsError};
use crate::telemetry::{Health, HttpServer, Metrics};

pub(super) struct Opened {
    pub(super) config: BrokerConfig,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dirs: LogDirs,
    pub(super) listeners: Vec<Bound>,
    pub(super) addresses: Addresses,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<Health>,
}

impl Opened {
    pub(super) async fn new(disk: Arc<dyn Disk>, mut config: BrokerConfig, life: &Life) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new(api::SERVED.iter().copied()));
        let health = Health::starting();
        let http = HttpServer::bind(&config.metrics_listener).await?;
        config.set_metrics_address(http.address);
        let listeners = bind_all(&config).await?;
        let addresses = Addresses {
            kafka: listeners.iter().map(|bound| (bound.info.name.clone(), bound.info.bound)).collect(),
            metrics: http.address,
        };
        life.tasks.spawn(http.serve(Arc::clone(&metrics), Arc::clone(&health), life.stop.clone()));
        let dirs = open_log_dirs(&disk, &config).await?;
        Ok(Self { config, disk, dirs, listeners, addresses, metrics, health })
    }
}

/// Which boot of the machine this is: whatever was in the page cache is there as long as it is the same.
pub(super) fn boot_id() -> Option<Uuid> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    text.trim().parse().ok()
}

/// The disk of this machine, through maps where the system has them.
pub(super) fn real_disk() -> Result<Arc<dyn Disk>, StartError> {
    let max_descriptors = DescriptorShares::of_process().storage;
    match MappedDisk::new(MappedLimits { max_descriptors, ..MappedLimits::default() }) {
        Ok(disk) => Ok(Arc::new(disk)),
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
            tracing::warn!(%error, "files are written by calls instead, which is slower");
            Ok(Arc::new(PortableDisk::new(MapBudget::default())))
        }
        Err(error) => Err(StartError::Maps(error)),
    }
}

/// Takes the log dirs, on a thread that may wait for the disk.
async fn open_log_dirs(disk: &Arc<dyn Disk>, config: &BrokerConfig) -> Result<LogDirs, OpenLogDirsError> {
    let (disk, config) = (Arc::clone(disk), config.clone());
    on_blocking_thread(move || LogDirs::open(&disk, &config)).await
}

async fn bind_all(config: &BrokerConfig) -> Result<Vec<Bound>, BindError> {
    let buffer = |bytes: i32| u32::try_from(bytes).ok();
    let options = SocketOptions {
        backlog: config.socket_listen_backlog_size,
        send_buffer: buffer(config.socket_send_buffer_bytes),
        receive_buffer: buffer(config.socket_receive_buffer_bytes),
    };
    let mut bound = Vec::new();
    for listener in config.listeners() {
        bound.push(bind(listener, options).await?);
    }
    Ok(bound)
}
