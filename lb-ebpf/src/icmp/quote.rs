//! From bytes to the packet that an error is about.

use lb_common::{addr::Addr, verdict::Verdict};

use super::{ICMP_LEN, ICMP_V4, ICMP_V6, QUOTE_V4, QUOTE_V6};
use crate::{
    packet::{Ipv4, Ipv6, Packet, TcpStart},
    parse::{
        ETHERNET_LEN, ETHERTYPE, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_LEN, IPV6_LEN, IpVersion,
        Segment, TCP,
    },
};

/// Protocol numbers.
pub(super) const ICMP: u8 = 1;
pub(super) const ICMP_V6_PROTOCOL: u8 = 58;

/// What of the quoted packet behind its IP header must be there: eight bytes (RFC 792).
const QUOTED_TCP: usize = size_of::<TcpStart>();

/// The segment that would answer the packet that an error is about, with the length, the TTL and
/// the type of service of the error.
#[inline(always)]
pub(super) fn parse(packet: &impl Packet) -> Result<Segment, Verdict> {
    match packet.load(ETHERTYPE) {
        Some(ETHERTYPE_IPV4) => ipv4(packet),
        Some(ETHERTYPE_IPV6) => ipv6(packet),
        _ => Err(Verdict::NotTcp),
    }
}

#[inline(always)]
fn ipv4(packet: &impl Packet) -> Result<Segment, Verdict> {
    let ip: Ipv4 = packet.load(ETHERNET_LEN).ok_or(Verdict::NotTcp)?;
    let fragmented = u16::from_be_bytes(ip.fragment) & 0x3fff != 0;
    if ip.version_length != 0x45 || ip.protocol != ICMP || fragmented || ip.sum().fold() != 0xffff {
        return Err(Verdict::NotTcp);
    }
    // Destination unreachable, with "fragmentation needed"; time exceeded; parameter problem.
    let [kind, _]: [u8; 2] = packet.load(ICMP_V4).ok_or(Verdict::NotTcp)?;
    if !matches!(kind, 3 | 11 | 12) {
        return Err(Verdict::NotTcp);
    }
    let quoted: Ipv4 = packet.load(QUOTE_V4).ok_or(Verdict::IcmpUnrelated)?;
    let tcp: TcpStart = packet.load(QUOTE_V4 + IPV4_LEN).ok_or(Verdict::IcmpUnrelated)?;
    let later_fragment = u16::from_be_bytes(quoted.fragment) & 0x1fff != 0;
    let ip_len = u16::from_be_bytes(ip.total_len);
    if quoted.version_length != 0x45
        || quoted.protocol != TCP
        || later_fragment
        || quoted.source != ip.destination
        || !is_whole(packet, ip_len, IPV4_LEN)
    {
        return Err(Verdict::IcmpUnrelated);
    }
    Ok(Segment {
        version: IpVersion::V4,
        source: Addr::from_v4_word(quoted.destination),
        destination: Addr::from_v4_word(quoted.source),
        ip_len,
        ttl: ip.ttl,
        tos: ip.tos,
        ip_checksum: ip.checksum,
        ..answer(&tcp)
    })
}

#[inline(always)]
fn ipv6(packet: &impl Packet) -> Result<Segment, Verdict> {
    let ip: Ipv6 = packet.load(ETHERNET_LEN).ok_or(Verdict::NotTcp)?;
    if ip.version_class_label[0] >> 4 != 6 || ip.next_header != ICMP_V6_PROTOCOL {
        return Err(Verdict::NotTcp);
    }
    // Destination unreachable; packet too big; time exceeded; parameter problem.
    let [kind, _]: [u8; 2] = packet.load(ICMP_V6).ok_or(Verdict::NotTcp)?;
    if !matches!(kind, 1..=4) {
        return Err(Verdict::NotTcp);
    }
    let quoted: Ipv6 = packet.load(QUOTE_V6).ok_or(Verdict::IcmpUnrelated)?;
    let tcp: TcpStart = packet.load(QUOTE_V6 + IPV6_LEN).ok_or(Verdict::IcmpUnrelated)?;
    let ip_len = u16::from_be_bytes(ip.payload_len).saturating_add(IPV6_LEN as u16);
    if quoted.version_class_label[0] >> 4 != 6
        || quoted.next_header != TCP
        || Addr::from_words(quoted.source) != Addr::from_words(ip.destination)
        || !is_whole(packet, ip_len, IPV6_LEN)
    {
        return Err(Verdict::IcmpUnrelated);
    }
    let [version_class, class_label, ..] = ip.version_class_label;
    Ok(Segment {
        version: IpVersion::V6,
        source: Addr::from_words(quoted.destination),
        destination: Addr::from_words(quoted.source),
        ip_len,
        ttl: ip.hop_limit,
        tos: version_class << 4 | class_label >> 4,
        ..answer(&tcp)
    })
}

/// Whether the frame holds the packet, and the packet, with IP headers of `header_len`, its quote.
#[inline(always)]
fn is_whole(packet: &impl Packet, ip_len: u16, header_len: usize) -> bool {
    let ip_len = ip_len as usize;
    ip_len >= 2 * header_len + ICMP_LEN + QUOTED_TCP && packet.length() >= ETHERNET_LEN + ip_len
}

#[inline(always)]
fn answer(quoted: &TcpStart) -> Segment {
    Segment {
        source_port: quoted.destination_port,
        destination_port: quoted.source_port,
        sequence: u32::from_be(quoted.sequence),
        ..Segment::NONE
    }
}
