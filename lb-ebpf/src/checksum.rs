//! The Internet checksum: RFC 1071, updated incrementally as in RFC 1624.
//!
//! Words are summed as they lie, 32 bits at a time: byte order only rotates the result, and any
//! word size that 16 divides gives the same sum after folding (RFC 1071, section 2).

use lb_common::addr::Addr;

/// A one's-complement sum of words, not folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The empty sum.
    pub const ZERO: Self = Self(0);

    /// With the words of another sum added.
    #[inline(always)]
    #[must_use]
    pub const fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// With a 16-bit word added.
    #[inline(always)]
    #[must_use]
    pub const fn add16(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// With a 32-bit word added.
    #[inline(always)]
    #[must_use]
    pub const fn add32(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    #[inline(always)]
    const fn add64(self, word: u64) -> Self {
        self.add32(word as u32).add32((word >> 32) as u32)
    }

    /// With an address added as the pseudo header of IPv6 counts it.
    #[inline(always)]
    #[must_use]
    pub const fn add_addr(self, addr: Addr) -> Self {
        let [a, b] = addr.words();
        self.add64(a).add64(b)
    }

    /// With the 16-bit word `old` replaced by `new` (RFC 1624, equation 3:
    /// `HC' = ~(~HC + ~m + m')`).
    #[inline(always)]
    #[must_use]
    pub const fn replace16(self, old: u16, new: u16) -> Self {
        self.add16(!old).add16(new)
    }

    /// With the 32-bit word `old` replaced by `new`.
    #[inline(always)]
    #[must_use]
    pub const fn replace32(self, old: u32, new: u32) -> Self {
        self.add32(!old).add32(new)
    }

    /// With an address replaced by another.
    #[inline(always)]
    #[must_use]
    pub const fn replace_addr(self, old: Addr, new: Addr) -> Self {
        let ([a, b], [c, d]) = (old.words(), new.words());
        self.add64(!a).add64(!b).add64(c).add64(d)
    }

    /// Folded to 16 bits.
    #[inline(always)]
    #[must_use]
    pub const fn fold(self) -> u16 {
        // Less than 48 bits come in; each step leaves at most one bit above the lower half.
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }

    /// The checksum of the words summed.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }

    /// A checksum after the replacements summed.
    #[inline(always)]
    #[must_use]
    pub const fn update(self, checksum: u16) -> u16 {
        self.add16(!checksum).checksum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, one big-endian word after the other.
    fn full(bytes: &[u8]) -> u16 {
        let sum: u32 =
            bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        !((sum & 0xffff) + (sum >> 16)) as u16
    }

    fn words(bytes: &[u8]) -> Sum {
        bytes
            .chunks(4)
            .fold(Sum::ZERO, |sum, w| sum.add32(u32::from_ne_bytes([w[0], w[1], w[2], w[3]])))
    }

    #[test]
    fn the_example_of_rfc_1071_sums_up() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(words(&bytes).fold().to_ne_bytes(), [0xdd, 0xf2]);
    }

    #[test]
    fn the_example_of_rfc_1624_updates() {
        // Section 4: HC = 0xDD2F, m = 0x5555, m' = 0x3285, HC' = 0x0000.
        assert_eq!(Sum::ZERO.replace16(0x5555, 0x3285).update(0xdd2f), 0x0000);
    }

    proptest! {
        #[test]
        fn words_as_they_lie_give_the_defined_checksum(bytes: [u8; 32]) {
            prop_assert_eq!(words(&bytes).checksum().to_ne_bytes(), full(&bytes).to_be_bytes());
        }

        #[test]
        fn an_update_equals_a_full_recomputation(
            rest: [u8; 18], old: [u8; 16], new: [u8; 16], port: [u8; 2], new_port: [u8; 2],
        ) {
            let before = [&rest[..], &old[..], &port[..]].concat();
            let after = [&rest[..], &new[..], &new_port[..]].concat();
            // Zero has two forms in one's complement, and only for bytes that are all zero do the
            // two ways give different ones; no TCP/IP packet is.
            prop_assume!(before.iter().any(|&b| b != 0) && after.iter().any(|&b| b != 0));
            let updated = Sum::ZERO
                .replace_addr(Addr::v6(old), Addr::v6(new))
                .replace16(u16::from_ne_bytes(port), u16::from_ne_bytes(new_port))
                .update(u16::from_ne_bytes(full(&before).to_be_bytes()));
            prop_assert_eq!(updated.to_ne_bytes(), full(&after).to_be_bytes());
        }
    }
}
