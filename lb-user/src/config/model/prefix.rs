//! Prefixes of addresses.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Serialize, Serializer};

/// All addresses that share their first `bits` bits; the others of `address` are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// A text that is no [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrefix {
    /// Not an address, a slash and a number that the address has as many bits as.
    #[error("is no prefix; write one such as 10.99.0.0/16 or fd00:99::/64")]
    Shape,
    /// Bits behind the prefix are set.
    #[error("has bits set behind its prefix; did you mean {0}?")]
    HostBits(Prefix),
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Prefix {
    /// The prefix of `address` that has so many bits; the rest is cut off, and more than it has are
    /// all of them.
    #[must_use]
    pub fn new(address: IpAddr, bits: u8) -> Self {
        let bits = bits.min(width(address));
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        Self { address, bits }
    }

    /// Its first address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits are shared.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// How many bits differ.
    #[must_use]
    pub const fn host_bits(self) -> u8 {
        width(self.address) - self.bits
    }

    /// Whether `address` is one of them.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && Self::new(address, self.bits) == self
    }
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let (address, bits) = text.split_once('/').ok_or(InvalidPrefix::Shape)?;
        let address: IpAddr = address.parse().map_err(|_| InvalidPrefix::Shape)?;
        let bits = bits.parse().map_err(|_| InvalidPrefix::Shape)?;
        if bits > width(address) {
            return Err(InvalidPrefix::Shape);
        }
        let prefix = Self::new(address, bits);
        if prefix.address == address { Ok(prefix) } else { Err(InvalidPrefix::HostBits(prefix)) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_is_written_as_it_is_read() {
        for text in ["10.99.0.0/16", "0.0.0.0/0", "192.0.2.1/32", "fd00:99::/64", "::/0", "::1/128"]
        {
            assert_eq!(prefix(text).to_string(), text);
        }
        for text in ["10.99.0.0", "10.99.0.0/33", "/16", "10.99/16", "::/129", "10.99.0.0/-1"] {
            assert_eq!(text.parse::<Prefix>(), Err(InvalidPrefix::Shape), "{text}");
        }
        let meant = Err(InvalidPrefix::HostBits(prefix("10.99.16.0/20")));
        assert_eq!("10.99.17.0/20".parse::<Prefix>(), meant);
    }

    #[test]
    fn a_prefix_contains_the_addresses_of_its_family_that_begin_like_it() {
        let contains = |text: &str, address: &str| prefix(text).contains(address.parse().unwrap());
        assert!(contains("10.99.0.0/16", "10.99.255.255"));
        assert!(!contains("10.99.0.0/16", "10.98.255.255"));
        assert!(contains("0.0.0.0/0", "192.0.2.1") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("fd00:99::/64", "fd00:99::ffff") && !contains("fd00:99::/64", "fd00::"));
        assert_eq!(prefix("10.99.0.0/20").host_bits(), 12);
    }
}
