//! What the packet benchmark tells its replaying program (`lb-ebpf/bench/replay.rs`).
//!
//! Flows are numbered. Client, broker, source address and source port of a flow follow from its
//! number, so that the program needs no table of its own that would compete for the caches with
//! the tables of the program under test.

use crate::{addr::Addr, shared_type};

/// Length of a replayed frame in bytes: the headers of IPv6 and TCP, and a PINGREQ behind them.
pub const FRAME_LEN: usize = 80;
/// Brokers that the flows spread over; a power of two.
pub const BROKERS: usize = 4;
/// Source addresses that the flows spread over; a power of two.
pub const SOURCES: usize = 8;
/// The most flows there can be, a power of two.
pub const MAX_FLOWS: u32 = 1 << 20;
/// Source ports that all these flows take at each broker and source address.
pub const PORTS: u16 = (MAX_FLOWS as usize / BROKERS / SOURCES) as u16;

/// Which packet is replayed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The frame, but for what belongs to its flow; checksums over zeros there.
    pub frame: [u64; FRAME_LEN / 8],
    /// Addresses of the brokers.
    pub brokers: [Addr; BROKERS],
    /// Source addresses of the balancer.
    pub sources: [Addr; SOURCES],
    /// Address of the client of flow 0; the number of a flow is added to its last 32 bits.
    pub first_client: Addr,
    /// One of [`kind`].
    pub kind: u32,
    /// Number of flows, a power of two.
    pub flows: u32,
    /// First source port, host byte order.
    pub first_port: u16,
    /// 1 if the program under test wraps the frame, so that it must be unwrapped again.
    pub is_wrapped: u16,
    /// Always zero.
    pub pad: [u8; 4],
}

shared_type!(Plan, 304);

/// Kinds of replayed packets.
pub mod kind {
    /// From clients, flows in a random order.
    pub const FROM_CLIENT: u32 = 0;
    /// From brokers, flows in a random order.
    pub const FROM_BROKER: u32 = 1;
    /// From clients, one flow after the other.
    pub const FROM_CLIENT_IN_TURN: u32 = 2;
}

/// What belongs to the flow with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowOf {
    /// Number of the broker in [`Plan::brokers`].
    pub broker: u32,
    /// Number of the source address in [`Plan::sources`].
    pub source: u32,
    /// Distance of its source port from the first one.
    pub port_index: u32,
    /// Big-endian port of the client.
    pub client_port: [u8; 2],
}

impl FlowOf {
    /// What belongs to flow `number`.
    #[inline(always)]
    #[must_use]
    pub const fn number(number: u32) -> Self {
        Self {
            broker: number % BROKERS as u32,
            source: number / BROKERS as u32 % SOURCES as u32,
            port_index: number / (BROKERS * SOURCES) as u32,
            client_port: (20_000 + (number % 40_000) as u16).to_be_bytes(),
        }
    }
}

/// The address of the client of flow `number`, where `first` is that of flow 0.
#[inline(always)]
#[must_use]
pub const fn client(first: Addr, number: u32) -> Addr {
    let [high, low] = first.words();
    let last = u32::from_be(first.v4_word()).wrapping_add(number).to_be();
    Addr::from_words([high, low & 0xffff_ffff | (last as u64) << 32])
}
