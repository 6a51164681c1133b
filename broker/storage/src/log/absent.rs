//! The file of a log that has nothing yet: there is none. The first append makes it.
//!
//! Must not know: when that is, what else a log's folder needs.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::{AppendFile, Readable, SharedFile, check_range};

/// A file of no bytes that can hold none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Absent;

impl AppendFile for Absent {
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        if parts.iter().all(|part| part.is_empty()) { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn written(&self) -> u64 {
        0
    }

    fn prepared(&self) -> u64 {
        0
    }

    fn shared(&self) -> Arc<dyn SharedFile> {
        Arc::new(Self)
    }

    fn seal(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

impl SharedFile for Absent {
    fn written(&self) -> u64 {
        0
    }

    fn prepared(&self) -> u64 {
        0
    }

    fn capacity(&self) -> u64 {
        0
    }

    fn prepare(&self, end: u64) -> io::Result<()> {
        if end == 0 { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn sync(&self, range: Range<u64>) -> io::Result<()> {
        check_range(&range, 0)
    }
}

impl Readable for Absent {
    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        check_range(&range, 0).map(|()| Bytes::new())
    }

    fn is_resident(&self, range: Range<u64>) -> bool {
        check_range(&range, 0).is_ok()
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        check_range(&range, 0)
    }
}
