//! A search in an index file of which nothing may be in memory: each page that it looks at is read in first, so that one
//! that the disk cannot give is an error and never a signal. No other page is read.
//!
//! Must not know: which entries are right.

use std::io;

use super::Entry;
use crate::disk::SealedFile;
use crate::num::{as_u64, as_usize};

/// How many entries `file` has before the filler that may end it.
pub(crate) fn count_entries<E: Entry>(file: &dyn SealedFile) -> io::Result<usize> {
    count_leading(file, as_usize(file.len()) / E::BYTES, |entry: &E| !entry.is_filler())
}

/// For how many of the first `count` entries `holds`, which must hold for all entries before such a one too.
///
/// The last of them is asked first: of most files all entries are wanted, and then no other page is read in.
pub(crate) fn count_leading<E: Entry>(
    file: &dyn SealedFile,
    count: usize,
    holds: impl Fn(&E) -> bool,
) -> io::Result<usize> {
    let (mut low, mut high) = (0, count);
    let mut next = count.saturating_sub(1);
    while low < high {
        if holds(&entry_at(file, next)?) {
            low = next + 1;
        } else {
            high = next;
        }
        next = low + (high - low) / 2;
    }
    Ok(low)
}

/// The entry at `at`, which is one that the file has.
pub(crate) fn entry_at<E: Entry>(file: &dyn SealedFile, at: usize) -> io::Result<E> {
    let range = as_u64(at * E::BYTES)..as_u64((at + 1) * E::BYTES);
    file.populate(range.clone())?;
    Ok(E::decode(&file.slice(range)?))
}
