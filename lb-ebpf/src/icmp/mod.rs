//! ICMP and `ICMPv6` (RFC 792, RFC 4443): errors about packets of balanced connections reach who sent
//! these packets.
//!
//! An error quotes the beginning of the packet that it is about. It goes the way of an answer to
//! that packet: by the same tables as a segment would, which it leaves as they are.

mod quote;
mod too_big;
mod translate;

use lb_common::{
    service::{ServiceKey, mode},
    settings::Settings,
    verdict::Verdict,
};

pub use too_big::answer as too_big;

use self::translate::IcmpError;
use crate::{
    Forward, Outcome, direct, nat,
    packet::Packet,
    parse::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN, Segment},
    send, source_port_index,
    tables::Tables,
};

/// Length of the header of an ICMP error, in both families.
const ICMP_LEN: usize = 8;
/// Where the header lies, and the quoted packet behind it.
const ICMP_V4: usize = ETHERNET_LEN + IPV4_LEN;
const ICMP_V6: usize = ETHERNET_LEN + IPV6_LEN;
const QUOTE_V4: usize = ICMP_V4 + ICMP_LEN;
const QUOTE_V6: usize = ICMP_V6 + ICMP_LEN;

/// Handles a frame that is not TCP.
#[inline(always)]
pub fn error(packet: &mut impl Packet, tables: &impl Tables) -> Outcome {
    quote::parse(packet)
        .and_then(|about| forward(packet, tables, &about))
        .unwrap_or_else(Outcome::of)
}

#[inline(always)]
fn forward(
    packet: &mut impl Packet,
    tables: &impl Tables,
    about: &Segment,
) -> Result<Outcome, Verdict> {
    let settings = tables.settings().ok_or(Verdict::IcmpUnrelated)?;
    let forward = decide(about, settings, tables).ok_or(Verdict::IcmpUnrelated)?;
    send::<IcmpError>(packet, settings, tables, about, &forward)
}

/// Who sent the packet that the error is about; `about` is what an answer to that packet would be.
#[inline(always)]
fn decide(about: &Segment, settings: &Settings, tables: &impl Tables) -> Option<Forward> {
    if let Some(index) = source_port_index(settings, about.destination_port)
        && let Some(peer) = nat::peer(about, tables)
    {
        return nat::error_to_client(about, peer, index, tables);
    }
    let service = tables.service(&ServiceKey::tcp(about.destination, about.destination_port))?;
    if service.mode == mode::NAT {
        nat::error_to_backend(about, settings, service, tables)
    } else {
        direct::error_to_backend(about, settings, service, tables)
    }
}
