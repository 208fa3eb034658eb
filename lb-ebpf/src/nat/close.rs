//! The end of connections: FIN and RST shorten the life of a flow only where their sequence
//! numbers fit, so that a forged one changes nothing.
//!
//! What fits is measured by what the broker itself said: its own sequence numbers and its
//! acknowledgements are kept with the flow's source port, and a client cannot forge them.

use lb_common::{
    backend::Backend,
    flow::{Flow, FlowCell},
    port::{Port, port_flags},
    settings::Settings,
};

use super::claim;
use crate::{
    parse::{Segment, tcp_flags},
    tables::{Event, Tables},
};

/// How far a sequence number may lie ahead of what the other side has acknowledged: one window
/// without scaling. A FIN or RST behind more data in flight is not believed; the flow ends by its
/// idle time then.
const WINDOW: u32 = 65_536;

/// Whether the segment is one that the broker would expect from the client about now.
#[inline(always)]
pub(super) fn fits_client(segment: &Segment, port: &Port) -> bool {
    segment.sequence.wrapping_sub(port.progress().acknowledged) < WINDOW
}

/// Whether a reset, before the broker's SYN-ACK, is the client's answer to another connection that
/// the broker still has with this port: it carries the very number that the broker has
/// acknowledged there, which is the only one that ends that connection (RFC 5961, section 3).
#[inline(always)]
pub(crate) fn ends_remnant(segment: &Segment, port: &Port) -> bool {
    segment.sequence == port.progress().next
}

/// Whether the segment follows, within a window to either side, what the broker sent before.
#[inline(always)]
pub(super) fn fits_broker(segment: &Segment, port: &Port) -> bool {
    let ahead = segment.sequence.wrapping_sub(port.progress().next);
    ahead.wrapping_add(WINDOW) < 2 * WINDOW
}

/// A FIN or RST from the client.
#[inline(always)]
pub(super) fn by_client(
    segment: &Segment,
    settings: &Settings,
    flow: &Flow,
    backend: &Backend,
    cell: &FlowCell,
    tables: &impl Tables,
) {
    let Some(port) = claim::port_of(settings, flow, backend, tables) else { return };
    if !fits_client(segment, &port) {
        return;
    }
    if segment.has(tcp_flags::RST) || port.set(port_flags::CLIENT_FIN).has(port_flags::BROKER_FIN) {
        end(flow.backend(), cell, tables);
    }
}

/// Marks a flow as ended, once; from now on it is idle sooner.
#[inline(always)]
pub(super) fn end(backend: u32, cell: &FlowCell, tables: &impl Tables) {
    if cell.close() {
        tables.count(backend, Event::Closed);
    }
}

/// Takes the end back: the client still sends data, so what ended the flow was no part of it.
#[inline(always)]
pub(super) fn revive(
    settings: &Settings,
    flow: &Flow,
    backend: &Backend,
    cell: &FlowCell,
    tables: &impl Tables,
) {
    if cell.reopen() {
        tables.count(flow.backend(), Event::Revived);
        if let Some(port) = claim::port_of(settings, flow, backend, tables) {
            port.clear(port_flags::CLIENT_FIN | port_flags::BROKER_FIN);
        }
    }
}
