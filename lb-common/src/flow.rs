//! Flows as the pending table and the connection table hold them.

use crate::{
    addr::Addr,
    atomic::Word,
    hash::{Seed, siphash13},
    shared_type,
};

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

/// The hash of a client's address and port, as they lie in its packets, under the key of a service:
/// SipHash-1-3 of these 6 or 18 bytes. The other half of the 5-tuple is in the key.
#[inline(always)]
#[must_use]
pub const fn flow_hash(key: Seed, client: Addr, port: [u8; 2]) -> u64 {
    let port = u16::from_ne_bytes(port) as u64;
    if client.is_v4() {
        siphash13::<0, 6>(key, [], client.v4_word() as u64 | port << 32)
    } else {
        siphash13::<2, 2>(key, client.words(), port)
    }
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
    /// Idle time after which the flow may be collected, in ticks. A flow that is
    /// [`flow_flags::CLOSED`] may be collected after
    /// [`closed_ticks`](crate::settings::Settings::closed_ticks) instead.
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

    /// Whether its client has sent no data yet.
    #[inline(always)]
    #[must_use]
    pub const fn is_unread(&self) -> bool {
        self.word as u64 & flow_flags::UNREAD != 0
    }

    /// Whether its handshake was completed, and the connection table has it.
    #[inline(always)]
    #[must_use]
    pub const fn is_promoted(&self) -> bool {
        self.word as u64 & flow_flags::PROMOTED != 0
    }

    /// Whether both sides have ended it, or one has reset it.
    #[inline(always)]
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.word as u64 & flow_flags::CLOSED != 0
    }
}

/// A flow without a source port: what its packets say is all that the balancer sees of it.
///
/// In the pending table `nat_port` and `source` hold the initial sequence number of its first SYN,
/// and `idle_ticks` that of its latest.
impl Flow {
    /// A flow whose SYN with sequence number `isn` went to `backend` at tick `now`.
    #[inline(always)]
    #[must_use]
    pub const fn opening(backend: u32, isn: u32, now: u32) -> Self {
        let [a, b, c, d] = isn.to_le_bytes();
        let source = u16::from_le_bytes([c, d]);
        Self { word: backend << 8, nat_port: [a, b], source, last_seen: now, idle_ticks: isn }
    }

    /// A flow of `backend`, seen at tick `now`.
    #[inline(always)]
    #[must_use]
    pub const fn tracked(backend: u32, now: u32, idle_ticks: u32) -> Self {
        Self { word: backend << 8, nat_port: [0; 2], source: 0, last_seen: now, idle_ticks }
    }

    /// Whether `sequence` lies within `window` behind a SYN of this [`Flow::opening`].
    #[inline(always)]
    #[must_use]
    pub const fn follows_syn(&self, sequence: u32, window: u32) -> bool {
        let [a, b] = self.nat_port;
        let [c, d] = self.source.to_le_bytes();
        let first = u32::from_le_bytes([a, b, c, d]);
        sequence.wrapping_sub(first) < window || sequence.wrapping_sub(self.idle_ticks) < window
    }
}

/// Bits 0 to 7 of [`Flow::word`].
pub mod flow_flags {
    /// Both sides have ended the connection, or one has reset it.
    pub const CLOSED: u64 = 1 << 0;
    /// A handshake, of a flow without source port, that has its entry in the connection table.
    pub const PROMOTED: u64 = 1 << 1;
    /// A connection whose client has sent no data yet, of a flow with source port.
    pub const UNREAD: u64 = 1 << 2;
}

/// A [`Flow`] in its table, where several CPUs touch it at once.
///
/// The fields lie in two 64-bit words, which is what BPF has atomic operations for: who has the flow, which changes by single flags, and when it was seen.
#[repr(C)]
#[derive(Debug)]
pub struct FlowCell {
    /// `word` in bits 0 to 31, `nat_port` (its bytes as they lie) above, `source` on top.
    owner: Word,
    /// `last_seen` in bits 0 to 31, `idle_ticks` above.
    time: Word,
}

const _: () = assert!(size_of::<FlowCell>() == size_of::<Flow>());

impl FlowCell {
    /// The flow as it is now, each word read once.
    #[inline(always)]
    #[must_use]
    pub fn load(&self) -> Flow {
        let (owner, time) = (self.owner.load(), self.time.load());
        Flow {
            word: owner as u32,
            nat_port: ((owner >> 32) as u16).to_le_bytes(),
            source: (owner >> 48) as u16,
            last_seen: time as u32,
            idle_ticks: (time >> 32) as u32,
        }
    }

    /// Notes a packet at tick `now`; `seen` is what [`FlowCell::load`] returned.
    #[inline(always)]
    pub fn touch(&self, seen: &Flow, now: u32) {
        if seen.last_seen != now {
            self.time.store(time(now, seen.idle_ticks));
        }
    }

    /// Notes another SYN, with sequence number `isn`, of a [`Flow::opening`].
    #[inline(always)]
    pub fn note_syn(&self, isn: u32, now: u32) {
        self.time.store(time(now, isn));
    }

    /// Notes that the client's first data have been read.
    #[inline(always)]
    pub fn note_read(&self) {
        self.owner.clear(flow_flags::UNREAD);
    }

    /// Gives the flow another idle time.
    #[inline(always)]
    pub fn set_idle(&self, idle_ticks: u32, now: u32) {
        self.time.store(time(now, idle_ticks));
    }

    /// Marks a handshake as completed.
    #[inline(always)]
    pub fn promote(&self) {
        self.owner.set(flow_flags::PROMOTED);
    }

    /// Marks the flow as closed; whether it was not before.
    #[inline(always)]
    pub fn close(&self) -> bool {
        self.owner.set(flow_flags::CLOSED) & flow_flags::CLOSED == 0
    }

    /// Takes [`FlowCell::close`] back; whether the flow was closed.
    #[inline(always)]
    pub fn reopen(&self) -> bool {
        self.owner.clear(flow_flags::CLOSED) & flow_flags::CLOSED != 0
    }
}

#[inline(always)]
const fn time(last_seen: u32, idle_ticks: u32) -> u64 {
    last_seen as u64 | (idle_ticks as u64) << 32
}

impl From<Flow> for FlowCell {
    #[inline(always)]
    fn from(flow: Flow) -> Self {
        let nat_port = u64::from(u16::from_le_bytes(flow.nat_port));
        let owner = u64::from(flow.word) | nat_port << 32 | u64::from(flow.source) << 48;
        Self { owner: Word::new(owner), time: Word::new(time(flow.last_seen, flow.idle_ticks)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOW: Flow = Flow {
        word: 0x0012_3400,
        nat_port: [0x3a, 0x98],
        source: 7,
        last_seen: 1_000,
        idle_ticks: 0xffff_0001,
    };

    #[test]
    fn a_flow_survives_its_cell() {
        assert_eq!(FlowCell::from(FLOW).load(), FLOW);
    }

    #[test]
    fn a_touch_changes_only_the_time_seen() {
        let cell = FlowCell::from(FLOW);
        cell.touch(&FLOW, 1_001);
        assert_eq!(cell.load(), Flow { last_seen: 1_001, ..FLOW });
    }

    #[test]
    fn a_flow_is_closed_once_and_reopened_once() {
        let cell = FlowCell::from(FLOW);
        assert!(cell.close());
        assert!(!cell.close());
        assert!(cell.load().is_closed());
        assert_eq!(cell.load().backend(), FLOW.backend());
        assert!(cell.reopen());
        assert!(!cell.reopen());
        assert_eq!(cell.load(), FLOW);
    }
}
