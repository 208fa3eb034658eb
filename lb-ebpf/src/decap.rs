//! Unwraps, on a broker's host, what a balancer has wrapped.
//!
//! Whoever may wrap can send packets from any address, past what the network filters. So only
//! listed sources may, only to a listed address of this host, and only TCP and ICMP to listed VIPs.
//! Everything else passes on unchanged.

use lb_common::{addr::Addr, decap::DecapVerdict};

use crate::{
    checksum::Sum,
    packet::{Ethernet, Ipv4, Ipv6, Packet},
    parse::{ETHERNET_LEN, ETHERTYPE, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_LEN, IPV6_LEN, TCP_LEN},
    tunnel::{IPV4_INSIDE, IPV6_INSIDE},
};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;

/// Length of the header that all messages of ICMP begin with, in both families.
const ICMP_LEN: u16 = 8;
/// Length of the fragment header of IPv6.
const FRAGMENT_LEN: u16 = 8;

/// Bits of the type of service that tell of congestion (RFC 3168).
const ECN: u8 = 0b11;

/// Who may send what to whom.
pub trait Lists {
    /// Whether this source may wrap packets.
    fn may_wrap(&self, source: Addr) -> bool;
    /// Whether wrapped packets for this host come to this address.
    fn is_own(&self, destination: Addr) -> bool;
    /// Whether packets inside may be for this address.
    fn is_vip(&self, destination: Addr) -> bool;
}

/// What an outer header says.
#[derive(Clone, Copy)]
struct Outer {
    inside: u8,
    tos: u8,
    /// Length of the packet inside.
    len: u16,
}

/// What is to be written when the outer header is off.
#[derive(Clone, Copy)]
struct Inner {
    ethertype: [u8; 2],
    /// The bytes of the IP header that hold the bits for congestion, at offset 0 of it.
    first: [u8; 2],
    /// IPv4 checksum; zero in IPv6.
    checksum: u16,
    /// Whether they differ from what is there.
    changed: bool,
}

/// Handles one frame: afterwards it is either unwrapped or unchanged.
#[inline(always)]
pub fn decapsulate(packet: &mut impl Packet, lists: &impl Lists) -> DecapVerdict {
    let unwrapped = match packet.load(ETHERTYPE) {
        Some(ETHERTYPE_IPV4) => from_ipv4(packet, lists),
        Some(ETHERTYPE_IPV6) => from_ipv6(packet, lists),
        _ => Err(DecapVerdict::NotTunnelled),
    };
    match unwrapped {
        Ok(()) => DecapVerdict::Unwrapped,
        Err(verdict) => verdict,
    }
}

#[inline(always)]
fn from_ipv4(packet: &mut impl Packet, lists: &impl Lists) -> Result<(), DecapVerdict> {
    let ip: Ipv4 = packet.load(ETHERNET_LEN).ok_or(DecapVerdict::NotTunnelled)?;
    if !is_tunnel(ip.protocol) {
        return Err(DecapVerdict::NotTunnelled);
    }
    match ip.version_length {
        0x45 => {}
        0x46..=0x4f => return Err(DecapVerdict::OuterOptions),
        _ => return Err(DecapVerdict::BadOuter),
    }
    if u16::from_be_bytes(ip.fragment) & 0x3fff != 0 {
        return Err(DecapVerdict::OuterFragment);
    }
    let total_len = u16::from_be_bytes(ip.total_len);
    let len = total_len.checked_sub(IPV4_LEN as u16).ok_or(DecapVerdict::BadOuter)?;
    if ip.sum().fold() != 0xffff || !packet.holds(ETHERNET_LEN + bounded(total_len)) {
        return Err(DecapVerdict::BadOuter);
    }
    admit(Addr::from_v4_word(ip.source), Addr::from_v4_word(ip.destination), lists)?;
    unwrap::<IPV4_LEN>(packet, Outer { inside: ip.protocol, tos: ip.tos, len }, lists)
}

