//! The packet pipeline of mqlb: parse, find the service, pick the backend, rewrite, route, verdict.
//!
//! It is generic over [`packet::Packet`] and [`tables::Tables`]: the XDP program, the unit and
//! property tests and the fuzz target run the same code. Everything on the way of a packet is
//! inlined, returns data, and rejects with a [`Verdict`], of which each packet gets exactly one.
#![no_std]

#[cfg(any(test, feature = "host"))]
extern crate std;

pub mod admission;
pub mod budget;
pub mod checksum;
pub mod decap;
mod direct;
pub mod fragments;
#[cfg(any(test, feature = "host"))]
pub mod host;
pub mod icmp;
pub mod known;
pub mod mqtt;
pub mod nat;
pub mod packet;
pub mod parse;
mod refusal;
pub mod reset;
pub mod rewrite;
pub mod route;
pub mod stages;
pub mod tables;
mod tags;
pub mod trace;
pub mod tunnel;

use lb_common::{
    service::{ServiceKey, mode},
    settings::Settings,
    verdict::{Action, Verdict},
};

use packet::Packet;
use parse::{ETHERNET_LEN, Segment, tcp_flags};
use rewrite::{TcpSegment, Translate, Translation};
use tables::{Direction, RouteKind, RouteQuery, Tables};

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why; its counter is raised by the caller.
    pub verdict: Verdict,
    /// The interface to send it out of, if the verdict's action is [`Action::Forward`]; how many
    /// bytes would fit, if the verdict is [`Verdict::TooBig`].
    pub detail: u32,
}

impl Outcome {
    /// Of a packet that is not forwarded.
    #[inline(always)]
    pub(crate) const fn of(verdict: Verdict) -> Self {
        Self { verdict, detail: 0 }
    }
}

/// A segment that is to be forwarded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forward {
    pub way: Way,
    /// What the outermost IP header and the ports say; the ports matter only when translated, and
    /// of a tunnelled segment's source the host bits are still zero.
    pub to: Translation,
    /// The half of the flow's hash that did not choose its slot; of a tunnelled segment only.
    pub hash: u32,
    pub backend: u32,
    pub direction: Direction,
    /// What it is counted as, unless it does not get out.
    pub verdict: Verdict,
}

/// How a segment leaves. Without payloads: what one of several leaves out is a register without a
/// value, which LLVM copies and the verifier does not let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// With other addresses and ports.
    Translated,
    /// As it is, to the host on the same link that has the destination's address.
    Direct,
    /// Wrapped into another packet, as it is.
    Tunnelled,
}

/// Handles one frame, through all [`stages`].
pub fn process(packet: &mut impl Packet, tables: &impl Tables) -> Outcome {
    stages::run(&mut stages::InOne { packet, tables })
}

/// Handles a frame that is a whole TCP segment in an untagged frame; any other is unchanged.
#[inline(always)]
pub fn balance(packet: &mut impl Packet, tables: &impl Tables) -> Outcome {
    // Not a closure: LLVM makes a function of it, and a call costs as much as a table.
    let handled = match parse::segment(packet) {
        Ok(segment) => handle(packet, tables, &segment),
        Err(verdict) => Err(verdict),
    };
    match handled {
        Ok(outcome) => outcome,
        Err(verdict) => Outcome::of(verdict),
    }
}

#[inline(always)]
fn handle(
    packet: &mut impl Packet,
    tables: &impl Tables,
    segment: &Segment,
) -> Result<Outcome, Verdict> {
    // Without settings nothing is configured yet.
    let settings = tables.settings().ok_or(Verdict::NotOurs)?;
    match decide(packet, segment, settings, tables) {
        Ok(forward) => send::<TcpSegment>(packet, settings, tables, segment, &forward),
        Err(verdict) if verdict.action() == Action::Reply => {
            if segment.has(tcp_flags::RST) {
                return Err(Verdict::StrayReset);
            }
            reset::answer(packet, segment).ok_or(Verdict::BadLength)?;
            Err(verdict)
        }
        Err(verdict) => Err(verdict),
    }
}

