//! A file as recovery walks through it: what is touched was read in before, so that a page that the disk cannot give is an
//! error and never a signal.
//!
//! Who goes on where the last look ended has more and more read in ahead; who jumps has only the pages of that look.
//!
//! Must not know: record batches, why a file is walked through.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::disk::Readable;

/// So much is read in ahead where a walk begins; twice as much each time that it goes on.
const FIRST_STEP_BYTES: u64 = 8 << 10;

/// The most that is read in ahead.
const LARGEST_STEP_BYTES: u64 = 1 << 20;

/// Reads `file` in before it is touched.
#[derive(Debug)]
pub(super) struct Ahead {
    file: Arc<dyn Readable>,
    end: u64,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    populated: Range<u64>,
    step: u64,
}

impl Ahead {
    /// Of the first `end` bytes of `file`.
    pub(super) fn new(file: Arc<dyn Readable>, end: u64) -> Self {
        // Whoever begins at the front does not go on with anything.
        let window = Window { populated: end..end, step: FIRST_STEP_BYTES };
        Self { file, end, window: Mutex::new(window) }
    }

    /// Has the pages of `range` read in, and more of them where the walk goes on.
    fn bring(&self, range: &Range<u64>) -> io::Result<()> {
        let mut window = self.window.lock();
        let goes_on = window.populated.start <= range.start && range.start <= window.populated.end;
        if goes_on && range.end <= window.populated.end {
            return Ok(());
        }
        let wanted = if goes_on {
            let from = window.populated.end;
            from..range.end.max(from.saturating_add(window.step).min(self.end))
        } else {
            range.clone()
        };
        self.file.populate(wanted.clone())?;
        *window = if goes_on {
            let step = window.step.saturating_mul(2).min(LARGEST_STEP_BYTES);
            Window { populated: window.populated.start..wanted.end, step }
        } else {
            Window { populated: wanted, step: FIRST_STEP_BYTES }
        };
        Ok(())
    }
}

impl Readable for Ahead {
    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        if !range.is_empty() {
            self.bring(&range)?;
        }
        self.file.slice(range)
    }

    fn is_resident(&self, range: Range<u64>) -> bool {
        self.file.is_resident(range)
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        self.file.populate(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what is read in, and hands out only that.
    #[derive(Debug, Default)]
    struct Noting(Mutex<Vec<Range<u64>>>);

    impl Readable for Noting {
        fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
            let whole = |at: u64| self.0.lock().iter().any(|part| part.contains(&at));
            assert!(range.clone().all(whole), "{range:?} was not read in");
            Ok(Bytes::new())
        }

        fn is_resident(&self, _: Range<u64>) -> bool {
            false
        }

        fn populate(&self, range: Range<u64>) -> io::Result<()> {
            self.0.lock().push(range);
            Ok(())
        }
    }

    #[test]
    fn a_walk_is_read_in_by_growing_steps_and_a_jump_alone() {
        const K: u64 = 1024;
        let file = Arc::new(Noting::default());
        let ahead = Ahead::new(Arc::clone(&file) as Arc<dyn Readable>, 100 * K);
        for at in 0..40 {
            ahead.slice(at * K..(at + 1) * K).unwrap();
        }
        ahead.slice(90 * K..90 * K + 61).unwrap();
        ahead.slice(90 * K..99 * K).unwrap();
        ahead.slice(99 * K..100 * K).unwrap();
        ahead.slice(5 * K..5 * K).unwrap();
        let from_90 = 90 * K + 61;
        let steps = [0..K, K..9 * K, 9 * K..25 * K, 25 * K..57 * K, 90 * K..from_90, from_90..99 * K, 99 * K..100 * K];
        assert_eq!(*file.0.lock(), steps);
    }
}
