//! Wraps a packet into another one for the way to its broker: IPv4 or IPv6 in IPv4 (RFC 2003,
//! RFC 4213) or in IPv6 (RFC 2473, without an encapsulation limit).

use lb_common::addr::Addr;

use crate::{
    packet::{Ethernet, Ipv4, Ipv6, Packet},
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

/// Length of the outer header on the way to `destination`.
#[inline(always)]
pub(crate) const fn header_len(destination: Addr) -> u16 {
    (if destination.is_v4() { IPV4_LEN } else { IPV6_LEN }) as u16
}

/// Makes room for an outer header of `header_len` bytes; the Ethernet addresses move to the front.
#[inline(always)]
pub(crate) fn make_room(packet: &mut impl Packet, header_len: u16) -> Option<()> {
    let ethernet: Ethernet = packet.load(0)?;
    packet.grow(header_len.into())?;
    packet.store(0, ethernet)
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
    flow_hash: u64,
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
        let [_, a, b, c] = (flow_hash as u32).to_be_bytes();
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
