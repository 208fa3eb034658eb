//! Addresses as the maps hold them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::shared_type;

/// An IPv6 address, or an IPv4 address in IPv4-mapped form, in network byte order.
///
/// The bytes are held in four words, as they lie: the packet path copies and compares words.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Addr([u32; 4]);

shared_type!(Addr, 16);

/// The word in front of the IPv4 address in an IPv4-mapped one.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Addr {
    /// The address whose bytes, as they lie, are in these words.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// The IPv4 address whose bytes, as they lie, are in `word`, in IPv4-mapped form.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, MAPPED, word])
    }

    /// The IPv4 address `octets` in IPv4-mapped form.
    #[inline(always)]
    #[must_use]
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self::from_v4_word(u32::from_ne_bytes(octets))
    }

    /// The IPv6 address `octets`.
    #[must_use]
    pub const fn v6(octets: [u8; 16]) -> Self {
        let o = octets;
        Self([
            u32::from_ne_bytes([o[0], o[1], o[2], o[3]]),
            u32::from_ne_bytes([o[4], o[5], o[6], o[7]]),
            u32::from_ne_bytes([o[8], o[9], o[10], o[11]]),
            u32::from_ne_bytes([o[12], o[13], o[14], o[15]]),
        ])
    }

    /// Its bytes, as they lie, in words.
    #[inline(always)]
    #[must_use]
    pub const fn words(self) -> [u32; 4] {
        self.0
    }

    /// The last word: the IPv4 address, if [`Addr::is_v4`], its bytes as they lie.
    #[inline(always)]
    #[must_use]
    pub const fn v4_word(self) -> u32 {
        self.0[3]
    }

    /// Its octets.
    #[must_use]
    pub const fn octets(self) -> [u8; 16] {
        let (w, x) = (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes());
        let (y, z) = (self.0[2].to_ne_bytes(), self.0[3].to_ne_bytes());
        [
            w[0], w[1], w[2], w[3], x[0], x[1], x[2], x[3], //
            y[0], y[1], y[2], y[3], z[0], z[1], z[2], z[3],
        ]
    }

    /// Whether this is an IPv4-mapped address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED
    }
}

impl From<IpAddr> for Addr {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        if addr.is_v4() {
            Ipv4Addr::from(addr.v4_word().to_ne_bytes()).into()
        } else {
            Ipv6Addr::from(addr.octets()).into()
        }
    }
}

impl core::fmt::Debug for Addr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}
