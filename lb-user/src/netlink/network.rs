//! Networks that interfaces are in.

use std::net::IpAddr;

/// An address of an interface, and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// How many of its bits say which network it is in.
    pub prefix: u8,
}

impl Network {
    /// Whether `other` lies in the same network, which has room for more than this address.
    #[must_use]
    pub fn reaches(&self, other: IpAddr) -> bool {
        let shares = |a: u128, b: u128, width: u8| {
            let rest = u32::from(width.saturating_sub(self.prefix));
            rest > 0 && (a ^ b).checked_shr(rest).unwrap_or(0) == 0
        };
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                shares(own.to_bits().into(), other.to_bits().into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => shares(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_reaches_its_neighbours_only() {
        let network = |address: &str, prefix| Network { address: address.parse().unwrap(), prefix };
        let reaches = |n: Network, other: &str| n.reaches(other.parse().unwrap());
        assert!(reaches(network("10.0.0.2", 24), "10.0.0.200"));
        assert!(!reaches(network("10.0.0.2", 24), "10.0.1.2"));
        assert!(reaches(network("10.0.0.2", 0), "192.0.2.1"));
        assert!(!reaches(network("10.0.0.2", 32), "10.0.0.2"), "it has no neighbours");
        assert!(reaches(network("2001:db8::2", 64), "2001:db8::ffff"));
        assert!(!reaches(network("2001:db8::2", 64), "2001:db8:0:1::2"));
        assert!(!reaches(network("10.0.0.2", 0), "2001:db8::2"));
        assert!(reaches(network("::1", 0), "2001:db8::2"));
    }
}
