//! Source ports of the balancer: the reverse half of a NAT flow.
//!
//! Every peer (a broker and one source address) has a table of ports, indexed by the port's
//! distance from the first of the configured range. A port belongs to at most one flow; who moves
//! its word from free to claimed owns it. When its flow ends it rests before it is free again, so
//! that a late packet of the old connection never reaches a new one.

use crate::atomic::AtomicU32;

use crate::addr::Addr;

/// One source port of one peer. 32 bytes, so that it never crosses a cache line.
#[repr(C, align(32))]
#[derive(Debug)]
pub struct Port {
    /// Who has it: the backend's number in bits 8 to 31, bits of [`port_flags`] in bits 0 to 7.
    /// Zero is a port that was never used.
    pub word: AtomicU32,
    /// Port of the client, its big-endian bytes as they lie in the low half.
    pub client_port: AtomicU32,
    /// Address of the client, its bytes as they lie, in four words.
    pub client: [AtomicU32; 4],
    /// The sequence number that the broker sends next. While the port rests: the tick at which
    /// its rest began.
    pub broker_next: AtomicU32,
    /// The last acknowledgement that the broker sent: what it expects from the client next. From
    /// the SYN to the SYN-ACK: the client's initial sequence number plus one.
    pub broker_ack: AtomicU32,
}

const _: () = assert!(size_of::<Port>() == 32);

/// Bits 0 to 7 of [`Port::word`].
pub mod port_flags {
    /// A flow owns the port.
    pub const CLAIMED: u32 = 1 << 0;
    /// No flow owns the port, but it must not be used yet; `broker_next` says since when.
    pub const RESTING: u32 = 1 << 1;
    /// The chosen broker has acknowledged the client's SYN.
    pub const SYN_ACKED: u32 = 1 << 2;
    /// The client has sent a FIN that fits.
    pub const CLIENT_FIN: u32 = 1 << 3;
    /// The broker has sent a FIN that fits.
    pub const BROKER_FIN: u32 = 1 << 4;
}

/// Splits an address into the words that [`Port::client`] holds.
#[inline(always)]
#[must_use]
pub const fn addr_words(addr: Addr) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = addr.0;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ]
}

/// The address whose words these are.
#[inline(always)]
#[must_use]
pub const fn words_addr(words: [u32; 4]) -> Addr {
    let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = [
        words[0].to_ne_bytes(),
        words[1].to_ne_bytes(),
        words[2].to_ne_bytes(),
        words[3].to_ne_bytes(),
    ];
    Addr([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}
