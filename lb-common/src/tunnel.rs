//! Where the outer source addresses of tunnelled packets come from.

use crate::{addr::Addr, shared_type};

/// The prefix of one family that outer source addresses are taken from.
///
/// They vary with the flow, because a broker's network card chooses the queue of a packet by its
/// outer addresses: with a single source, one CPU of the broker would take all of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TunnelSource {
    /// The prefix, its host bits zero; all zero if there is none.
    pub prefix: Addr,
    /// The host bits within the last word of an address, as they lie.
    pub host_mask: u64,
}

shared_type!(TunnelSource, 24);

impl TunnelSource {
    /// The addresses that share all but the last `host_bits` bits with `prefix`, whose host bits
    /// must be zero. Of more than 64 host bits the last 64 vary, in IPv4 at most 32.
    #[must_use]
    pub const fn new(prefix: Addr, host_bits: u8) -> Self {
        let most = if prefix.is_v4() { 32 } else { 64 };
        let bits = if host_bits < most { host_bits } else { most };
        let host_mask = if bits == 0 { 0 } else { (u64::MAX >> (64 - bits)).to_be() };
        Self { prefix, host_mask }
    }

    /// Whether there is a prefix.
    #[inline(always)]
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        let [a, b] = self.prefix.words();
        a | b != 0
    }

    /// The source address for packets of the flow with this hash: the half that did not choose its
    /// slot, so that the flows of one broker have all addresses.
    #[inline(always)]
    #[must_use]
    pub const fn address(&self, flow_hash: u32) -> Addr {
        let [a, b] = self.prefix.words();
        let hash = flow_hash as u64;
        Addr::from_words([a, b | (hash << 32 | hash) & self.host_mask])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: u32 = u32::from_le_bytes([1, 2, 3, 4]);

    #[test]
    fn the_host_bits_and_no_others_vary_with_the_flow() {
        let of = |prefix, bits, hash| TunnelSource::new(prefix, bits).address(hash);
        assert_eq!(of(Addr::v4([10, 99, 0, 0]), 16, HASH), Addr::v4([10, 99, 3, 4]));
        assert_eq!(of(Addr::v4([10, 99, 16, 0]), 12, u32::MAX), Addr::v4([10, 99, 31, 255]));
        assert_eq!(of(Addr::v4([10, 99, 0, 7]), 0, HASH), Addr::v4([10, 99, 0, 7]));
        let prefix = [0xfd, 0, 0, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut expected = prefix;
        expected[8..].copy_from_slice(&[1, 2, 3, 4, 1, 2, 3, 4]);
        assert_eq!(of(Addr::v6(prefix), 64, HASH), Addr::v6(expected));
        assert_eq!(of(Addr::v6(prefix), 96, HASH), Addr::v6(expected), "at most the last word");
        expected[8..13].fill(0);
        assert_eq!(of(Addr::v6(prefix), 24, HASH), Addr::v6(expected));
    }

    #[test]
    fn an_ipv4_prefix_stays_one_whatever_it_is_given() {
        let source = TunnelSource::new(Addr::v4([0, 0, 0, 0]), 99);
        assert!(source.address(u32::MAX).is_v4());
        assert!(source.is_configured() && !TunnelSource::default().is_configured());
    }
}
