//! What a new connection must pass before it gets a backend: lists of sources, and rates.

use crate::{addr::Addr, affinity::Affinity, rate::Rate, shared_type};

/// What holds for the new connections of a service; indexed by its id. It is looked at only if the
/// service has [`crate::service::service_flags::ADMITS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// SYNs of one address.
    pub source: Rate,
    /// SYNs of all addresses that share a prefix.
    pub prefix: Rate,
    /// Which addresses share a prefix.
    pub prefixes: Affinity,
    /// Bits of [`admission_flags`].
    pub flags: u32,
    /// Always zero.
    pub pad: u32,
}

shared_type!(Admission, 64);

/// Bits of [`Admission::flags`].
pub mod admission_flags {
    /// The service has a list of its own.
    pub const LISTED: u32 = 1 << 0;
    /// There is a list for all services.
    pub const LISTED_FOR_ALL: u32 = 1 << 1;
}

/// A prefix in the list of a service, as the kernel's tries have their keys: a number of bits, and
/// what they are taken from.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListKey {
    /// How many bits count: those of the service's number, and of the address.
    bits: u32,
    /// The service, or [`ListKey::all_services`].
    pub service: u32,
    /// The first address of the prefix.
    pub address: Addr,
}

shared_type!(ListKey, 24);

impl ListKey {
    /// In place of a service's number: the list for all of them, of the family of `client`. There is
    /// one for each, because the prefixes of IPv6 contain the IPv4-mapped addresses, too.
    #[inline(always)]
    #[must_use]
    pub const fn all_services(client: Addr) -> u32 {
        if client.is_v4() { u32::MAX } else { u32::MAX - 1 }
    }

    /// The first `bits`, of 128, of `address`, in the list of `service`.
    #[inline(always)]
    #[must_use]
    pub const fn new(service: u32, address: Addr, bits: u8) -> Self {
        Self { bits: 32 + bits as u32, service, address }
    }

    /// How many bits of the address count, of 128.
    #[must_use]
    pub const fn address_bits(&self) -> u8 {
        (self.bits - 32) as u8
    }

    /// Whether `address` begins like this prefix.
    #[must_use]
    pub const fn contains(&self, address: Addr) -> bool {
        let same =
            u128::from_be_bytes(self.address.octets()) ^ u128::from_be_bytes(address.octets());
        same.leading_zeros() >= self.address_bits() as u32
    }
}

/// What a list says about a prefix. Zero: nothing.
///
/// It is no `Option`, which LLVM would merge over branches with a register that has no value.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed(u32);

shared_type!(Listed, 4);

impl Listed {
    /// No prefix contains the address.
    pub const NOWHERE: Self = Self(0);

    /// What is said about a prefix of `bits`, of 128.
    #[must_use]
    pub const fn new(bits: u8, denied: bool) -> Self {
        Self((bits as u32 + 1) << 1 | denied as u32)
    }

    /// Whether new connections are refused.
    #[inline(always)]
    #[must_use]
    pub const fn is_denied(self) -> bool {
        self.0 & 1 != 0
    }

    /// What holds where the list of the service says `own`, and the list for all `of_all`: the
    /// longer prefix decides, and of equal ones the service's.
    #[inline(always)]
    #[must_use]
    pub const fn of_both(own: Self, of_all: Self) -> Self {
        if of_all.0 >> 1 > own.0 >> 1 { of_all } else { own }
    }
}

/// Whose bucket: an address, or the first one of a prefix, as a client of a service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RateKey {
    /// The address.
    pub client: Addr,
    /// The service.
    pub service: u32,
    /// Always zero.
    pub pad: u32,
}

shared_type!(RateKey, 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_prefix_decides() {
        let (short, long) = (Listed::new(104, true), Listed::new(128, false));
        assert_eq!(Listed::of_both(short, long), long);
        assert_eq!(Listed::of_both(long, short), long);
        let own = Listed::new(104, false);
        assert_eq!(Listed::of_both(own, short), own, "the service knows better");
        let everybody = Listed::new(0, true);
        assert_eq!(Listed::of_both(Listed::NOWHERE, everybody), everybody);
        assert!(everybody.is_denied() && !Listed::NOWHERE.is_denied());
    }

    #[test]
    fn a_key_contains_the_addresses_of_its_prefix() {
        let key = ListKey::new(3, Addr::v4([10, 99, 0, 0]), 96 + 16);
        assert_eq!(key.address_bits(), 112);
        assert!(
            key.contains(Addr::v4([10, 99, 255, 1])) && !key.contains(Addr::v4([10, 98, 0, 1]))
        );
        let everybody = ListKey::new(3, Addr::default(), 0);
        assert!(everybody.contains(Addr::v4([192, 0, 2, 1])));
    }
}
