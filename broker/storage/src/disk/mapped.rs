//! The mapped body of [`Disk`], for Linux 5.14 and later: appends are copies into pages that were prepared before.
//!
//! Nothing of a file is mapped before it is used, and no file keeps a descriptor of its own: ten thousand idle partitions
//! cost neither. Reasons and figures: docs/decisions/0002-mapped-segments.md.
//!
//! Must not know: record batches, when to prepare and how far.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::files::{self, Patience, on_real_files};
use super::sealed::{Sealed, SealedMaps};
use super::{AppendFile, Disk, Growth, SealedFile};
use crate::map_budget::{Gauges, MapBudget, MapUsage};

mod append;
mod descriptors;
#[cfg(test)]
mod tests;

use append::MappedAppend;
use descriptors::Descriptors;

/// What a [`MappedDisk`] may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedLimits {
    /// Maps of files that no longer change.
    pub sealed: MapBudget,
    /// Descriptors that are kept for files that take appends; they are opened again as needed.
    pub max_descriptors: usize,
}

impl Default for MappedLimits {
    fn default() -> Self {
        Self { sealed: MapBudget::default(), max_descriptors: 1_024 }
    }
}

/// Files on a real file system, written and read through maps.
#[derive(Debug)]
pub struct MappedDisk {
    gauges: Arc<Gauges>,
    sealed: Arc<SealedMaps>,
    descriptors: Arc<Descriptors>,
}

impl MappedDisk {
    /// A disk within `limits`, where the kernel can populate maps ([`io::ErrorKind::Unsupported`] elsewhere).
    pub fn new(limits: MappedLimits) -> io::Result<Self> {
        let probe = memmap2::MmapMut::map_anon(1)?;
        if probe.advise(memmap2::Advice::PopulateWrite).is_err() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "mapped segments need Linux 5.14 or later"));
        }
        let gauges = Arc::<Gauges>::default();
        let sealed = Arc::new(SealedMaps::new(limits.sealed, Arc::clone(&gauges)));
        Ok(Self { gauges, sealed, descriptors: Arc::new(Descriptors::new(limits.max_descriptors)) })
    }
}

impl Disk for MappedDisk {
    fn create_append(&self, path: &Path, growth: Growth) -> io::Result<Box<dyn AppendFile>> {
        let file = files::open(path, OpenOptions::new().read(true).write(true).create_new(true), Patience::Fails)?;
        Ok(Box::new(MappedAppend::open(path, &file, 0, growth, &self.gauges, &self.descriptors)?))
    }

    fn open_append(&self, path: &Path, len: u64, growth: Growth) -> io::Result<Box<dyn AppendFile>> {
        let file = files::open(path, OpenOptions::new().read(true).write(true), Patience::Waits)?;
        let found = file.metadata()?.len();
        if found < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if found > len {
            // Drops the old tail at once; what `prepare` puts there later is zeros.
            file.set_len(len)?;
        }
        Ok(Box::new(MappedAppend::open(path, &file, len, growth, &self.gauges, &self.descriptors)?))
    }

    fn open_sealed(&self, path: &Path) -> io::Result<Arc<dyn SealedFile>> {
        Ok(Arc::new(Sealed::open(path, &self.sealed)?))
    }

    fn open_front(&self, path: &Path, len: u64) -> io::Result<Arc<dyn SealedFile>> {
        Ok(Arc::new(Sealed::open_front(path, len, &self.sealed)?))
    }

    on_real_files!();

    fn usage(&self) -> MapUsage {
        self.gauges.read(u64::try_from(self.descriptors.count()).unwrap_or(u64::MAX))
    }
}
