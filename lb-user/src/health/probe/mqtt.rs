//! Whether a broker accepts an MQTT client.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Deadline, Phase, ProbeError, Stream, open, part};
use crate::health::target::MqttCheck;
use crate::mqtt::{Connack, DISCONNECT, Disconnect, FixedHeader, PINGREQ, PacketType};

/// The longest packet that is read. A CONNACK has a few dozen bytes; what a broker pushes to a
/// client without subscriptions is not for a probe to carry.
const MAX_PACKET_BYTES: u32 = 64 * 1024;

/// Connects as a client, asks for a PINGRESP if the check says so, and takes leave.
pub(super) async fn probe(
    address: SocketAddr,
    check: &MqttCheck,
    deadline: Deadline,
) -> Result<Duration, ProbeError> {
    let mut stream = open(address, check.tls.as_ref(), deadline).await?;
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
    let (header, body) = read_packet(stream, check, phase).await?;
    match header.packet_type {
        PacketType::Connack if header.flags == 0 => {}
        _ => {
            return Err(ProbeError::Unexpected { packet_type: header.packet_type.number(), phase });
        }
    }
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
        let (header, body) = read_packet(stream, check, phase).await?;
        match header.packet_type {
            PacketType::Pingresp => return Ok(()),
            PacketType::Disconnect => {
                return Err(ProbeError::Disconnect(Disconnect::decode(&body)));
            }
            PacketType::Connack => {
                return Err(ProbeError::Unexpected {
                    packet_type: header.packet_type.number(),
                    phase,
                });
            }
            PacketType::Other(_) => {}
        }
    }
}

async fn read_packet(
    stream: &mut impl Stream,
    check: &MqttCheck,
    phase: Phase,
) -> Result<(FixedHeader, Vec<u8>), ProbeError> {
    let failed = |error| ProbeError::io(phase, error);
    let mut bytes = Vec::with_capacity(FixedHeader::MAX_BYTES);
    // Byte by byte, so that nothing of the packet after this one is taken; there are two of them.
    let header = loop {
        bytes.push(stream.read_u8().await.map_err(failed)?);
        let decoded = FixedHeader::decode(&bytes).map_err(|error| ProbeError::Header {
            version: check.version,
            phase,
            error,
        })?;
        if let Some(header) = decoded {
            break header;
        }
    };
    if header.remaining_bytes > MAX_PACKET_BYTES {
        return Err(ProbeError::TooLong { bytes: header.remaining_bytes, phase });
    }
    let mut body = vec![0; header.remaining_bytes as usize];
    stream.read_exact(&mut body).await.map_err(failed)?;
    Ok((header, body))
}
