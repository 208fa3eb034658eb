//! Source ports towards brokers: claiming one for a new flow, and letting it rest afterwards.

use core::ops::Deref;

use lb_common::{
    backend::Backend,
    flow::{Flow, FlowKey},
    port::{Owner, Port, Progress},
    settings::Settings,
    verdict::Verdict,
};

use crate::{
    parse::{IpVersion, Segment},
    tables::Tables,
};

/// How many ports are tried for one SYN. At nine ports of ten in use, all tries of a SYN fail once
/// in 29 times; a retransmission, a second later, tries others.
const TRIES: u32 = 32;

/// 2^32 over the golden ratio: its multiples fall everywhere in the range.
const GOLDEN: u32 = 0x9e37_79b9;

/// A port that this flow owns from now on.
pub(super) struct Claimed<P> {
    /// Big-endian.
    pub nat_port: [u8; 2],
    /// Number of the source address.
    pub source: u16,
    owner: Owner,
    port: P,
}

impl<P: Deref<Target = Port>> Claimed<P> {
    /// Frees the port: the flow was not opened, and no packet was sent from it.
    #[inline(always)]
    pub(super) fn give_back(self) {
        self.port.give_back(self.owner);
    }
}

/// Claims a free port for a flow of `segment` to the backend numbered `id`.
#[inline(always)]
pub(super) fn port<T: Tables>(
    segment: &Segment,
    settings: &Settings,
    hash: u64,
    id: u32,
    backend: &Backend,
    tables: &T,
) -> Result<Claimed<T::PortRef>, Verdict> {
    let now = tables.now();
    let owner = Owner::claimed(id, segment.source_port);
    // The low half: the high half chose the slot, and is the same for all flows of a slot. The
    // initial sequence number makes a client that begins anew look elsewhere; the time, one that
    // only repeats its SYN.
    let start = (hash as u32).wrapping_add(segment.sequence);
    let start = start.wrapping_add(now.wrapping_mul(GOLDEN));
    let search = Search { version: segment.version, first_peer: backend.first_peer, start, now };
    let Found { source, index } =
        tables.claim_port(&search, owner).ok_or(Verdict::PortsExhausted)?;
    let port = tables
        .port(backend.first_peer + u32::from(source), u32::from(index))
        .ok_or(Verdict::Inconsistent)?;
    port.set_client(segment.source);
    port.set_progress(Progress::begun(segment.next_sequence()));
    let nat_port = settings.first_port.wrapping_add(index).to_be_bytes();
    Ok(Claimed { nat_port, source, owner, port })
}

/// A search for a free port.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Whose source addresses may be used.
    pub version: IpVersion,
    /// Number of the backend's first peer.
    pub first_peer: u32,
    /// Where the search begins: anywhere.
    pub start: u32,
    /// The current tick.
    pub now: u32,
}

/// A port that the search has claimed.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Number of the source address.
    pub source: u16,
    /// Place in the range of ports.
    pub index: u16,
}

/// Searches for a port that nobody has, and gives it to `owner`. `port` finds the one at an index of
/// a peer's table.
#[inline(always)]
pub fn search<P: Deref<Target = Port>>(
    search: &Search,
    owner: Owner,
    settings: &Settings,
    port: impl Fn(u32, u32) -> Option<P>,
) -> Option<Found> {
    let (first_source, sources) = match search.version {
        IpVersion::V4 => (0, u32::from(settings.sources_v4)),
        IpVersion::V6 => (u32::from(settings.sources_v4), u32::from(settings.sources_v6)),
    };
    let ports = u32::from(settings.ports);
    if sources == 0 || ports == 0 {
        return None;
    }
    // Strides that grow: with equal ones, flows that meet follow each other, and the ports in use
    // grow together along their way. At nine ports of ten in use one SYN in four found none so.
    let (mut place, mut stride) = (search.start, 0u32);
    let mut attempt = 0;
    while attempt < TRIES {
        let index = ((u64::from(place) * u64::from(ports)) >> 32) as u32;
        let source = first_source + (place ^ attempt) % sources;
        if let Some(port) = port(search.first_peer + source, index)
            && port.claim(owner, search.now, settings.rest_ticks)
        {
            return Some(Found { source: source as u16, index: index as u16 });
        }
        attempt += 1;
        stride = stride.wrapping_add(GOLDEN);
        place = place.wrapping_add(stride);
    }
    None
}

/// The port of a flow.
#[inline(always)]
pub(super) fn port_of<T: Tables>(
    settings: &Settings,
    flow: &Flow,
    backend: &Backend,
    tables: &T,
) -> Option<T::PortRef> {
    let index = u16::from_be_bytes(flow.nat_port).wrapping_sub(settings.first_port);
    tables.port(backend.first_peer + u32::from(flow.source), u32::from(index))
}

/// Takes the port from the entry `flow` of `key`, if it is still that entry's and has none of the
/// flags `but`; it may be claimed again after its rest. Whether this CPU did it.
///
/// Only who did removes the entry. Else another CPU or the controller removes it at this moment,
/// and whoever removed the key as well might hit a flow that has been opened under it since.
#[inline(always)]
pub(super) fn rest(
    settings: &Settings,
    key: &FlowKey,
    flow: &Flow,
    but: u64,
    backend: &Backend,
    tables: &impl Tables,
) -> bool {
    let Some(port) = port_of(settings, flow, backend, tables) else { return false };
    let owner = port.owner();
    owner.is_of(port.client(), key, flow)
        && !owner.has(but)
        && port.take(owner, Owner::resting(tables.now()))
}
