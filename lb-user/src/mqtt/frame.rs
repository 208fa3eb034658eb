//! The fixed header every Control Packet begins with.

use thiserror::Error;

use super::variable_byte_integer as varint;

/// The first two to five bytes of a packet (section 2.2 of MQTT 3.1.1, 2.1 of MQTT 5.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    pub packet_type: PacketType,
    /// The low four bits of the first byte.
    pub flags: u8,
    /// The Remaining Length: bytes that follow this header.
    pub remaining_bytes: u32,
    /// Bytes of this header.
    pub bytes: usize,
}

/// The packets a client tells apart; the number is the one on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketType {
    Connack,
    Publish,
    Suback,
    Pingresp,
    Disconnect,
    /// Any other that the standard defines.
    Other(u8),
}

impl PacketType {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Connack => 2,
            Self::Publish => 3,
            Self::Suback => 9,
            Self::Pingresp => 13,
            Self::Disconnect => 14,
            Self::Other(number) => number,
        }
    }
}

/// Bytes that begin no MQTT packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    #[error("packet type 0 is reserved")]
    ReservedType,
    #[error("a Remaining Length of more than four bytes")]
    RemainingLength,
}

impl FixedHeader {
    /// Bytes the longest header takes.
    pub const MAX_BYTES: usize = 5;

    /// Reads the header at the start of `bytes`; `None` while it is incomplete.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, HeaderError> {
        let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
        let packet_type = match first >> 4 {
            0 => return Err(HeaderError::ReservedType),
            2 => PacketType::Connack,
            3 => PacketType::Publish,
            9 => PacketType::Suback,
            13 => PacketType::Pingresp,
            14 => PacketType::Disconnect,
            other => PacketType::Other(other),
        };
        match varint::decode(rest) {
            Ok((remaining_bytes, behind)) => {
                let bytes = 1 + rest.len() - behind.len();
                Ok(Some(Self { packet_type, flags: first & 0x0f, remaining_bytes, bytes }))
            }
            Err(varint::Error::Incomplete) => Ok(None),
            Err(varint::Error::TooLong) => Err(HeaderError::RemainingLength),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_read_once_it_is_complete() {
        assert_eq!(FixedHeader::decode(&[]), Ok(None));
        assert_eq!(FixedHeader::decode(&[0x20]), Ok(None));
        assert_eq!(FixedHeader::decode(&[0x20, 0x80]), Ok(None));
        let header = FixedHeader::decode(&[0x20, 0x02, 0, 0]).unwrap().unwrap();
        assert_eq!((header.packet_type, header.remaining_bytes), (PacketType::Connack, 2));
        let header = FixedHeader::decode(&[0x3d, 0xff, 0xff, 0xff, 0x7f]).unwrap().unwrap();
        assert_eq!(header.packet_type, PacketType::Publish);
        assert_eq!((header.flags, header.remaining_bytes, header.bytes), (0x0d, 268_435_455, 5));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        assert_eq!(FixedHeader::decode(&[0x0f, 0]), Err(HeaderError::ReservedType));
        assert_eq!(
            FixedHeader::decode(&[0x20, 0xff, 0xff, 0xff, 0xff]),
            Err(HeaderError::RemainingLength)
        );
    }

    proptest! {
        #[test]
        fn five_bytes_always_decide(bytes: [u8; FixedHeader::MAX_BYTES]) {
            prop_assert!(!matches!(FixedHeader::decode(&bytes), Ok(None)));
        }
    }
}
