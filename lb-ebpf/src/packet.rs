//! Access to the bytes of one frame, and the headers that lie in it.

use lb_common::addr::Addr;

use crate::{
    checksum::Sum,
    mqtt::{self, Connack, Greeting},
};

/// A frame in memory, from its Ethernet header on.
///
/// Offsets are constants at every place of use, so that the verifier sees one bounds check per
/// header and no variable packet pointer.
pub trait Packet: Sized {
    /// Whether the frame has at least so many bytes.
    fn holds(&self, bytes: usize) -> bool;

    /// The number of bytes in the frame, at the cost of a call: unlike [`Packet::holds`], a comparison
    /// with it needs no proof that the other length is bounded, which the verifiers of Linux 6.1 and
    /// 6.12 do not see where bytes were swapped.
    fn length(&self) -> usize;

    /// A copy of the header at `offset`, or `None` if the frame ends before.
    fn load<T: Wire>(&self, offset: usize) -> Option<T>;

    /// Eight bytes at `offset`, which need not be a constant, as a big-endian number: the first byte
    /// on top, and zeros for what lies at `end` or behind. `None` if nothing lies before `end`, or if
    /// the frame ends before that. For what is read once in a connection: it is a function call.
    fn word(&self, offset: usize, end: usize) -> Option<u64>;

    /// What the bytes from `at` to `end` begin with, the first that a client has sent.
    #[inline(always)]
    fn greeting(&self, at: usize, end: usize) -> Greeting {
        mqtt::greeting(self, at, end)
    }

    /// What a broker answers with the bytes from `at` to `end`.
    #[inline(always)]
    fn connack(&self, at: usize, end: usize) -> Connack {
        mqtt::connack(self, at, end)
    }

    /// Writes `value` at `offset`; `None`, and nothing written, if the frame ends before.
    fn store<T: Wire>(&mut self, offset: usize, value: T) -> Option<()>;

    /// The first `N` bytes, to be changed in place after one look at the frame's length; `None` if it
    /// has fewer.
    fn front<const N: usize>(&mut self) -> Option<&mut [u8; N]>;

    /// Makes room for so many bytes in front of the frame, and of what they are nothing is known;
    /// all offsets count from the new front. `None`, and nothing changed, if there is no room.
    fn grow(&mut self, bytes: usize) -> Option<()>;

    /// Takes so many bytes off the front; all offsets count from the new one. `None`, and nothing
    /// changed, if no Ethernet header would be left.
    fn shrink(&mut self, bytes: usize) -> Option<()>;

    /// Cuts the frame to `len` bytes; `None` if that is not possible.
    fn truncate(&mut self, len: usize) -> Option<()>;
}

/// A value that lies in a packet as it lies in memory.
///
/// # Safety
///
/// Every sequence of bytes must be a valid value, and the type must have no padding.
pub unsafe trait Wire: Copy {}

macro_rules! wire {
    ($($type:ty: $size:expr),* $(,)?) => {$(
        const _: () = assert!(size_of::<$type>() == $size, "a header has its length on the wire");
        // SAFETY: an integer, an array of integers, or a `#[repr(C)]` struct of these whose size
        // is the sum of its fields (asserted above), so there is no padding.
        unsafe impl Wire for $type {}
    )*};
}

wire!([u8; 2]: 2, [u8; 4]: 4, u8: 1, [u16; 2]: 4, [u32; 2]: 8, [u32; 3]: 12, [u64; 2]: 16);
wire!(Ethernet: 12, Ipv4: 20, Ipv6: 40, Tcp: 20, TcpStart: 8);

/// The addresses of an Ethernet header, their bytes as they lie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ethernet {
    /// Where the frame goes.
    pub destination: [u16; 3],
    /// Where it comes from.
    pub source: [u16; 3],
}

/// An IPv4 header without options (RFC 791). Numbers are big-endian, as they lie.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Version 4 in the high half, length in 32-bit words in the low half.
    pub version_length: u8,
    /// Type of service.
    pub tos: u8,
    /// Length of the packet in bytes.
    pub total_len: [u8; 2],
    /// Identification, for fragments.
    pub id: [u8; 2],
    /// Three flags and the fragment offset.
    pub fragment: [u8; 2],
    /// Time to live, in hops.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Checksum of the header.
    pub checksum: u16,
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
}

impl Ipv4 {
    /// The sum over the header, its checksum included.
    #[inline(always)]
    #[must_use]
    pub const fn sum(&self) -> Sum {
        Sum::ZERO
            .add16(u16::from_ne_bytes([self.version_length, self.tos]))
            .add16(u16::from_ne_bytes(self.total_len))
            .add16(u16::from_ne_bytes(self.id))
            .add16(u16::from_ne_bytes(self.fragment))
            .add16(u16::from_ne_bytes([self.ttl, self.protocol]))
            .add16(self.checksum)
            .add32(self.source)
            .add32(self.destination)
    }
}

/// The fixed IPv6 header (RFC 8200). Numbers are big-endian, as they lie.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Version 6, traffic class, flow label.
    pub version_class_label: [u8; 4],
    /// Length of what follows, in bytes.
    pub payload_len: [u8; 2],
    /// Protocol of what follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: [u64; 2],
    /// Destination address.
    pub destination: [u64; 2],
}

impl Ipv6 {
    /// The sum over the header.
    #[inline(always)]
    #[must_use]
    pub const fn sum(&self) -> Sum {
        Sum::ZERO
            .add32(u32::from_ne_bytes(self.version_class_label))
            .add16(u16::from_ne_bytes(self.payload_len))
            .add16(u16::from_ne_bytes([self.next_header, self.hop_limit]))
            .add_addr(Addr::from_words(self.source))
            .add_addr(Addr::from_words(self.destination))
    }
}

/// The beginning of a TCP header, which is all that an ICMP error must quote.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpStart {
    /// Source port.
    pub source_port: [u8; 2],
    /// Destination port.
    pub destination_port: [u8; 2],
    /// Sequence number.
    pub sequence: u32,
}

/// A TCP header without options (RFC 9293). Numbers are big-endian, as they lie.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source_port: [u8; 2],
    /// Destination port.
    pub destination_port: [u8; 2],
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Length of the header in 32-bit words, in the high half.
    pub offset: u8,
    /// Flags.
    pub flags: u8,
    /// Window.
    pub window: u16,
    /// Checksum over the pseudo header, the header and the data.
    pub checksum: u16,
    /// Urgent pointer.
    pub urgent: u16,
}

impl Tcp {
    /// The sum over the header, its checksum included.
    #[inline(always)]
    #[must_use]
    pub const fn sum(&self) -> Sum {
        Sum::ZERO
            .add16(u16::from_ne_bytes(self.source_port))
            .add16(u16::from_ne_bytes(self.destination_port))
            .add32(self.sequence)
            .add32(self.acknowledgement)
            .add16(u16::from_ne_bytes([self.offset, self.flags]))
            .add16(self.window)
            .add16(self.checksum)
            .add16(self.urgent)
    }
}
