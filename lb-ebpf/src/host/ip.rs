//! IP headers, built from scratch.

use std::{net::IpAddr, vec, vec::Vec};

use super::{Bytes, frame::internet_checksum};

/// The IPv4 flag that forbids fragments.
pub(super) const DONT_FRAGMENT: u16 = 0x4000;

/// An IP header of either version, before it is bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub source: IpAddr,
    /// Of the same family.
    pub destination: IpAddr,
    /// Type of service or traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    pub protocol: u8,
    /// Identification, in IPv4 only.
    pub id: u16,
    /// Flags and fragment offset, in IPv4 only.
    pub fragment: u16,
    /// Flow label, in IPv6 only: 20 bits.
    pub label: u32,
}

impl Header {
    /// The header before `payload`, in an Ethernet frame to and from these addresses.
    pub(super) fn frame(&self, ethernet: ([u8; 6], [u8; 6]), payload: &[u8]) -> Bytes {
        let ethertype = if self.source.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
        let header = self.bytes(payload.len() as u16);
        Bytes([&ethernet.0[..], &ethernet.1, &ethertype, &header, payload].concat())
    }

    fn bytes(&self, len: u16) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut ip = vec![0x45, self.tos];
                ip.extend((20 + len).to_be_bytes());
                ip.extend(self.id.to_be_bytes());
                ip.extend(self.fragment.to_be_bytes());
                ip.extend([self.ttl, self.protocol, 0, 0]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                let checksum = internet_checksum(&ip);
                ip[10..12].copy_from_slice(&checksum);
                ip
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let first = 6 << 28 | u32::from(self.tos) << 20 | self.label;
                let mut ip = first.to_be_bytes().to_vec();
                ip.extend(len.to_be_bytes());
                ip.extend([self.protocol, self.ttl]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                ip
            }
            _ => panic!("source and destination are of one family"),
        }
    }
}
