//! The TCP connections of a namespace, as its kernel lists them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};

use crate::netns::Namespace;

/// The state column of an established connection.
const ESTABLISHED: &str = "01";

/// An established TCP connection. IPv4-mapped addresses are shown as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

/// The established connections in a namespace.
pub fn established(namespace: &Namespace) -> Result<Vec<Connection>> {
    let tables = namespace.run(|| {
        // Of the thread: /proc/net shows the namespace of the process' main thread.
        ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")))
    })?;
    let mut connections = Vec::new();
    for table in tables {
        connections.extend(parse(&table.context("read the table of TCP connections")?));
    }
    Ok(connections)
}

fn parse(table: &str) -> impl Iterator<Item = Connection> {
    table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let local = parse_address(columns.next()?)?;
        let remote = parse_address(columns.next()?)?;
        (columns.next()? == ESTABLISHED).then_some(Connection { local, remote })
    })
}

/// `0100007F:075B`: the address as 32-bit words, each in the byte order of the host.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for word in address.as_bytes().chunks(8) {
        let word = u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::from(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some(SocketAddr::new(address.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_address("0100007F:075B"), "127.0.0.1:1883".parse().ok());
        assert_eq!(
            parse_address("B80D0120000000000000000010000000:075B"),
            "[2001:db8::10]:1883".parse().ok()
        );
        assert_eq!(
            parse_address("0000000000000000FFFF00000C02000A:0016"),
            "10.0.2.12:22".parse().ok()
        );
    }

    #[test]
    fn only_established_connections_are_listed() {
        let table = "  sl  local_address rem_address   st\n\
                     0: 00000000:075B 00000000:0000 0A 00000000:00000000\n\
                     1: 0100007F:075B 0100007F:8000 01 00000000:00000000\n";
        assert_eq!(parse(table).count(), 1);
    }
}
