//! What the pipeline asks of the world around it: the maps, the clock and the kernel's routing.

use core::ops::Deref;

use lb_common::{
    addr::Addr,
    backend::{Backend, PeerKey, Source},
    counters::BackendCounters,
    flow::{Flow, FlowCell, FlowKey},
    port::{Owner, Port},
    ring::Slot,
    service::{Service, ServiceKey},
    settings::Settings,
    verdict::Verdict,
};

use crate::{
    admission::Overload,
    fragments::{Cut, Followed, FragmentKey},
    mqtt::Answer,
    nat::claim::{self, Found, Search},
    packet::Ethernet,
};

/// Why an entry was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// The key is there already.
    Exists,
    /// The table is full, or the kernel found no memory.
    Full,
}

/// Counters of a backend that the pipeline raises by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new flow was given to the backend.
    Attempted,
    /// A handshake was completed.
    Opened,
    /// A connection ended by FIN or RST.
    Closed,
    /// A connection taken for ended lives on after all.
    Revived,
    /// A segment was refused because the backend is gone.
    Refused,
    /// The backend answered a CONNECT.
    Answered(Answer),
}

/// The direction of a forwarded packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the broker.
    ToBackend,
    /// From the broker to the client.
    ToClient,
}

/// A question to the kernel's routing: where does a packet with these headers go?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteQuery {
    /// Source address after rewriting.
    pub source: Addr,
    /// Destination address after rewriting.
    pub destination: Addr,
    /// IPv4 type of service, or IPv6 traffic class.
    pub tos: u8,
    /// Length of the IP packet in bytes, headers included.
    pub ip_len: u16,
}

/// Where a packet goes next. A struct with all its fields set, whatever the answer is, and no enum
/// with payloads: see [`crate::Way`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Whether there is a way on.
    pub kind: RouteKind,
    /// The interface, of [`RouteKind::Via`].
    pub ifindex: u32,
    /// The Ethernet addresses, of [`RouteKind::Via`].
    pub ethernet: Ethernet,
    /// The largest IP packet in bytes, of [`RouteKind::Via`] and [`RouteKind::TooBig`].
    pub mtu: u16,
    /// Whether the destination itself has that address, not a router before it.
    pub on_link: bool,
}

/// Whether there is a way on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// There is.
    Via,
    /// The next hop's Ethernet address is not known yet: the kernel must ask for it.
    NoNeighbour,
    /// The packet is larger than the MTU of the way on.
    TooBig,
    /// There is none.
    None,
}

impl Route {
    /// There is no way on.
    pub const NONE: Self = Self::without(RouteKind::None, 0);
    /// The next hop is not known yet.
    pub const NO_NEIGHBOUR: Self = Self::without(RouteKind::NoNeighbour, 0);

    /// Packets of at most `mtu` bytes fit.
    #[inline(always)]
    #[must_use]
    pub const fn too_big(mtu: u16) -> Self {
        Self::without(RouteKind::TooBig, mtu)
    }

    #[inline(always)]
    const fn without(kind: RouteKind, mtu: u16) -> Self {
        let ethernet = Ethernet { destination: [0; 3], source: [0; 3] };
        Self { kind, ifindex: 0, ethernet, mtu, on_link: false }
    }
}

/// The tables of the data plane.
///
/// A reference into the flow and port tables stays usable for the current packet, but another CPU
/// may remove the entry at any moment and its memory may serve another flow then. Entries are
/// therefore only removed after they were idle, and what is written through such a reference is
/// one word that a wrong owner survives (a time stamp, a flag).
pub trait Tables {
    /// A flow in its table.
    type FlowRef: Deref<Target = FlowCell>;
    /// A source port in its table.
    type PortRef: Deref<Target = Port>;

    /// The interface that the frame came in by.
    fn ingress(&self) -> u32;
    /// What holds for all services; `None` before the controller has written it.
    fn settings(&self) -> Option<&Settings>;
    /// The service at this address.
    fn service(&self, key: &ServiceKey) -> Option<&Service>;
    /// The service with this id.
    fn service_by_id(&self, id: u32) -> Option<&Service>;
    /// A slot of the ring of a service.
    fn slot(&self, service: u32, slot: u32) -> Option<Slot>;
    /// The backend with this id.
    fn backend(&self, id: u32) -> Option<&Backend>;
    /// The balancer's source address with this number.
    fn source(&self, number: u32) -> Option<&Source>;
    /// The number of a peer.
    fn peer(&self, key: &PeerKey) -> Option<u32>;
    /// The source port at `index` of a peer's table.
    fn port(&self, peer: u32, index: u32) -> Option<Self::PortRef>;
    /// Gives a free source port to `owner`.
    #[inline(always)]
    fn claim_port(&self, search: &Search, owner: Owner) -> Option<Found> {
        claim::search(search, owner, self.settings()?, |peer, index| self.port(peer, index))
    }

