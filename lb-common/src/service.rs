//! Services: what a client connects to.

use crate::{
    addr::Addr,
    affinity::Affinity,
    flow::flow_hash,
    hash::{Seed, siphash13},
    shared_type,
};

/// The address, port and protocol that clients connect to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// The VIP.
    pub vip: Addr,
    /// Big-endian port.
    pub port: [u8; 2],
    /// IP protocol number; 6 is TCP.
    pub protocol: u16,
    /// Always zero.
    pub pad: [u16; 2],
}

shared_type!(ServiceKey, 24);

impl ServiceKey {
    /// The key of the TCP service at `vip` and big-endian `port`.
    #[inline(always)]
    #[must_use]
    pub const fn tcp(vip: Addr, port: [u8; 2]) -> Self {
        Self { vip, port, protocol: 6, pad: [0; 2] }
    }

    /// The key under which the clients of this service are hashed, made of the fleet's `seed`: what
    /// is the same for all packets of a service is hashed once, here, and not with every packet.
    #[must_use]
    pub const fn hash_key(&self, seed: Seed) -> Seed {
        let [a, b] = self.vip.words();
        let port = u16::from_ne_bytes(self.port) as u64;
        let rest = port | (self.protocol as u64) << 16;
        Seed(
            siphash13::<3, 0>(seed, [a, b, rest], 0),
            siphash13::<3, 0>(seed, [a, b, rest | 1 << 32], 0),
        )
    }
}

/// A service as the data plane sees it; indexed by its id, found by its [`ServiceKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where clients connect to: replies carry it as their source.
    pub key: ServiceKey,
    /// The number of this service: index of its ring and its counters.
    pub id: u32,
    /// Idle time of its flows, in ticks.
    pub idle_ticks: u32,
    /// Forwarding mode, one of [`mode`].
    pub mode: u8,
    /// Bits of [`service_flags`].
    pub flags: u8,
    /// Always zero.
    pub pad: [u8; 6],
    /// Which of its clients share a slot.
    pub affinity: Affinity,
    /// Under which its clients are hashed, see [`ServiceKey::hash_key`].
    pub hash_key: Seed,
}

shared_type!(Service, 80);

impl Service {
    /// The hash that chooses the slot of a client: every balancer with the same seed computes the
    /// same.
    #[inline(always)]
    #[must_use]
    pub const fn flow_hash(&self, client: Addr, port: [u8; 2]) -> u64 {
        let (client, port) = self.affinity.chooses(client, port);
        flow_hash(self.hash_key, client, port)
    }
}

/// Forwarding modes, values of [`Service::mode`].
pub mod mode {
    /// Both addresses are rewritten; replies pass through the balancer.
    pub const NAT: u8 = 0;
    /// Only the Ethernet addresses are rewritten: the broker is on the same link, holds the VIP and
    /// answers the client itself.
    pub const DSR: u8 = 1;
    /// The whole packet is wrapped into another one to the broker, which may be anywhere and of
    /// another family; it unwraps, holds the VIP and answers the client itself.
    pub const IPIP: u8 = 2;

    /// Whether brokers answer clients directly in this mode.
    #[must_use]
    pub const fn is_direct(mode: u8) -> bool {
        mode != NAT
    }
}

/// Bits of [`Service::flags`].
pub mod service_flags {
    /// A connection attempt without a usable backend is answered with RST; otherwise dropped.
    pub const RESET_WITHOUT_BACKEND: u8 = 1 << 0;
    /// A segment of no known flow is answered with RST; otherwise dropped.
    pub const RESET_UNKNOWN_FLOW: u8 = 1 << 1;
    /// A connection whose first bytes are no CONNECT is reset.
    pub const ONLY_MQTT: u8 = 1 << 2;
    /// A connection whose first bytes are no TLS handshake is reset.
    pub const ONLY_TLS: u8 = 1 << 3;
    /// New connections must pass an [`crate::admission::Admission`].
    pub const ADMITS: u8 = 1 << 4;
}
