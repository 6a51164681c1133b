//! Random choices.
//!
//! Must not know: what is chosen.

/// SplitMix64: the same seed is the same walk.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn roll(&mut self, sides: u32) -> u32 {
        // Of 32 random bits times the sides, the upper half.
        let bits = self.next() >> 32;
        u32::try_from((bits * u64::from(sides)) >> 32).expect("below sides")
    }

    pub(crate) fn small(&mut self, sides: u8) -> u8 {
        u8::try_from(self.roll(u32::from(sides))).expect("below sides")
    }
}
