//! Writes new addresses into an error of mode `nat`, outside and inside (RFC 5508, section 4.2).
//!
//! The quoted packet went the other way: its source is where the error goes to. Who sent the error
//! is not kept: the receiver knows nobody but whom it talks to.

use lb_common::addr::Addr;

use super::{ICMP_V4, ICMP_V6, QUOTE_V4, QUOTE_V6};
use crate::{
    checksum::Sum,
    packet::{Ipv4, Ipv6, Packet},
    parse::{ETHERNET_LEN, IPV4_LEN, IPV6_LEN, IpVersion, Segment},
    rewrite::{Translate, Translation, hop_ipv4},
};

/// Where the checksum lies in an ICMP header, and in a TCP header.
const ICMP_CHECKSUM: usize = 2;
const TCP_CHECKSUM: usize = 16;

/// The kind that an error is, of which a [`Segment`] says what would answer the quoted packet.
pub(super) struct IcmpError;

impl Translate for IcmpError {
    #[inline(always)]
    fn translate(packet: &mut impl Packet, about: &Segment, to: &Translation) -> Option<()> {
        match about.version {
            IpVersion::V4 => ipv4(packet, about, to),
            IpVersion::V6 => ipv6(packet, about, to),
        }
    }
}

#[inline(always)]
fn ipv4(packet: &mut impl Packet, about: &Segment, to: &Translation) -> Option<()> {
    let outer: Ipv4 = packet.load(ETHERNET_LEN)?;
    let quoted: Ipv4 = packet.load(QUOTE_V4)?;
    let (source, destination) = (to.source.v4_word(), to.destination.v4_word());
    let change =
        Sum::ZERO.replace32(outer.source, source).replace32(outer.destination, destination);
    let (ttl, change) = hop_ipv4(about, change);
    packet.store(ETHERNET_LEN + 8, ttl)?;
    packet.store(ETHERNET_LEN + 10, change.update(outer.checksum).to_ne_bytes())?;
    packet.store(ETHERNET_LEN + 12, [source, destination])?;

    let addresses =
        Sum::ZERO.replace32(quoted.source, destination).replace32(quoted.destination, source);
    let checksum = addresses.update(quoted.checksum);
    packet.store(QUOTE_V4 + 10, checksum.to_ne_bytes())?;
    packet.store(QUOTE_V4 + 12, [destination, source])?;
    let icmp = addresses.replace16(quoted.checksum, checksum);
    transport::<ICMP_V4, { QUOTE_V4 + IPV4_LEN }>(packet, about, to, addresses, icmp)
}

#[inline(always)]
fn ipv6(packet: &mut impl Packet, about: &Segment, to: &Translation) -> Option<()> {
    let outer: Ipv6 = packet.load(ETHERNET_LEN)?;
    packet.store(ETHERNET_LEN + 7, about.ttl - 1)?;
    packet.store(ETHERNET_LEN + 8, to.source.words())?;
    packet.store(ETHERNET_LEN + 24, to.destination.words())?;
    packet.store(QUOTE_V6 + 8, to.destination.words())?;
    packet.store(QUOTE_V6 + 24, to.source.words())?;
    let addresses = Sum::ZERO
        .replace_addr(about.destination, to.destination)
        .replace_addr(about.source, to.source);
    // The pseudo header of ICMPv6 has the outer addresses; of these the destination is the quoted
    // source.
    let [a, b] = outer.source;
    let icmp = addresses
        .replace_addr(Addr::from_words([a, b]), to.source)
        .replace_addr(about.destination, to.destination);
    transport::<ICMP_V6, { QUOTE_V6 + IPV6_LEN }>(packet, about, to, addresses, icmp)
}

/// The ports of the quoted packet, its checksum if that is quoted, and the checksum of the error,
/// of which `icmp` is the change so far; `addresses` is the change of the quoted pseudo header.
#[inline(always)]
fn transport<const ICMP: usize, const TCP: usize>(
    packet: &mut impl Packet,
    about: &Segment,
    to: &Translation,
    addresses: Sum,
    icmp: Sum,
) -> Option<()> {
    let [source, destination] = [to.destination_port, to.source_port].map(u16::from_ne_bytes);
    let ports = |sum: Sum| {
        sum.replace16(u16::from_ne_bytes(about.destination_port), source)
            .replace16(u16::from_ne_bytes(about.source_port), destination)
    };
    packet.store(TCP, [source, destination])?;
    let mut icmp = ports(icmp);
    let quoted: Option<[u8; 2]> = packet.load(TCP + TCP_CHECKSUM);
    if let Some(quoted) = quoted
        && usize::from(about.ip_len) >= TCP + TCP_CHECKSUM + 2 - ETHERNET_LEN
    {
        let quoted = u16::from_ne_bytes(quoted);
        let checksum = ports(addresses).update(quoted);
        packet.store(TCP + TCP_CHECKSUM, checksum.to_ne_bytes())?;
        icmp = icmp.replace16(quoted, checksum);
    }
    let checksum: [u8; 2] = packet.load(ICMP + ICMP_CHECKSUM)?;
    let checksum = icmp.update(u16::from_ne_bytes(checksum));
    packet.store(ICMP + ICMP_CHECKSUM, checksum.to_ne_bytes())
}
