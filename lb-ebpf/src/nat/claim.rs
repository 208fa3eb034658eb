//! Source ports towards brokers: claiming one for a new flow, and letting it rest afterwards.

use core::ops::Deref;

use lb_common::{
    backend::Backend,
    flow::{Flow, FlowKey},
    port::{Owner, Port, Progress, port_flags},
    settings::Settings,
    ticks,
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
    let (first_source, sources) = match segment.version {
        IpVersion::V4 => (0, u32::from(settings.sources_v4)),
        IpVersion::V6 => (u32::from(settings.sources_v4), u32::from(settings.sources_v6)),
    };
    let ports = u32::from(settings.ports);
    if sources == 0 || ports == 0 {
        return Err(Verdict::PortsExhausted);
    }
    let now = tables.now();
    let owner = Owner::claimed(id, segment.source_port);
    // The low half: the high half chose the slot, and is the same for all flows of a slot. The
    // initial sequence number makes a client that begins anew look elsewhere; the time, one that
    // only repeats its SYN.
    let start = (hash as u32).wrapping_add(segment.sequence);
    let mut place = start.wrapping_add(now.wrapping_mul(GOLDEN));
    // Strides that grow: with equal ones, flows that meet follow each other, and the ports in use
    // grow together along their way. At nine ports of ten in use one SYN in four found none so.
    let mut stride = 0u32;
    let mut attempt = 0;
    while attempt < TRIES {
        let index = ((u64::from(place) * u64::from(ports)) >> 32) as u32;
        let source = first_source + (place ^ attempt) % sources;
        if let Some(port) = tables.port(backend.first_peer + source, index)
            && take(segment, settings, &port, owner, now)
        {
            let nat_port = settings.first_port.wrapping_add(index as u16).to_be_bytes();
            return Ok(Claimed { nat_port, source: source as u16, owner, port });
        }
        attempt += 1;
        stride = stride.wrapping_add(GOLDEN);
        place = place.wrapping_add(stride);
    }
    Err(Verdict::PortsExhausted)
}

/// Moves a port from free, or rested long enough, to `owner`; whether this CPU did it.
#[inline(always)]
fn take(segment: &Segment, settings: &Settings, port: &Port, owner: Owner, now: u32) -> bool {
    let before = port.owner();
    let rested = before.has(port_flags::RESTING)
        && ticks::age(now, before.resting_since()) > settings.rest_ticks;
    if before != Owner::FREE && !rested || !port.take(before, owner) {
        return false;
    }
    port.set_client(segment.source);
    port.set_progress(Progress::begun(segment.next_sequence()));
    true
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
