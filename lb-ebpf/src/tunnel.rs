//! Wraps a packet into another one for the way to its broker: IPv4 or IPv6 in IPv4 (RFC 2003,
//! RFC 4213) or in IPv6 (RFC 2473, without an encapsulation limit).

use lb_common::addr::Addr;

use crate::{
    packet::{Ipv4, Ipv6, Packet},
    parse::{
        ETHERNET_LEN, ETHERTYPE, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_LEN, IPV6_LEN, IpVersion,
        Segment,
    },
    rewrite,
};

/// IP in IP: protocol numbers of the packet inside.
pub(crate) const IPV4_INSIDE: u8 = 4;
pub(crate) const IPV6_INSIDE: u8 = 41;

/// TTL or hop limit of the outer header.
const TTL: u8 = 64;

/// The protocol inside an IP packet, and its addresses, source first.
#[inline(always)]
pub(crate) fn ip(packet: &impl Packet) -> Option<(u8, [Addr; 2])> {
    match packet.load(ETHERTYPE)? {
        ETHERTYPE_IPV4 => {
            let ip: Ipv4 = packet.load(ETHERNET_LEN)?;
            Some((ip.protocol, [ip.source, ip.destination].map(Addr::from_v4_word)))
        }
        ETHERTYPE_IPV6 => {
            let ip: Ipv6 = packet.load(ETHERNET_LEN)?;
            Some((ip.next_header, [ip.source, ip.destination].map(Addr::from_words)))
        }
        _ => None,
    }
}

/// The outer addresses, source first, of a packet with another one inside.
#[inline(always)]
pub fn ends(packet: &impl Packet) -> Option<[Addr; 2]> {
    let (protocol, ends) = ip(packet)?;
    matches!(protocol, IPV4_INSIDE | IPV6_INSIDE).then_some(ends)
}

/// Length of the outer header on the way to `destination`.
#[inline(always)]
pub(crate) const fn header_len(destination: Addr) -> u16 {
    (if destination.is_v4() { IPV4_LEN } else { IPV6_LEN }) as u16
}

/// Makes room for an outer header of `header_len` bytes; the Ethernet addresses move to the front.
#[inline(always)]
pub(crate) fn make_room(packet: &mut impl Packet, header_len: u16) -> Option<()> {
    let addresses: [u32; 3] = packet.load(0)?;
    packet.grow(header_len.into())?;
    packet.store(0, addresses)
}

/// Writes the outer header into the room made, and takes a hop from the segment inside.
///
/// What the header says of congestion and of priority is what the segment says (RFC 6040, normal
/// mode). `None` if the frame is shorter than what was parsed, which cannot happen.
#[inline(always)]
pub(crate) fn wrap(
    packet: &mut impl Packet,
    segment: &Segment,
    source: Addr,
    destination: Addr,
    flow_hash: u32,
) -> Option<()> {
    let inside = match segment.version {
        IpVersion::V4 => IPV4_INSIDE,
        IpVersion::V6 => IPV6_INSIDE,
    };
    if destination.is_v4() {
        let header = Ipv4 {
            version_length: 0x45,
            tos: segment.tos,
            total_len: (IPV4_LEN as u16 + segment.ip_len).to_be_bytes(),
            // What may not be fragmented needs no identification (RFC 6864).
            id: [0, 0],
            fragment: [0x40, 0],
            ttl: TTL,
            protocol: inside,
            checksum: 0,
            source: source.v4_word(),
            destination: destination.v4_word(),
        };
        packet.store(ETHERTYPE, ETHERTYPE_IPV4)?;
        packet.store(ETHERNET_LEN, Ipv4 { checksum: header.sum().checksum(), ..header })?;
        rewrite::hop::<{ ETHERNET_LEN + IPV4_LEN }>(packet, segment)
    } else {
        let [_, a, b, c] = flow_hash.to_be_bytes();
        let header = Ipv6 {
            version_class_label: [0x60 | segment.tos >> 4, segment.tos << 4 | a & 0xf, b, c],
            payload_len: segment.ip_len.to_be_bytes(),
            next_header: inside,
            hop_limit: TTL,
            source: source.words(),
            destination: destination.words(),
        };
        packet.store(ETHERTYPE, ETHERTYPE_IPV6)?;
        packet.store(ETHERNET_LEN, header)?;
        rewrite::hop::<{ ETHERNET_LEN + IPV6_LEN }>(packet, segment)
    }
}
