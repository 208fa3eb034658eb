//! Addresses as the maps hold them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::shared_type;

/// An IPv6 address, or an IPv4 address in IPv4-mapped form, in network byte order.
///
/// The bytes are held in two words, as they lie: the packet path copies and compares words.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Addr([u64; 2]);

shared_type!(Addr, 16);

/// The half word in front of the IPv4 address in an IPv4-mapped one.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Addr {
    /// The address whose bytes, as they lie, are in these words.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self(words)
    }

    /// The IPv4 address whose bytes, as they lie, are in `word`, in IPv4-mapped form.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, MAPPED as u64 | (word as u64) << 32])
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
            u64::from_ne_bytes([o[0], o[1], o[2], o[3], o[4], o[5], o[6], o[7]]),
            u64::from_ne_bytes([o[8], o[9], o[10], o[11], o[12], o[13], o[14], o[15]]),
        ])
    }

    /// Its bytes, as they lie, in words.
    #[inline(always)]
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        self.0
    }

    /// The last four bytes, as they lie: the IPv4 address, if [`Addr::is_v4`].
    #[inline(always)]
    #[must_use]
    pub const fn v4_word(self) -> u32 {
        (self.0[1] >> 32) as u32
    }

    /// Its octets.
    #[must_use]
    pub const fn octets(self) -> [u8; 16] {
        let (a, b) = (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes());
        [
            a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], //
            b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7],
        ]
    }

    /// Whether this is an IPv4-mapped address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] as u32 == MAPPED
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_both_ways() {
        for text in ["192.0.2.10", "2001:db8::1:2", "::"] {
            let ip: IpAddr = text.parse().unwrap();
            let addr = Addr::from(ip);
            assert_eq!(IpAddr::from(addr), ip);
            assert_eq!(addr.is_v4(), ip.is_ipv4());
            assert_eq!(Addr::v6(addr.octets()), addr);
        }
    }

    #[test]
    fn an_ipv4_address_is_mapped() {
        let addr = Addr::v4([192, 0, 2, 10]);
        assert_eq!(addr.octets(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 10]);
        assert_eq!(addr.v4_word().to_ne_bytes(), [192, 0, 2, 10]);
    }
}
