//! A first fragment: made whole before the pipeline, and a fragment again behind it.

use lb_common::{
    addr::Addr,
    verdict::{Action, Verdict},
};

use super::{Cut, Followed, FragmentKey, HEADER_LEN, MADE_WHOLE, MORE, OFFSET};
use crate::{
    Outcome,
    checksum::Sum,
    packet::{Ethernet, Ipv4, Ipv6, Packet},
    parse::{
        ETHERNET_LEN, ETHERTYPE, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_LEN, IPV6_FRAGMENT, IPV6_LEN,
        TCP,
    },
    tables::Tables,
    tunnel::{IPV4_INSIDE, IPV6_INSIDE},
};

/// Clears what says that there are more fragments.
#[inline(always)]
pub(super) fn make_whole_v4(
    packet: &mut impl Packet,
    tables: &impl Tables,
    ip: &Ipv4,
    key: FragmentKey,
) -> Option<Outcome> {
    tables.keep_cut(Cut { key, fragment: ip.fragment, checksum: ip.checksum, ..Cut::default() })?;
    let whole = whole(ip.fragment);
    let change = Sum::ZERO.replace16(u16::from_ne_bytes(ip.fragment), u16::from_ne_bytes(whole));
    packet.store(ETHERNET_LEN + 6, whole)?;
    packet.store(ETHERNET_LEN + 10, change.update(ip.checksum).to_ne_bytes())?;
    Some(MADE_WHOLE)
}

#[inline(always)]
const fn whole(fragment: [u8; 2]) -> [u8; 2] {
    (u16::from_be_bytes(fragment) & !(MORE | OFFSET)).to_be_bytes()
}

/// Takes the fragment header away.
#[inline(always)]
pub(super) fn make_whole_v6(
    packet: &mut impl Packet,
    tables: &impl Tables,
    ip: &Ipv6,
    header: [u32; 2],
    key: FragmentKey,
) -> Option<Outcome> {
    tables.keep_cut(Cut { key, header, ..Cut::default() })?;
    let ethernet: Ethernet = packet.load(0)?;
    let payload_len = u16::from_be_bytes(ip.payload_len).wrapping_sub(HEADER_LEN as u16);
    packet.shrink(HEADER_LEN)?;
    packet.store(0, ethernet)?;
    packet.store(ETHERTYPE, ETHERTYPE_IPV6)?;
    let payload_len = payload_len.to_be_bytes();
    packet.store(ETHERNET_LEN, Ipv6 { payload_len, next_header: TCP, ..*ip })?;
    Some(MADE_WHOLE)
}

/// Makes a fragment again of what the pipeline was given as a whole segment, and notes where it
/// goes.
#[inline(always)]
pub fn put_back(packet: &mut impl Packet, tables: &impl Tables, outcome: Outcome) -> Outcome {
    if outcome.verdict.action() == Action::Reply {
        return outcome;
    }
    let Some(cut) = tables.kept_cut() else { return Outcome::of(Verdict::Inconsistent) };
    let is_v4 = cut.key.kind[1] == 4;
    let fragmented = if is_v4 { fragment_v4(packet, &cut) } else { fragment_v6(packet, &cut) };
    let Some(tunnelled) = fragmented else { return Outcome::of(Verdict::NoHeadroom) };
    if outcome.verdict.action() == Action::Forward {
        note(packet, tables, &cut, outcome.detail, tunnelled);
    }
    outcome
}

/// What lies in front of the segment, as it leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Front {
    Nothing,
    Ipv4,
    Ipv6,
}

#[inline(always)]
fn front(packet: &impl Packet) -> Option<Front> {
    let is_v4 = packet.load(ETHERTYPE) == Some(ETHERTYPE_IPV4);
    let (outer, protocol): (Front, u8) = if is_v4 {
        (Front::Ipv4, packet.load(ETHERNET_LEN + 9)?)
    } else {
        (Front::Ipv6, packet.load(ETHERNET_LEN + 6)?)
    };
    Some(if matches!(protocol, IPV4_INSIDE | IPV6_INSIDE) { outer } else { Front::Nothing })
}

/// Whether the segment is in a tunnel.
#[inline(always)]
fn fragment_v4(packet: &mut impl Packet, cut: &Cut) -> Option<bool> {
    let front = front(packet)?;
    match front {
        Front::Nothing => mark_v4::<ETHERNET_LEN>(packet, cut)?,
        Front::Ipv4 => mark_v4::<{ ETHERNET_LEN + IPV4_LEN }>(packet, cut)?,
        Front::Ipv6 => mark_v4::<{ ETHERNET_LEN + IPV6_LEN }>(packet, cut)?,
    }
    Some(front != Front::Nothing)
}

