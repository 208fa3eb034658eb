//! From bytes to a TCP segment, or to the reason why this frame is not for us.
//!
//! Only what can be rewritten without doubt gets through: TCP directly behind an IPv4 header
//! without options or an IPv6 header without extension headers, unfragmented, with lengths that
//! agree (RFC 791, RFC 8200, RFC 9293).

use lb_common::{addr::Addr, verdict::Verdict};

use crate::{checksum, packet::Packet};

/// Length of the Ethernet header.
pub const ETHERNET_LEN: usize = 14;
/// Length of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
/// Length of the fixed IPv6 header.
pub const IPV6_LEN: usize = 40;
/// Length of a TCP header without options.
pub const TCP_LEN: usize = 20;

const TCP: u8 = 6;
const IPV6_FRAGMENT: u8 = 44;

/// Bits of [`Segment::flags`] (RFC 9293, section 3.1).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 1 << 0;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 1 << 1;
    /// Reset the connection.
    pub const RST: u8 = 1 << 2;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 1 << 4;
}

/// A TCP segment: the fields of its headers that the pipeline looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// Source port, big-endian.
    pub source_port: [u8; 2],
    /// Destination port, big-endian.
    pub destination_port: [u8; 2],
    /// Sequence number, host byte order.
    pub sequence: u32,
    /// Acknowledgement number, host byte order.
    pub acknowledgement: u32,
    /// Bits of [`tcp_flags`], and the others as they are.
    pub flags: u8,
    /// Length of the IP packet in bytes, headers included.
    pub ip_len: u16,
    /// Length of the data behind the TCP header in bytes.
    pub payload_len: u16,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// IPv4 header checksum, big-endian; zero in IPv6.
    pub ip_checksum: [u8; 2],
    /// TCP checksum, big-endian.
    pub tcp_checksum: [u8; 2],
}

impl Segment {
    /// Whether any of `flags` is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Whether this opens a connection: SYN without ACK.
    #[inline(always)]
    #[must_use]
    pub const fn opens(&self) -> bool {
        self.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN
    }

    /// The sequence number behind this segment: SYN and FIN take one each.
    #[inline(always)]
    #[must_use]
    pub const fn next_sequence(&self) -> u32 {
        let syn = self.has(tcp_flags::SYN) as u32;
        let fin = self.has(tcp_flags::FIN) as u32;
        self.sequence.wrapping_add(self.payload_len as u32).wrapping_add(syn + fin)
    }

    /// Whether the flags are a combination that TCP knows.
    #[inline(always)]
    #[must_use]
    pub const fn flags_are_sane(&self) -> bool {
        use tcp_flags::{ACK, FIN, RST, SYN};
        if self.has(SYN) { !self.has(FIN | RST) } else { self.has(ACK | RST) }
    }
}

/// The version of IP in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which IP the frame carries; tagged frames and everything else are not for us.
#[inline(always)]
pub fn ip_version(packet: &impl Packet) -> Result<IpVersion, Verdict> {
    match packet.load::<2>(12) {
        Some([0x08, 0x00]) => Ok(IpVersion::V4),
        Some([0x86, 0xdd]) => Ok(IpVersion::V6),
        Some(_) => Err(Verdict::NotIp),
        None => Err(Verdict::BadLength),
    }
}

/// Parses a frame with an IPv4 packet.
#[inline(always)]
pub fn ipv4(packet: &impl Packet) -> Result<Segment, Verdict> {
    let ip: [u8; IPV4_LEN] = packet.load(ETHERNET_LEN).ok_or(Verdict::BadLength)?;
    if ip[0] >> 4 != 4 || ip[0] & 0xf < 5 {
        return Err(Verdict::BadLength);
    }
    if ip[9] != TCP {
        return Err(Verdict::NotTcp);
    }
    if ip[0] & 0xf != 5 {
        return Err(Verdict::IpOptions);
    }
    // The offset and "more fragments"; "don't fragment" may be set.
    if u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0 {
        return Err(Verdict::Fragment);
    }
    if checksum::fold(checksum::sum(&ip)) != 0xffff {
        return Err(Verdict::BadIpChecksum);
    }
    let ip_len = u16::from_be_bytes([ip[2], ip[3]]);
    let tcp = tcp_header::<IPV4_LEN>(packet, ip_len as usize)?;
    Ok(Segment {
        source: Addr::v4([ip[12], ip[13], ip[14], ip[15]]),
        destination: Addr::v4([ip[16], ip[17], ip[18], ip[19]]),
        ip_len,
        payload_len: ip_len - IPV4_LEN as u16 - tcp_header_len(&tcp),
        ttl: ip[8],
        tos: ip[1],
        ip_checksum: [ip[10], ip[11]],
        ..tcp_fields(&tcp)
    })
}

