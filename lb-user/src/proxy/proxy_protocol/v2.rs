//! Version 2: a binary header (section 2.2 of the specification).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{
    Addresses, Decoded, Header, MAX_HEADER_BYTES, ProxyError, Tlvs, decode::check_signature,
};

pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes in front of the addresses.
pub(super) const FIXED: usize = 16;

pub(super) const LOCAL: u8 = 0x20;
pub(super) const PROXY: u8 = 0x21;

pub(super) const UNSPEC: u8 = 0x00;
pub(super) const TCP4: u8 = 0x11;
pub(super) const TCP6: u8 = 0x21;

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, ProxyError> {
    check_signature(bytes, &SIGNATURE)?;
    if let Some(command) = bytes.get(12).filter(|byte| !matches!(**byte, LOCAL | PROXY)) {
        return Err(ProxyError::Command(*command));
    }
    if let Some(family) = bytes.get(13).filter(|byte| *byte >> 4 > 3 || *byte & 0xf > 2) {
        return Err(ProxyError::Family(*family));
    }
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Ok(Decoded::Incomplete { missing: FIXED - bytes.len() });
    };
    let (command, family) = (fixed[12], fixed[13]);
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > MAX_HEADER_BYTES {
        return Err(ProxyError::TooLong(length));
    }
    let block = if command == LOCAL { 0 } else { address_bytes(family) };
    if length < FIXED + block {
        return Err(ProxyError::TooShort(length));
    }
    let Some(whole) = bytes.get(..length) else {
        return Ok(Decoded::Incomplete { missing: length - bytes.len() });
    };
    let header = match command {
        // The whole block is discarded, whatever is in it.
        LOCAL => Header::default(),
        _ => Header {
            addresses: addresses(family, &whole[FIXED..]),
            tlvs: Tlvs::decode(whole, FIXED + block)?,
        },
    };
    Ok(Decoded::Complete { header, length })
}

/// Bytes that the addresses of a family take.
const fn address_bytes(family: u8) -> usize {
    match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    }
}

/// `None` if the family or the protocol is another than TCP over IP: then the connection's own
/// addresses count.
fn addresses(family: u8, block: &[u8]) -> Option<Addresses> {
    let port = |at: usize| Some(u16::from_be_bytes(*block.get(at..)?.first_chunk()?));
    let (source, destination) = match family {
        TCP4 => {
            let ip = |at: usize| Some(Ipv4Addr::from(*block.get(at..)?.first_chunk::<4>()?));
            (SocketAddr::from((ip(0)?, port(8)?)), SocketAddr::from((ip(4)?, port(10)?)))
        }
        TCP6 => {
            let ip = |at: usize| Some(Ipv6Addr::from(*block.get(at..)?.first_chunk::<16>()?));
            (SocketAddr::from((ip(0)?, port(32)?)), SocketAddr::from((ip(16)?, port(34)?)))
        }
        _ => return None,
    };
    Some(Addresses { source, destination })
}
