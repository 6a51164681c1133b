//! A node costs little memory: the broker's own budget is a few megabytes.

#![cfg(target_os = "linux")]

use std::sync::Arc;

use cairn_consensus::{MetadataNode, NodeConfig};
use cairn_protocol::ids::{BrokerId, Timestamp};
use cairn_storage::DataDir;
use cairn_storage::dir::DirConfig;
use cairn_storage::disk::Disk;
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use uuid::Uuid;

/// What the process holds in memory that no file backs.
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kib * 1024
}

/// The library's histograms once cost 27 MB of tables that nobody read.
#[tokio::test]
async fn a_node_costs_a_few_megabytes() {
    const BYTES_MAX: u64 = 8 << 20;
    let temp = tempfile::tempdir().expect("a folder");
    let disk: Arc<dyn Disk> = Arc::new(MappedDisk::new(MappedLimits::default()).expect("maps"));
    let dir = Arc::new(DataDir::open(Arc::clone(&disk), temp.path(), &DirConfig::default()).expect("opens"));
    let before = anonymous_bytes();
    let config = NodeConfig::new(BrokerId(1), Uuid::from_u128(1), || Timestamp(1));
    let node = MetadataNode::start(config, dir, disk).await.expect("starts");
    let grown = anonymous_bytes().saturating_sub(before);
    node.shutdown().await;
    println!("a node grew the process by {grown} bytes");
    assert!(grown < BYTES_MAX, "a node grew the process by {grown} bytes");
}
