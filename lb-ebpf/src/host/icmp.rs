//! ICMP messages, built from scratch.

use std::{net::IpAddr, vec::Vec};

use super::{Bytes, frame::internet_checksum};

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
        let mut bytes = [self.ethernet.0, self.ethernet.1].concat();
        let icmp = self.message();
        let len = icmp.len() as u16;
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend([0x08, 0x00]);
                let mut ip = std::vec![0x45, self.tos];
                ip.extend((20 + len).to_be_bytes());
                let flags = if self.dont_fragment { 0x40 } else { 0 };
                ip.extend([0, 0, flags, 0, self.ttl, 1, 0, 0]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                let checksum = internet_checksum(&ip);
                ip[10..12].copy_from_slice(&checksum);
                bytes.extend(ip);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend([0x86, 0xdd, 0x60 | self.tos >> 4, self.tos << 4, 0, 0]);
                bytes.extend(len.to_be_bytes());
                bytes.extend([58, self.ttl]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
            }
            _ => panic!("source and destination are of one family"),
        }
        bytes.extend(icmp);
        Bytes(bytes)
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
