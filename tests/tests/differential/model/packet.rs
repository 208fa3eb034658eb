//! Frames as plain bytes: what lies where, and checksums by their definition.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
};

use lb_common::verdict::Verdict;

pub const IP: usize = 14;
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// A TCP segment, or, of an ICMP error, what would answer the packet that it quotes.
#[derive(Clone, Debug)]
pub struct Segment {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    /// Of the IP packet.
    pub len: usize,
    pub ttl: u8,
    /// Where its data lie in the frame.
    pub data: Range<usize>,
}

impl Segment {
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    pub const fn opens(&self) -> bool {
        self.has(SYN) && !self.has(ACK)
    }

    pub fn next_sequence(&self) -> u32 {
        let controls = u32::from(self.has(SYN)) + u32::from(self.has(FIN));
        self.sequence.wrapping_add(self.data.len() as u32 + controls)
    }
}

pub fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2))
}

pub fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Whether an IPv4 or IPv6 header comes next, by the `EtherType` at this place.
pub fn ip_at(frame: &[u8], at: usize) -> Option<bool> {
    match frame.get(at..at + 2)? {
        [0x08, 0x00] => Some(false),
        [0x86, 0xdd] => Some(true),
        _ => None,
    }
}

pub fn is_v6(frame: &[u8]) -> bool {
    ip_at(frame, 12) == Some(true)
}

pub const fn header_len(v6: bool) -> usize {
    if v6 { 40 } else { 20 }
}

/// The address that begins at this place.
pub fn address(bytes: &[u8], at: usize, v6: bool) -> IpAddr {
    if v6 {
        let octets: [u8; 16] = bytes[at..at + 16].try_into().expect("16 bytes");
        Ipv6Addr::from(octets).into()
    } else {
        let octets: [u8; 4] = bytes[at..at + 4].try_into().expect("4 bytes");
        Ipv4Addr::from(octets).into()
    }
}

pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Where source and destination lie in an IP header that begins at `at`.
pub const fn addresses_at(at: usize, v6: bool) -> [usize; 2] {
    if v6 { [at + 8, at + 24] } else { [at + 12, at + 16] }
}

pub fn put_addresses(bytes: &mut [u8], at: usize, source: IpAddr, destination: IpAddr) {
    let places = addresses_at(at, source.is_ipv6());
    for (place, address) in places.into_iter().zip([source, destination]) {
        let octets = octets(address);
        bytes[place..place + octets.len()].copy_from_slice(&octets);
    }
}

pub fn tos(frame: &[u8]) -> u8 {
    if is_v6(frame) { (be16(frame, IP) >> 4) as u8 } else { frame[IP + 1] }
}

pub fn ttl_at(at: usize, v6: bool) -> usize {
    at + if v6 { 7 } else { 8 }
}

/// The 16-bit words of some bytes; after an odd one a zero follows (RFC 1071).
fn words(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.chunks(2).map(|two| u16::from_be_bytes([two[0], two.get(1).copied().unwrap_or(0)]))
}

fn sum(bytes: &[u8]) -> u64 {
    words(bytes).map(u64::from).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

pub fn checksum(parts: &[&[u8]]) -> u16 {
    !fold(parts.iter().map(|part| sum(part)).sum())
}

pub fn is_header_intact(header: &[u8]) -> bool {
    fold(sum(header)) == 0xffff
}

/// What becomes of a checksum, right or wrong, when some of what it covers changes (RFC 1624,
/// equation 3).
pub fn carried(old: u16, changes: &[(&[u8], &[u8])]) -> u16 {
    let inverse = |bytes: &[u8]| -> u64 { words(bytes).map(|word| u64::from(!word)).sum() };
    let changes: u64 = changes.iter().map(|(from, to)| inverse(from) + sum(to)).sum();
    !fold(u64::from(!old) + changes)
}

/// After this: a hop less to live, and a checksum that knows of all changes to the IP header at
/// `at` since `before`.
pub fn hop(frame: &mut [u8], at: usize, before: &[u8]) {
    let v6 = before[0] >> 4 == 6;
    frame[ttl_at(at, v6)] -= 1;
    if !v6 {
        let old = be16(before, 10);
        let header = frame[at..at + 20].to_vec();
        let changes = [(&before[..10], &header[..10]), (&before[12..20], &header[12..20])];
        put16(frame, at + 10, carried(old, &changes));
    }
}

/// The segment in a frame without tags.
pub fn parse(frame: &[u8]) -> Result<Segment, Verdict> {
    if frame.len() < IP {
        return Err(Verdict::BadLength);
    }
    let v6 = ip_at(frame, 12).ok_or(Verdict::NotIp)?;
    let ip = header_len(v6);
    if frame.len() < IP + ip || frame[IP] >> 4 != if v6 { 6 } else { 4 } {
        return Err(Verdict::BadLength);
    }
    let len = if v6 { parse_v6(frame)? } else { parse_v4(frame)? };
    let tcp = IP + ip;
    if frame.len() < tcp + 20 || len < ip + 20 || frame.len() < IP + len {
        return Err(Verdict::BadLength);
    }
    let data = tcp + usize::from(frame[tcp + 12] >> 4) * 4;
    if data < tcp + 20 || data > IP + len {
        return Err(Verdict::BadLength);
    }
    let [source, destination] = addresses_at(IP, v6).map(|at| address(frame, at, v6));
    Ok(Segment {
        source: SocketAddr::new(source, be16(frame, tcp)),
        destination: SocketAddr::new(destination, be16(frame, tcp + 2)),
        sequence: be32(frame, tcp + 4),
        acknowledgement: be32(frame, tcp + 8),
        flags: frame[tcp + 13],
        len,
        ttl: frame[ttl_at(IP, v6)],
        data: data..IP + len,
    })
}

/// The length of the packet.
fn parse_v4(frame: &[u8]) -> Result<usize, Verdict> {
    let words = frame[IP] & 15;
    if words < 5 {
        return Err(Verdict::BadLength);
    }
    if frame[IP + 9] != 6 {
        return Err(Verdict::NotTcp);
    }
    if words > 5 {
        return Err(Verdict::IpOptions);
    }
    if be16(frame, IP + 6) & 0x3fff != 0 {
        return Err(Verdict::Fragment);
    }
    if !is_header_intact(&frame[IP..IP + 20]) {
        return Err(Verdict::BadIpChecksum);
    }
    Ok(be16(frame, IP + 2).into())
}

fn parse_v6(frame: &[u8]) -> Result<usize, Verdict> {
    match frame[IP + 6] {
        6 => {}
        44 => return Err(Verdict::Fragment),
        0 | 43 | 50 | 51 | 60 | 135 | 139 | 140 => return Err(Verdict::ExtensionHeader),
        _ => return Err(Verdict::NotTcp),
    }
    let len = usize::from(be16(frame, IP + 4)) + 40;
    if len > 0xffff { Err(Verdict::BadLength) } else { Ok(len) }
}
