//! Writing a header.

use std::net::{IpAddr, SocketAddr};

use super::{Addresses, Header, MAX_HEADER_BYTES, v1, v2};

/// A header that would have more than [`MAX_HEADER_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a PROXY protocol header of {0} bytes; the limit is {MAX_HEADER_BYTES}")]
pub struct TooLong(pub usize);

/// A header of version 1 (section 2.1 of the specification).
#[must_use]
pub fn encode_v1(addresses: &Addresses) -> Vec<u8> {
    let (source, destination) = (addresses.source, addresses.destination);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let mut line = v1::SIGNATURE.to_vec();
    let fields = format!(
        "{family} {} {} {} {}\r\n",
        hexadecimal(source.ip()),
        hexadecimal(destination.ip()),
        source.port(),
        destination.port()
    );
    line.extend(fields.as_bytes());
    line
}

/// The address as the specification wants it: IPv6 in groups of hexadecimal digits, without the dotted
/// form in which IPv4-mapped ones are commonly written.
fn hexadecimal(ip: IpAddr) -> String {
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            v6.segments().map(|group| format!("{group:x}")).join(":")
        }
        ip => ip.to_string(),
    }
}

/// A header of version 2 (section 2.2), without a CRC32C: some brokers do not read headers with a checksum
/// that they cannot verify.
///
/// # Errors
///
/// If a TLV is longer than any receiver would take.
pub fn encode_v2(header: &Header) -> Result<Vec<u8>, TooLong> {
    let mut body = Vec::new();
    let family =
        header.addresses.map_or(v2::UNSPEC, |addresses| put_addresses(&mut body, &addresses));
    header.tlvs.encode(&mut body);
    let length = body.len();
    if v2::FIXED + length > MAX_HEADER_BYTES {
        return Err(TooLong(v2::FIXED + length));
    }
    let mut out = fixed(v2::PROXY, family, length as u16);
    out.extend(body);
    Ok(out)
}

/// The header of version 2 of a connection that the balancer opens for itself, as for health checks.
#[must_use]
pub fn encode_v2_local() -> Vec<u8> {
    fixed(v2::LOCAL, v2::UNSPEC, 0)
}

fn fixed(command: u8, family: u8, length: u16) -> Vec<u8> {
    let mut out = v2::SIGNATURE.to_vec();
    out.extend([command, family]);
    out.extend(length.to_be_bytes());
    out
}

fn put_addresses(out: &mut Vec<u8>, addresses: &Addresses) -> u8 {
    let ends = [addresses.source, addresses.destination];
    for end in ends {
        match end {
            SocketAddr::V4(v4) => out.extend(v4.ip().octets()),
            SocketAddr::V6(v6) => out.extend(v6.ip().octets()),
        }
    }
    for end in ends {
        out.extend(end.port().to_be_bytes());
    }
    if addresses.source.is_ipv4() { v2::TCP4 } else { v2::TCP6 }
}
