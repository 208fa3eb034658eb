//! Flows as the pending table and the connection table hold them.

use core::sync::atomic::Ordering::Relaxed;

use crate::{addr::Addr, atomic::AtomicU32, hash, shared_type};

/// A client's connection to a service, as its packets arrive: the 5-tuple, with the VIP, its port
/// and the protocol folded into the number of the service.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// Address of the client.
    pub client: Addr,
    /// The service's id.
    pub service: u32,
    /// Big-endian port of the client.
    pub port: [u8; 2],
    /// Always zero.
    pub pad: [u8; 2],
}

shared_type!(FlowKey, 24);

impl FlowKey {
    /// The flow of `client` and big-endian `port` to the service with this id.
    #[inline(always)]
    #[must_use]
    pub const fn new(client: Addr, port: [u8; 2], service: u32) -> Self {
        Self { client, service, port, pad: [0; 2] }
    }
}

/// The hash of a 5-tuple (protocol TCP): every balancer with the same `seed` computes the same.
#[inline(always)]
#[must_use]
pub fn flow_hash(
    seed: hash::Seed,
    client: Addr,
    client_port: [u8; 2],
    vip: Addr,
    vip_port: [u8; 2],
) -> u64 {
    let [c0, c1] = halves(client);
    let [v0, v1] = halves(vip);
    let ports =
        u64::from(u16::from_be_bytes(client_port)) << 16 | u64::from(u16::from_be_bytes(vip_port));
    hash::siphash13(seed, [c0, c1, v0, v1, ports])
}

#[inline(always)]
fn halves(addr: Addr) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = addr.0;
    [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p])]
}

/// What is remembered of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The backend's number in bits 8 to 31; bits of [`flow_flags`] in bits 0 to 7.
    pub word: u32,
    /// Big-endian source port of the balancer towards the broker.
    pub nat_port: [u8; 2],
    /// Number of the balancer's source address towards the broker.
    pub source: u16,
    /// Tick of the last packet from the client. In an established TCP connection every segment of
    /// the broker is acknowledged, so this says for both directions whether the flow is idle.
    pub last_seen: u32,
    /// Idle time after which the flow may be collected, in ticks.
    pub idle_ticks: u32,
}

shared_type!(Flow, 16);

impl Flow {
    /// The number of its backend.
    #[inline(always)]
    #[must_use]
    pub const fn backend(&self) -> u32 {
        self.word >> 8
    }
}

/// Bits 0 to 7 of [`Flow::word`].
pub mod flow_flags {
    /// Both sides have ended the connection, or one has reset it.
    pub const CLOSED: u32 = 1 << 0;
}

/// A [`Flow`] in its table, where several CPUs touch it at once.
#[repr(C)]
#[derive(Debug)]
pub struct FlowCell {
    /// See [`Flow::word`].
    pub word: AtomicU32,
    /// [`Flow::nat_port`] and [`Flow::source`], which never change.
    nat: [u16; 2],
    /// See [`Flow::last_seen`].
    pub last_seen: AtomicU32,
    /// See [`Flow::idle_ticks`].
    pub idle_ticks: AtomicU32,
}

const _: () = assert!(size_of::<FlowCell>() == size_of::<Flow>());

impl FlowCell {
    /// The flow as it is now, each field read once.
    #[inline(always)]
    #[must_use]
    pub fn load(&self) -> Flow {
        Flow {
            word: self.word.load(Relaxed),
            nat_port: self.nat[0].to_ne_bytes(),
            source: self.nat[1],
            last_seen: self.last_seen.load(Relaxed),
            idle_ticks: self.idle_ticks.load(Relaxed),
        }
    }
}

impl From<Flow> for FlowCell {
    #[inline(always)]
    fn from(flow: Flow) -> Self {
        Self {
            word: AtomicU32::new(flow.word),
            nat: [u16::from_ne_bytes(flow.nat_port), flow.source],
            last_seen: AtomicU32::new(flow.last_seen),
            idle_ticks: AtomicU32::new(flow.idle_ticks),
        }
    }
}
