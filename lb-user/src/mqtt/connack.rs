//! The CONNACK packet.

use thiserror::Error;

use super::field::Fields;
use super::properties::{self, Allowed, Properties, Value};
use super::{Version, reason};

/// A broker's answer to CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    /// The version whose codes `code` is one of: a broker that does not speak MQTT 5.0 refuses it
    /// with a CONNACK of MQTT 3.1.1.
    pub version: Version,
    pub session_present: bool,
    pub code: u8,
    /// What only MQTT 5.0 has.
    pub properties: ConnackProperties,
}

/// Properties of a CONNACK that say something to whoever stands between client and broker (section
/// 3.2.2.3 of MQTT 5.0).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnackProperties {
    /// The Keep Alive that holds in place of the client's, in seconds.
    pub server_keep_alive_s: Option<u16>,
    /// The Session Expiry Interval that holds in place of the client's, in seconds; `u32::MAX` is
    /// never.
    pub session_expiry_s: Option<u32>,
    /// The Client Identifier of a client that gave none.
    pub assigned_client_id: Option<String>,
    pub server_reference: Option<String>,
    pub reason_string: Option<String>,
}

/// Bytes that are no CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConnackError {
    #[error("{0} bytes after the fixed header, which is no CONNACK's length")]
    Length(usize),
    #[error("acknowledge flags {0:#04x}, of which only bit 0 may be set")]
    Flags(u8),
    #[error("a refusal that says that there is a session")]
    SessionPresent,
    #[error("properties that MQTT 5.0 does not allow in a CONNACK")]
    Properties,
}

impl Connack {
    /// Reads what follows the fixed header of a CONNACK that answers a CONNECT of `version`.
    ///
    /// Codes that the standard does not assign are taken for refusals.
    pub fn decode(version: Version, body: &[u8]) -> Result<Self, ConnackError> {
        let &[flags, code, ref properties @ ..] = body else {
            return Err(ConnackError::Length(body.len()));
        };
        // MQTT 3.1 has no such flags: the byte is unused.
        let flags = if version == Version::V31 { 0 } else { flags };
        if flags & !1 != 0 {
            return Err(ConnackError::Flags(flags));
        }
        let (version, properties) = match (version, properties) {
            (Version::V31 | Version::V311, []) => (version, ConnackProperties::default()),
            (Version::V5, []) if code != 0 => (Version::V311, ConnackProperties::default()),
            (Version::V5, [_, ..]) => (version, ConnackProperties::decode(properties)?),
            _ => return Err(ConnackError::Length(body.len())),
        };
        let session_present = flags == 1;
        if session_present && code != 0 {
            return Err(ConnackError::SessionPresent);
        }
        Ok(Self { version, session_present, code, properties })
    }

    /// Whether the broker accepted the connection.
    #[must_use]
    pub const fn accepted(&self) -> bool {
        self.code == 0
    }

    /// Whether the reason of a refusal lies with the broker, so that another one may accept: server
    /// unavailable; with MQTT 5.0 also server busy, quota exceeded, use another server, server
    /// moved, and connection rate exceeded.
    #[must_use]
    pub const fn may_succeed_elsewhere(&self) -> bool {
        match self.version {
            Version::V31 | Version::V311 => self.code == 3,
            Version::V5 => matches!(self.code, 0x88 | 0x89 | 0x97 | 0x9c | 0x9d | 0x9f),
        }
    }

    /// The name the standard gives the code.
    #[must_use]
    pub const fn code_name(&self) -> &'static str {
        reason::name(self.version, self.code)
    }

    /// A CONNACK that refuses a client of `version` for a `reason`, a reason code of MQTT 5.0 from
    /// 0x80 on; to earlier versions it says the return code that means the same. `None` if they
    /// have none: the connection is then to be closed without one.
    #[must_use]
    pub fn refusal(version: Version, reason: u8) -> Option<Vec<u8>> {
        match version {
            Version::V5 => Some(vec![0x20, 3, 0, reason, 0]),
            Version::V31 | Version::V311 => {
                reason::as_return_code(reason).map(|code| vec![0x20, 2, 0, code])
            }
        }
    }
}

