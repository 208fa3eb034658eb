//! Answers what is too big for the way on: "fragmentation needed" (RFC 1191) or "packet too big"
//! (RFC 8201), from the address that the packet was sent to.

use super::{ICMP_LEN, ICMP_V4, ICMP_V6, QUOTE_V4, QUOTE_V6, quote};
use crate::{
    Outcome,
    checksum::Sum,
    packet::{Ethernet, Ipv4, Ipv6, Packet, Tcp},
    parse::{ETHERNET_LEN, ETHERTYPE, ETHERTYPE_IPV4, IPV4_LEN, IPV6_LEN, TCP_LEN},
    tables::Tables,
};
use lb_common::{addr::Addr, verdict::Verdict};

/// Less than these every link takes (RFC 791, RFC 8200), and nobody would believe it.
const LEAST_MTU_V4: u32 = 68;
const LEAST_MTU_V6: u32 = 1280;

const TTL: u8 = 64;
/// "Don't fragment".
const DF: u8 = 0x40;

/// Handles a TCP segment, unchanged so far, of which `mtu` bytes with its IP header would fit.
#[inline(always)]
pub fn answer(packet: &mut impl Packet, tables: &impl Tables, mtu: u32) -> Outcome {
    let v4 = packet.load(ETHERTYPE) == Some(ETHERTYPE_IPV4);
    let answered = if v4 { ipv4(packet, tables, mtu) } else { ipv6(packet, tables, mtu) };
    Outcome::of(if answered.is_some() { Verdict::TooBigAnswered } else { Verdict::TooBig })
}

/// Quotes what must be quoted: the header, and eight bytes (RFC 792).
#[inline(always)]
fn ipv4(packet: &mut impl Packet, tables: &impl Tables, mtu: u32) -> Option<()> {
    let ip: Ipv4 = packet.load(ETHERNET_LEN)?;
    let behind: [u32; 2] = packet.load(ETHERNET_LEN + IPV4_LEN)?;
    if mtu < LEAST_MTU_V4 || ip.fragment[0] & DF == 0 || !tables.may_answer() {
        return None;
    }
    packet.truncate(QUOTE_V4 + IPV4_LEN + size_of_val(&behind))?;
    turn_round(packet)?;
    let header = Ipv4 {
        version_length: 0x45,
        tos: 0,
        total_len: ((2 * IPV4_LEN + ICMP_LEN + size_of_val(&behind)) as u16).to_be_bytes(),
        id: [0, 0],
        fragment: [DF, 0],
        ttl: TTL,
        protocol: quote::ICMP,
        checksum: 0,
        source: ip.destination,
        destination: ip.source,
    };
    packet.store(ETHERNET_LEN, Ipv4 { checksum: header.sum().checksum(), ..header })?;
    let [first, second] = behind;
    // Destination unreachable, fragmentation needed.
    store_icmp::<ICMP_V4>(packet, [3, 4], mtu, ip.sum().add32(first).add32(second))?;
    packet.store(QUOTE_V4, ip)?;
    packet.store(QUOTE_V4 + IPV4_LEN, behind)
}

/// Quotes the headers: TCP needs no more, and a sum over a variable length no verifier takes.
#[inline(always)]
fn ipv6(packet: &mut impl Packet, tables: &impl Tables, mtu: u32) -> Option<()> {
    const QUOTED: usize = IPV6_LEN + TCP_LEN;
    let ip: Ipv6 = packet.load(ETHERNET_LEN)?;
    let tcp: Tcp = packet.load(ETHERNET_LEN + IPV6_LEN)?;
    if mtu < LEAST_MTU_V6 || !tables.may_answer() {
        return None;
    }
    packet.truncate(QUOTE_V6 + QUOTED)?;
    turn_round(packet)?;
    let len = (ICMP_LEN + QUOTED) as u16;
    let header = Ipv6 {
        version_class_label: [0x60, 0, 0, 0],
        payload_len: len.to_be_bytes(),
        next_header: quote::ICMP_V6_PROTOCOL,
        hop_limit: TTL,
        source: ip.destination,
        destination: ip.source,
    };
    packet.store(ETHERNET_LEN, header)?;
    let pseudo = Sum::ZERO
        .add_addr(Addr::from_words(ip.source))
        .add_addr(Addr::from_words(ip.destination))
        .add16(len.to_be())
        .add16(u16::from_ne_bytes([0, quote::ICMP_V6_PROTOCOL]));
    // Packet too big.
    store_icmp::<ICMP_V6>(packet, [2, 0], mtu, pseudo.add(ip.sum()).add(tcp.sum()))?;
    packet.store(QUOTE_V6, ip)?;
    packet.store(QUOTE_V6 + IPV6_LEN, tcp)
}

/// The header of the answer at `AT`; `rest` sums up what else its checksum covers.
#[inline(always)]
fn store_icmp<const AT: usize>(
    packet: &mut impl Packet,
    kind: [u8; 2],
    mtu: u32,
    rest: Sum,
) -> Option<()> {
    let kind = u16::from_ne_bytes(kind);
    // In IPv4 the lower half of the word, of which the upper one is zero.
    let mtu = mtu.to_be();
    let checksum = rest.add16(kind).add32(mtu).checksum();
    packet.store(AT, [kind, checksum])?;
    packet.store(AT + 4, mtu.to_ne_bytes())
}

/// Sends the frame back where it came from.
#[inline(always)]
fn turn_round(packet: &mut impl Packet) -> Option<()> {
    let Ethernet { destination, source } = packet.load(0)?;
    packet.store(0, Ethernet { destination: source, source: destination })
}
