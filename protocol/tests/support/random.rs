//! Values by chance, the same for the same seed.
//!
//! Must not know: the wire.

use super::Choices;
use super::schema::Field;

/// A small generator (splitmix64) that needs no dependency and no state beyond its seed.
#[derive(Clone)]
pub(crate) struct Random {
    state: u64,
    /// Whether structs carry unknown tagged fields too.
    pub(crate) unknown_tags: bool,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, unknown_tags: false }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

impl Choices for Random {
    fn is_null(&mut self, _: &str, _: &Field) -> bool {
        self.one_in(4)
    }

    fn count(&mut self, _: &str) -> usize {
        if self.one_in(30) { 20 } else { self.below(4) }
    }

    fn has_tag(&mut self, _: &str) -> bool {
        !self.one_in(3)
    }

    fn unknown_tags(&mut self) -> Vec<(u32, Vec<u8>)> {
        if !self.unknown_tags || !self.one_in(3) {
            return Vec::new();
        }
        (0..=u32::try_from(self.below(3)).unwrap()).map(|tag| (1000 + tag, self.bytes())).collect()
    }

    fn number(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = [self.next().to_be_bytes(), self.next().to_be_bytes()].concat();
        match self.below(4) {
            0 => bytes.fill(0),
            1 => bytes.fill(0xff),
            _ => {}
        }
        bytes.truncate(len);
        if len == 8 && bytes[0] & 0x7f == 0x7f {
            // As a float this could be no number, which differs from itself.
            bytes[0] = 0;
        }
        bytes
    }

    fn truth(&mut self) -> bool {
        self.one_in(2)
    }

    fn text(&mut self) -> String {
        const LETTERS: [char; 8] = ['a', 'z', '-', '0', '.', 'é', '日', '🦀'];
        let len = if self.one_in(20) { 300 } else { self.below(10) };
        (0..len).map(|_| LETTERS[self.below(LETTERS.len())]).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = if self.one_in(8) { 1000 + self.below(1000) } else { self.below(20) };
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
