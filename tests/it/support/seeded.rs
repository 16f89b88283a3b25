//! Choices that look random and are the same in every run, so that a failure can be had again.

use std::time::Duration;

/// A sequence of pseudo-random numbers (`SplitMix64`).
pub(crate) struct Seeded(u64);

impl Seeded {
    /// The sequence of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// A span shorter than `end`, in whole milliseconds.
    pub(crate) fn span_below(&mut self, end: Duration) -> Duration {
        let end = u64::try_from(end.as_millis()).expect("a span of a test");
        Duration::from_millis(self.below(end))
    }

    /// One of `all`.
    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let number = self.below(u64::try_from(all.len()).expect("few"));
        &all[usize::try_from(number).expect("few")]
    }
}
