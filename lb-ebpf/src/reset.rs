//! Turns a segment into the RST that answers it (RFC 9293, section 3.10.7.1).

use crate::{
    checksum,
    packet::Packet,
    parse::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN, IpVersion, Segment, TCP_LEN, tcp_flags},
};

const TTL: u8 = 64;

/// Replaces the frame by the answer to `segment`, addressed back to where it came from.
///
/// Never call it for a segment that is itself a RST.
#[inline(always)]
pub fn answer(packet: &mut impl Packet, version: IpVersion, segment: &Segment) -> Option<()> {
    let ethernet: [u8; 12] = packet.load(0)?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = ethernet;
    let tcp = tcp_header(version, segment);
    match version {
        IpVersion::V4 => {
            packet.truncate(ETHERNET_LEN + IPV4_LEN + TCP_LEN)?;
            packet.store(ETHERNET_LEN, ipv4_header(segment))?;
            packet.store(ETHERNET_LEN + IPV4_LEN, tcp)?;
        }
        IpVersion::V6 => {
            packet.truncate(ETHERNET_LEN + IPV6_LEN + TCP_LEN)?;
            packet.store(ETHERNET_LEN + 4, [0, TCP_LEN as u8, 6, TTL])?;
            packet.store(ETHERNET_LEN + 8, segment.destination.0)?;
            packet.store(ETHERNET_LEN + 24, segment.source.0)?;
            packet.store(ETHERNET_LEN + IPV6_LEN, tcp)?;
        }
    }
    packet.store(0, [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5])
}

#[inline(always)]
fn ipv4_header(segment: &Segment) -> [u8; IPV4_LEN] {
    let [s0, s1, s2, s3] = segment.destination.v4_octets();
    let [d0, d1, d2, d3] = segment.source.v4_octets();
    let total = (IPV4_LEN + TCP_LEN) as u8;
    let mut header =
        [0x45, 0, 0, total, 0, 0, 0x40, 0, TTL, 6, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3];
    let [high, low] = (!checksum::fold(checksum::sum(&header))).to_ne_bytes();
    header[10] = high;
    header[11] = low;
    header
}

#[inline(always)]
fn tcp_header(version: IpVersion, segment: &Segment) -> [u8; TCP_LEN] {
    let (sequence, acknowledgement, flags) = if segment.has(tcp_flags::ACK) {
        (segment.acknowledgement, 0, tcp_flags::RST)
    } else {
        (0, segment.next_sequence(), tcp_flags::RST | tcp_flags::ACK)
    };
    let [p0, p1] = segment.destination_port;
    let [q0, q1] = segment.source_port;
    let [s0, s1, s2, s3] = sequence.to_be_bytes();
    let [a0, a1, a2, a3] = acknowledgement.to_be_bytes();
    let mut header =
        [p0, p1, q0, q1, s0, s1, s2, s3, a0, a1, a2, a3, 0x50, flags, 0, 0, 0, 0, 0, 0];
    let [high, low] = tcp_checksum(version, segment, &header);
    header[16] = high;
    header[17] = low;
    header
}

/// The checksum of a TCP header without data. IPv4-mapped addresses count with their last four
/// octets only, as in the pseudo header of IPv4 (RFC 9293, section 3.1).
#[inline(always)]
fn tcp_checksum(version: IpVersion, segment: &Segment, header: &[u8; TCP_LEN]) -> [u8; 2] {
    let pseudo = [0, 6, 0, TCP_LEN as u8];
    let (a, b) = (&segment.source, &segment.destination);
    let addresses = match version {
        IpVersion::V4 => checksum::sum(&a.v4_octets()) + checksum::sum(&b.v4_octets()),
        IpVersion::V6 => checksum::sum(&a.0) + checksum::sum(&b.0),
    };
    (!checksum::fold(addresses + checksum::sum(&pseudo) + checksum::sum(header))).to_ne_bytes()
}
