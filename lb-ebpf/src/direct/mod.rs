//! Modes in which brokers answer clients directly: only the client's packets pass here.
//!
//! A flow belongs to the `base` of its slot unless a table says otherwise, and the tables hold only
//! flows of slots in transition: those that went to `current`, and, while a slot learns, those that
//! stay with `base`. FIN and RST end no entry, because here they could be forged.

mod errors;
mod follow;
mod open;

pub(crate) use errors::to_backend as error_to_backend;

use core::ops::Deref;

use lb_common::{
    backend::{Backend, backend_flags},
    flow::{Flow, FlowCell, FlowKey},
    ring::{NO_BACKEND, Slot, slot_flags, slot_of},
    service::{Service, mode},
    settings::Settings,
    ticks,
    verdict::Verdict,
};

use crate::{
    Forward, Way,
    parse::Segment,
    refusal,
    rewrite::Translation,
    tables::{Direction, Event, Tables},
};

/// A segment and where the ring puts it.
struct Placed<'a> {
    segment: &'a Segment,
    service: &'a Service,
    number: u32,
    slot: Slot,
    key: FlowKey,
}

/// The way of a client's segment to its backend.
#[inline(always)]
pub(crate) fn to_backend<T: Tables>(
    segment: &Segment,
    settings: &Settings,
    service: &Service,
    tables: &T,
) -> Result<Forward, Verdict> {
    let hash = service.flow_hash(segment.source, segment.source_port);
    let number = slot_of(hash);
    let slot = tables.slot(service.id, number).ok_or_else(|| refusal::no_backend(service))?;
    let key = FlowKey::new(segment.source, segment.source_port, service.id);
    let forward = decide(&Placed { segment, service, number, slot, key }, settings, tables)?;
    if service.mode == mode::IPIP {
        into_tunnel(forward, settings, hash as u32)
    } else {
        Ok(forward)
    }
}

#[inline(always)]
fn decide<T: Tables>(
    placed: &Placed<'_>,
    settings: &Settings,
    tables: &T,
) -> Result<Forward, Verdict> {
    let looked_up = placed.slot.has(slot_flags::LOOKUP);
    if placed.segment.opens() {
        refusal::unadmitted(placed.segment, placed.service, tables)?;
        return if looked_up {
            open::decide(placed, settings, tables)
        } else {
            give(placed, placed.slot.base(), tables)
        };
    }
    if looked_up {
        return follow::decide(placed, settings, tables);
    }
    to(placed, placed.slot.base(), tables)
}

/// Gives a new connection to the backend numbered `id`.
#[inline(always)]
fn give(placed: &Placed<'_>, id: u32, tables: &impl Tables) -> Result<Forward, Verdict> {
    let backend = taking(placed, id, tables)?;
    tables.count(id, Event::Attempted);
    Ok(way(placed.segment, id, backend))
}

/// The backend numbered `id`, if it takes a new connection now.
#[inline(always)]
fn taking<'a>(
    placed: &Placed<'_>,
    id: u32,
    tables: &'a impl Tables,
) -> Result<&'a Backend, Verdict> {
    let backend = usable(placed, id, tables)?;
    refusal::overloaded(id, backend, placed.service, tables)?;
    Ok(backend)
}

/// Sends a segment to the backend numbered `id`.
#[inline(always)]
fn to(placed: &Placed<'_>, id: u32, tables: &impl Tables) -> Result<Forward, Verdict> {
    let backend = usable(placed, id, tables)?;
    Ok(way(placed.segment, id, backend))
}

/// The backend numbered `id`, if its flows are forwarded.
#[inline(always)]
fn usable<'a>(
    placed: &Placed<'_>,
    id: u32,
    tables: &'a impl Tables,
) -> Result<&'a Backend, Verdict> {
    if id == NO_BACKEND {
        return Err(if placed.segment.opens() {
            refusal::no_backend(placed.service)
        } else {
            refusal::unknown_flow(placed.service)
        });
    }
    let backend = tables.backend(id).ok_or(Verdict::Inconsistent)?;
    if backend.flags & backend_flags::FORWARD == 0 {
        tables.count(id, Event::Refused);
        return Err(Verdict::BackendGone);
    }
    Ok(backend)
}

/// The way of a segment to the backend numbered `id`.
#[inline(always)]
const fn way(segment: &Segment, id: u32, backend: &Backend) -> Forward {
    Forward {
        way: Way::Direct,
        to: Translation {
            source: segment.destination,
            source_port: segment.source_port,
            destination: backend.address,
            destination_port: segment.destination_port,
        },
        hash: 0,
        backend: id,
        direction: Direction::ToBackend,
        verdict: Verdict::ToBackend,
    }
}

/// Whether the time of a handshake is over. It is at the latest when that of its connection is: a
/// completed one must not speak for the next connection from the same port.
#[inline(always)]
fn is_opening_over(opening: &Flow, settings: &Settings, service: &Service, now: u32) -> bool {
    let limit = settings.pending_ticks;
    let limit = if limit < service.idle_ticks { limit } else { service.idle_ticks };
    ticks::age(now, opening.last_seen) > limit
}

/// Whether the backend with this number may get the segments of its flows.
#[inline(always)]
fn forwards(id: u32, tables: &impl Tables) -> bool {
    tables.backend(id).is_some_and(|backend| backend.flags & backend_flags::FORWARD != 0)
}

/// Where a segment goes that no handshake speaks for.
#[inline(always)]
fn by_default(placed: &Placed<'_>, now: u32, tables: &impl Tables) -> u32 {
    live(tables.learned(&placed.key), now).map_or(placed.slot.base(), |flow| flow.backend())
}

/// Wraps what `forward` sends.
///
/// Its source is the bare prefix: one route serves all flows, and is soon known.
#[inline(always)]
fn into_tunnel(forward: Forward, settings: &Settings, hash: u32) -> Result<Forward, Verdict> {
    let source = settings.tunnel_to(forward.to.destination);
    if !source.is_configured() {
        return Err(Verdict::Inconsistent);
    }
    let to = Translation { source: source.prefix, ..forward.to };
    Ok(Forward { way: Way::Tunnelled, to, hash, ..forward })
}

/// The flow in an entry, if there is one and its time is not over.
#[inline(always)]
fn live(cell: Option<impl Deref<Target = FlowCell>>, now: u32) -> Option<Flow> {
    cell.map(|cell| cell.load()).filter(|flow| !is_over(flow, now))
}

/// Whether the time of a tracked flow is over: then it counts as absent, even before it is
/// collected.
#[inline(always)]
const fn is_over(flow: &Flow, now: u32) -> bool {
    ticks::age(now, flow.last_seen) > flow.idle_ticks
}
