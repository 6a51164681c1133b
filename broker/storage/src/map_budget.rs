//! How many maps, mapped bytes and descriptors storage uses, and the bound on those of files that no longer change.
//!
//! Must not know: how a file is mapped, what is in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What maps of files that no longer change may take together. Who needs more reads into buffers instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapBudget {
    /// Maps at a time. The kernel's own bound for a process, `vm.max_map_count`, is 65,530 by default, and each file
    /// that takes appends has a map beside these.
    pub max_maps: u64,
    /// Mapped bytes at a time.
    pub max_bytes: u64,
}

impl Default for MapBudget {
    fn default() -> Self {
        Self { max_maps: 8_192, max_bytes: 256 << 30 }
    }
}

/// What storage uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapUsage {
    /// Maps of files that take appends.
    pub append_maps: u64,
    /// Address space that they reserve. It costs no memory.
    pub append_reserved_bytes: u64,
    /// Bytes of them that are allocated, zeroed and populated: the part that can be resident.
    pub append_prepared_bytes: u64,
    /// Maps of files that no longer change, those that only readers hold included.
    pub sealed_maps: u64,
    /// Bytes of them: the most that can be resident.
    pub sealed_bytes: u64,
    /// Reads of such files that went to a buffer because the budget was used up.
    pub sealed_reads_unmapped: u64,
    /// Descriptors that are kept open.
    pub descriptors: u64,
}

/// The counters behind [`MapUsage`].
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) append_maps: AtomicU64,
    pub(crate) append_reserved_bytes: AtomicU64,
    pub(crate) append_prepared_bytes: AtomicU64,
    pub(crate) sealed_maps: AtomicU64,
    pub(crate) sealed_bytes: AtomicU64,
    pub(crate) sealed_reads_unmapped: AtomicU64,
}

impl Gauges {
    pub(crate) fn read(&self, descriptors: u64) -> MapUsage {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MapUsage {
            append_maps: read(&self.append_maps),
            append_reserved_bytes: read(&self.append_reserved_bytes),
            append_prepared_bytes: read(&self.append_prepared_bytes),
            sealed_maps: read(&self.sealed_maps),
            sealed_bytes: read(&self.sealed_bytes),
            sealed_reads_unmapped: read(&self.sealed_reads_unmapped),
            descriptors,
        }
    }
}

/// What a map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapKind {
    Append,
    Sealed,
}

/// Counts one map from its making to its end, also when only readers hold it.
#[derive(Debug)]
pub(crate) struct Counted {
    gauges: Arc<Gauges>,
    kind: MapKind,
    bytes: u64,
}

impl Counted {
    pub(crate) fn new(gauges: &Arc<Gauges>, kind: MapKind, bytes: u64) -> Self {
        let (maps, total) = Self::counters(gauges, kind);
        maps.fetch_add(1, Ordering::Relaxed);
        total.fetch_add(bytes, Ordering::Relaxed);
        Self { gauges: Arc::clone(gauges), kind, bytes }
    }

    fn counters(gauges: &Gauges, kind: MapKind) -> (&AtomicU64, &AtomicU64) {
        match kind {
            MapKind::Append => (&gauges.append_maps, &gauges.append_reserved_bytes),
            MapKind::Sealed => (&gauges.sealed_maps, &gauges.sealed_bytes),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let (maps, total) = Self::counters(&self.gauges, self.kind);
        maps.fetch_sub(1, Ordering::Relaxed);
        total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
