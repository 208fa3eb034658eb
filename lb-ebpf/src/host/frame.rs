//! Frames built from scratch, with checksums computed over everything: what the pipeline rewrites
//! is compared with what is built here.

use std::{net::IpAddr, vec::Vec};

use super::ip;
use crate::{
    packet::{Packet, Wire},
    parse::ETHERNET_LEN,
};

/// The bytes of a frame as the pipeline sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Packet for Bytes {
    fn holds(&self, bytes: usize) -> bool {
        self.0.len() >= bytes
    }

    fn length(&self) -> usize {
        self.0.len()
    }

    fn load<T: Wire>(&self, offset: usize) -> Option<T> {
        let bytes = self.0.get(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: the slice is as long as a `T`, and `Wire` says that any bytes are one.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    fn word(&self, offset: usize, end: usize) -> Option<u64> {
        let bytes = self.0.get(offset..end.min(offset.checked_add(8)?))?;
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        (!bytes.is_empty()).then(|| u64::from_be_bytes(word))
    }

    fn store<T: Wire>(&mut self, offset: usize, value: T) -> Option<()> {
        let bytes = self.0.get_mut(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: the slice is as long as a `T`, which has no padding (`Wire`).
        unsafe { bytes.as_mut_ptr().cast::<T>().write_unaligned(value) };
        Some(())
    }

    fn front<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.0.first_chunk_mut()
    }

    fn grow(&mut self, bytes: usize) -> Option<()> {
        // In the kernel there is what was there before.
        self.0.splice(0..0, core::iter::repeat_n(0xaa, bytes));
        Some(())
    }

    fn shrink(&mut self, bytes: usize) -> Option<()> {
        (self.0.len() >= bytes + ETHERNET_LEN).then(|| drop(self.0.drain(..bytes)))
    }

    fn truncate(&mut self, len: usize) -> Option<()> {
        (len <= self.0.len()).then(|| self.0.truncate(len))
    }
}

/// A TCP segment in an Ethernet frame, before it is bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Destination and source Ethernet address.
    pub ethernet: ([u8; 6], [u8; 6]),
    /// Source address and port.
    pub source: (IpAddr, u16),
    /// Destination address and port; of the same family as the source.
    pub destination: (IpAddr, u16),
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// TCP flags.
    pub flags: u8,
    /// TCP options; a multiple of four bytes.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// IPv4 identification; in IPv6 the flow label.
    pub label: u16,
    /// TCP window.
    pub window: u16,
}

impl Frame {
    /// A segment without data, fresh from its sender.
    #[must_use]
    pub const fn new(source: (IpAddr, u16), destination: (IpAddr, u16), flags: u8) -> Self {
        Self {
            ethernet: ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]),
            source,
            destination,
            sequence: 0,
            acknowledgement: 0,
            flags,
            options: Vec::new(),
            payload: Vec::new(),
            ttl: 64,
            tos: 0,
            label: 0x1234,
            window: 501,
        }
    }

    /// The frame on the wire.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let Self { tos, ttl, .. } = *self;
        let header = ip::Header {
            source: self.source.0,
            destination: self.destination.0,
            tos,
            ttl,
            protocol: 6,
            id: self.label,
            fragment: ip::DONT_FRAGMENT,
            label: self.label.into(),
        };
        header.frame(self.ethernet, &self.tcp())
    }

    fn tcp(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.source.1.to_be_bytes());
        tcp.extend(self.destination.1.to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgement.to_be_bytes());
        tcp.extend([(20 + self.options.len() as u8) << 2, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.options);
        tcp.extend(&self.payload);
        let mut pseudo = Vec::new();
        for addr in [self.source.0, self.destination.0] {
            match addr {
                IpAddr::V4(addr) => pseudo.extend(addr.octets()),
                IpAddr::V6(addr) => pseudo.extend(addr.octets()),
            }
        }
        pseudo.extend([0, 6]);
        pseudo.extend((tcp.len() as u16).to_be_bytes());
        pseudo.extend(&tcp);
        let checksum = internet_checksum(&pseudo);
        tcp[16..18].copy_from_slice(&checksum);
        tcp
    }
}

/// The checksum of RFC 1071 by its definition: big-endian words one after the other.
#[must_use]
pub fn internet_checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
