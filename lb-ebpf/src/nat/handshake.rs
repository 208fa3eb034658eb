//! From the client's SYN to the connection table.
//!
//! A flow waits in the pending table until both sides have proved themselves: the chosen broker
//! sent a SYN-ACK, and the client acknowledged it. So forged segments fill only the pending table.

use lb_common::{
    backend::backend_flags,
    flow::{Flow, FlowCell, FlowKey, flow_flags},
    port::{Owner, Port, port_flags},
    ring::{NO_BACKEND, slot_of},
    service::Service,
    settings::Settings,
    verdict::Verdict,
};

use super::{claim, close, from_client::Going};
use crate::{
    parse::{Segment, tcp_flags},
    refusal,
    tables::{Event, InsertError, Tables},
};

/// How far the client's first acknowledgement may lie beyond the broker's SYN: a broker that speaks
/// first, to a client whose pure ACK was lost.
const FIRST_DATA: u32 = 4096;

/// A SYN of no established flow: the same way again if it is a retransmission, else by the ring.
#[inline(always)]
pub(super) fn open<'a>(
    segment: &Segment,
    settings: &Settings,
    service: &Service,
    key: &FlowKey,
    tables: &'a impl Tables,
) -> Result<Going<'a>, Verdict> {
    refusal::unadmitted(segment, service, tables)?;
    if let Some(cell) = tables.pending(key)
        && let Some(going) = again(settings, key, &cell, tables)
    {
        return going;
    }
    let hash = service.flow_hash(segment.source, segment.source_port);
    let slot =
        tables.slot(service.id, slot_of(hash)).ok_or_else(|| refusal::no_backend(service))?;
    let id = slot.current();
    if id == NO_BACKEND {
        return Err(refusal::no_backend(service));
    }
    let backend = tables.backend(id).ok_or(Verdict::Inconsistent)?;
    refusal::overloaded(id, backend, service, tables)?;
    let claimed = claim::port(segment, settings, hash, id, backend, tables)?;
    let flow = Flow {
        word: id << 8,
        nat_port: claimed.nat_port,
        source: claimed.source,
        last_seen: tables.now(),
        idle_ticks: settings.pending_ticks,
    };
    match tables.insert_pending(key, flow) {
        Ok(()) => {
            tables.count(id, Event::Attempted);
            Ok(Going { flow, backend })
        }
        Err(InsertError::Exists) => {
            // Another CPU opened the same flow meanwhile: its choice stands.
            claimed.give_back();
            let cell = tables.pending(key).ok_or(Verdict::Contended)?;
            again(settings, key, &cell, tables).unwrap_or(Err(Verdict::Contended))
        }
        Err(InsertError::Full) => {
            claimed.give_back();
            Err(Verdict::PendingFull)
        }
    }
}

/// Sends a retransmitted SYN to the broker that got the first one; `None` if that one takes no new
/// connections any more or the entry is past its time, which is forgotten then.
#[inline(always)]
fn again<'a>(
    settings: &Settings,
    key: &FlowKey,
    cell: &FlowCell,
    tables: &'a impl Tables,
) -> Option<Result<Going<'a>, Verdict>> {
    let flow = cell.load();
    let Some(backend) = tables.backend(flow.backend()) else {
        return Some(Err(Verdict::Inconsistent));
    };
    let expired = lb_common::ticks::age(tables.now(), flow.last_seen) > flow.idle_ticks;
    if backend.flags & backend_flags::ACCEPT == 0 || expired {
        // A port that is promoted has gone over to the connection.
        if !claim::rest(settings, key, &flow, port_flags::PROMOTED, backend, tables) {
            return Some(Err(Verdict::Contended));
        }
        if !tables.remove_pending(key) {
            // The table's lock was held: the sweep removes the entry, which has no port any more.
            return Some(Err(Verdict::Contended));
        }
        return None;
    }
    Some(Ok(Going { flow, backend }))
}

/// A segment, not a SYN, of a handshake under way: if it proves that the client has seen the
/// broker's SYN-ACK, the flow enters the connection table.
#[inline(always)]
pub(super) fn complete<'a>(
    segment: &Segment,
    settings: &Settings,
    service: &Service,
    key: &FlowKey,
    cell: &FlowCell,
    tables: &'a impl Tables,
) -> Result<Going<'a>, Verdict> {
    let pending = cell.load();
    let backend = tables.backend(pending.backend()).ok_or(Verdict::Inconsistent)?;
    if backend.flags & backend_flags::FORWARD == 0 {
        tables.count(pending.backend(), Event::Refused);
        return Err(Verdict::BackendGone);
    }
    let port = claim::port_of(settings, &pending, backend, tables).ok_or(Verdict::Inconsistent)?;
    let owner = port.owner();
    if !owner.is_of(port.client(), key, &pending) {
        return Err(Verdict::Contended);
    }
    if segment.has(tcp_flags::RST) {
        // The client gives up; the broker should know. The entry runs out by itself. Or the broker
        // has answered for a connection that nobody here remembers: the client resets that one, and
        // its next SYN finds the broker free.
        let ends_remnant = !owner.has(port_flags::SYN_ACKED) && close::ends_remnant(segment, &port);
        return if ends_remnant || close::fits_client(segment, &port) {
            Ok(Going { flow: pending, backend })
        } else {
            Err(Verdict::Unproven)
        };
    }
    let beyond = segment.acknowledgement.wrapping_sub(port.progress().next);
    if !owner.has(port_flags::SYN_ACKED) || !segment.has(tcp_flags::ACK) || beyond >= FIRST_DATA {
        return Err(Verdict::Unproven);
    }
    // Another CPU may have been faster: then the same flow is in place already, or in a moment.
    if !owner.has(port_flags::PROMOTED) {
        promote(service, key, &pending, owner, &port, tables)?;
    }
    Ok(Going { flow: unread(&pending), backend })
}

/// The flow as it enters the connection table: its client has sent no data yet.
#[inline(always)]
const fn unread(pending: &Flow) -> Flow {
    Flow { word: pending.word | flow_flags::UNREAD as u32, ..*pending }
}

/// Moves a flow into the connection table.
///
/// First its port goes over to the connection, by the word that whoever ends the handshake must
/// win, too: afterwards nobody but this CPU removes the handshake.
#[inline(always)]
fn promote(
    service: &Service,
    key: &FlowKey,
    pending: &Flow,
    owner: Owner,
    port: &Port,
    tables: &impl Tables,
) -> Result<(), Verdict> {
    if !port.take(owner, Owner(owner.0 | port_flags::PROMOTED)) {
        let owner = port.owner();
        let is_done = owner.has(port_flags::PROMOTED) && owner.is_of(port.client(), key, pending);
        // Another CPU completed the same handshake just now.
        return if is_done { Ok(()) } else { Err(Verdict::Contended) };
    }
    let flow = Flow { last_seen: tables.now(), idle_ticks: service.idle_ticks, ..unread(pending) };
    let verdict = match tables.insert_flow(key, flow) {
        Ok(()) => {
            tables.count(flow.backend(), Event::Opened);
            tables.remove_pending(key);
            return Ok(());
        }
        // Not this flow, which only this CPU promotes: another handshake of the client was
        // completed while this one was opened. This one runs out.
        Err(InsertError::Exists) => Verdict::Contended,
        Err(InsertError::Full) => Verdict::FlowsFull,
    };
    port.clear(port_flags::PROMOTED);
    Err(verdict)
}
