//! ICMP messages, built from scratch.

use std::{net::IpAddr, vec::Vec};

use super::{Bytes, frame::internet_checksum, ip};

/// An ICMP or `ICMPv6` message in an Ethernet frame, before it is bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Destination and source Ethernet address.
    pub ethernet: ([u8; 6], [u8; 6]),
    /// Source address.
    pub source: IpAddr,
    /// Destination address; of the same family.
    pub destination: IpAddr,
    /// Type and code.
    pub kind: [u8; 2],
    /// The second word of the header.
    pub word: [u8; 4],
    /// What follows the header: of an error, the packet that it is about.
    pub body: Vec<u8>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// IPv4: don't fragment.
    pub dont_fragment: bool,
}

impl Icmp {
    /// A message fresh from its sender.
    #[must_use]
    pub const fn new(source: IpAddr, destination: IpAddr, kind: [u8; 2], body: Vec<u8>) -> Self {
        let ethernet = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let (word, ttl, tos) = ([0; 4], 64, 0);
        Self { ethernet, source, destination, kind, word, body, ttl, tos, dont_fragment: false }
    }

    /// The frame on the wire.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let Self { source, destination, tos, ttl, .. } = *self;
        let protocol = if source.is_ipv4() { 1 } else { 58 };
        let fragment = if self.dont_fragment { ip::DONT_FRAGMENT } else { 0 };
        let header =
            ip::Header { source, destination, tos, ttl, protocol, id: 0, fragment, label: 0 };
        header.frame(self.ethernet, &self.message())
    }

    fn message(&self) -> Vec<u8> {
        let mut message = [&self.kind[..], &[0, 0], &self.word, &self.body].concat();
        let mut summed = Vec::new();
        if let (IpAddr::V6(source), IpAddr::V6(destination)) = (self.source, self.destination) {
            summed.extend(source.octets());
            summed.extend(destination.octets());
            summed.extend([0, 58]);
            summed.extend((message.len() as u16).to_be_bytes());
        }
        summed.extend(&message);
        message[2..4].copy_from_slice(&internet_checksum(&summed));
        message
    }
}
