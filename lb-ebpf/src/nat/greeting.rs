//! The first data of a connection, read in passing: the Keep Alive decides how long the flow may be
//! idle, the service may let nothing through but MQTT or TLS, and the CONNACK tells how the broker
//! is.

use lb_common::{
    flow::FlowKey,
    port::{Owner, Port, port_flags},
    service::{Service, service_flags},
    settings::Settings,
    ticks,
    verdict::Verdict,
};

use super::{claim, from_client, from_client::Going};
use crate::{
    mqtt::{First, KeepAlive},
    packet::Packet,
    parse::Segment,
    tables::{Event, Tables},
};

/// Data of a client whose connection has carried none: judged if they are its first.
#[inline(always)]
pub(super) fn read(
    packet: &impl Packet,
    segment: &Segment,
    settings: &Settings,
    service: &Service,
    Going { flow, backend }: &Going<'_>,
    tables: &impl Tables,
) -> Result<(), Verdict> {
    let port = claim::port_of(settings, flow, backend, tables).ok_or(Verdict::Inconsistent)?;
    // The broker has acknowledged the SYN and nothing else.
    if port.progress().acknowledged != segment.sequence {
        return Ok(());
    }
    let key = FlowKey::new(segment.source, segment.source_port, service.id);
    let (at, end) = segment.payload();
    let greeting = packet.greeting(at, end);
    if !lets_through(service, greeting.first) {
        // As it is now: this very segment may have ended it, which is counted then.
        let flow = tables.flow(&key).map_or(*flow, |cell| cell.load());
        // The client hears of it at once, the broker when it next sends.
        from_client::forget(settings, &key, &flow, backend, tables);
        return Err(Verdict::Guarded);
    }
    let Some(cell) = tables.flow(&key) else { return Ok(()) };
    cell.note_read();
    if greeting.first == First::Connect {
        if greeting.keep_alive_s != 0 {
            cell.set_idle(ticks::of_keep_alive(greeting.keep_alive_s), tables.now());
        }
        port.set(port_flags::AWAITS_CONNACK);
    }
    Ok(())
}

#[inline(always)]
const fn lets_through(service: &Service, first: First) -> bool {
    let only = service.flags & (service_flags::ONLY_MQTT | service_flags::ONLY_TLS);
    match first {
        First::Connect => only & service_flags::ONLY_TLS == 0,
        First::Tls => only & service_flags::ONLY_MQTT == 0,
        First::Other => only == 0,
        First::Beginning => true,
    }
}

/// Data of a broker that has not answered a CONNECT yet.
#[inline(always)]
pub(super) fn read_answer(
    packet: &impl Packet,
    segment: &Segment,
    service: &Service,
    owner: Owner,
    port: &Port,
    tables: &impl Tables,
) {
    if port.progress().next != segment.sequence {
        return;
    }
    port.clear(port_flags::AWAITS_CONNACK);
    let (at, end) = segment.payload();
    let connack = packet.connack(at, end);
    tables.count(owner.backend(), Event::Answered(connack.answer));
    let idle_ticks = match (connack.keep_alive, connack.server_keep_alive_s) {
        (KeepAlive::AsAsked, _) => return,
        (KeepAlive::Other, 1..) => ticks::of_keep_alive(connack.server_keep_alive_s),
        // None, or one that is not known.
        (KeepAlive::Other | KeepAlive::Unknown, _) => service.idle_ticks,
    };
    let key = FlowKey::new(port.client(), owner.client_port(), service.id);
    if let Some(cell) = tables.flow(&key) {
        cell.set_idle(idle_ticks, tables.now());
    }
}
