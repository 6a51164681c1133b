//! Random walks, and the choices on them.
//!
//! Must not know: what is chosen.

/// SplitMix64: the same seed is the same walk.
#[derive(Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.roll(len as u64)).expect("below len")
    }
}

/// Walks with each of the seeds that the environment asks for: `CAIRN_SEED`, which repeats one walk, or the first `CAIRN_WALKS`.
pub(super) fn walks<T>(walks_default: u64, walk: fn(u64) -> T) -> Vec<T> {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    let seeds = match number("CAIRN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CAIRN_WALKS").unwrap_or(walks_default),
    };
    let repeatable = |seed| {
        std::panic::catch_unwind(|| walk(seed)).unwrap_or_else(|panic| {
            eprintln!("CAIRN_SEED={seed} repeats this walk");
            std::panic::resume_unwind(panic)
        })
    };
    seeds.map(repeatable).collect()
}