#[inline(always)]
fn from_ipv6(packet: &mut impl Packet, lists: &impl Lists) -> Result<(), DecapVerdict> {
    let ip: Ipv6 = packet.load(ETHERNET_LEN).ok_or(DecapVerdict::NotTunnelled)?;
    if !is_tunnel(ip.next_header) {
        return Err(DecapVerdict::NotTunnelled);
    }
    let [version_class, class_label, ..] = ip.version_class_label;
    let len = u16::from_be_bytes(ip.payload_len);
    if version_class >> 4 != 6 || !packet.holds(ETHERNET_LEN + IPV6_LEN + bounded(len)) {
        return Err(DecapVerdict::BadOuter);
    }
    admit(Addr::from_words(ip.source), Addr::from_words(ip.destination), lists)?;
    let tos = version_class << 4 | class_label >> 4;
    unwrap::<IPV6_LEN>(packet, Outer { inside: ip.next_header, tos, len }, lists)
}

/// A length that can be added to a pointer. The verifier of older kernels, 6.12 among them, knows no
/// bounds of a number whose bytes were swapped; of one out of memory it knows the size.
#[inline(always)]
fn bounded(len: u16) -> usize {
    core::hint::black_box(len).into()
}

#[inline(always)]
const fn is_tunnel(protocol: u8) -> bool {
    protocol == IPV4_INSIDE || protocol == IPV6_INSIDE
}

#[inline(always)]
fn admit(source: Addr, destination: Addr, lists: &impl Lists) -> Result<(), DecapVerdict> {
    if !lists.is_own(destination) {
        return Err(DecapVerdict::NotToUs);
    }
    if lists.may_wrap(source) { Ok(()) } else { Err(DecapVerdict::ForeignSource) }
}

/// Looks at the packet behind `OUTER` bytes of outer header, then takes them off. The Ethernet
/// addresses stay.
#[inline(always)]
fn unwrap<const OUTER: usize>(
    packet: &mut impl Packet,
    outer: Outer,
    lists: &impl Lists,
) -> Result<(), DecapVerdict> {
    let inner = if outer.inside == IPV4_INSIDE {
        ipv4_inside::<OUTER>(packet, outer, lists)?
    } else {
        ipv6_inside::<OUTER>(packet, outer, lists)?
    };
    let ethernet: Ethernet = packet.load(0).ok_or(DecapVerdict::BadOuter)?;
    packet.shrink(OUTER).ok_or(DecapVerdict::BadOuter)?;
    write(packet, ethernet, &inner).ok_or(DecapVerdict::BadInner)
}

/// `None` if the frame is shorter than what was looked at, which cannot happen.
#[inline(always)]
fn write(packet: &mut impl Packet, ethernet: Ethernet, inner: &Inner) -> Option<()> {
    packet.store(0, ethernet)?;
    packet.store(ETHERTYPE, inner.ethertype)?;
    if inner.changed {
        packet.store(ETHERNET_LEN, inner.first)?;
        if inner.ethertype == ETHERTYPE_IPV4 {
            packet.store(ETHERNET_LEN + 10, inner.checksum.to_ne_bytes())?;
        }
    }
    Some(())
}

#[inline(always)]
fn ipv4_inside<const OUTER: usize>(
    packet: &impl Packet,
    outer: Outer,
    lists: &impl Lists,
) -> Result<Inner, DecapVerdict> {
    let ip: Ipv4 = packet.load(ETHERNET_LEN + OUTER).ok_or(DecapVerdict::BadInner)?;
    let whole = ip.version_length == 0x45
        && u16::from_be_bytes(ip.total_len) == outer.len
        && ip.sum().fold() == 0xffff;
    if !whole {
        return Err(DecapVerdict::BadInner);
    }
    let header_len = match ip.protocol {
        // Of a later fragment the beginning is elsewhere.
        TCP | ICMP if u16::from_be_bytes(ip.fragment) & 0x1fff != 0 => 0,
        TCP => TCP_LEN as u16,
        ICMP => ICMP_LEN,
        _ => return Err(DecapVerdict::InnerProtocol),
    };
    if outer.len < IPV4_LEN as u16 + header_len {
        return Err(DecapVerdict::BadInner);
    }
    if !lists.is_vip(Addr::from_v4_word(ip.destination)) {
        return Err(DecapVerdict::NotToVip);
    }
    let ecn = congestion(ip.tos, outer.tos).ok_or(DecapVerdict::CongestionUnheard)?;
    let tos = ip.tos & !ECN | ecn;
    let words = [ip.tos, tos].map(|tos| u16::from_ne_bytes([ip.version_length, tos]));
    Ok(Inner {
        ethertype: ETHERTYPE_IPV4,
        first: [ip.version_length, tos],
        checksum: Sum::ZERO.replace16(words[0], words[1]).update(ip.checksum),
        changed: tos != ip.tos,
    })
}

