//! Writes new addresses into a segment, once, with its checksums kept right.

use crate::{
    checksum::Sum,
    packet::Packet,
    parse::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN, IpVersion, Segment, TCP_LEN},
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

/// A kind of packet that has addresses at several places.
pub(crate) trait Translate {
    /// Gives the packet of `segment` the addresses of `to`, and one hop less to live.
    fn translate(packet: &mut impl Packet, segment: &Segment, to: &Translation) -> Option<()>;
}

/// The kind that a [`Segment`] is.
pub(crate) struct TcpSegment;

impl Translate for TcpSegment {
    #[inline(always)]
    fn translate(packet: &mut impl Packet, segment: &Segment, to: &Translation) -> Option<()> {
        translate(packet, segment, to)
    }
}

/// Gives a segment the addresses of `to`, and one hop less to live.
///
/// `None` if the frame is shorter than what was parsed, which cannot happen.
#[inline(always)]
pub fn translate(packet: &mut impl Packet, segment: &Segment, to: &Translation) -> Option<()> {
    match segment.version {
        IpVersion::V4 => ipv4(packet, segment, to),
        IpVersion::V6 => ipv6(packet, segment, to),
    }
}

/// Gives a segment, whose IP header lies at offset `IP`, one hop less to live.
///
/// `None` if the frame is shorter than what was parsed, which cannot happen.
#[inline(always)]
pub fn hop<const IP: usize>(packet: &mut impl Packet, segment: &Segment) -> Option<()> {
    match segment.version {
        IpVersion::V4 => {
            let (ttl, change) = hop_ipv4(segment, Sum::ZERO);
            packet.store(IP + 8, ttl)?;
            packet.store(IP + 10, change.update(segment.ip_checksum).to_ne_bytes())
        }
        IpVersion::V6 => packet.store(IP + 7, segment.ttl - 1),
    }
}

/// The TTL after this hop, and the change of the header's checksum, added to `change`.
#[inline(always)]
pub(crate) const fn hop_ipv4(segment: &Segment, change: Sum) -> (u8, Sum) {
    let ttl = segment.ttl - 1;
    // TTL and protocol share a word of the header; the protocol is the same in both.
    let (old, new) = (u16::from_ne_bytes([segment.ttl, 0]), u16::from_ne_bytes([ttl, 0]));
    (ttl, change.replace16(old, new))
}

/// The lengths of all headers of a segment whose IP header has neither options nor extensions.
const HEADERS_V4: usize = ETHERNET_LEN + IPV4_LEN + TCP_LEN;
const HEADERS_V6: usize = ETHERNET_LEN + IPV6_LEN + TCP_LEN;

#[inline(always)]
fn ipv4(packet: &mut impl Packet, segment: &Segment, to: &Translation) -> Option<()> {
    let headers = packet.front::<HEADERS_V4>()?;
    let addresses = addresses_ipv4(headers, segment, to.source, to.destination);
    tcp::<{ ETHERNET_LEN + IPV4_LEN }>(headers, segment, to, addresses);
    Some(())
}

#[inline(always)]
fn ipv6(packet: &mut impl Packet, segment: &Segment, to: &Translation) -> Option<()> {
    let headers = packet.front::<HEADERS_V6>()?;
    let addresses = addresses_ipv6(headers, segment, to.source, to.destination);
    tcp::<{ ETHERNET_LEN + IPV6_LEN }>(headers, segment, to, addresses);
    Some(())
}

/// Gives a packet these addresses in its IP header, and one hop less to live.
#[inline(always)]
pub(crate) fn addresses(
    packet: &mut impl Packet,
    segment: &Segment,
    source: Addr,
    destination: Addr,
) -> Option<()> {
    match segment.version {
        IpVersion::V4 => {
            let headers = packet.front::<{ ETHERNET_LEN + IPV4_LEN }>()?;
            addresses_ipv4(headers, segment, source, destination);
        }
        IpVersion::V6 => {
            let headers = packet.front::<{ ETHERNET_LEN + IPV6_LEN }>()?;
            addresses_ipv6(headers, segment, source, destination);
        }
    }
    Some(())
}

/// The change of the pseudo header.
#[inline(always)]
fn addresses_ipv4(headers: &mut [u8], segment: &Segment, source: Addr, destination: Addr) -> Sum {
    let (source, destination) = (source.v4_word(), destination.v4_word());
    let addresses = Sum::ZERO
        .replace32(segment.source.v4_word(), source)
        .replace32(segment.destination.v4_word(), destination);
    let (ttl, change) = hop_ipv4(segment, addresses);
    headers[ETHERNET_LEN + 8] = ttl;
    put(headers, ETHERNET_LEN + 10, change.update(segment.ip_checksum).to_ne_bytes());
    put(headers, ETHERNET_LEN + 12, source.to_ne_bytes());
    put(headers, ETHERNET_LEN + 16, destination.to_ne_bytes());
    addresses
}

/// As [`addresses_ipv4`].
#[inline(always)]
fn addresses_ipv6(headers: &mut [u8], segment: &Segment, source: Addr, destination: Addr) -> Sum {
    let ([a, b], [c, d]) = (source.words(), destination.words());
    headers[ETHERNET_LEN + 7] = segment.ttl - 1;
    put(headers, ETHERNET_LEN + 8, a.to_ne_bytes());
    put(headers, ETHERNET_LEN + 16, b.to_ne_bytes());
    put(headers, ETHERNET_LEN + 24, c.to_ne_bytes());
    put(headers, ETHERNET_LEN + 32, d.to_ne_bytes());
    let change = Sum::ZERO.replace_addr(segment.source, source);
    change.replace_addr(segment.destination, destination)
}

/// Ports and checksum of the TCP header at offset `TCP`; `addresses` is the change of the pseudo
/// header.
#[inline(always)]
fn tcp<const TCP: usize>(headers: &mut [u8], segment: &Segment, to: &Translation, addresses: Sum) {
    let [source, destination] = [to.source_port, to.destination_port].map(u16::from_ne_bytes);
    let checksum = addresses
        .replace16(u16::from_ne_bytes(segment.source_port), source)
        .replace16(u16::from_ne_bytes(segment.destination_port), destination)
        .update(segment.tcp_checksum);
    put(headers, TCP, source.to_ne_bytes());
    put(headers, TCP + 2, destination.to_ne_bytes());
    put(headers, TCP + 16, checksum.to_ne_bytes());
}

/// Writes bytes at a constant offset of headers whose length the caller knows: no check is left.
#[inline(always)]
fn put<const N: usize>(headers: &mut [u8], offset: usize, bytes: [u8; N]) {
    headers[offset..offset + N].copy_from_slice(&bytes);
}
