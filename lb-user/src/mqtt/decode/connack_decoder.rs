//! What a broker answers to a CONNECT, put together from what arrives.

use thiserror::Error;

use crate::mqtt::variable_byte_integer as varint;
use crate::mqtt::{Connack, ConnackError, FixedHeader, HeaderError, PacketType, Version};

/// Reads the first packet of a broker.
///
/// As [`super::ConnectDecoder`] it keeps what has arrived and nothing more.
#[derive(Debug)]
pub struct ConnackDecoder {
    version: Version,
    max_packet_bytes: usize,
    bytes: Vec<u8>,
    /// What the first error was.
    refused: Option<AnswerError>,
}

/// The first packet of a broker, and what arrived behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub packet: AnswerPacket,
    /// The packet and what arrived behind it, byte for byte.
    pub bytes: Vec<u8>,
    /// How many of `bytes` are the packet.
    pub packet_bytes: usize,
}

/// What a broker may answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerPacket {
    Connack(Connack),
    /// A question of extended authentication, which MQTT 5.0 allows before CONNACK (section 4.12).
    /// It is not looked into.
    Auth,
}

/// Bytes that are no answer to a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("a packet of type {packet_type} with flags {flags:#x}, not CONNACK")]
    Unexpected { packet_type: u8, flags: u8 },
    #[error("a Remaining Length of more bytes than it needs")]
    LengthNotMinimal,
    #[error("a packet of {bytes} bytes, more than the {max} that are allowed")]
    TooLarge { bytes: usize, max: usize },
    #[error(transparent)]
    Connack(#[from] ConnackError),
}

const AUTH: u8 = 15;

impl ConnackDecoder {
    /// For the answer to a CONNECT of `version`; refuses packets of more than `max_packet_bytes`,
    /// fixed header included, once they say so.
    #[must_use]
    pub const fn new(version: Version, max_packet_bytes: u32) -> Self {
        let max_packet_bytes = max_packet_bytes as usize;
        Self { version, max_packet_bytes, bytes: Vec::new(), refused: None }
    }

    /// Bytes of memory taken for what has arrived: at most twice as many.
    #[must_use]
    pub const fn capacity_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes the bytes that have arrived, any number of them. Answers with the packet once it is
    /// whole, together with what arrived behind it; the decoder is then empty. An error is repeated
    /// whatever else is fed.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Answer>, AnswerError> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        self.bytes.extend_from_slice(bytes);
        self.advance().inspect_err(|error| {
            self.refused = Some(*error);
            self.bytes = Vec::new();
        })
    }

    fn advance(&mut self) -> Result<Option<Answer>, AnswerError> {
        let Some((header, packet_bytes)) = self.header()? else { return Ok(None) };
        let Some(packet) = self.bytes.get(..packet_bytes) else { return Ok(None) };
        let body = &packet[header.bytes..];
        let packet = match header.packet_type {
            PacketType::Connack => AnswerPacket::Connack(Connack::decode(self.version, body)?),
            _ => AnswerPacket::Auth,
        };
        Ok(Some(Answer { packet, bytes: std::mem::take(&mut self.bytes), packet_bytes }))
    }

    /// The fixed header and the bytes of the packet, once they are there and allowed.
    fn header(&self) -> Result<Option<(FixedHeader, usize)>, AnswerError> {
        let Some(first) = self.bytes.first() else { return Ok(None) };
        let (packet_type, flags) = (first >> 4, first & 0x0f);
        let expected = packet_type == PacketType::Connack.number()
            || packet_type == AUTH && self.version == Version::V5;
        if !expected || flags != 0 {
            return Err(AnswerError::Unexpected { packet_type, flags });
        }
        let Some(header) = FixedHeader::decode(&self.bytes)? else { return Ok(None) };
        let shortest = 1 + varint::encoded_bytes(header.remaining_bytes);
        if self.version == Version::V5 && header.bytes != shortest {
            return Err(AnswerError::LengthNotMinimal);
        }
        let bytes = header.bytes + header.remaining_bytes as usize;
        let max = self.max_packet_bytes;
        if bytes > max {
            return Err(AnswerError::TooLarge { bytes, max });
        }
        Ok(Some((header, bytes)))
    }
}