#[inline(always)]
fn ipv6_inside<const OUTER: usize>(
    packet: &impl Packet,
    outer: Outer,
    lists: &impl Lists,
) -> Result<Inner, DecapVerdict> {
    let ip: Ipv6 = packet.load(ETHERNET_LEN + OUTER).ok_or(DecapVerdict::BadInner)?;
    let [version_class, class_label, ..] = ip.version_class_label;
    let payload_len = u16::from_be_bytes(ip.payload_len);
    let whole =
        version_class >> 4 == 6 && outer.len.checked_sub(IPV6_LEN as u16) == Some(payload_len);
    if !whole {
        return Err(DecapVerdict::BadInner);
    }
    let header_len = match ip.next_header {
        FRAGMENT => FRAGMENT_LEN + fragment_inside::<OUTER>(packet)?,
        protocol => header_len(protocol)?,
    };
    if payload_len < header_len {
        return Err(DecapVerdict::BadInner);
    }
    if !lists.is_vip(Addr::from_words(ip.destination)) {
        return Err(DecapVerdict::NotToVip);
    }
    let ecn = congestion(class_label >> 4, outer.tos).ok_or(DecapVerdict::CongestionUnheard)?;
    let marked = class_label & !(ECN << 4) | ecn << 4;
    Ok(Inner {
        ethertype: ETHERTYPE_IPV6,
        first: [version_class, marked],
        checksum: 0,
        changed: marked != class_label,
    })
}

/// How long the header behind a fragment header of IPv6 must be.
#[inline(always)]
fn fragment_inside<const OUTER: usize>(packet: &impl Packet) -> Result<u16, DecapVerdict> {
    let at = ETHERNET_LEN + OUTER + IPV6_LEN;
    let [protocol, _, high, low] = packet.load::<[u8; 4]>(at).ok_or(DecapVerdict::BadInner)?;
    let len = header_len(protocol)?;
    // The offset; three bits of flags follow.
    Ok(if u16::from_be_bytes([high, low]) >> 3 == 0 { len } else { 0 })
}

#[inline(always)]
const fn header_len(protocol: u8) -> Result<u16, DecapVerdict> {
    match protocol {
        TCP => Ok(TCP_LEN as u16),
        ICMPV6 => Ok(ICMP_LEN),
        _ => Err(DecapVerdict::InnerProtocol),
    }
}

/// The bits for congestion of the packet inside, after what routers have marked on the outer header;
/// `None` if the packet is to be lost instead (RFC 6040, figure 4).
#[inline(always)]
const fn congestion(inner_tos: u8, outer_tos: u8) -> Option<u8> {
    const NOT_ECT: u8 = 0b00;
    const ECT_1: u8 = 0b01;
    const ECT_0: u8 = 0b10;
    const CE: u8 = 0b11;
    match (inner_tos & ECN, outer_tos & ECN) {
        (NOT_ECT, CE) => None,
        (_, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn congestion_marked_on_the_way_is_told_or_the_packet_is_lost() {
        // RFC 6040, figure 4: rows by the inner bits 00, 10, 01, 11, columns by the outer ones.
        let figure = [
            (0b00, [Some(0b00), Some(0b00), Some(0b00), None]),
            (0b10, [Some(0b10), Some(0b10), Some(0b01), Some(0b11)]),
            (0b01, [Some(0b01), Some(0b01), Some(0b01), Some(0b11)]),
            (0b11, [Some(0b11), Some(0b11), Some(0b11), Some(0b11)]),
        ];
        for (inner, row) in figure {
            for (outer, expected) in [0b00, 0b10, 0b01, 0b11].into_iter().zip(row) {
                assert_eq!(congestion(0xa8 | inner, 0x14 | outer), expected, "{inner} {outer}");
            }
        }
    }
}
