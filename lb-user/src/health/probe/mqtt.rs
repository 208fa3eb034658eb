//! Whether a broker accepts an MQTT client, and what it tells one.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Deadline, Phase, ProbeError, Stream, open, part};
use crate::config::model::SendProxyProtocol;
use crate::health::target::MqttCheck;
use crate::mqtt::{
    Connack, DISCONNECT, Disconnect, FixedHeader, PINGREQ, PacketType, Publish, suback,
};

/// The longest packet that is read. A CONNACK has a few dozen bytes; what a broker pushes to a
/// client without subscriptions is not for a probe to carry.
const MAX_PACKET_BYTES: u32 = 64 * 1024;

/// The identifier of the only packet that has one.
pub const SUBSCRIPTION: u16 = 1;

/// Connects as a client, asks for a PINGRESP if the check says so, and takes leave.
pub(super) async fn probe(
    address: SocketAddr,
    proxy_header: SendProxyProtocol,
    check: &MqttCheck,
    deadline: Deadline,
) -> Result<Duration, ProbeError> {
    let mut stream = open(address, proxy_header, check.tls.as_ref(), deadline).await?;
    let answer = converse(&mut stream, check, deadline).await;
    let latency = deadline.elapsed();
    match answer {
        Ok(()) => {
            // A broker that vanishes now is the next probe's finding.
            let _ = deadline.during(Phase::Pingresp, stream.write_all(&DISCONNECT)).await;
            part(stream).await;
            Ok(latency)
        }
        // A refused client sends nothing more (MQTT 3.1.1 section 3.2.2.3); the broker closes.
        Err(error @ ProbeError::Connack(_)) => {
            part(stream).await;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// Connects as a client, sends `subscribe` with the identifier [`SUBSCRIPTION`], takes leave with the first
/// message of `topic`, and returns its payload: the retained one, or the next to be published.
pub(super) async fn fetch(
    address: SocketAddr,
    proxy_header: SendProxyProtocol,
    client: &MqttCheck,
    (subscribe, topic): (&[u8], &str),
    deadline: Deadline,
) -> Result<Vec<u8>, ProbeError> {
    let mut stream = open(address, proxy_header, client.tls.as_ref(), deadline).await?;
    converse(&mut stream, client, deadline).await?;
    deadline.during(Phase::Suback, send(&mut stream, subscribe)).await?;
    let message = read_message(&mut stream, client, topic, deadline).await?;
    let _ = deadline.during(Phase::Publish, stream.write_all(&DISCONNECT)).await;
    part(stream).await;
    Ok(message)
}

/// Packets among which the message must be.
const MOST_PACKETS: usize = 1000;

/// A broker may send the message before the SUBACK (section 3.8.4 of MQTT 3.1.1), and what clients get
/// unasked at any time.
async fn read_message(
    stream: &mut impl Stream,
    client: &MqttCheck,
    topic: &str,
    deadline: Deadline,
) -> Result<Vec<u8>, ProbeError> {
    let mut phase = Phase::Suback;
    for _ in 0..MOST_PACKETS {
        let header = deadline.limit(phase, read_header(stream, client, phase)).await?;
        let body = deadline.limit(phase, read_body(stream, header, phase)).await?;
        match header.packet_type {
            PacketType::Suback => {
                suback(client.version, &body, SUBSCRIPTION).map_err(ProbeError::Suback)?;
                phase = Phase::Publish;
            }
            PacketType::Publish => {
                let message = Publish::decode(client.version, header.flags, &body)
                    .ok_or(ProbeError::MalformedPublish(client.version))?;
                if message.topic == topic {
                    return Ok(message.payload.to_vec());
                }
            }
            PacketType::Disconnect => {
                return Err(ProbeError::Disconnect(Disconnect::decode(&body)));
            }
            PacketType::Connack => {
                let packet_type = header.packet_type.number();
                return Err(ProbeError::Unexpected { packet_type, phase });
            }
            PacketType::Pingresp | PacketType::Other(_) => {}
        }
    }
    Err(ProbeError::Unexpected { packet_type: PacketType::Publish.number(), phase })
}

async fn converse(
    stream: &mut impl Stream,
    check: &MqttCheck,
    deadline: Deadline,
) -> Result<(), ProbeError> {
    deadline.during(Phase::Connack, send(stream, &check.connect)).await?;
    deadline.limit(Phase::Connack, read_connack(stream, check)).await?;
    if check.ping {
        deadline.during(Phase::Pingresp, send(stream, &PINGREQ)).await?;
        deadline.limit(Phase::Pingresp, read_pingresp(stream, check)).await?;
    }
    Ok(())
}

async fn send(stream: &mut impl Stream, packet: &[u8]) -> std::io::Result<()> {
    stream.write_all(packet).await?;
    stream.flush().await
}

async fn read_connack(stream: &mut impl Stream, check: &MqttCheck) -> Result<(), ProbeError> {
    let phase = Phase::Connack;
    let header = read_header(stream, check, phase).await?;
    // Before the body, which may never come: what answers need not be a broker.
    if header.packet_type != PacketType::Connack || header.flags != 0 {
        return Err(ProbeError::Unexpected { packet_type: header.packet_type.number(), phase });
    }
    let body = read_body(stream, header, phase).await?;
    let version = check.version;
    let connack = Connack::decode(version, &body)
        .map_err(|error| ProbeError::MalformedConnack { version, error })?;
    if connack.accepted() { Ok(()) } else { Err(ProbeError::Connack(connack)) }
}

/// Waits for PINGRESP, past what a broker pushes to every client (EMQX can subscribe clients by
/// itself, for example).
async fn read_pingresp(stream: &mut impl Stream, check: &MqttCheck) -> Result<(), ProbeError> {
    let phase = Phase::Pingresp;
    loop {
        let header = read_header(stream, check, phase).await?;
        let body = read_body(stream, header, phase).await?;
        match header.packet_type {
            PacketType::Pingresp => return Ok(()),
            PacketType::Disconnect => {
                return Err(ProbeError::Disconnect(Disconnect::decode(&body)));
            }
            PacketType::Connack => {
                let packet_type = header.packet_type.number();
                return Err(ProbeError::Unexpected { packet_type, phase });
            }
            PacketType::Publish | PacketType::Suback | PacketType::Other(_) => {}
        }
    }
}

/// Reads byte by byte, so that nothing of what follows is taken.
async fn read_header(
    stream: &mut impl Stream,
    check: &MqttCheck,
    phase: Phase,
) -> Result<FixedHeader, ProbeError> {
    let mut bytes = Vec::with_capacity(FixedHeader::MAX_BYTES);
    loop {
        bytes.push(stream.read_u8().await.map_err(|error| ProbeError::io(phase, error))?);
        match FixedHeader::decode(&bytes) {
            Ok(Some(header)) => return Ok(header),
            Ok(None) => {}
            Err(error) => {
                return Err(ProbeError::Header { version: check.version, phase, error });
            }
        }
    }
}

async fn read_body(
    stream: &mut impl Stream,
    header: FixedHeader,
    phase: Phase,
) -> Result<Vec<u8>, ProbeError> {
    let bytes = header.remaining_bytes;
    if bytes > MAX_PACKET_BYTES {
        return Err(ProbeError::TooLong { bytes, phase });
    }
    let mut body = vec![0; bytes as usize];
    stream.read_exact(&mut body).await.map_err(|error| ProbeError::io(phase, error))?;
    Ok(body)
}
