//! Writes new addresses into a segment, once, with its checksums kept right.

use crate::{
    checksum::Delta,
    packet::Packet,
    parse::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN, IpVersion, Segment},
};
use lb_common::addr::Addr;

/// The addresses and ports that a segment carries when it leaves. Ports are big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// New source address.
    pub source: Addr,
    /// New source port.
    pub source_port: [u8; 2],
    /// New destination address.
    pub destination: Addr,
    /// New destination port.
    pub destination_port: [u8; 2],
}

/// Gives a segment the addresses of `to`, one hop less to live, and, if known, the Ethernet
/// addresses `ethernet` (destination, then source).
///
/// `None` if the frame is shorter than what was parsed, which cannot happen.
#[inline(always)]
pub fn apply(
    packet: &mut impl Packet,
    version: IpVersion,
    segment: &Segment,
    to: &Translation,
    ethernet: Option<[u8; 12]>,
) -> Option<()> {
    match version {
        IpVersion::V4 => ipv4(packet, segment, to)?,
        IpVersion::V6 => ipv6(packet, segment, to)?,
    }
    if let Some(addresses) = ethernet {
        packet.store(0, addresses)?;
    }
    Some(())
}

#[inline(always)]
fn ipv4(packet: &mut impl Packet, segment: &Segment, to: &Translation) -> Option<()> {
    let old = concat(segment.source.v4_octets(), segment.destination.v4_octets());
    let new = concat(to.source.v4_octets(), to.destination.v4_octets());
    let addresses = Delta::NONE.replace(&old, &new);
    let ttl = segment.ttl - 1;
    // TTL and protocol (TCP, 6) share a word of the header.
    let ip_checksum = addresses.replace(&[segment.ttl, 6], &[ttl, 6]).apply(segment.ip_checksum);
    packet.store(ETHERNET_LEN + 8, [ttl, 6, ip_checksum[0], ip_checksum[1]])?;
    packet.store(ETHERNET_LEN + 12, new)?;
    tcp::<IPV4_LEN>(packet, segment, to, addresses)
}

#[inline(always)]
fn ipv6(packet: &mut impl Packet, segment: &Segment, to: &Translation) -> Option<()> {
    let addresses = Delta::NONE
        .replace(&segment.source.0, &to.source.0)
        .replace(&segment.destination.0, &to.destination.0);
    packet.store(ETHERNET_LEN + 7, [segment.ttl - 1])?;
    packet.store(ETHERNET_LEN + 8, to.source.0)?;
    packet.store(ETHERNET_LEN + 24, to.destination.0)?;
    tcp::<IPV6_LEN>(packet, segment, to, addresses)
}

/// Ports and checksum of the TCP header; `addresses` is the change of the pseudo header.
#[inline(always)]
fn tcp<const IP: usize>(
    packet: &mut impl Packet,
    segment: &Segment,
    to: &Translation,
    addresses: Delta,
) -> Option<()> {
    let old = ports(segment.source_port, segment.destination_port);
    let new = ports(to.source_port, to.destination_port);
    let checksum = addresses.replace(&old, &new).apply(segment.tcp_checksum);
    packet.store(ETHERNET_LEN + IP, new)?;
    packet.store(ETHERNET_LEN + IP + 16, checksum)
}

#[inline(always)]
const fn ports(source: [u8; 2], destination: [u8; 2]) -> [u8; 4] {
    [source[0], source[1], destination[0], destination[1]]
}

#[inline(always)]
const fn concat(a: [u8; 4], b: [u8; 4]) -> [u8; 8] {
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]
}
