//! Random choices that a printed seed repeats.
//!
//! It must not know what is chosen.

use std::ops::Range;

/// A small generator (splitmix64): enough for choices in tests, and the same on every machine.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// Dice that always fall the same way.
    pub fn new(seed: u64) -> Self {
        Dice { state: seed }
    }

    /// Dice with the seed of `CAIRN_SEED`, or a fresh one; it says which.
    pub fn from_environment(suite: &str) -> Self {
        let seed = match std::env::var("CAIRN_SEED") {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("CAIRN_SEED is no number: {text}")),
            Err(_) => {
                let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                u64::from(clock.map_or(0, |elapsed| elapsed.subsec_nanos())) ^ u64::from(std::process::id())
            }
        };
        crate::report::say(&format!("{suite}: CAIRN_SEED={seed}"));
        Dice::new(seed)
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of the numbers of a range that is not empty.
    pub fn among(&mut self, range: Range<u64>) -> u64 {
        range.start + self.roll() % (range.end - range.start)
    }
}
