//! A list that one writer lengthens while any number of readers look at it, without locks and without moving what is
//! already there.
//!
//! Must not know: what the numbers mean.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Entries of the first chunk; each further chunk has twice as many as the one before.
const FIRST_CHUNK: usize = 32;
/// Enough chunks for 2^30 entries, many more than one segment's indexes may have.
const CHUNKS: usize = 25;

/// Entries of `W` numbers each.
pub(crate) struct Tail<const W: usize> {
    chunks: [OnceLock<Box<[[AtomicU64; W]]>>; CHUNKS],
    len: AtomicUsize,
}

impl<const W: usize> Tail<W> {
    pub(crate) fn new() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS], len: AtomicUsize::new(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Lengthens the list. Only one thread at a time may do so: the log's writer.
    pub(crate) fn push(&self, entry: [u64; W]) {
        let at = self.len.load(Ordering::Relaxed);
        let (chunk, place) = locate(at);
        let chunk = self.chunks[chunk].get_or_init(|| {
            let new = || std::array::from_fn(|_| AtomicU64::new(0));
            std::iter::repeat_with(new).take(FIRST_CHUNK << chunk).collect()
        });
        for (cell, number) in chunk[place].iter().zip(entry) {
            cell.store(number, Ordering::Relaxed);
        }
        self.len.store(at + 1, Ordering::Release);
    }

    /// The entry at `at`, when the list is that long.
    pub(crate) fn get(&self, at: usize) -> Option<[u64; W]> {
        if at >= self.len() {
            return None;
        }
        let (chunk, place) = locate(at);
        let cells = self.chunks[chunk].get()?.get(place)?;
        Some(std::array::from_fn(|index| cells[index].load(Ordering::Relaxed)))
    }
}

impl<const W: usize> std::fmt::Debug for Tail<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The chunk of an entry, and its place in there.
fn locate(at: usize) -> (usize, usize) {
    // Chunk c begins at FIRST_CHUNK * (2^c - 1).
    let chunk = (at / FIRST_CHUNK + 1).ilog2() as usize;
    (chunk, at - FIRST_CHUNK * ((1 << chunk) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_where_they_were_put() {
        let tail = Tail::<2>::new();
        for number in 0..10_000u64 {
            assert_eq!(tail.get(tail.len()), None);
            tail.push([number, number * 3]);
        }
        for number in 0..10_000u64 {
            assert_eq!(tail.get(usize::try_from(number).unwrap()), Some([number, number * 3]));
        }
    }

    #[test]
    fn readers_see_whole_entries_only() {
        let tail = Tail::<2>::new();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20_000u64).for_each(|number| tail.push([number, !number])));
            scope.spawn(|| {
                let mut seen = 0;
                while seen < 20_000 {
                    let len = tail.len();
                    for at in seen..len {
                        let [number, inverse] = tail.get(at).unwrap();
                        assert_eq!((number, inverse), (at as u64, !(at as u64)));
                    }
                    seen = len;
                    std::thread::yield_now();
                }
            });
        });
    }
}
