//! The PROXY protocol, versions 1 and 2, in and out: who the client is, told by the proxy in front of
//! it.
//!
//! Source: "The PROXY protocol, versions 1 & 2" (`doc/proxy-protocol.txt` of `HAProxy`), here "the
//! specification".
//!
//! Own code, after a comparison with the most used crate, `ppp` 2.3: it refuses a LOCAL header with a
//! family and no addresses (section 2.2 demands that the family be ignored), takes `+443` for a
//! port, checks no CRC32C, does not read what lies inside the SSL TLV, and does not say how much may
//! be read without going past the header. What is left to take from it is less than the glue would
//! be. It serves the tests as a judge, and one of them shows these differences.

mod decode;
mod encode;
mod tlv;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

pub use decode::{Decoded, ProxyError, decode};
pub use encode::{TooLong, encode_v1, encode_v2, encode_v2_local};
pub use tlv::{Ssl, TlvError, Tlvs};

use crate::config::model::Prefix;

/// The most bytes a header may have: far more than all TLVs of a client with TLS take, far less than
/// the 65,551 that version 2 could announce.
pub const MAX_HEADER_BYTES: usize = 4096;

/// What a header tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The connection that the sender relays; `None` if those of the connection itself count,
    /// because the sender opened it for a purpose of its own (LOCAL) or does not know (UNKNOWN,
    /// UNSPEC), or because the client came by another way than TCP.
    pub addresses: Option<Addresses>,
    /// What version 2 says besides; empty in version 1.
    pub tlvs: Tlvs,
}

/// Both ends of the client's connection to the proxy in front; of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    source: SocketAddr,
    destination: SocketAddr,
}

impl Addresses {
    /// An IPv4 address is told as such if both are, also where a socket for both families has them
    /// in IPv4-mapped form; beside an IPv6 address it is told in that form.
    #[must_use]
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let ends = [source, destination].map(|end| (end.ip().to_canonical(), end.port()));
        let v4 = ends.iter().all(|(ip, _)| ip.is_ipv4());
        let [source, destination] = ends.map(|(ip, port)| match ip {
            IpAddr::V4(v4_address) if !v4 => (v4_address.to_ipv6_mapped(), port).into(),
            ip => (ip, port).into(),
        });
        Self { source, destination }
    }

    /// The client.
    #[must_use]
    pub const fn source(&self) -> SocketAddr {
        self.source
    }

    /// What the client connected to.
    #[must_use]
    pub const fn destination(&self) -> SocketAddr {
        self.destination
    }
}

/// Whether a connection from `peer` must begin with a header. From others it must not be read: who
/// could send one could be anybody (section 5 of the specification).
#[must_use]
pub fn is_expected(trusted: &[Prefix], peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|prefix| prefix.contains(peer))
}
