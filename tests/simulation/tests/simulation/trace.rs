//! What happened, line by line: kept where somebody will read it, else hashed or not even written.
//!
//! Must not know: what the lines say.

use std::collections::VecDeque;

/// What becomes of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// They are not made.
    Nothing,
    /// They are hashed.
    Digest,
    /// The last of them are kept as well.
    Lines,
}

/// So many lines are kept.
const LINES_MAX: usize = 40_000;

#[derive(Debug)]
pub(crate) struct Trace {
    telling: Telling,
    digest: u64,
    lines: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new(telling: Telling) -> Self {
        Self { telling, digest: 0xcbf2_9ce4_8422_2325, lines: VecDeque::new() }
    }

    pub(crate) fn note(&mut self, now: u64, line: impl FnOnce() -> String) {
        if self.telling == Telling::Nothing {
            return;
        }
        let line = format!("{now:>7} {}", line());
        // FNV-1a.
        for byte in line.bytes().chain([b'\n']) {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.telling == Telling::Lines {
            if self.lines.len() == LINES_MAX {
                self.lines.pop_front();
            }
            self.lines.push_back(line);
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
