//! The keyed hash that maps flows to slots.
//!
//! SipHash-1-3 (Aumasson and Bernstein, "`SipHash`: a fast short-input PRF"; one round per word and
//! three at the end). It is keyed because a client who knows the hash can choose its source ports so
//! that all its connections meet on one broker.

/// A 128-bit key of the hash: the same on every balancer of a fleet, and not public.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seed(pub u64, pub u64);

struct State(u64, u64, u64, u64);

impl State {
    #[inline(always)]
    const fn new(seed: Seed) -> Self {
        Self(
            seed.0 ^ 0x736f_6d65_7073_6575,
            seed.1 ^ 0x646f_7261_6e64_6f6d,
            seed.0 ^ 0x6c79_6765_6e65_7261,
            seed.1 ^ 0x7465_6462_7974_6573,
        )
    }

    #[inline(always)]
    const fn round(self) -> Self {
        let Self(mut v0, mut v1, mut v2, mut v3) = self;
        v0 = v0.wrapping_add(v1);
        v2 = v2.wrapping_add(v3);
        v1 = v1.rotate_left(13) ^ v0;
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v1);
        v0 = v0.wrapping_add(v3);
        v1 = v1.rotate_left(17) ^ v2;
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.rotate_left(32);
        Self(v0, v1, v2, v3)
    }

    #[inline(always)]
    const fn absorb(mut self, word: u64) -> Self {
        self.3 ^= word;
        self = self.round();
        self.0 ^= word;
        self
    }

    /// The last word is what is left of the bytes, less than eight, and how many there were in all.
    #[inline(always)]
    const fn finish(self, tail: u64, length: u64) -> u64 {
        let mut s = self.absorb(tail | length << 56);
        s.2 ^= 0xff;
        s = s.round().round().round();
        s.0 ^ s.1 ^ s.2 ^ s.3
    }
}

/// The hash under `seed` of the little-endian bytes of `words` and of the last `BYTES` bytes, less
/// than eight, which are the low ones of `tail`; the others must be zero.
#[inline(always)]
#[must_use]
pub const fn siphash13<const WORDS: usize, const BYTES: u64>(
    seed: Seed,
    words: [u64; WORDS],
    tail: u64,
) -> u64 {
    let mut state = State::new(seed);
    let mut next = 0;
    while next < WORDS {
        state = state.absorb(words[next]);
        next += 1;
    }
    state.finish(tail, WORDS as u64 * 8 + BYTES)
}

/// The hash of `bytes` under `seed`.
#[must_use]
pub fn siphash13_of(seed: Seed, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let state =
        words.iter().fold(State::new(seed), |state, word| state.absorb(u64::from_le_bytes(*word)));
    let mut tail = [0; 8];
    tail[..rest.len()].copy_from_slice(rest);
    state.finish(u64::from_le_bytes(tail), bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{collections::BTreeSet, vec, vec::Vec};

    use super::*;

    const SEED: Seed = Seed(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);

    #[test]
    fn words_and_bytes_are_hashed_the_same() {
        let bytes: Vec<u8> = (0..22).collect();
        let words = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let tail = 0x1514_1312_1110;
        assert_eq!(siphash13::<2, 6>(SEED, words, tail), siphash13_of(SEED, &bytes));
        assert_eq!(siphash13::<2, 0>(SEED, words, 0), siphash13_of(SEED, &bytes[..16]));
        assert_eq!(siphash13::<0, 6>(SEED, [], tail), siphash13_of(SEED, &bytes[16..]));
    }

    #[test]
    fn every_byte_and_the_length_count() {
        let mut seen = BTreeSet::new();
        for length in 0..=300 {
            let bytes = vec![0; length];
            assert!(seen.insert(siphash13_of(SEED, &bytes)), "{length}");
            for at in 0..length {
                let mut bytes = bytes.clone();
                bytes[at] = 1;
                assert!(seen.insert(siphash13_of(SEED, &bytes)), "{at} of {length}");
            }
        }
    }
}
