//! Segments from brokers back to clients.

use lb_common::{
    addr::Addr,
    backend::{PeerKey, backend_flags},
    flow::FlowKey,
    port::{Owner, Port, Progress, port_flags},
    service::Service,
    verdict::Verdict,
};

use super::{close, greeting};
use crate::{
    Forward, Way,
    packet::Packet,
    parse::{Segment, tcp_flags},
    rewrite::Translation,
    tables::{Direction, Event, Tables},
};

/// The number of the peer that a segment comes from, if it comes from a broker to one of the
/// balancer's source addresses.
#[inline(always)]
pub(crate) fn peer(segment: &Segment, tables: &impl Tables) -> Option<u32> {
    tables.peer(&PeerKey::new(segment.source, segment.source_port, segment.destination))
}

/// The way of a broker's segment back to the client that owns the source port.
#[inline(always)]
pub(crate) fn decide(
    packet: &impl Packet,
    segment: &Segment,
    peer: u32,
    index: u32,
    tables: &impl Tables,
) -> Result<Forward, Verdict> {
    let port = tables.port(peer, index).ok_or(Verdict::Inconsistent)?;
    let owner = port.owner();
    if !owner.has(port_flags::CLAIMED) {
        return Err(Verdict::UnknownReply);
    }
    let id = owner.backend();
    let backend = tables.backend(id).ok_or(Verdict::Inconsistent)?;
    if backend.flags & backend_flags::FORWARD == 0 {
        // Its service may be gone as well. The broker lets go of the connection.
        tables.count(id, Event::Refused);
        return Err(Verdict::BackendGone);
    }
    let service = tables.service_by_id(backend.service).ok_or(Verdict::Inconsistent)?;
    let client = port.client();
    if segment.has(tcp_flags::FIN | tcp_flags::RST) && owner.has(port_flags::PROMOTED) {
        let key = FlowKey::new(client, owner.client_port(), service.id);
        ended(segment, id, &key, &port, tables);
    }
    if owner.has(port_flags::AWAITS_CONNACK) && segment.payload_len > 0 {
        greeting::read_answer(packet, segment, service, owner, &port, tables);
    }
    note_progress(segment, owner, &port);
    Ok(way(owner, client, service))
}

/// The way to the client that owns a source port.
#[inline(always)]
pub(super) const fn way(owner: Owner, client: Addr, service: &Service) -> Forward {
    Forward {
        way: Way::Translated,
        to: Translation {
            source: service.key.vip,
            source_port: service.key.port,
            destination: client,
            destination_port: owner.client_port(),
        },
        hash: 0,
        backend: owner.backend(),
        direction: Direction::ToClient,
        verdict: Verdict::ToClient,
    }
}

/// A FIN or RST of the broker.
#[inline(always)]
fn ended(segment: &Segment, backend: u32, key: &FlowKey, port: &Port, tables: &impl Tables) {
    if !close::fits_broker(segment, port) {
        return;
    }
    let last =
        segment.has(tcp_flags::RST) || port.set(port_flags::BROKER_FIN).has(port_flags::CLIENT_FIN);
    if last && let Some(cell) = tables.flow(key) {
        let flow = cell.load();
        if flow.nat_port == segment.destination_port && flow.backend() == backend {
            close::end(backend, &cell, tables);
        }
    }
}

/// Remembers what the broker has sent and acknowledged. From a SYN-ACK on, its numbers are known;
/// until the client has proved itself, only a SYN-ACK sets them.
///
/// What comes before a SYN-ACK belongs to another connection, of a balancer that was here before:
/// the broker challenges the SYN (RFC 5961, section 4), or still sends data. The client answers with
/// a RST (RFC 9293, section 3.5.1), which is let through by the number noted here.
#[inline(always)]
fn note_progress(segment: &Segment, owner: Owner, port: &Port) {
    if segment.has(tcp_flags::RST) || !segment.has(tcp_flags::ACK) {
        return;
    }
    let said = Progress { next: segment.next_sequence(), acknowledged: segment.acknowledgement };
    if segment.has(tcp_flags::SYN) {
        port.set_progress(said);
        // Only if it is still that flow's: a port that is free must stay unmarked.
        port.take(owner, Owner(owner.0 | port_flags::SYN_ACKED));
    } else if owner.has(port_flags::PROMOTED) {
        if port.progress() != said {
            port.set_progress(said);
        }
    } else if !owner.has(port_flags::SYN_ACKED) {
        // A SYN-ACK that another CPU notes at this moment may be overwritten; it is repeated.
        port.set_progress(Progress { next: said.acknowledged, ..port.progress() });
    }
}
