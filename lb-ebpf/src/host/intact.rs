//! Whether checksums are right, by their definition, and where a packet lies in a frame.

use std::vec::Vec;

use super::frame::internet_checksum;

/// Where the IP header begins: behind up to two tags. `None` if there is none.
pub(super) fn ip_offset(frame: &[u8]) -> Option<usize> {
    let is_ip = |at: usize| matches!(frame.get(at..at + 2), Some([0x08, 0x00] | [0x86, 0xdd]));
    let is_tag = |at: usize| matches!(frame.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xa8]));
    let tags = (0..=2).find(|tags| is_ip(12 + 4 * tags))?;
    (0..tags).all(|tag| is_tag(12 + 4 * tag)).then_some(14 + 4 * tags)
}

/// Whether the checksum of the IPv4 header of a packet is right; IPv6 has none.
pub(super) fn header(packet: &[u8]) -> bool {
    packet.first().is_none_or(|first| first >> 4 != 4)
        || packet.get(..20).is_some_and(|header| internet_checksum(header) == [0, 0])
}

/// Whether TCP's checksum, or ICMP's, of a packet without options or fragments is right; `None` for
/// any other packet.
pub(super) fn transport(packet: &[u8]) -> Option<bool> {
    let (v6, header_len) = match packet.first()? {
        0x45 => (false, 20),
        first if first >> 4 == 6 => (true, 40),
        _ => return None,
    };
    let half = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    if !v6 && half(6)? & 0x3fff != 0 {
        return None;
    }
    let len = if v6 { usize::from(half(4)?) + header_len } else { half(2)?.into() };
    let protocol = packet[if v6 { 6 } else { 9 }];
    let segment = packet.get(header_len..len)?;
    let mut summed = Vec::new();
    match protocol {
        6 if segment.len() >= 20 => {}
        58 if v6 && segment.len() >= 8 => {}
        1 if !v6 && segment.len() >= 8 => return Some(internet_checksum(segment) == [0, 0]),
        _ => return None,
    }
    summed.extend(packet.get(if v6 { 8..40 } else { 12..20 })?);
    summed.extend((segment.len() as u32).to_be_bytes());
    summed.extend([0, protocol]);
    summed.extend(segment);
    Some(internet_checksum(&summed) == [0, 0])
}
