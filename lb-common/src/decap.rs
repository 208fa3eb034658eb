//! What the unwrapping program on a broker's host shares with the command that attaches it.

use core::net::IpAddr;

use crate::{
    addr::Addr,
    shared_type,
    verdict::{Action, verdicts},
};

/// Raised with every change of layout or meaning of the maps.
pub const VERSION: u32 = 1;

/// Names of the maps, as the program declares them and as they are pinned.
pub mod maps {
    /// Trie of [`super::Prefix`]: who may wrap.
    pub const FROM: &str = "FROM";
    /// Hash of addresses of this host that wrapped packets are sent to.
    pub const TO: &str = "TO";
    /// Hash of addresses that packets inside may be sent to.
    pub const VIPS: &str = "VIPS";
    /// Per-CPU array of `u64` by [`super::DecapVerdict`].
    pub const VERDICTS: &str = "DECAP_VERDICTS";
}

/// The most entries of each list.
pub const LIST_ENTRIES: usize = 1024;

/// A prefix of addresses, as the kernel's tries have them.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// How many bits count; of an IPv4 address those of its IPv4-mapped form.
    pub bits: u32,
    /// The address, as it lies.
    pub address: [u32; 4],
}

shared_type!(Prefix, 20);

impl Prefix {
    /// The prefix of `address` with so many bits of its family; more than it has are all of them.
    #[must_use]
    pub fn new(address: IpAddr, bits: u8) -> Self {
        let bits = match address {
            IpAddr::V4(_) => 96 + u32::from(bits.min(32)),
            IpAddr::V6(_) => u32::from(bits.min(128)),
        };
        Self { bits, ..Self::whole(address.into()) }
    }

    /// An address alone, to be looked up.
    #[inline(always)]
    #[must_use]
    pub const fn whole(address: Addr) -> Self {
        let [a, b] = address.words();
        let address = [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32];
        Self { bits: 128, address }
    }

    /// The address, and how many bits of its family count.
    #[must_use]
    pub fn parts(&self) -> (IpAddr, u8) {
        let [a, b, c, d] = self.address.map(u64::from);
        let address = IpAddr::from(Addr::from_words([a | b << 32, c | d << 32]));
        let mapped = if address.is_ipv4() { 96 } else { 0 };
        (address, self.bits.saturating_sub(mapped) as u8)
    }
}

impl core::fmt::Debug for Prefix {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (address, bits) = self.parts();
        write!(f, "{address}/{bits}")
    }
}

verdicts! {
    /// The fate of a packet on a broker's host. The discriminant is the index of its counter.
    DecapVerdict;
    /// Unwrapped, and given to the kernel.
    Unwrapped = "unwrapped", Pass;
    /// No packet with another one inside.
    NotTunnelled = "not_tunnelled", Pass;
    /// An outer header that ends early, or whose length or checksum is wrong.
    BadOuter = "bad_outer", Pass;
    /// An outer header with IPv4 options.
    OuterOptions = "outer_options", Pass;
    /// A fragment of a wrapped packet: the way here takes less than the balancer believes.
    OuterFragment = "outer_fragment", Pass;
    /// To none of the listed addresses of this host.
    NotToUs = "not_to_us", Pass;
    /// From an address outside the prefixes that may wrap.
    ForeignSource = "foreign_source", Pass;
    /// The packet inside is not whole, or has IPv4 options.
    BadInner = "bad_inner", Pass;
    /// The packet inside is neither TCP nor ICMP.
    InnerProtocol = "inner_protocol", Pass;
    /// The packet inside is to none of the listed VIPs.
    NotToVip = "not_to_vip", Pass;
    /// A router has marked congestion on a packet whose sender would not hear of it: only a loss
    /// says so (RFC 6040, section 4.2).
    CongestionUnheard = "congestion_unheard", Drop;
}

/// Number of verdicts.
pub const VERDICTS: usize = DecapVerdict::ALL.len();

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn a_prefix_counts_the_bits_of_its_family() {
        let v4 = Prefix::new(Ipv4Addr::new(10, 99, 0, 0).into(), 16);
        assert_eq!((v4.bits, v4.parts()), (112, (Ipv4Addr::new(10, 99, 0, 0).into(), 16)));
        assert_eq!(v4.address[3].to_ne_bytes(), [10, 99, 0, 0]);
        let v6 = Prefix::new(Ipv6Addr::LOCALHOST.into(), 64);
        assert_eq!((v6.bits, v6.parts()), (64, (Ipv6Addr::LOCALHOST.into(), 64)));
        assert_eq!(Prefix::whole(Addr::v4([10, 99, 1, 2])).bits, 128);
    }
}
