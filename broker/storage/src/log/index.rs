//! The sparse indexes of a segment, offset to position and timestamp to offset, in Kafka's bytes.
//!
//! An index is a hint. Whoever follows an entry looks whether the batch that it names is there, and walks the segment
//! from its start otherwise. Formats: docs/formats/indexes.md.
//!
//! Must not know: record batches, where segments begin and end.

mod cold;

use std::io;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use cairn_protocol::ids::{Offset, Timestamp};

pub(crate) use self::cold::{count_entries, count_leading, entry_at};
use super::tail::Tail;
use crate::disk::SealedFile;
use crate::num::as_u64;

/// What stands in an index, relative to its segment's base offset.
pub(crate) trait Entry: Copy + std::fmt::Debug + PartialEq {
    /// On disk.
    const BYTES: usize;
    /// Appends Kafka's bytes.
    fn encode(&self, to: &mut Vec<u8>);
    /// Reads [`Self::BYTES`] bytes.
    fn decode(bytes: &[u8]) -> Self;
    /// As numbers of a [`Tail`].
    fn numbers(&self) -> [u64; 2];
    /// Back from [`Self::numbers`].
    fn from_numbers(numbers: [u64; 2]) -> Self;
    /// Whether this is the rest of a file that was made longer than its content, as Kafka does.
    fn is_filler(&self) -> bool;
}

/// The batch at `position` ends with the record at `base + relative`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) relative: u32,
    pub(crate) position: u32,
}

/// No record up to `base + relative` is younger than `timestamp`, and that one's batch has one as young.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: Timestamp,
    pub(crate) relative: u32,
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn low32(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("masked")
}

impl Entry for OffsetEntry {
    const BYTES: usize = 8;

    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.relative.to_be_bytes());
        to.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self { relative: be32(bytes), position: be32(&bytes[4..]) }
    }

    fn numbers(&self) -> [u64; 2] {
        [u64::from(self.relative), u64::from(self.position)]
    }

    fn from_numbers([relative, position]: [u64; 2]) -> Self {
        Self { relative: low32(relative), position: low32(position) }
    }

    fn is_filler(&self) -> bool {
        // The first batch of a segment never has an entry, so no entry has position 0.
        self.position == 0
    }
}

impl Entry for TimeEntry {
    const BYTES: usize = 12;

    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.timestamp.0.to_be_bytes());
        to.extend_from_slice(&self.relative.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        let timestamp = (u64::from(be32(bytes)) << 32 | u64::from(be32(&bytes[4..]))).cast_signed();
        Self { timestamp: Timestamp(timestamp), relative: be32(&bytes[8..]) }
    }

    fn numbers(&self) -> [u64; 2] {
        [self.timestamp.0.cast_unsigned(), u64::from(self.relative)]
    }

    fn from_numbers([timestamp, relative]: [u64; 2]) -> Self {
        Self { timestamp: Timestamp(timestamp.cast_signed()), relative: low32(relative) }
    }

    fn is_filler(&self) -> bool {
        self.timestamp.0 == 0 && self.relative == 0
    }
}

/// One index: entries that are in its file, then entries that are in memory (of the active segment only).
///
/// One writer adds, any number of readers search. Entries move from memory to the file by [`Index::shed`].
#[derive(Debug)]
pub(crate) struct Index<E> {
    parts: ArcSwap<Parts>,
    base: Offset,
    entry: std::marker::PhantomData<fn() -> E>,
}

#[derive(Debug)]
struct Parts {
    file: Option<Arc<dyn SealedFile>>,
    in_file: usize,
    /// The last entry in the file, once it is known: the writer asks for it under the log's lock, where no file is opened.
    last_in_file: OnceLock<[u64; 2]>,
    tail: Tail<2>,
}

impl<E: Entry> Index<E> {
    pub(crate) fn empty(base: Offset) -> Self {
        Self::with(base, None, 0)
    }

    /// The first `entries` entries of `file`.
    pub(crate) fn of_file(base: Offset, file: Arc<dyn SealedFile>, entries: usize) -> Self {
        Self::with(base, Some(file), entries)
    }

