//! A small random generator: xoshiro256++, seeded through SplitMix64.
//!
//! It serves jitter, load spreading and ids that need only be different. It must never make a secret: its output is
//! predictable. A test passes a seed, the server one from the kernel.

use rustix::rand::{GetRandomFlags, getrandom};

/// A generator of one owner. The same seed gives the same numbers for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of this seed.
    pub fn from_seed(seed: u64) -> Rng {
        let mut mix = seed;
        Rng { state: std::array::from_fn(|_| split_mix(&mut mix)) }
    }

    /// A generator seeded by the kernel.
    ///
    /// # Errors
    /// Those of `getrandom(2)`: a sandbox may forbid it.
    pub fn from_os() -> std::io::Result<Rng> {
        let mut seed = [0u8; 8];
        let (filled, _) = getrandom(&mut seed, GetRandomFlags::empty()).map(|n| (n, ()))?;
        debug_assert_eq!(filled, seed.len(), "getrandom is never short for 256 bytes or less");
        Ok(Rng::from_seed(u64::from_ne_bytes(seed)))
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number less than `bound`, evenly spread to within `bound / 2^64`; zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).expect("the upper half of a 128-bit product has 64 bits")
    }

    /// A generator whose numbers have nothing to do with this one's.
    pub fn fork(&mut self) -> Rng {
        Rng::from_seed(self.next_u64())
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published sequence of SplitMix64 for seed 1234567.
    #[test]
    fn split_mix_gives_the_published_sequence() {
        let mut state = 1_234_567;
        assert_eq!(split_mix(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(split_mix(&mut state), 3_203_168_211_198_807_973);
    }

    /// The published sequence of xoshiro256++ for the state 1, 2, 3, 4.
    #[test]
    fn the_generator_gives_the_published_sequence() {
        let mut rng = Rng { state: [1, 2, 3, 4] };
        assert_eq!(rng.next_u64(), 41_943_041);
        assert_eq!(rng.next_u64(), 58_720_359);
        assert_eq!(rng.next_u64(), 3_588_806_011_781_223);
    }

    #[test]
    fn one_seed_gives_one_sequence_and_forks_differ() {
        let (mut one, mut two) = (Rng::from_seed(7), Rng::from_seed(7));
        assert_eq!(one.next_u64(), two.next_u64());
        assert_ne!(one.fork().next_u64(), two.next_u64());
        assert_ne!(Rng::from_os().unwrap().next_u64(), Rng::from_os().unwrap().next_u64());
    }

    #[test]
    fn numbers_below_a_bound_stay_below_and_spread() {
        let mut rng = Rng::from_seed(1);
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            seen[usize::try_from(rng.below(10)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }

    #[test]
    fn fill_reaches_the_last_byte() {
        let mut rng = Rng::from_seed(3);
        let mut last = 0u8;
        for _ in 0..16 {
            let mut bytes = [0u8; 11];
            rng.fill(&mut bytes);
            last |= bytes[10];
        }
        assert_ne!(last, 0);
    }
}
