//! The Internet checksum: RFC 1071, updated incrementally as in RFC 1624.

/// The one's-complement sum of the 16-bit big-endian words of `bytes`, not folded.
///
/// `N` must be even and small enough for a 32-bit sum (at most 131,072 bytes).
#[inline(always)]
#[must_use]
pub fn sum<const N: usize>(bytes: &[u8; N]) -> u32 {
    const { assert!(N.is_multiple_of(2), "words are two bytes long") };
    let mut sum = 0;
    let mut i = 0;
    while i < N {
        sum += u32::from(u16::from_ne_bytes([bytes[i], bytes[i + 1]]));
        i += 2;
    }
    // Summed in the machine's byte order, which only rotates the result (RFC 1071, section 2 B).
    sum
}

/// Folds a sum to 16 bits.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The change of a checksum from some bytes that are replaced: collect it with
/// [`Delta::replace`], then [`Delta::apply`] it to every checksum that covers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u32);

impl Delta {
    /// No change.
    pub const NONE: Self = Self(0);

    /// With `old` replaced by `new` (RFC 1624, equation 3: `HC' = ~(~HC + ~m + m')`).
    #[inline(always)]
    #[must_use]
    pub fn replace<const N: usize>(self, old: &[u8; N], new: &[u8; N]) -> Self {
        // ~m over all words is 0xffff per word, less their sum.
        let inverted = (N as u32 / 2) * 0xffff - sum(old);
        Self(self.0 + inverted + sum(new))
    }

    /// The checksum (big-endian, as in the packet) after the change.
    #[inline(always)]
    #[must_use]
    pub fn apply(self, checksum: [u8; 2]) -> [u8; 2] {
        let inverted = u32::from(!u16::from_ne_bytes(checksum));
        (!fold(u32::from(fold(self.0)) + inverted)).to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full<const N: usize>(bytes: &[u8; N]) -> [u8; 2] {
        (!fold(sum(bytes))).to_ne_bytes()
    }

    #[test]
    fn the_example_of_rfc_1071_sums_up() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)).to_ne_bytes(), [0xdd, 0xf2]);
    }

    #[test]
    fn the_example_of_rfc_1624_updates() {
        // Section 4: HC = 0xDD2F, m = 0x5555, m' = 0x3285, HC' = 0x0000.
        let delta = Delta::NONE.replace(&[0x55, 0x55], &[0x32, 0x85]);
        assert_eq!(delta.apply([0xdd, 0x2f]), [0x00, 0x00]);
    }

    proptest! {
        #[test]
        fn an_update_equals_a_full_recomputation(
            head: [u8; 18], old: [u8; 16], new: [u8; 16], tail: [u8; 4], new_tail: [u8; 4],
        ) {
            let join = |middle: [u8; 16], tail: [u8; 4]| {
                let mut bytes = [0; 38];
                bytes[..18].copy_from_slice(&head);
                bytes[18..34].copy_from_slice(&middle);
                bytes[34..].copy_from_slice(&tail);
                bytes
            };
            let delta = Delta::NONE.replace(&old, &new).replace(&tail, &new_tail);
            let updated = delta.apply(full(&join(old, tail)));
            let expected = full(&join(new, new_tail));
            // Zero has two forms in one's complement; a sum of only zero bytes is the one case
            // in which they differ, and no TCP/IP packet is all zero.
            prop_assume!(join(new, new_tail).iter().any(|&b| b != 0));
            prop_assume!(join(old, tail).iter().any(|&b| b != 0));
            prop_assert_eq!(updated, expected);
        }
    }
}
