//! ICMP errors about packets of brokers that answer clients directly.

use lb_common::{
    backend::backend_flags,
    flow::FlowKey,
    ring::{Slot, slot_flags, slot_of},
    service::{Service, mode},
    settings::Settings,
    verdict::Verdict,
};

use super::{into_tunnel, live, way};
use crate::{Forward, parse::Segment, tables::Tables};

/// The way of an error about a broker's segment to that broker; `about` is what the client would
/// have answered. Nothing is known that its sequence number could be held against.
#[inline(always)]
pub(crate) fn to_backend(
    about: &Segment,
    settings: &Settings,
    service: &Service,
    tables: &impl Tables,
) -> Option<Forward> {
    let hash = service.flow_hash(about.source, about.source_port);
    let slot = tables.slot(service.id, slot_of(hash))?;
    let key = FlowKey::new(about.source, about.source_port, service.id);
    let id = owner(slot, &key, tables);
    let backend = tables.backend(id)?;
    if backend.flags & backend_flags::FORWARD == 0 {
        return None;
    }
    let forward = Forward { verdict: Verdict::IcmpToBackend, ..way(about, id, backend) };
    if service.mode == mode::IPIP {
        into_tunnel(forward, settings, hash as u32).ok()
    } else {
        Some(forward)
    }
}

/// Who has the flow. Handshakes do not count: a forged SYN would take the errors of a connection
/// that is in no table, and an error in a real handshake is no loss.
#[inline(always)]
fn owner(slot: Slot, key: &FlowKey, tables: &impl Tables) -> u32 {
    if !slot.has(slot_flags::LOOKUP) {
        return slot.base();
    }
    let now = tables.now();
    let flow = live(tables.flow(key), now).or_else(|| live(tables.learned(key), now));
    flow.map_or(slot.base(), |flow| flow.backend())
}