    fn with(base: Offset, file: Option<Arc<dyn SealedFile>>, in_file: usize) -> Self {
        let parts = Parts { file, in_file, last_in_file: OnceLock::new(), tail: Tail::new() };
        Self { parts: ArcSwap::from_pointee(parts), base, entry: std::marker::PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        let parts = self.parts.load();
        parts.in_file + parts.tail.len()
    }

    /// Adds an entry behind all others. Only the log's writer may.
    pub(crate) fn push(&self, entry: E) {
        self.parts.load().tail.push(entry.numbers());
    }

    pub(crate) fn last(&self) -> io::Result<Option<E>> {
        let parts = self.parts.load();
        if let Some(at) = parts.tail.len().checked_sub(1) {
            return Ok(parts.tail.get(at).map(E::from_numbers));
        }
        let Some(at) = parts.in_file.checked_sub(1) else { return Ok(None) };
        if let Some(known) = parts.last_in_file.get() {
            return Ok(Some(E::from_numbers(*known)));
        }
        let Some(file) = &parts.file else { return Ok(None) };
        // Only its own page is touched.
        let last = E::decode(&file.slice(as_u64(at * E::BYTES)..as_u64((at + 1) * E::BYTES))?);
        let _by_another_search = parts.last_in_file.set(last.numbers());
        Ok(Some(last))
    }

    /// The last entry for which `holds`, which must hold for all entries before it too, and its place.
    pub(crate) fn last_where(&self, holds: impl Fn(&E) -> bool) -> io::Result<Option<(usize, E)>> {
        let parts = self.parts.load();
        let bytes = parts.bytes::<E>()?;
        let count = parts.in_file + parts.tail.len();
        let point = partition_point(count, |at| parts.get(&bytes, at).is_some_and(|entry: E| holds(&entry)));
        let Some(at) = point.checked_sub(1) else { return Ok(None) };
        Ok(parts.get(&bytes, at).map(|entry| (at, entry)))
    }

    /// Whether a search does not wait for the disk.
    pub(crate) fn is_resident(&self) -> bool {
        let parts = self.parts.load();
        let end = as_u64(parts.in_file * E::BYTES);
        parts.file.as_ref().is_none_or(|file| end == 0 || file.is_resident(0..end))
    }

    /// Makes a search not wait for the disk.
    pub(crate) fn populate(&self) -> io::Result<()> {
        let parts = self.parts.load();
        let end = as_u64(parts.in_file * E::BYTES);
        match &parts.file {
            Some(file) if end > 0 => file.populate(0..end),
            _ => Ok(()),
        }
    }

    /// The same entries for another segment: of the same file, and copies of those in memory.
    pub(crate) fn copy(&self) -> Self {
        self.with_file(self.parts.load().file.clone())
    }

    /// The same entries, with those in the file read from `file`, which has them at the same places.
    pub(crate) fn over(&self, file: Arc<dyn SealedFile>) -> Self {
        self.with_file(Some(file))
    }

    fn with_file(&self, file: Option<Arc<dyn SealedFile>>) -> Self {
        let parts = self.parts.load();
        let copy = Self::with(self.base, file, parts.in_file);
        for at in 0..parts.tail.len() {
            if let Some(entry) = parts.tail.get(at) {
                copy.parts.load().tail.push(entry);
            }
        }
        copy
    }

    /// Whether the file goes on behind the entries.
    pub(crate) fn has_a_longer_file(&self) -> bool {
        let parts = self.parts.load();
        parts.file.as_ref().is_some_and(|file| file.len() > as_u64(parts.in_file * E::BYTES))
    }

    /// Entries that are only in memory.
    pub(crate) fn in_memory(&self) -> usize {
        self.parts.load().tail.len()
    }

    /// The bytes of the entries from `from` on, for the file.
    pub(crate) fn encode_from(&self, from: usize) -> io::Result<Vec<u8>> {
        let parts = self.parts.load();
        let file = if from < parts.in_file { parts.bytes::<E>()? } else { Bytes::new() };
        let count = parts.in_file + parts.tail.len();
        let mut bytes = Vec::with_capacity(count.saturating_sub(from) * E::BYTES);
        for at in from..count {
            if let Some(entry) = parts.get::<E>(&file, at) {
                entry.encode(&mut bytes);
            }
        }
        Ok(bytes)
    }

    /// Lets go of entries in memory, all of which `file` has by now. Only the log's writer may.
    pub(crate) fn shed(&self, file: Arc<dyn SealedFile>) {
        let in_file = self.len();
        debug_assert!(file.len() >= as_u64(in_file * E::BYTES), "shed entries that are not in the file");
        let parts = self.parts.load();
        let last = parts.tail.len().checked_sub(1).and_then(|at| parts.tail.get(at));
        let last_in_file = last.map_or_else(OnceLock::new, OnceLock::from);
        self.parts.store(Arc::new(Parts { file: Some(file), in_file, last_in_file, tail: Tail::new() }));
    }

    /// An index of the leading entries for which `holds`, which must hold for all entries before such a one too.
    pub(crate) fn leading(&self, holds: impl Fn(&E) -> bool) -> io::Result<Self> {
        let count = self.last_where(holds)?.map_or(0, |(at, _)| at + 1);
        let parts = self.parts.load();
        let leading = Self::with(self.base, parts.file.clone(), parts.in_file.min(count));
        for at in parts.in_file..count {
            if let Some(entry) = parts.tail.get(at - parts.in_file) {
                leading.push(E::from_numbers(entry));
            }
        }
        Ok(leading)
    }
}

impl Index<OffsetEntry> {
    /// The last batch that ends at or below `offset`: its last offset and position.
    pub(crate) fn floor(&self, offset: Offset) -> io::Result<Option<(Offset, u64)>> {
        let Some(relative) = relative(self.base, offset) else { return Ok(None) };
        let found = self.last_where(|entry| entry.relative <= relative)?;
        Ok(found.map(|(_, entry)| (self.base.plus(i64::from(entry.relative)), u64::from(entry.position))))
    }

