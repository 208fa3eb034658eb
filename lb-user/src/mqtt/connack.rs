//! The CONNACK packet.

use thiserror::Error;

use super::properties::{Properties, Value};
use super::{Version, reason};

/// A broker's answer to CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    /// The version whose codes `code` is one of: a broker that does not speak MQTT 5.0 refuses it
    /// with a CONNACK of MQTT 3.1.1.
    pub version: Version,
    pub session_present: bool,
    pub code: u8,
    /// The Reason String, which only MQTT 5.0 has.
    pub reason_string: Option<String>,
}

/// Bytes that are no CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConnackError {
    #[error("{0} bytes after the fixed header, which is no CONNACK's length")]
    Length(usize),
    #[error("acknowledge flags {0:#04x}, of which only bit 0 may be set")]
    Flags(u8),
    #[error("properties that MQTT 5.0 does not allow in a CONNACK")]
    Properties,
}

impl Connack {
    /// Reads what follows the fixed header of a CONNACK that answers a CONNECT of `version`.
    pub fn decode(version: Version, body: &[u8]) -> Result<Self, ConnackError> {
        let &[flags, code, ref properties @ ..] = body else {
            return Err(ConnackError::Length(body.len()));
        };
        if flags & !1 != 0 {
            return Err(ConnackError::Flags(flags));
        }
        let session_present = flags == 1;
        let (version, reason_string) = match (version, properties) {
            (Version::V311, []) => (version, None),
            (Version::V5, []) if code != 0 => (Version::V311, None),
            (Version::V5, [_, ..]) => (version, reason_string(properties)?),
            _ => return Err(ConnackError::Length(body.len())),
        };
        Ok(Self { version, session_present, code, reason_string })
    }

    /// Whether the broker accepted the connection.
    #[must_use]
    pub const fn accepted(&self) -> bool {
        self.code == 0
    }

    /// The name the standard gives the code.
    #[must_use]
    pub const fn code_name(&self) -> &'static str {
        reason::name(self.version, self.code)
    }
}

const USER_PROPERTY: u8 = 0x26;
const REASON_STRING: u8 = 0x1f;

/// The properties a CONNACK may have (section 3.2.2.3 of MQTT 5.0).
const ALLOWED: [u8; 17] = [
    0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
    0x2a,
];

/// The Reason String among the properties, which are looked through to the end.
fn reason_string(bytes: &[u8]) -> Result<Option<String>, ConnackError> {
    let properties = Properties::whole(bytes).map_err(|_| ConnackError::Properties)?;
    let mut seen = 0u64;
    let mut reason = None;
    for property in properties {
        let (id, value) = property.map_err(|_| ConnackError::Properties)?;
        let bit = 1 << id;
        let twice = seen & bit != 0 && id != USER_PROPERTY;
        if !ALLOWED.contains(&id) || twice {
            return Err(ConnackError::Properties);
        }
        seen |= bit;
        if let (REASON_STRING, Value::Text(text)) = (id, value) {
            reason = Some(text.to_owned());
        }
    }
    Ok(reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::variable_byte_integer as varint;
    use mqtt_protocol_core::mqtt::packet::{ReasonString, ReceiveMaximum, UserProperty, v5_0};
    use mqtt_protocol_core::mqtt::result_code::ConnectReasonCode;
    use proptest::prelude::*;

    fn decode(version: Version, body: &[u8]) -> Connack {
        Connack::decode(version, body).unwrap()
    }

    #[test]
    fn acceptance_is_code_zero() {
        assert!(decode(Version::V311, &[0, 0]).accepted());
        assert!(decode(Version::V5, &[0, 0, 0]).accepted());
        assert!(decode(Version::V311, &[1, 0]).session_present);
        assert!(!decode(Version::V311, &[0, 5]).accepted());
    }

    #[test]
    fn a_refusal_has_the_name_of_its_version() {
        assert_eq!(decode(Version::V311, &[0, 5]).code_name(), "not authorized");
        assert_eq!(decode(Version::V5, &[0, 0x87, 0]).code_name(), "not authorized");
        assert_eq!(decode(Version::V5, &[0, 0x89, 0]).code_name(), "server busy");
        assert_eq!(decode(Version::V311, &[0, 0x89]).code_name(), "reserved code");
        assert_eq!(decode(Version::V5, &[0, 0x17, 0]).code_name(), "reserved code");
    }

    #[test]
    fn an_old_broker_that_refuses_mqtt_5_is_understood() {
        let connack = decode(Version::V5, &[0, 1]);
        assert_eq!(connack.version, Version::V311);
        assert_eq!(connack.code_name(), "unacceptable protocol version");
    }

    #[test]
    fn the_reason_string_is_found_among_other_properties() {
        // Receive Maximum 10, Reason String "full", Topic Alias Maximum 1.
        let body = b"\x00\x97\x0d\x21\x00\x0a\x1f\x00\x04full\x22\x00\x01";
        let connack = decode(Version::V5, body);
        assert_eq!(connack.reason_string.as_deref(), Some("full"));
    }

    #[test]
    fn malformed_packets_are_refused() {
        use ConnackError::{Flags, Length, Properties};
        assert_eq!(Connack::decode(Version::V311, &[0]), Err(Length(1)));
        assert_eq!(Connack::decode(Version::V311, &[0, 0, 0]), Err(Length(3)));
        assert_eq!(Connack::decode(Version::V311, &[2, 0]), Err(Flags(2)));
        assert_eq!(Connack::decode(Version::V5, &[0, 0, 5, 0x21]), Err(Properties), "cut short");
        assert_eq!(Connack::decode(Version::V5, &[0, 0]), Err(Length(2)), "without properties");
        assert_eq!(Connack::decode(Version::V5, &[0, 0, 0, 9]), Err(Properties), "a byte too many");
        let alias = [0, 0, 3, 0x23, 0, 1];
        assert_eq!(Connack::decode(Version::V5, &alias), Err(Properties), "a PUBLISH's property");
        let twice = [0, 0, 6, 0x21, 0, 1, 0x21, 0, 1];
        assert_eq!(Connack::decode(Version::V5, &twice), Err(Properties), "the same twice");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Connack::decode(Version::V311, &body);
            let _ = Connack::decode(Version::V5, &body);
        }

        #[test]
        fn what_another_codec_writes_is_read(
            reason in proptest::option::of("\\PC{0,30}"),
            user in proptest::collection::vec(("[a-z]{0,9}", "\\PC{0,20}"), 0..3),
            maximum in proptest::option::of(1u16..),
            cut in 1usize..20,
        ) {
            let mut properties = Vec::new();
            properties.extend(maximum.map(|m| ReceiveMaximum::new(m).unwrap().into()));
            properties.extend(user.iter().map(|(k, v)| UserProperty::new(k, v).unwrap().into()));
            properties.extend(reason.iter().map(|r| ReasonString::new(r).unwrap().into()));
            let written = v5_0::Connack::builder()
                .session_present(false)
                .reason_code(ConnectReasonCode::QuotaExceeded)
                .props(properties)
                .build()
                .unwrap()
                .to_continuous_buffer();
            let (_, body) = varint::decode(&written[1..]).unwrap();
            let read = decode(Version::V5, body);
            prop_assert_eq!(read.code_name(), "quota exceeded");
            prop_assert_eq!(read.reason_string, reason);
            let short = &body[..body.len().saturating_sub(cut)];
            if short.len() != 2 {
                prop_assert!(Connack::decode(Version::V5, short).is_err(), "cut by {}", cut);
            }
        }
    }
}