/// Which backend the segment goes to, or which client.
#[inline(always)]
fn decide(
    packet: &impl Packet,
    segment: &Segment,
    settings: &Settings,
    tables: &impl Tables,
) -> Result<Forward, Verdict> {
    if let Some(index) = source_port_index(settings, segment.destination_port)
        && let Some(peer) = nat::peer(segment, tables)
    {
        return nat::to_client(packet, segment, peer, index, tables);
    }
    let key = ServiceKey::tcp(segment.destination, segment.destination_port);
    let service = tables.service(&key).ok_or(Verdict::NotOurs)?;
    if !segment.flags_are_sane() {
        return Err(Verdict::BadTcpFlags);
    }
    if service.mode == mode::NAT {
        nat::to_backend(packet, segment, settings, service, tables)
    } else {
        direct::to_backend(segment, settings, service, tables)
    }
}

/// The place of a source port in the tables of its peers, if it is one of the balancer's.
#[inline(always)]
const fn source_port_index(settings: &Settings, port: [u8; 2]) -> Option<u32> {
    let index = u16::from_be_bytes(port).wrapping_sub(settings.first_port);
    if index < settings.ports { Some(index as u32) } else { None }
}

/// Asks for the way on, then rewrites the packet.
///
/// Of an ICMP error, `segment` is what an answer to the quoted packet would be.
#[inline(always)]
pub(crate) fn send<K: Translate>(
    packet: &mut impl Packet,
    settings: &Settings,
    tables: &impl Tables,
    segment: &Segment,
    forward: &Forward,
) -> Result<Outcome, Verdict> {
    if segment.ttl <= 1 {
        return Err(Verdict::TtlExpired);
    }
    let (to, tunnelled) = (&forward.to, forward.way == Way::Tunnelled);
    let header_len = if tunnelled { tunnel::header_len(to.destination) } else { 0 };
    let route = tables.route(&RouteQuery {
        source: to.source,
        destination: to.destination,
        tos: segment.tos,
        ip_len: segment.ip_len.checked_add(header_len).ok_or(Verdict::TooBig)?,
    });
    match route.kind {
        RouteKind::Via if !route.on_link && forward.way == Way::Direct => {
            return Err(Verdict::NotOnLink);
        }
        RouteKind::NoNeighbour if forward.way == Way::Direct => return Err(Verdict::NoNeighbour),
        // First, so that the addresses need not be kept: the stack is short.
        RouteKind::Via => packet.store(0, route.ethernet).ok_or(Verdict::BadLength)?,
        RouteKind::NoNeighbour => {}
        RouteKind::TooBig => {
            let detail = u32::from(route.mtu.saturating_sub(header_len));
            return Ok(Outcome { verdict: Verdict::TooBig, detail });
        }
        RouteKind::None => return Err(Verdict::NoRoute),
    }
    match forward.way {
        Way::Translated => K::translate(packet, segment, to),
        Way::Direct => rewrite::hop::<ETHERNET_LEN>(packet, segment),
        Way::Tunnelled => {
            tunnel::make_room(packet, header_len).ok_or(Verdict::NoHeadroom)?;
            let source = settings.tunnel_to(to.destination).address(forward.hash);
            tunnel::wrap(packet, segment, source, to.destination, forward.hash)
        }
    }
    .ok_or(Verdict::BadLength)?;
    tables.count_forwarded(forward.backend, forward.direction, u64::from(segment.ip_len));
    let verdict = match (route.kind, forward.direction) {
        (RouteKind::Via, _) => forward.verdict,
        (_, Direction::ToBackend) => Verdict::ToBackendByKernel,
        (_, Direction::ToClient) => Verdict::ToClientByKernel,
    };
    Ok(Outcome { verdict, detail: route.ifindex })
}
