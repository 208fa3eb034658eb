//! Packets within packets, built from scratch.

use std::{net::IpAddr, vec::Vec};

use super::{Bytes, Frame, frame::internet_checksum};

/// An IP packet within another one, in an Ethernet frame, before it is bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnelled {
    /// Destination and source Ethernet address.
    pub ethernet: ([u8; 6], [u8; 6]),
    /// Outer source address.
    pub source: IpAddr,
    /// Outer destination address; of the same family.
    pub destination: IpAddr,
    /// Outer type of service or traffic class.
    pub tos: u8,
    /// Outer TTL or hop limit.
    pub ttl: u8,
    /// Flow label, in IPv6 only: 20 bits.
    pub label: u32,
    /// Outer protocol: 4 for IPv4 inside, 41 for IPv6.
    pub protocol: u8,
    /// The packet inside.
    pub packet: Vec<u8>,
}

impl Tunnelled {
    /// `inner`, wrapped for the way from `source` to `destination`.
    #[must_use]
    pub fn new(inner: &Frame, source: IpAddr, destination: IpAddr) -> Self {
        Self {
            ethernet: inner.ethernet,
            source,
            destination,
            tos: inner.tos,
            ttl: 64,
            label: 0,
            protocol: if inner.source.0.is_ipv4() { 4 } else { 41 },
            packet: inner.bytes().0.split_off(14),
        }
    }

    /// The frame on the wire.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let mut bytes = Vec::new();
        bytes.extend(self.ethernet.0);
        bytes.extend(self.ethernet.1);
        let len = self.packet.len() as u16;
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend([0x08, 0x00]);
                let mut ip = std::vec![0x45, self.tos];
                ip.extend((20 + len).to_be_bytes());
                ip.extend([0, 0, 0x40, 0, self.ttl, self.protocol, 0, 0]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                let checksum = internet_checksum(&ip);
                ip[10..12].copy_from_slice(&checksum);
                bytes.extend(ip);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend([0x86, 0xdd]);
                let first = 6 << 28 | u32::from(self.tos) << 20 | self.label;
                bytes.extend(first.to_be_bytes());
                bytes.extend(len.to_be_bytes());
                bytes.extend([self.protocol, self.ttl]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
            }
            _ => panic!("source and destination are of one family"),
        }
        bytes.extend(&self.packet);
        Bytes(bytes)
    }
}
