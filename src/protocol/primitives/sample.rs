//! Values drawn from a seed: for round trips, fuzzing corpora and benchmarks.

/// A source of numbers that look random.
pub trait Entropy {
    /// The next number.
    fn next(&mut self) -> u64;

    /// The next number below `limit`, which must not be 0.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Numbers that follow from a seed (splitmix64): the same seed, the same values.
#[derive(Debug, Clone)]
pub struct Seed(pub u64);

impl Entropy for Seed {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
