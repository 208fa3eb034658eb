//! Fragments of TCP segments (RFC 791, RFC 8200, section 4.5).
//!
//! Only the first one has ports. It is made whole, goes through the pipeline, becomes a fragment
//! again, and what became of it is noted; the later ones follow it. What their checksum covers is
//! never summed up: the change of the first one's is right for the whole segment. A fragment that
//! comes before its first one follows nothing.

mod first;
mod follow;

use lb_common::{addr::Addr, verdict::Verdict};

use crate::{
    Outcome,
    packet::{Ethernet, Ipv4, Ipv6, Packet},
    parse::{ETHERNET_LEN, ETHERTYPE, ETHERTYPE_IPV4, IPV4_LEN, IPV6_LEN, TCP},
    tables::Tables,
};

pub use first::put_back;

/// Number of segments whose later fragments are awaited; the least recent ones make room.
pub const NOTED: usize = 4096;

/// Length of the fragment header of IPv6.
const HEADER_LEN: usize = 8;
/// IPv4: "more fragments", and the offset.
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// What all fragments of a segment have in common.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FragmentKey {
    source: Addr,
    destination: Addr,
    /// Identification, as it lies; in IPv4 the lower half alone.
    id: u32,
    /// IP protocol number; above it 4 or 6, because an IPv6 address may look like an IPv4 one.
    kind: [u8; 4],
}

/// Where the first fragment went.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Followed {
    /// Addresses of the outermost IP header.
    source: Addr,
    destination: Addr,
    ethernet: Ethernet,
    ifindex: u32,
    /// Flow label of the outermost IPv6 header.
    label: u32,
    /// 1 if it was wrapped into another packet.
    tunnelled: u32,
}

/// What a first fragment was, while the pipeline has it as a whole segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Cut {
    key: FragmentKey,
    /// The fragment header of IPv6, as it lies.
    header: [u32; 2],
    /// Flags, offset and checksum of IPv4, as they lie.
    fragment: [u8; 2],
    checksum: u16,
    pad: u32,
}

const _: () = assert!(size_of::<FragmentKey>() == 40 && size_of::<Followed>() == 56);
const _: () = assert!(size_of::<Cut>() == 56);

/// Says that a first fragment was made whole: the pipeline comes next, and then [`put_back`].
pub(crate) const MADE_WHOLE: Outcome = Outcome { verdict: Verdict::Fragment, detail: 1 };

/// Handles a fragment: makes it whole if it is a first one, else sends it where that one went.
#[inline(always)]
pub fn handle(packet: &mut impl Packet, tables: &impl Tables) -> Outcome {
    let v4 = packet.load(ETHERTYPE) == Some(ETHERTYPE_IPV4);
    let handled = if v4 { ipv4(packet, tables) } else { ipv6(packet, tables) };
    handled.unwrap_or_else(Outcome::of)
}

#[inline(always)]
fn ipv4(packet: &mut impl Packet, tables: &impl Tables) -> Result<Outcome, Verdict> {
    let ip: Ipv4 = packet.load(ETHERNET_LEN).ok_or(Verdict::Fragment)?;
    let ip_len = usize::from(u16::from_be_bytes(ip.total_len));
    let is_good = ip.version_length == 0x45 && ip.protocol == TCP && ip.sum().fold() == 0xffff;
    if !is_good || ip_len <= IPV4_LEN || packet.length() < ETHERNET_LEN + ip_len {
        return Err(Verdict::Fragment);
    }
    let key = FragmentKey {
        source: Addr::from_v4_word(ip.source),
        destination: Addr::from_v4_word(ip.destination),
        id: u16::from_ne_bytes(ip.id).into(),
        kind: [TCP, 4, 0, 0],
    };
    if u16::from_be_bytes(ip.fragment) & OFFSET == 0 {
        first::make_whole_v4(packet, tables, &ip, key).ok_or(Verdict::Fragment)
    } else {
        follow::ipv4(packet, tables, &ip, &key)
    }
}

#[inline(always)]
fn ipv6(packet: &mut impl Packet, tables: &impl Tables) -> Result<Outcome, Verdict> {
    let ip: Ipv6 = packet.load(ETHERNET_LEN).ok_or(Verdict::Fragment)?;
    let header: [u32; 2] = packet.load(ETHERNET_LEN + IPV6_LEN).ok_or(Verdict::Fragment)?;
    let payload_len = usize::from(u16::from_be_bytes(ip.payload_len));
    let [protocol, _, offset_high, offset_low] = header[0].to_ne_bytes();
    let is_good = ip.version_class_label[0] >> 4 == 6 && protocol == TCP;
    let ends = ETHERNET_LEN + IPV6_LEN + payload_len;
    if !is_good || payload_len <= HEADER_LEN || packet.length() < ends {
        return Err(Verdict::Fragment);
    }
    let key = FragmentKey {
        source: Addr::from_words(ip.source),
        destination: Addr::from_words(ip.destination),
        id: header[1],
        kind: [TCP, 6, 0, 0],
    };
    if u16::from_be_bytes([offset_high, offset_low]) >> 3 == 0 {
        first::make_whole_v6(packet, tables, &ip, header, key).ok_or(Verdict::Fragment)
    } else {
        follow::ipv6(packet, tables, &ip, &key)
    }
}