impl ConnackProperties {
    /// Reads properties behind their length, to the end of `bytes`.
    fn decode(bytes: &[u8]) -> Result<Self, ConnackError> {
        let mut fields = Fields::new(bytes, 0);
        let all = Properties::at_front(&mut fields, Allowed::CONNACK)
            .map_err(|_| ConnackError::Properties)?;
        if !fields.is_empty() {
            return Err(ConnackError::Properties);
        }
        let mut read = Self::default();
        for property in all {
            match property.map_err(|_| ConnackError::Properties)? {
                (properties::SERVER_KEEP_ALIVE, Value::Number(seconds)) => {
                    read.server_keep_alive_s = Some(seconds as u16);
                }
                (properties::SESSION_EXPIRY_INTERVAL, Value::Number(seconds)) => {
                    read.session_expiry_s = Some(seconds);
                }
                (properties::ASSIGNED_CLIENT_IDENTIFIER, Value::Text(text)) => {
                    read.assigned_client_id = Some(text.to_owned());
                }
                (properties::SERVER_REFERENCE, Value::Text(text)) => {
                    read.server_reference = Some(text.to_owned());
                }
                (properties::REASON_STRING, Value::Text(text)) => {
                    read.reason_string = Some(text.to_owned());
                }
                _ => {}
            }
        }
        Ok(read)
    }
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
    fn mqtt_3_1_does_not_use_the_first_byte() {
        let connack = decode(Version::V31, &[0xff, 2]);
        assert!(!connack.session_present);
        assert_eq!(connack.code_name(), "identifier rejected");
    }

    #[test]
    fn what_another_broker_may_accept_is_told_from_what_none_will() {
        let elsewhere = |version, code| {
            let written = Connack::refusal(version, code).unwrap();
            decode(version, &written[2..]).may_succeed_elsewhere()
        };
        for reason in [0x88, 0x89, 0x97, 0x9c, 0x9d, 0x9f] {
            assert!(elsewhere(Version::V5, reason), "{reason:#x}");
            assert!(elsewhere(Version::V311, reason), "{reason:#x}");
        }
        for reason in [0x81, 0x84, 0x85, 0x86, 0x87, 0x8a] {
            assert!(!elsewhere(Version::V5, reason), "{reason:#x}");
        }
        assert!(!decode(Version::V311, &[0, 5]).may_succeed_elsewhere());
        assert!(!decode(Version::V5, &[0, 0, 0]).may_succeed_elsewhere());
    }

    #[test]
    fn a_refusal_is_written_in_the_words_of_each_version() {
        let refusal = Connack::refusal;
        assert_eq!(refusal(Version::V5, 0x9f).unwrap(), [0x20, 3, 0, 0x9f, 0]);
        assert_eq!(refusal(Version::V311, 0x9f).unwrap(), [0x20, 2, 0, 3], "server unavailable");
        assert_eq!(refusal(Version::V31, 0x85).unwrap(), [0x20, 2, 0, 2], "identifier rejected");
        assert_eq!(refusal(Version::V311, 0x81), None, "no words for a malformed packet");
    }

    #[test]
    fn what_the_broker_decides_for_the_client_is_read() {
        let body = b"\0\0\x17\x13\0\x3c\x11\0\0\x0e\x10\x12\0\x04auto\x1c\0\x05other";
        let read = decode(Version::V5, body).properties;
        assert_eq!((read.server_keep_alive_s, read.session_expiry_s), (Some(60), Some(3600)));
        assert_eq!(read.assigned_client_id.as_deref(), Some("auto"));
        assert_eq!(read.server_reference.as_deref(), Some("other"));
    }

    #[test]
    fn the_reason_string_is_found_among_other_properties() {
        // Receive Maximum 10, Reason String "full", Topic Alias Maximum 1.
        let body = b"\x00\x97\x0d\x21\x00\x0a\x1f\x00\x04full\x22\x00\x01";
        let connack = decode(Version::V5, body);
        assert_eq!(connack.properties.reason_string.as_deref(), Some("full"));
    }

    #[test]
    fn malformed_packets_are_refused() {
        use ConnackError::{Flags, Length, Properties, SessionPresent};
        assert_eq!(Connack::decode(Version::V311, &[0]), Err(Length(1)));
        assert_eq!(Connack::decode(Version::V311, &[0, 0, 0]), Err(Length(3)));
        assert_eq!(Connack::decode(Version::V311, &[2, 0]), Err(Flags(2)));
        assert_eq!(Connack::decode(Version::V311, &[1, 5]), Err(SessionPresent));
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
            prop_assert_eq!(read.properties.reason_string, reason);
            let short = &body[..body.len().saturating_sub(cut)];
            if short.len() != 2 {
                prop_assert!(Connack::decode(Version::V5, short).is_err(), "cut by {}", cut);
            }
        }
    }
}