/// Sets flags and offset of the header at `IP`. Where nothing else was changed, the checksum is
/// what it was, in which of its two zeros ever.
#[inline(always)]
fn mark_v4<const IP: usize>(packet: &mut impl Packet, cut: &Cut) -> Option<()> {
    let [fragment, whole] = [cut.fragment, whole(cut.fragment)].map(u16::from_ne_bytes);
    let checksum: [u8; 2] = packet.load(IP + 10)?;
    let checksum = u16::from_ne_bytes(checksum);
    let untouched = Sum::ZERO.replace16(fragment, whole).update(cut.checksum);
    let checksum = if checksum == untouched {
        cut.checksum
    } else {
        Sum::ZERO.replace16(whole, fragment).update(checksum)
    };
    packet.store(IP + 6, cut.fragment)?;
    packet.store(IP + 10, checksum.to_ne_bytes())
}

/// Whether the segment is in a tunnel.
#[inline(always)]
fn fragment_v6(packet: &mut impl Packet, cut: &Cut) -> Option<bool> {
    const MORE_LEN: u16 = HEADER_LEN as u16;
    let longer = |len: [u8; 2]| u16::from_be_bytes(len).wrapping_add(MORE_LEN).to_be_bytes();
    let front = front(packet)?;
    let ethernet: Ethernet = packet.load(0)?;
    match front {
        Front::Nothing => insert::<ETHERNET_LEN>(packet, cut)?,
        Front::Ipv4 => {
            let outer: Ipv4 = packet.load(ETHERNET_LEN)?;
            insert::<{ ETHERNET_LEN + IPV4_LEN }>(packet, cut)?;
            let outer = Ipv4 { total_len: longer(outer.total_len), checksum: 0, ..outer };
            packet.store(ETHERTYPE, ETHERTYPE_IPV4)?;
            packet.store(ETHERNET_LEN, Ipv4 { checksum: outer.sum().checksum(), ..outer })?;
        }
        Front::Ipv6 => {
            let outer: Ipv6 = packet.load(ETHERNET_LEN)?;
            insert::<{ ETHERNET_LEN + IPV6_LEN }>(packet, cut)?;
            let outer = Ipv6 { payload_len: longer(outer.payload_len), ..outer };
            packet.store(ETHERTYPE, ETHERTYPE_IPV6)?;
            packet.store(ETHERNET_LEN, outer)?;
        }
    }
    packet.store(0, ethernet)?;
    Some(front != Front::Nothing)
}

/// Inserts the fragment header behind the IPv6 header at `IP`, of which what lies in front of it is
/// lost, but for its `EtherType` if nothing else does.
#[inline(always)]
fn insert<const IP: usize>(packet: &mut impl Packet, cut: &Cut) -> Option<()> {
    let ip: Ipv6 = packet.load(IP)?;
    let payload_len = u16::from_be_bytes(ip.payload_len).wrapping_add(HEADER_LEN as u16);
    packet.grow(HEADER_LEN)?;
    packet.store(ETHERTYPE, ETHERTYPE_IPV6)?;
    let payload_len = payload_len.to_be_bytes();
    packet.store(IP, Ipv6 { payload_len, next_header: IPV6_FRAGMENT, ..ip })?;
    packet.store(IP + IPV6_LEN, cut.header)
}

#[inline(always)]
fn note(
    packet: &impl Packet,
    tables: &impl Tables,
    cut: &Cut,
    ifindex: u32,
    tunnelled: bool,
) -> Option<()> {
    let ethernet: Ethernet = packet.load(0)?;
    let (source, destination, label) = if packet.load(ETHERTYPE) == Some(ETHERTYPE_IPV4) {
        let ip: Ipv4 = packet.load(ETHERNET_LEN)?;
        (Addr::from_v4_word(ip.source), Addr::from_v4_word(ip.destination), 0)
    } else {
        let ip: Ipv6 = packet.load(ETHERNET_LEN)?;
        let label = u32::from_be_bytes(ip.version_class_label) & 0xf_ffff;
        (Addr::from_words(ip.source), Addr::from_words(ip.destination), label)
    };
    let tunnelled = u32::from(tunnelled);
    let followed = Followed { source, destination, ethernet, ifindex, label, tunnelled };
    tables.note_fragment(&cut.key, followed);
    Some(())
}
