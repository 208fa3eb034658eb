//! The gates of sources, in bounded memory.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use super::turns::Next;

/// Two generations of gates. A gate that was not used for a whole generation is as good as new, so
/// the old ones are dropped together, and no gate is ever searched for to be removed.
#[derive(Debug)]
pub(super) struct Sources {
    young: HashMap<Source, Next>,
    old: HashMap<Source, Next>,
    began: Duration,
    /// Gates per generation.
    room: usize,
}

/// An IPv4 address, or the first 64 bits of an IPv6 address, which are one customer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => Self::V6(network(v6)),
        }
    }
}

const fn network(v6: Ipv6Addr) -> [u8; 8] {
    ((v6.to_bits() >> 64) as u64).to_be_bytes()
}

impl Sources {
    pub(super) fn new(max: usize) -> Self {
        let (young, old) = (HashMap::new(), HashMap::new());
        Self { young, old, began: Duration::ZERO, room: max / 2 }
    }

    /// The gate of `address`; `None` if there is no room for another. A gate is kept for at least
    /// `memory` after its last use.
    pub(super) fn of(
        &mut self,
        address: IpAddr,
        now: Duration,
        memory: Duration,
    ) -> Option<&mut Next> {
        if now.saturating_sub(self.began) >= memory {
            self.old = std::mem::take(&mut self.young);
            self.began = now;
        }
        let source = Source::from(address);
        let known = self.old.get(&source).copied();
        if !self.young.contains_key(&source) && self.young.len() >= self.room {
            return self.old.get_mut(&source);
        }
        Some(self.young.entry(source).or_insert_with(|| known.unwrap_or_default()))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}