/// Parses a frame with an IPv6 packet.
#[inline(always)]
pub fn ipv6(packet: &impl Packet) -> Result<Segment, Verdict> {
    let ip: [u8; IPV6_LEN] = packet.load(ETHERNET_LEN).ok_or(Verdict::BadLength)?;
    if ip[0] >> 4 != 6 {
        return Err(Verdict::BadLength);
    }
    match ip[6] {
        TCP => {}
        IPV6_FRAGMENT => return Err(Verdict::Fragment),
        // Hop-by-hop, routing, ESP, AH, destination options, mobility, HIP, shim6.
        0 | 43 | 50 | 51 | 60 | 135 | 139 | 140 => return Err(Verdict::ExtensionHeader),
        _ => return Err(Verdict::NotTcp),
    }
    let payload_len = u16::from_be_bytes([ip[4], ip[5]]);
    // A jumbogram, or no room for the 16-bit length of the whole packet.
    if payload_len > u16::MAX - IPV6_LEN as u16 {
        return Err(Verdict::BadLength);
    }
    let ip_len = payload_len + IPV6_LEN as u16;
    let tcp = tcp_header::<IPV6_LEN>(packet, ip_len as usize)?;
    let mut source = [0; 16];
    source.copy_from_slice(&ip[8..24]);
    let mut destination = [0; 16];
    destination.copy_from_slice(&ip[24..40]);
    Ok(Segment {
        source: Addr::v6(source),
        destination: Addr::v6(destination),
        ip_len,
        payload_len: payload_len - tcp_header_len(&tcp),
        ttl: ip[7],
        tos: ip[0] << 4 | ip[1] >> 4,
        ip_checksum: [0; 2],
        ..tcp_fields(&tcp)
    })
}

/// The TCP header behind an IP header of `IP` bytes, if both lengths allow it.
#[inline(always)]
fn tcp_header<const IP: usize>(
    packet: &impl Packet,
    ip_len: usize,
) -> Result<[u8; TCP_LEN], Verdict> {
    // The frame may be longer: Ethernet pads short packets.
    if ip_len < IP + TCP_LEN || ETHERNET_LEN + ip_len > packet.len() {
        return Err(Verdict::BadLength);
    }
    let tcp: [u8; TCP_LEN] = packet.load(ETHERNET_LEN + IP).ok_or(Verdict::BadLength)?;
    let header_len = tcp_header_len(&tcp) as usize;
    if header_len < TCP_LEN || IP + header_len > ip_len {
        return Err(Verdict::BadLength);
    }
    Ok(tcp)
}

#[inline(always)]
const fn tcp_header_len(tcp: &[u8; TCP_LEN]) -> u16 {
    (tcp[12] >> 4) as u16 * 4
}

#[inline(always)]
const fn tcp_fields(tcp: &[u8; TCP_LEN]) -> Segment {
    Segment {
        source: Addr([0; 16]),
        destination: Addr([0; 16]),
        source_port: [tcp[0], tcp[1]],
        destination_port: [tcp[2], tcp[3]],
        sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
        acknowledgement: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
        flags: tcp[13],
        ip_len: 0,
        payload_len: 0,
        ttl: 0,
        tos: 0,
        ip_checksum: [0; 2],
        tcp_checksum: [tcp[16], tcp[17]],
    }
}
