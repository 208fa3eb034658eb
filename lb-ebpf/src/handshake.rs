//! From the client's SYN to the connection table.
//!
//! A flow waits in the pending table until both sides have proved themselves: the chosen broker
//! sent a SYN-ACK, and the client acknowledged it. So forged segments fill only the pending table.

use lb_common::{
    backend::backend_flags,
    flow::{Flow, FlowCell, FlowKey, flow_hash},
    hash::Seed,
    port::port_flags,
    ring::{NO_BACKEND, slot_of},
    service::{Service, service_flags},
    settings::Settings,
    verdict::Verdict,
};

use crate::{
    Forward, claim, close, from_client,
    parse::{Segment, tcp_flags},
    tables::{Event, InsertError, Tables},
};

/// How far the client's first acknowledgement may lie beyond the broker's SYN: a broker that speaks
/// first, to a client whose pure ACK was lost.
const FIRST_DATA: u32 = 4096;

/// A SYN of no established flow: the same way again if it is a retransmission, else by the ring.
#[inline(always)]
pub(crate) fn open(
    segment: &Segment,
    settings: &Settings,
    service: &Service,
    key: &FlowKey,
    tables: &impl Tables,
) -> Result<Forward, Verdict> {
    if let Some(cell) = tables.pending(key)
        && let Some(forward) = again(settings, key, &cell, tables)
    {
        return forward;
    }
    let hash = hash(settings, service, segment);
    let slot = tables.slot(service.id, slot_of(hash)).ok_or_else(|| no_backend(service))?;
    let id = slot.current();
    if id == NO_BACKEND {
        return Err(no_backend(service));
    }
    let backend = tables.backend(id).ok_or(Verdict::Inconsistent)?;
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
            from_client::forward(&flow, backend, tables)
        }
        Err(InsertError::Exists) => {
            // Another CPU opened the same flow meanwhile: its choice stands.
            claimed.port.give_back();
            let cell = tables.pending(key).ok_or(Verdict::PendingFull)?;
            again(settings, key, &cell, tables).unwrap_or(Err(Verdict::PendingFull))
        }
        Err(InsertError::Full) => {
            claimed.port.give_back();
            Err(Verdict::PendingFull)
        }
    }
}

/// Sends a retransmitted SYN to the broker that got the first one; `None` if that one takes no new
/// connections any more or the entry is past its time, which is forgotten then.
#[inline(always)]
fn again(
    settings: &Settings,
    key: &FlowKey,
    cell: &FlowCell,
    tables: &impl Tables,
) -> Option<Result<Forward, Verdict>> {
    let flow = cell.load();
    let Some(backend) = tables.backend(flow.backend()) else {
        return Some(Err(Verdict::Inconsistent));
    };
    let expired = lb_common::ticks::age(tables.now(), flow.last_seen) > flow.idle_ticks;
    if backend.flags & backend_flags::ACCEPT == 0 || expired {
        if tables.remove_pending(key) {
            claim::rest(settings, &flow, backend, tables);
        }
        return None;
    }
    Some(from_client::forward(&flow, backend, tables))
}

/// A segment, not a SYN, of a handshake under way: if it proves that the client has seen the
/// broker's SYN-ACK, the flow enters the connection table.
#[inline(always)]
pub(crate) fn complete(
    segment: &Segment,
    settings: &Settings,
    service: &Service,
    key: &FlowKey,
    cell: &FlowCell,
    tables: &impl Tables,
) -> Result<Forward, Verdict> {
    let pending = cell.load();
    let backend = tables.backend(pending.backend()).ok_or(Verdict::Inconsistent)?;
    if backend.flags & backend_flags::FORWARD == 0 {
        tables.count(pending.backend(), Event::Refused);
        return Err(Verdict::BackendGone);
    }
    let port = claim::port_of(settings, &pending, backend, tables).ok_or(Verdict::Inconsistent)?;
    if segment.has(tcp_flags::RST) {
        // The client gives up; the broker should know. The entry runs out by itself.
        return if close::fits_client(segment, &port) {
            from_client::forward(&pending, backend, tables)
        } else {
            Err(Verdict::Unproven)
        };
    }
    let beyond = segment.acknowledgement.wrapping_sub(port.progress().next);
    if !port.owner().has(port_flags::SYN_ACKED)
        || !segment.has(tcp_flags::ACK)
        || beyond >= FIRST_DATA
    {
        return Err(Verdict::Unproven);
    }
    let flow = Flow { last_seen: tables.now(), idle_ticks: service.idle_ticks, ..pending };
    match tables.insert_flow(key, flow) {
        Ok(()) => {
            tables.count(flow.backend(), Event::Opened);
            port.set(port_flags::PROMOTED);
            tables.remove_pending(key);
        }
        // Another CPU was faster: the same flow, in place already.
        Err(InsertError::Exists) => {}
        Err(InsertError::Full) => return Err(Verdict::FlowsFull),
    }
    from_client::forward(&flow, backend, tables)
}

#[inline(always)]
fn hash(settings: &Settings, service: &Service, segment: &Segment) -> u64 {
    flow_hash(
        Seed(settings.seed0, settings.seed1),
        segment.source,
        segment.source_port,
        service.key.vip,
        service.key.port,
    )
}

#[inline(always)]
const fn no_backend(service: &Service) -> Verdict {
    if service.flags & service_flags::RESET_WITHOUT_BACKEND != 0 {
        Verdict::NoBackendReset
    } else {
        Verdict::NoBackendDrop
    }
}