    /// A handshake under way.
    fn pending(&self, key: &FlowKey) -> Option<Self::FlowRef>;
    /// Adds a handshake; never overwrites.
    fn insert_pending(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError>;
    /// Removes a handshake; whether it was there.
    fn remove_pending(&self, key: &FlowKey) -> bool;
    /// A connection.
    fn flow(&self, key: &FlowKey) -> Option<Self::FlowRef>;
    /// Adds a connection; never overwrites.
    fn insert_flow(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError>;
    /// Removes a connection; whether it was there.
    fn remove_flow(&self, key: &FlowKey) -> bool;
    /// A connection of the backend that its slot is leaving.
    fn learned(&self, key: &FlowKey) -> Option<Self::FlowRef>;
    /// Adds a connection of the backend that its slot is leaving; never overwrites.
    fn insert_learned(&self, key: &FlowKey, flow: Flow) -> Result<(), InsertError>;
    /// Notes that a connection of this slot could not be added by [`Tables::insert_learned`].
    fn note_missed(&self, service: u32, slot: u32);

    /// The current tick, see [`lb_common::ticks`].
    fn now(&self) -> u32;
    /// Asks the kernel for the way on.
    fn route(&self, query: &RouteQuery) -> Route;
    /// Whether this CPU may answer one more packet with an ICMP error now, see [`crate::budget`].
    fn may_answer(&self) -> bool;
    /// Keeps, for this CPU, what a first fragment was; `None` if there is no room for it.
    fn keep_cut(&self, cut: Cut) -> Option<()>;
    /// What [`Tables::keep_cut`] kept last.
    fn kept_cut(&self) -> Option<Cut>;
    /// Where the first fragment went.
    fn fragment(&self, key: &FragmentKey) -> Option<Followed>;
    /// Notes where a first fragment went, in place of the least recent one if there is no room.
    fn note_fragment(&self, key: &FragmentKey, followed: Followed);
    /// Why a SYN of `client` to a service is refused, see [`crate::admission::refuses`].
    fn refuses(&self, service: u32, client: Addr) -> Option<Verdict>;
    /// Why a backend takes no new connection now, see [`crate::admission::overload`].
    fn overload(&self, backend: u32) -> Option<Overload>;
    /// Adds to the connections that a backend has open.
    fn change_open(&self, backend: u32, by: i64);
    /// Changes the counters of a backend.
    fn change_counters(&self, backend: u32, change: impl FnOnce(&mut BackendCounters));

    /// Raises a counter of a backend.
    #[inline(always)]
    fn count(&self, backend: u32, event: Event) {
        match event {
            Event::Opened | Event::Revived => self.change_open(backend, 1),
            Event::Closed => self.change_open(backend, -1),
            _ => {}
        }
        self.change_counters(backend, |counters| match event {
            Event::Attempted => counters.attempted += 1,
            Event::Opened => counters.opened += 1,
            Event::Closed => counters.closed = counters.closed.wrapping_add(1),
            Event::Revived => counters.closed = counters.closed.wrapping_sub(1),
            Event::Refused => counters.refused += 1,
            Event::Answered(Answer::Accepted) => counters.connack_accepted += 1,
            Event::Answered(Answer::Refused) => counters.connack_refused += 1,
            Event::Answered(Answer::Unavailable) => counters.connack_unavailable += 1,
            Event::Answered(Answer::Other) => counters.connack_missing += 1,
        });
    }

    /// Counts a packet that is forwarded, `bytes` of IP.
    #[inline(always)]
    fn count_forwarded(&self, backend: u32, direction: Direction, bytes: u64) {
        self.change_counters(backend, |counters| match direction {
            Direction::ToBackend => {
                counters.packets_to_backend += 1;
                counters.bytes_to_backend += bytes;
            }
            Direction::ToClient => {
                counters.packets_to_client += 1;
                counters.bytes_to_client += bytes;
            }
        });
    }
}
