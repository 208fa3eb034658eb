//! Version 1: a line of text (section 2.1 of the specification).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Decoded, Header, ProxyError, Tlvs, decode::check_signature};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// Bytes of the shortest line, `PROXY UNKNOWN` and its end; also less than any header of version 2.
pub(super) const SHORTEST: usize = 15;

/// Bytes of the longest line, its end included.
const LONGEST: usize = 107;

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, ProxyError> {
    check_signature(bytes, SIGNATURE)?;
    let line = &bytes[..bytes.len().min(LONGEST)];
    let Some(end) = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return match line.len() {
            LONGEST => Err(ProxyError::LineTooLong),
            length => Ok(incomplete(length, 2)),
        };
    };
    match &line[end..] {
        [b'\r', b'\n', ..] => {
            let header = Header { addresses: parse(&line[..end])?, tlvs: Tlvs::default() };
            Ok(Decoded::Complete { header, length: end + 2 })
        }
        [b'\r'] if line.len() < LONGEST => Ok(incomplete(line.len(), 1)),
        [b'\r'] => Err(ProxyError::LineTooLong),
        _ => Err(ProxyError::LineEnd),
    }
}

fn incomplete(length: usize, missing: usize) -> Decoded {
    // The line may be no longer than it can be: reading on must not go past its longest form.
    let missing = missing.max(SHORTEST.saturating_sub(length)).min(LONGEST - length);
    Decoded::Incomplete { missing }
}

/// The line without its end.
fn parse(line: &[u8]) -> Result<Option<Addresses>, ProxyError> {
    let fields = line.strip_prefix(SIGNATURE).ok_or(ProxyError::Signature)?;
    let (protocol, rest) = match fields.iter().position(|byte| *byte == b' ') {
        Some(end) => (&fields[..end], Some(&fields[end + 1..])),
        None => (fields, None),
    };
    match (protocol, rest) {
        // Whatever follows must be ignored.
        (b"UNKNOWN", _) => Ok(None),
        (b"TCP4", Some(rest)) => ends::<Ipv4Addr>(rest).map(Some),
        (b"TCP6", Some(rest)) => ends::<Ipv6Addr>(rest).map(Some),
        (b"TCP4" | b"TCP6", None) => Err(ProxyError::Fields),
        _ => Err(ProxyError::Protocol),
    }
}

fn ends<T: std::str::FromStr + Into<IpAddr>>(rest: &[u8]) -> Result<Addresses, ProxyError> {
    let text = std::str::from_utf8(rest).map_err(|_| ProxyError::Fields)?;
    let mut fields = text.split(' ');
    let mut next = || fields.next().ok_or(ProxyError::Fields);
    let (source, destination) = (address::<T>(next()?)?, address::<T>(next()?)?);
    let (source_port, destination_port) = (port(next()?)?, port(next()?)?);
    if fields.next().is_some() {
        return Err(ProxyError::Fields);
    }
    Ok(Addresses {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn address<T: std::str::FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, ProxyError> {
    text.parse().map(T::into).map_err(|_| ProxyError::Address)
}

fn port(text: &str) -> Result<u16, ProxyError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let heading_zero = text.len() > 1 && text.starts_with('0');
    if !digits || heading_zero {
        return Err(ProxyError::Port);
    }
    text.parse().map_err(|_| ProxyError::Port)
}
