//! Turns a segment into the RST that answers it (RFC 9293, section 3.10.7.1).

use crate::{
    checksum::Sum,
    packet::{Ethernet, Ipv4, Packet, Tcp},
    parse::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN, IpVersion, Segment, TCP_LEN, tcp_flags},
};

const TTL: u8 = 64;
const TCP: u8 = 6;

/// Replaces the frame by the answer to `segment`, addressed back to where it came from.
///
/// Never call it for a segment that is itself a RST.
#[inline(always)]
pub fn answer(packet: &mut impl Packet, segment: &Segment) -> Option<()> {
    let Ethernet { destination, source } = packet.load(0)?;
    let tcp = tcp_header(segment);
    match segment.version {
        IpVersion::V4 => {
            packet.truncate(ETHERNET_LEN + IPV4_LEN + TCP_LEN)?;
            packet.store(ETHERNET_LEN, ipv4_header(segment))?;
            packet.store(ETHERNET_LEN + IPV4_LEN, tcp)?;
        }
        IpVersion::V6 => {
            packet.truncate(ETHERNET_LEN + IPV6_LEN + TCP_LEN)?;
            packet.store(ETHERNET_LEN + 4, [0, TCP_LEN as u8, TCP, TTL])?;
            packet.store(ETHERNET_LEN + 8, segment.destination.words())?;
            packet.store(ETHERNET_LEN + 24, segment.source.words())?;
            packet.store(ETHERNET_LEN + IPV6_LEN, tcp)?;
        }
    }
    packet.store(0, Ethernet { destination: source, source: destination })
}

#[inline(always)]
fn ipv4_header(segment: &Segment) -> Ipv4 {
    let header = Ipv4 {
        version_length: 0x45,
        tos: 0,
        total_len: ((IPV4_LEN + TCP_LEN) as u16).to_be_bytes(),
        id: [0, 0],
        // Don't fragment.
        fragment: [0x40, 0],
        ttl: TTL,
        protocol: TCP,
        checksum: 0,
        source: segment.destination.v4_word(),
        destination: segment.source.v4_word(),
    };
    Ipv4 { checksum: header.sum().checksum(), ..header }
}

#[inline(always)]
fn tcp_header(segment: &Segment) -> Tcp {
    let (sequence, acknowledgement, flags) = if segment.has(tcp_flags::ACK) {
        (segment.acknowledgement, 0, tcp_flags::RST)
    } else {
        (0, segment.next_sequence(), tcp_flags::RST | tcp_flags::ACK)
    };
    let offset = (TCP_LEN as u8 / 4) << 4;
    let header = Sum::ZERO
        .add16(u16::from_ne_bytes(segment.destination_port))
        .add16(u16::from_ne_bytes(segment.source_port))
        .add32(sequence.to_be())
        .add32(acknowledgement.to_be())
        .add16(u16::from_ne_bytes([offset, flags]));
    // The pseudo header: addresses, protocol, length. An IPv4-mapped address counts with its last
    // word only, as in the pseudo header of IPv4.
    let pseudo = header.add16(u16::from_ne_bytes([0, TCP])).add16((TCP_LEN as u16).to_be());
    let sum = match segment.version {
        IpVersion::V4 => {
            pseudo.add32(segment.source.v4_word()).add32(segment.destination.v4_word())
        }
        IpVersion::V6 => pseudo.add_addr(segment.source).add_addr(segment.destination),
    };
    Tcp {
        source_port: segment.destination_port,
        destination_port: segment.source_port,
        sequence: sequence.to_be(),
        acknowledgement: acknowledgement.to_be(),
        offset,
        flags,
        window: 0,
        checksum: sum.checksum(),
        urgent: 0,
    }
}
