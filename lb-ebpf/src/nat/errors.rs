//! ICMP errors about segments of translated connections. They change no state, and are believed
//! only if the sequence number that they quote fits what is known of the connection.

use lb_common::{
    backend::backend_flags, flow::FlowKey, port::port_flags, service::Service, settings::Settings,
    verdict::Verdict,
};

use super::{claim, close, from_broker, from_client};
use crate::{Forward, parse::Segment, tables::Tables};

/// The way of an error about a client's segment to that client; `about` is what the broker would
/// have answered.
#[inline(always)]
pub(crate) fn to_client(
    about: &Segment,
    peer: u32,
    index: u32,
    tables: &impl Tables,
) -> Option<Forward> {
    let port = tables.port(peer, index)?;
    let owner = port.owner();
    let backend = tables.backend(owner.backend())?;
    let known = owner.has(port_flags::CLAIMED)
        && backend.flags & backend_flags::FORWARD != 0
        && close::is_near(about.sequence, port.progress().acknowledged);
    let service = tables.service_by_id(backend.service)?;
    known.then(|| Forward {
        verdict: Verdict::IcmpToClient,
        ..from_broker::way(owner, port.client(), service)
    })
}

/// The way of an error about a broker's segment to that broker; `about` is what the client would
/// have answered.
#[inline(always)]
pub(crate) fn to_backend(
    about: &Segment,
    settings: &Settings,
    service: &Service,
    tables: &impl Tables,
) -> Option<Forward> {
    let key = FlowKey::new(about.source, about.source_port, service.id);
    let cell = tables.flow(&key).or_else(|| tables.pending(&key))?;
    let flow = cell.load();
    let backend = tables.backend(flow.backend())?;
    let port = claim::port_of(settings, &flow, backend, tables)?;
    let owner = port.owner();
    let known = owner.is_of(port.client(), &key, &flow)
        && owner.has(port_flags::SYN_ACKED)
        && backend.flags & backend_flags::FORWARD != 0
        && close::is_near(about.sequence, port.progress().next);
    let source = tables.source(u32::from(flow.source))?;
    known.then(|| Forward {
        verdict: Verdict::IcmpToBackend,
        ..from_client::way(&flow, backend, source)
    })
}
