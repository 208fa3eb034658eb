//! Segments from clients to a service.

use lb_common::{
    backend::{Backend, Source, backend_flags},
    flow::{Flow, FlowCell, FlowKey},
    service::Service,
    settings::Settings,
    verdict::Verdict,
};

use super::{claim, close, greeting, handshake};
use crate::{
    Forward, Way,
    packet::Packet,
    parse::{Segment, tcp_flags},
    refusal,
    rewrite::Translation,
    tables::{Direction, Event, Tables},
};

/// The way of a segment to its broker.
#[inline(always)]
pub(crate) fn decide(
    packet: &impl Packet,
    segment: &Segment,
    settings: &Settings,
    service: &Service,
    tables: &impl Tables,
) -> Result<Forward, Verdict> {
    // One place that makes a way of a flow, behind all that find one: inlined into each of them, it
    // would be most of the program.
    let going = find(segment, settings, service, tables)?;
    let Going { flow, backend } = going;
    if flow.is_unread() && segment.payload_len > 0 {
        greeting::read(packet, segment, settings, service, &going, tables)?;
    }
    let source = tables.source(u32::from(flow.source)).ok_or(Verdict::Inconsistent)?;
    Ok(way(&flow, backend, source))
}

/// A flow whose segment goes on, and its backend.
#[derive(Clone, Copy)]
pub(super) struct Going<'a> {
    pub flow: Flow,
    pub backend: &'a Backend,
}

/// The way to the broker of a flow.
#[inline(always)]
pub(super) const fn way(flow: &Flow, backend: &Backend, source: &Source) -> Forward {
    Forward {
        way: Way::Translated,
        to: Translation {
            source: source.address,
            source_port: flow.nat_port,
            destination: backend.address,
            destination_port: backend.port,
        },
        hash: 0,
        backend: flow.backend(),
        direction: Direction::ToBackend,
        verdict: Verdict::ToBackend,
    }
}

/// The flow of a segment: by the connection table, by the handshake under way, or, if it opens a
/// connection, by the ring.
#[inline(always)]
fn find<'a>(
    segment: &Segment,
    settings: &Settings,
    service: &Service,
    tables: &'a impl Tables,
) -> Result<Going<'a>, Verdict> {
    let key = FlowKey::new(segment.source, segment.source_port, service.id);
    if let Some(cell) = tables.flow(&key) {
        match established(segment, settings, &key, &cell, tables)? {
            Found::Goes(going) => return Ok(going),
            Found::Ended => {
                return handshake::open(segment, settings, service, &key, tables);
            }
        }
    }
    if segment.opens() {
        return handshake::open(segment, settings, service, &key, tables);
    }
    if let Some(cell) = tables.pending(&key) {
        return handshake::complete(segment, settings, service, &key, &cell, tables);
    }
    // Another CPU may have moved the flow from one table to the other between the two look-ups.
    if let Some(cell) = tables.flow(&key)
        && let Found::Goes(going) = established(segment, settings, &key, &cell, tables)?
    {
        return Ok(going);
    }
    Err(refusal::unknown_flow(service))
}

enum Found<'a> {
    /// The segment belongs to the flow.
    Goes(Going<'a>),
    /// The flow has ended, and this segment opens a new one.
    Ended,
}

#[inline(always)]
fn established<'a>(
    segment: &Segment,
    settings: &Settings,
    key: &FlowKey,
    cell: &FlowCell,
    tables: &'a impl Tables,
) -> Result<Found<'a>, Verdict> {
    let flow = cell.load();
    let backend = tables.backend(flow.backend()).ok_or(Verdict::Inconsistent)?;
    let closed = flow.is_closed();
    let gone = backend.flags & backend_flags::FORWARD == 0;
    if segment.opens() && (closed || gone) {
        // The client uses its port again. A SYN of a live flow goes to its broker instead: forged,
        // it must not move the flow; honest, the broker answers it as RFC 5961 says.
        return if forget(settings, key, &flow, backend, tables) {
            Ok(Found::Ended)
        } else {
            Err(Verdict::Contended)
        };
    }
    if gone {
        tables.count(flow.backend(), Event::Refused);
        return Err(Verdict::BackendGone);
    }
    cell.touch(&flow, tables.now());
    if segment.has(tcp_flags::FIN | tcp_flags::RST) {
        close::by_client(segment, settings, &flow, backend, cell, tables);
    } else if closed && segment.payload_len > 0 {
        close::revive(settings, &flow, backend, cell, tables);
    }
    Ok(Found::Goes(Going { flow, backend }))
}

/// Removes an ended flow; its port rests. False if somebody else is removing it.
#[inline(always)]
pub(super) fn forget(
    settings: &Settings,
    key: &FlowKey,
    flow: &Flow,
    backend: &Backend,
    tables: &impl Tables,
) -> bool {
    if !claim::rest(settings, key, flow, 0, backend, tables) {
        return false;
    }
    if !flow.is_closed() {
        tables.count(flow.backend(), Event::Closed);
    }
    // It fails where the table's lock is held: the sweep removes the entry, which has no port any
    // more.
    tables.remove_flow(key)
}
