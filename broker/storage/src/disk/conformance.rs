//! What every body of [`Disk`] does alike: one suite, run for each.
//!
//! Must not know: how a body does it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{AppendFile, Disk, Entry, EntryKind, Growth, PrepareChunk};

mod growing;
mod small;

/// A body to test and an empty folder in it.
struct Place {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

fn memory() -> Place {
    let disk = super::memory::MemoryDisk::new();
    let root = PathBuf::from("/data");
    disk.create_dir(&root).unwrap();
    Place { disk: Arc::new(disk), root, _folder: None }
}

fn faulty_without_faults() -> Place {
    let Place { disk, root, _folder } = memory();
    Place { disk: Arc::new(super::faulty::FaultyDisk::new(disk)), root, _folder }
}

fn real(disk: Arc<dyn Disk>) -> Place {
    let folder = tempfile::tempdir().unwrap();
    Place { disk, root: folder.path().to_owned(), _folder: Some(folder) }
}

fn portable() -> Place {
    real(Arc::new(super::portable::PortableDisk::default()))
}

fn portable_without_maps() -> Place {
    let budget = crate::map_budget::MapBudget { max_maps: 0, max_bytes: 0 };
    real(Arc::new(super::portable::PortableDisk::new(budget)))
}

#[cfg(target_os = "linux")]
fn mapped() -> Place {
    real(Arc::new(super::mapped::MappedDisk::new(super::mapped::MappedLimits::default()).unwrap()))
}

#[cfg(target_os = "linux")]
fn mapped_with_one_descriptor_and_map() -> Place {
    let sealed = crate::map_budget::MapBudget { max_maps: 1, max_bytes: 1 << 20 };
    let limits = super::mapped::MappedLimits { sealed, max_descriptors: 1 };
    real(Arc::new(super::mapped::MappedDisk::new(limits).unwrap()))
}

macro_rules! for_every_body {
    ($($file:ident :: { $($case:ident),* $(,)? })*) => {
        for_every_body!(@body memory, $($file { $($case)* })*);
        for_every_body!(@body faulty_without_faults, $($file { $($case)* })*);
        for_every_body!(@body portable, $($file { $($case)* })*);
        for_every_body!(@body portable_without_maps, $($file { $($case)* })*);
        #[cfg(target_os = "linux")]
        for_every_body!(@body mapped, $($file { $($case)* })*);
        #[cfg(target_os = "linux")]
        for_every_body!(@body mapped_with_one_descriptor_and_map, $($file { $($case)* })*);
    };
    (@body $body:ident, $($file:ident { $($case:ident)* })*) => {
        mod $body {
            $($(#[test]
            fn $case() {
                let place = super::$body();
                super::$file::$case(&*place.disk, &place.root);
            })*)*
        }
    };
}

for_every_body! {
    growing::{
        a_file_is_made_once,
        appends_need_preparation,
        parts_follow_each_other,
        slices_end_at_what_is_written,
        preparation_goes_by_chunks_to_the_capacity,
        seal_cuts_and_readers_keep_what_they_hold,
        nothing_is_prepared_without_a_writer,
        bytes_outlive_the_file,
        a_reopened_file_has_zeros_behind_its_end,
        a_file_shorter_than_its_end_is_not_opened,
        syncs_take_any_written_range,
        a_file_is_written_and_read_like_a_vector,
        readers_never_see_half_an_append,
        many_files_grow_side_by_side,
    }
    small::{
        small_files_are_read_within_a_limit,
        replace_leaves_the_new_content_and_nothing_else,
        write_at_makes_extends_and_overwrites,
        truncate_only_cuts,
        rename_replaces_within_a_folder,
        removed_is_gone,
        folders_are_made_listed_and_removed,
        a_lock_has_one_holder,
        space_is_told,
        sealed_files_are_read_in_any_order,
        sealed_files_outlive_their_name_while_held,
    }
}

/// A small file's content, to compare.
fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    disk.read(path, 1 << 24).unwrap()
}

fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// Bytes that differ from their neighbours and from zero.
fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| u8::try_from(at * 31 % 251).unwrap() + 1).collect()
}

/// A small generator, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % bound
    }
}

fn chunk() -> u64 {
    u64::from(PrepareChunk::SYNCED.bytes())
}

fn growth(capacity: u64) -> Growth {
    Growth { capacity, chunk: PrepareChunk::SYNCED }
}

fn new_file(disk: &dyn Disk, path: &Path, capacity: u64) -> Box<dyn AppendFile> {
    disk.create_append(path, growth(capacity)).unwrap()
}

fn names(entries: &[Entry]) -> Vec<(&str, EntryKind, u64)> {
    entries.iter().map(|entry| (entry.name.as_str(), entry.kind, entry.len)).collect()
}

/// Compares without printing thousands of numbers.
fn assert_bytes(found: impl AsRef<[u8]>, expected: impl AsRef<[u8]>) {
    let (found, expected) = (found.as_ref(), expected.as_ref());
    assert_eq!(found.len(), expected.len(), "length");
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "the first byte that differs");
}