    /// The last batch that begins at or below `position`: its last offset and position.
    pub(crate) fn floor_position(&self, position: u64) -> io::Result<Option<(Offset, u64)>> {
        let found = self.last_where(|entry| u64::from(entry.position) <= position)?;
        Ok(found.map(|(_, entry)| (self.base.plus(i64::from(entry.relative)), u64::from(entry.position))))
    }
}

impl Index<TimeEntry> {
    /// The largest timestamp that the index knows of.
    pub(crate) fn largest(&self) -> io::Result<Option<(Timestamp, Offset)>> {
        Ok(self.last()?.map(|entry| (entry.timestamp, self.base.plus(i64::from(entry.relative)))))
    }
}

/// `offset` as a segment of `base` writes it; the largest possible when it is further away; nothing when it is below.
pub(crate) fn relative(base: Offset, offset: Offset) -> Option<u32> {
    let distance = u64::try_from(offset.0.checked_sub(base.0)?).ok()?;
    Some(u32::try_from(distance).unwrap_or(u32::MAX))
}

impl Parts {
    fn bytes<E: Entry>(&self) -> io::Result<Bytes> {
        match &self.file {
            Some(file) if self.in_file > 0 => file.slice(0..as_u64(self.in_file * E::BYTES)),
            _ => Ok(Bytes::new()),
        }
    }

    fn get<E: Entry>(&self, file: &Bytes, at: usize) -> Option<E> {
        match at.checked_sub(self.in_file) {
            None => file.get(at * E::BYTES..(at + 1) * E::BYTES).map(E::decode),
            Some(at) => self.tail.get(at).map(E::from_numbers),
        }
    }
}

/// The number of leading places for which `holds`.
fn partition_point(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::Disk;
    use crate::disk::memory::MemoryDisk;

    #[test]
    fn entries_are_kafkas_bytes() {
        let mut bytes = Vec::new();
        OffsetEntry { relative: 0x0102_0304, position: 0x0506_0708 }.encode(&mut bytes);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(OffsetEntry::decode(&bytes), OffsetEntry { relative: 0x0102_0304, position: 0x0506_0708 });
        let entry = TimeEntry { timestamp: Timestamp(-2), relative: 9 };
        bytes.clear();
        entry.encode(&mut bytes);
        assert_eq!(bytes, [255, 255, 255, 255, 255, 255, 255, 254, 0, 0, 0, 9]);
        assert_eq!(TimeEntry::decode(&bytes), entry);
        assert_eq!(TimeEntry::from_numbers(entry.numbers()), entry);
    }

    #[test]
    fn search_goes_over_file_and_memory() {
        let disk = MemoryDisk::new();
        let path = Path::new("0.index");
        let index = Index::<OffsetEntry>::empty(Offset(100));
        for at in 1..=50u32 {
            index.push(OffsetEntry { relative: at * 10, position: at * 1000 });
        }
        disk.write_at(path, 0, &index.encode_from(0).unwrap()).unwrap();
        index.shed(disk.open_sealed(path).unwrap());
        assert_eq!(index.in_memory(), 0);
        for at in 51..=60u32 {
            index.push(OffsetEntry { relative: at * 10, position: at * 1000 });
        }
        assert_eq!(index.len(), 60);
        assert_eq!(index.floor(Offset(109)).unwrap(), None);
        assert_eq!(index.floor(Offset(99)).unwrap(), None);
        for at in 1..=60i64 {
            let place = (Offset(100 + at * 10), u64::try_from(at).unwrap() * 1000);
            assert_eq!(index.floor(place.0).unwrap(), Some(place));
            assert_eq!(index.floor(place.0.plus(9)).unwrap(), Some(place));
            assert_eq!(index.floor_position(place.1 + 999).unwrap(), Some(place));
        }
        assert_eq!(index.encode_from(50).unwrap().len(), 80);
    }

    #[test]
    fn kafkas_filler_is_not_counted() {
        let disk = MemoryDisk::new();
        let path = Path::new("0.index");
        let mut bytes = Vec::new();
        OffsetEntry { relative: 7, position: 5000 }.encode(&mut bytes);
        OffsetEntry { relative: 9, position: 9000 }.encode(&mut bytes);
        bytes.resize(1003, 0);
        disk.write_at(path, 0, &bytes).unwrap();
        let file = disk.open_sealed(path).unwrap();
        assert_eq!(count_entries::<OffsetEntry>(&*file).unwrap(), 2);
    }
}
