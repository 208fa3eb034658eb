//! From bytes to a TCP segment, or to the reason why this frame is not for us.
//!
//! Only what can be rewritten without doubt gets through: TCP directly behind an IPv4 header
//! without options or an IPv6 header without extension headers, unfragmented, with lengths that
//! agree (RFC 791, RFC 8200, RFC 9293).

use lb_common::{addr::Addr, verdict::Verdict};

use crate::packet::{Ipv4, Ipv6, Packet, Tcp};

/// Length of the Ethernet header.
pub const ETHERNET_LEN: usize = 14;
/// Where the `EtherType` lies.
pub const ETHERTYPE: usize = 12;
/// IPv4, in an `EtherType`.
pub const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
/// IPv6, in an `EtherType`.
pub const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// Length of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
/// Length of the fixed IPv6 header.
pub const IPV6_LEN: usize = 40;
/// Length of a TCP header without options.
pub const TCP_LEN: usize = 20;

/// TCP, as IP numbers protocols.
pub const TCP: u8 = 6;
/// The fragment header of IPv6.
pub(crate) const IPV6_FRAGMENT: u8 = 44;

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
    /// The version of IP that carries it.
    pub version: IpVersion,
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
    /// IPv4 header checksum, as it lies; zero in IPv6.
    pub ip_checksum: u16,
    /// TCP checksum, as it lies.
    pub tcp_checksum: u16,
}

impl Segment {
    /// All zero.
    pub(crate) const NONE: Self = Self {
        version: IpVersion::V4,
        source: Addr::from_v4_word(0),
        destination: Addr::from_v4_word(0),
        source_port: [0; 2],
        destination_port: [0; 2],
        sequence: 0,
        acknowledgement: 0,
        flags: 0,
        ip_len: 0,
        payload_len: 0,
        ttl: 0,
        tos: 0,
        ip_checksum: 0,
        tcp_checksum: 0,
    };

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

    /// Where its data begin and end in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn payload(&self) -> (usize, usize) {
        let end = ETHERNET_LEN + self.ip_len as usize;
        (end - self.payload_len as usize, end)
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

/// Parses a frame; tagged frames, and all but IPv4 and IPv6, are not for us.
#[inline(always)]
pub fn segment(packet: &impl Packet) -> Result<Segment, Verdict> {
    match packet.load(ETHERTYPE) {
        Some(ETHERTYPE_IPV4) => ipv4(packet),
        Some(ETHERTYPE_IPV6) => ipv6(packet),
        Some(_) => Err(Verdict::NotIp),
        None => Err(Verdict::BadLength),
    }
}

#[inline(always)]
fn ipv4(packet: &impl Packet) -> Result<Segment, Verdict> {
    let ip: Ipv4 = packet.load(ETHERNET_LEN).ok_or(Verdict::BadLength)?;
    if ip.version_length >> 4 != 4 || ip.version_length & 0xf < 5 {
        return Err(Verdict::BadLength);
    }
    if ip.protocol != TCP {
        return Err(Verdict::NotTcp);
    }
    if ip.version_length & 0xf != 5 {
        return Err(Verdict::IpOptions);
    }
    // The offset and "more fragments"; "don't fragment" may be set.
    if u16::from_be_bytes(ip.fragment) & 0x3fff != 0 {
        return Err(Verdict::Fragment);
    }
    if ip.sum().fold() != 0xffff {
        return Err(Verdict::BadIpChecksum);
    }
    let ip_len = u16::from_be_bytes(ip.total_len);
    let tcp = tcp_header::<IPV4_LEN>(packet, ip_len)?;
    Ok(Segment {
        version: IpVersion::V4,
        source: Addr::from_v4_word(ip.source),
        destination: Addr::from_v4_word(ip.destination),
        ip_len,
        payload_len: ip_len - IPV4_LEN as u16 - tcp_header_len(&tcp),
        ttl: ip.ttl,
        tos: ip.tos,
        ip_checksum: ip.checksum,
        ..tcp_fields(&tcp)
    })
}

#[inline(always)]
fn ipv6(packet: &impl Packet) -> Result<Segment, Verdict> {
    let ip: Ipv6 = packet.load(ETHERNET_LEN).ok_or(Verdict::BadLength)?;
    let [version_class, class_label, ..] = ip.version_class_label;
    if version_class >> 4 != 6 {
        return Err(Verdict::BadLength);
    }
    match ip.next_header {
        TCP => {}
        IPV6_FRAGMENT => return Err(Verdict::Fragment),
        // Hop-by-hop, routing, ESP, AH, destination options, mobility, HIP, shim6.
        0 | 43 | 50 | 51 | 60 | 135 | 139 | 140 => return Err(Verdict::ExtensionHeader),
        _ => return Err(Verdict::NotTcp),
    }
    let payload_len = u16::from_be_bytes(ip.payload_len);
    // A length that, with the header, needs more than 16 bits.
    if payload_len > u16::MAX - IPV6_LEN as u16 {
        return Err(Verdict::BadLength);
    }
    let ip_len = payload_len + IPV6_LEN as u16;
    let tcp = tcp_header::<IPV6_LEN>(packet, ip_len)?;
    Ok(Segment {
        version: IpVersion::V6,
        source: Addr::from_words(ip.source),
        destination: Addr::from_words(ip.destination),
        ip_len,
        payload_len: payload_len - tcp_header_len(&tcp),
        ttl: ip.hop_limit,
        tos: version_class << 4 | class_label >> 4,
        ip_checksum: 0,
        ..tcp_fields(&tcp)
    })
}

/// The TCP header behind an IP header of `IP` bytes, if both lengths allow it.
#[inline(always)]
fn tcp_header<const IP: usize>(packet: &impl Packet, ip_len: u16) -> Result<Tcp, Verdict> {
    let ip_len = ip_len as usize;
    // First: LLVM would leave out this check if the next one came before, and the verifier does not
    // see that the next one says more.
    let tcp: Tcp = packet.load(ETHERNET_LEN + IP).ok_or(Verdict::BadLength)?;
    // The frame may be longer: Ethernet pads short packets.
    if ip_len < IP + TCP_LEN || !packet.holds(ETHERNET_LEN + ip_len) {
        return Err(Verdict::BadLength);
    }
    let header_len = tcp_header_len(&tcp) as usize;
    if header_len < TCP_LEN || IP + header_len > ip_len {
        return Err(Verdict::BadLength);
    }
    Ok(tcp)
}

#[inline(always)]
const fn tcp_header_len(tcp: &Tcp) -> u16 {
    (tcp.offset >> 4) as u16 * 4
}

#[inline(always)]
const fn tcp_fields(tcp: &Tcp) -> Segment {
    Segment {
        source_port: tcp.source_port,
        destination_port: tcp.destination_port,
        sequence: u32::from_be(tcp.sequence),
        acknowledgement: u32::from_be(tcp.acknowledgement),
        flags: tcp.flags,
        tcp_checksum: tcp.checksum,
        ..Segment::NONE
    }
}
