//! Packets within packets, built from scratch.

use std::{net::IpAddr, vec::Vec};

use super::{Bytes, Frame, ip};

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
        let Self { source, destination, tos, ttl, protocol, label, .. } = *self;
        let fragment = ip::DONT_FRAGMENT;
        let header = ip::Header { source, destination, tos, ttl, protocol, id: 0, fragment, label };
        header.frame(self.ethernet, &self.packet)
    }
}
