//! The library's own suite over our store, and what crashes leave of it.

use std::path::Path;

use cairn_storage::DataDir;
use cairn_storage::dir::DirConfig;
use cairn_storage::disk::Disk;
#[cfg(target_os = "linux")]
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::disk::memory::MemoryDisk;
use cairn_storage::disk::portable::PortableDisk;
use cairn_storage::map_budget::MapBudget;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::*;
use crate::machine::Machine;
use crate::node::open;

/// Opens a store on a disk; the data directory goes with the guard.
fn store(disk: Arc<dyn Disk>, path: &Path) -> (DataDir, LogStore, Machine) {
    let dir = DataDir::open(Arc::clone(&disk), path, &DirConfig::default()).expect("opens");
    let (machine, store, _) = open(&dir, disk, || Timestamp(1)).expect("opens");
    (dir, store, machine)
}

struct OnMemory;

impl StoreBuilder<TypeConfig, LogStore, Machine, DataDir> for OnMemory {
    async fn build(&self) -> Result<(DataDir, LogStore, Machine), StorageError<TypeConfig>> {
        Ok(store(Arc::new(MemoryDisk::new()), Path::new("/data")))
    }
}

#[tokio::test]
async fn the_librarys_suite_passes_on_memory() {
    Suite::test_all(OnMemory).await.expect("the suite");
}

struct OnPortable;

impl StoreBuilder<TypeConfig, LogStore, Machine, (TempDir, DataDir)> for OnPortable {
    async fn build(&self) -> Result<((TempDir, DataDir), LogStore, Machine), StorageError<TypeConfig>> {
        let temp = tempfile::tempdir().expect("a folder");
        let (dir, store, machine) = store(Arc::new(PortableDisk::new(MapBudget::default())), temp.path());
        Ok(((temp, dir), store, machine))
    }
}

#[tokio::test]
async fn the_librarys_suite_passes_on_the_portable_body() {
    Suite::test_all(OnPortable).await.expect("the suite");
}

#[cfg(target_os = "linux")]
struct OnMapped;

#[cfg(target_os = "linux")]
impl StoreBuilder<TypeConfig, LogStore, Machine, (TempDir, DataDir)> for OnMapped {
    async fn build(&self) -> Result<((TempDir, DataDir), LogStore, Machine), StorageError<TypeConfig>> {
        let temp = tempfile::tempdir().expect("a folder");
        let (dir, store, machine) =
            store(Arc::new(MappedDisk::new(MappedLimits::default()).expect("maps")), temp.path());
        Ok(((temp, dir), store, machine))
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_librarys_suite_passes_on_the_mapped_body() {
    Suite::test_all(OnMapped).await.expect("the suite");
}
