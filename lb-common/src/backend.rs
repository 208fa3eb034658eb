//! Backends: the brokers, and the balancer's own addresses towards them.

use crate::{addr::Addr, shared_type};

/// A broker as a member of one service; indexed by its id.
///
/// A broker that serves two services is two backends with one `address` and `port`: they share
/// their source ports (`first_peer`), because the broker cannot tell them apart.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Address of the broker.
    pub address: Addr,
    /// Big-endian port of the broker.
    pub port: [u8; 2],
    /// Bits of [`backend_flags`].
    pub flags: u16,
    /// The service it belongs to.
    pub service: u32,
    /// Its peer with the balancer's source address number n is `first_peer + n`.
    pub first_peer: u32,
    /// Always zero.
    pub pad: u32,
}

shared_type!(Backend, 32);

/// Bits of [`Backend::flags`].
pub mod backend_flags {
    /// The entry is in use.
    pub const PRESENT: u16 = 1 << 0;
    /// Its existing flows are forwarded. Cleared when the backend is removed or dead: its flows
    /// are refused, so that the clients connect anew.
    pub const FORWARD: u16 = 1 << 1;
    /// It takes new connections. Cleared while it drains or fails its health check.
    pub const ACCEPT: u16 = 1 << 2;
    /// It answers clients directly: its flows have no source port, and their entries none either.
    pub const DIRECT: u16 = 1 << 3;
}

/// One of the balancer's own addresses, used as the source towards brokers; indexed by its number.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The address.
    pub address: Addr,
}

shared_type!(Source, 16);

/// The most source addresses there can be, both families together; the stride of `first_peer`.
pub const MAX_SOURCES: u32 = 32;

/// The pair of a broker and a source address: identifies the table of source ports that a reply
/// belongs to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey {
    /// Address of the broker.
    pub broker: Addr,
    /// The balancer's address.
    pub source: Addr,
    /// Big-endian port of the broker.
    pub port: [u8; 2],
    /// Always zero.
    pub pad: u16,
    /// Always zero.
    pub pad_more: u32,
}

shared_type!(PeerKey, 40);

impl PeerKey {
    /// The pair of the broker at this address and big-endian `port`, and one of the balancer's
    /// addresses.
    #[inline(always)]
    #[must_use]
    pub const fn new(broker: Addr, port: [u8; 2], source: Addr) -> Self {
        Self { broker, source, port, pad: 0, pad_more: 0 }
    }
}
