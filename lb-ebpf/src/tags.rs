//! VLAN tags (IEEE 802.1Q and 802.1ad): taken off a frame, and put back when its way is known.
//!
//! What lies behind them then lies where it lies without: no other part knows of tags.

use crate::{
    packet::{Ethernet, Packet},
    parse::{ETHERTYPE, ETHERTYPE_IPV4, ETHERTYPE_IPV6},
};

/// `EtherType` in front of a customer's tag, and of a service provider's.
const TAG: [u8; 2] = [0x81, 0x00];
const SERVICE_TAG: [u8; 2] = [0x88, 0xa8];
/// Length of a tag with the `EtherType` in front of it.
const TAG_LEN: usize = 4;

/// The tags of a frame, in its order.
#[derive(Clone, Copy)]
pub(crate) struct Tags {
    first: [u8; TAG_LEN],
    second: Option<[u8; TAG_LEN]>,
}

/// Takes one or two tags off, if IPv4 or IPv6 is behind them; else nothing has changed.
#[inline(always)]
pub(crate) fn take_off(packet: &mut impl Packet) -> Option<Tags> {
    let first = tag::<ETHERTYPE>(packet)?;
    if is_ip::<{ ETHERTYPE + TAG_LEN }>(packet)? {
        cut::<TAG_LEN>(packet)?;
        return Some(Tags { first, second: None });
    }
    let second = tag::<{ ETHERTYPE + TAG_LEN }>(packet)?;
    if !is_ip::<{ ETHERTYPE + 2 * TAG_LEN }>(packet)? {
        return None;
    }
    cut::<{ 2 * TAG_LEN }>(packet)?;
    Some(Tags { first, second: Some(second) })
}

/// Puts the tags back where they were; `None` if there is no room any more.
#[inline(always)]
pub(crate) fn put_back(packet: &mut impl Packet, tags: Tags) -> Option<()> {
    let ethernet: Ethernet = packet.load(0)?;
    if let Some(second) = tags.second {
        packet.grow(2 * TAG_LEN)?;
        packet.store(ETHERTYPE + TAG_LEN, second)?;
    } else {
        packet.grow(TAG_LEN)?;
    }
    packet.store(ETHERTYPE, tags.first)?;
    packet.store(0, ethernet)
}

#[inline(always)]
fn tag<const AT: usize>(packet: &impl Packet) -> Option<[u8; TAG_LEN]> {
    let tag: [u8; TAG_LEN] = packet.load(AT)?;
    let kind = [tag[0], tag[1]];
    (kind == TAG || kind == SERVICE_TAG).then_some(tag)
}

#[inline(always)]
fn is_ip<const AT: usize>(packet: &impl Packet) -> Option<bool> {
    let kind: [u8; 2] = packet.load(AT)?;
    Some(kind == ETHERTYPE_IPV4 || kind == ETHERTYPE_IPV6)
}

/// Takes `LEN` bytes away behind the Ethernet addresses.
#[inline(always)]
fn cut<const LEN: usize>(packet: &mut impl Packet) -> Option<()> {
    let ethernet: Ethernet = packet.load(0)?;
    packet.shrink(LEN)?;
    packet.store(0, ethernet)
}
