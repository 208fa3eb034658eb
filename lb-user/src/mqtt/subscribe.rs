//! SUBSCRIBE to one topic, and the SUBACK that answers it.

use thiserror::Error;

use super::{
    Version,
    field::{Fields, append},
    reason, variable_byte_integer,
};

/// A request for the messages of one topic, at most once each (`QoS` 0).
#[derive(Clone, Copy, Debug)]
pub struct Subscribe<'a> {
    /// The version that CONNECT named.
    pub version: Version,
    /// Not zero; comes back in the SUBACK.
    pub packet_identifier: u16,
    /// The topic, without wildcards or with them.
    pub topic_filter: &'a str,
}

impl Subscribe<'_> {
    /// The packet's bytes (section 3.8 of each version); `None` if the topic is longer than 65535 bytes.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut body = self.packet_identifier.to_be_bytes().to_vec();
        if self.version == Version::V5 {
            // No properties.
            body.push(0);
        }
        append(&mut body, self.topic_filter.as_bytes())?;
        // QoS 0. In MQTT 5.0 also: whatever is retained is sent now.
        body.push(0);
        let mut packet = vec![0x82];
        variable_byte_integer::encode(body.len() as u32, &mut packet);
        packet.append(&mut body);
        Some(packet)
    }
}

/// Why a SUBACK grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubackError {
    /// It is not what the standard says.
    #[error("malformed SUBACK")]
    Malformed,
    /// It answers something else.
    #[error("SUBACK of another packet")]
    OfAnother,
    /// The broker refuses.
    #[error("SUBACK code {code:#04x}, {}", reason::suback(*.code))]
    Refused {
        /// The return code, or reason code.
        code: u8,
    },
}

/// Whether the SUBACK with this body (section 3.9) grants what the packet `packet_identifier` asked for.
pub fn suback(version: Version, body: &[u8], packet_identifier: u16) -> Result<(), SubackError> {
    let malformed = |_| SubackError::Malformed;
    let mut fields = Fields::new(body, 0);
    if fields.two_bytes().map_err(malformed)? != packet_identifier {
        return Err(SubackError::OfAnother);
    }
    if version == Version::V5 {
        let bytes = fields.variable().map_err(malformed)?;
        fields.skip(bytes as usize).map_err(malformed)?;
    }
    let code = fields.byte().map_err(malformed)?;
    if !fields.is_empty() {
        return Err(SubackError::Malformed);
    }
    match code {
        0..=2 => Ok(()),
        code => Err(SubackError::Refused { code }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};

    const TOPIC: &str = "$SYS/broker/load/messages/received/1min";

    fn packet(version: Version) -> Vec<u8> {
        Subscribe { version, packet_identifier: 7, topic_filter: TOPIC }.encode().unwrap()
    }

    #[test]
    fn another_codec_reads_what_is_sent() {
        let bytes = packet(Version::V311);
        let (read, length) = v3_1_1::Subscribe::parse(&bytes[2..]).unwrap();
        assert_eq!((read.packet_id(), length), (7, bytes.len() - 2));
        assert_eq!(read.entries()[0].topic_filter(), TOPIC);
        let bytes = packet(Version::V5);
        let (read, length) = v5_0::Subscribe::parse(&bytes[2..]).unwrap();
        assert_eq!((read.packet_id(), length), (7, bytes.len() - 2));
        assert_eq!(read.entries()[0].topic_filter(), TOPIC);
    }

    #[test]
    fn a_suback_grants_or_says_why_not() {
        assert_eq!(suback(Version::V311, &[0, 7, 0], 7), Ok(()));
        assert_eq!(suback(Version::V5, &[0, 7, 0, 0], 7), Ok(()));
        assert_eq!(
            suback(Version::V5, b"\0\x07\x05\x1f\0\x02no\x87", 7).unwrap_err().to_string(),
            "SUBACK code 0x87, not authorized"
        );
        assert_eq!(
            suback(Version::V311, &[0, 7, 0x80], 7).unwrap_err().to_string(),
            "SUBACK code 0x80, failure"
        );
        assert_eq!(suback(Version::V311, &[0, 8, 0], 7), Err(SubackError::OfAnother));
        for (version, body) in [
            (Version::V311, &b""[..]),
            (Version::V311, b"\0\x07"),
            (Version::V311, b"\0\x07\0\0"),
            (Version::V5, b"\0\x07\x01\0"),
        ] {
            assert_eq!(suback(version, body, 7), Err(SubackError::Malformed), "{body:?}");
        }
    }
}
