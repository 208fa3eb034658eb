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
    let mut s = State(
        seed.0 ^ 0x736f_6d65_7073_6575,
        seed.1 ^ 0x646f_7261_6e64_6f6d,
        seed.0 ^ 0x6c79_6765_6e65_7261,
        seed.1 ^ 0x7465_6462_7974_6573,
    );
    let mut next = 0;
    while next < WORDS {
        s.3 ^= words[next];
        s = s.round();
        s.0 ^= words[next];
        next += 1;
    }
    let last = tail | (WORDS as u64 * 8 + BYTES) << 56;
    s.3 ^= last;
    s = s.round();
    s.0 ^= last;
    s.2 ^= 0xff;
    s = s.round().round().round();
    s.0 ^ s.1 ^ s.2 ^ s.3
}
