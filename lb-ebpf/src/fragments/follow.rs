//! A later fragment: it goes where its first one went.

use lb_common::{addr::Addr, verdict::Verdict};

use super::{Followed, FragmentKey};
use crate::{
    Outcome,
    packet::{Ipv4, Ipv6, Packet},
    parse::{IPV6_LEN, IpVersion, Segment},
    rewrite,
    tables::Tables,
    tunnel,
};

#[inline(always)]
pub(super) fn ipv4(
    packet: &mut impl Packet,
    tables: &impl Tables,
    ip: &Ipv4,
    key: &FragmentKey,
) -> Result<Outcome, Verdict> {
    let segment = Segment {
        version: IpVersion::V4,
        source: Addr::from_v4_word(ip.source),
        destination: Addr::from_v4_word(ip.destination),
        ip_len: u16::from_be_bytes(ip.total_len),
        ttl: ip.ttl,
        tos: ip.tos,
        ip_checksum: ip.checksum,
        ..Segment::NONE
    };
    follow(packet, tables, &segment, key)
}

#[inline(always)]
pub(super) fn ipv6(
    packet: &mut impl Packet,
    tables: &impl Tables,
    ip: &Ipv6,
    key: &FragmentKey,
) -> Result<Outcome, Verdict> {
    let [version_class, class_label, ..] = ip.version_class_label;
    let segment = Segment {
        version: IpVersion::V6,
        source: Addr::from_words(ip.source),
        destination: Addr::from_words(ip.destination),
        ip_len: u16::from_be_bytes(ip.payload_len).saturating_add(IPV6_LEN as u16),
        ttl: ip.hop_limit,
        tos: version_class << 4 | class_label >> 4,
        ..Segment::NONE
    };
    follow(packet, tables, &segment, key)
}

#[inline(always)]
fn follow(
    packet: &mut impl Packet,
    tables: &impl Tables,
    segment: &Segment,
    key: &FragmentKey,
) -> Result<Outcome, Verdict> {
    let to: Followed = tables.fragment(key).ok_or(Verdict::Fragment)?;
    if segment.ttl <= 1 {
        return Err(Verdict::TtlExpired);
    }
    if to.tunnelled != 0 {
        let header_len = tunnel::header_len(to.destination);
        tunnel::make_room(packet, header_len).ok_or(Verdict::NoHeadroom)?;
        tunnel::wrap(packet, segment, to.source, to.destination, to.label)
    } else {
        rewrite::addresses(packet, segment, to.source, to.destination)
    }
    .ok_or(Verdict::BadLength)?;
    packet.store(0, to.ethernet).ok_or(Verdict::BadLength)?;
    Ok(Outcome { verdict: Verdict::FragmentFollowed, detail: to.ifindex })
}
