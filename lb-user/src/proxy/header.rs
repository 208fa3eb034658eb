//! The PROXY protocol at the two ends of a service.

use std::net::SocketAddr;

use tokio::{net::TcpStream, time::Instant};

use super::{
    end::Refused,
    proxy_protocol::{
        Addresses, Decoded, Header, MAX_HEADER_BYTES, Tlvs, decode, encode_v1, encode_v2,
        encode_v2_local,
    },
    waiting::{Arrival, Ticket},
};
use crate::config::model::SendProxyProtocol;

/// What stands in front of the CONNECT of `client`, which connected to `service`; version 2 has room
/// for what TLS says of it.
#[must_use]
pub fn of(send: SendProxyProtocol, client: SocketAddr, service: SocketAddr, tlvs: Tlvs) -> Vec<u8> {
    let addresses = Addresses::new(client, service);
    match send {
        SendProxyProtocol::Off => Vec::new(),
        SendProxyProtocol::V1 => encode_v1(&addresses),
        SendProxyProtocol::V2 => {
            let addresses = Some(addresses);
            // A certificate may hold a name that makes it too long; without TLVs it never is.
            encode_v2(&Header { addresses, tlvs })
                .or_else(|_| encode_v2(&Header { addresses, tlvs: Tlvs::default() }))
                .unwrap_or_else(|_| encode_v2_local())
        }
    }
}

/// Reads the header that a proxy in front sends, and nothing behind it. Returns the client that it
/// names; `None` if the connection is the proxy's own.
pub async fn read(
    stream: &TcpStream,
    ticket: &Ticket<'_>,
    deadline: Instant,
) -> Result<Option<SocketAddr>, Refused> {
    let mut bytes = Vec::new();
    loop {
        match decode(&bytes).map_err(|_| Refused::ProxyHeader)? {
            Decoded::Complete { header, .. } => {
                let source = header.addresses.map(|addresses| addresses.source());
                // A proxy with sockets for both families tells IPv4 in IPv6: lists and paces mean
                // the client.
                return Ok(source.map(|end| SocketAddr::new(end.ip().to_canonical(), end.port())));
            }
            Decoded::Incomplete { missing } => {
                // It says more than the longest header only where the decoder has refused it.
                let mut next = [0; 256];
                let room = missing.clamp(1, next.len()).min(MAX_HEADER_BYTES);
                match ticket.read(stream, &mut next[..room], deadline).await? {
                    Arrival::End => return Err(Refused::ConnectUnfinished),
                    Arrival::Bytes(read) => bytes.extend_from_slice(&next[..read]),
                }
            }
        }
    }
}
