//! Other codecs, which say what they make of the vectors.

use mqtt_proto::{v3, v5};
use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};

use super::notation::Vector;
use crate::mqtt::Version;
use crate::mqtt::decode::Connect;

/// Another codec.
#[derive(Clone, Copy, Debug)]
pub(super) enum Judge {
    MqttProtocolCore,
    /// The only one that knows MQTT 3.1.
    MqttProto,
}

impl Judge {
    pub(super) const ALL: [Self; 2] = [Self::MqttProtocolCore, Self::MqttProto];

    /// The name of the crate.
    const fn name(self) -> &'static str {
        match self {
            Self::MqttProtocolCore => "mqtt-protocol-core",
            Self::MqttProto => "mqtt-proto",
        }
    }

    /// Whether it takes the bytes for a CONNECT. The level decides which of its codecs is asked.
    pub(super) fn accepts_connect(self, bytes: &[u8]) -> bool {
        let Some(body) = body(bytes) else { return false };
        let level = level(body);
        match self {
            Self::MqttProtocolCore if bytes[0] != 0x10 => false,
            Self::MqttProtocolCore => match level {
                4 => whole(v3_1_1::Connect::parse(body).ok().map(|(_, used)| used), body),
                5 => whole(v5_0::Connect::parse(body).ok().map(|(_, used)| used), body),
                _ => false,
            },
            Self::MqttProto if level == 5 => {
                matches!(v5::Packet::decode(bytes), Ok(Some(v5::Packet::Connect(_))))
            }
            Self::MqttProto => {
                matches!(v3::Packet::decode(bytes), Ok(Some(v3::Packet::Connect(_))))
            }
        }
    }

    /// Whether it takes the bytes for a CONNACK that answers a CONNECT of `version`.
    pub(super) fn accepts_connack(self, version: Version, bytes: &[u8]) -> bool {
        let Some(body) = body(bytes) else { return false };
        match (self, version) {
            (Self::MqttProtocolCore, _) if bytes[0] != 0x20 => false,
            (Self::MqttProtocolCore, Version::V31) => false,
            (Self::MqttProtocolCore, Version::V311) => v3_1_1::Connack::parse(body).is_ok(),
            (Self::MqttProtocolCore, Version::V5) => {
                whole(v5_0::Connack::parse(body).ok().map(|(_, used)| used), body)
            }
            (Self::MqttProto, Version::V5) => {
                matches!(v5::Packet::decode(bytes), Ok(Some(v5::Packet::Connack(_))))
            }
            (Self::MqttProto, Version::V31 | Version::V311) => {
                matches!(v3::Packet::decode(bytes), Ok(Some(v3::Packet::Connack(_))))
            }
        }
    }

    /// Asserts that it disagrees where the vector says so, and only there.
    pub(super) fn differs(self, vector: &Vector, accepts: bool, ours_accepts: bool) {
        let (name, judge) = (&vector.name, self.name());
        let said = vector.said_by(judge);
        let expected = match said.map(|said| said.split(':').next()) {
            None => ours_accepts,
            Some(Some("accepts")) => true,
            Some(Some("refuses")) => false,
            Some(other) => panic!("{name}: {judge} {other:?}"),
        };
        assert_eq!(accepts, expected, "{name}: whether {judge} accepts it");
        assert!(said.is_none() || accepts != ours_accepts, "{name}: no difference to explain");
    }

    /// Asserts that both have read the same.
    pub(super) fn compare(self, bytes: &[u8], ours: &Connect) {
        let body = body(bytes).unwrap();
        macro_rules! compare_core {
            ($theirs:expr) => {{
                let theirs = $theirs.unwrap().0;
                assert_eq!(theirs.client_id(), ours.client_id());
                assert_eq!(theirs.keep_alive(), ours.keep_alive_s());
                assert_eq!(theirs.clean_start(), ours.clean_start());
                assert_eq!(theirs.user_name(), ours.username());
                assert_eq!(theirs.password().is_some(), ours.has_password());
                assert_eq!(theirs.will_flag(), ours.has_will());
            }};
        }
        macro_rules! compare_proto {
            ($packet:ident, $theirs:expr, $clean:ident) => {{
                let Ok(Some($packet::Packet::Connect(theirs))) = $theirs else { panic!() };
                assert_eq!(&*theirs.client_id, ours.client_id());
                assert_eq!(theirs.keep_alive, ours.keep_alive_s());
                assert_eq!(theirs.$clean, ours.clean_start());
                assert_eq!(theirs.username.as_deref(), ours.username());
                assert_eq!(theirs.password.is_some(), ours.has_password());
                assert_eq!(theirs.last_will.is_some(), ours.has_will());
            }};
        }
        match (self, ours.version()) {
            (Self::MqttProtocolCore, Version::V5) => compare_core!(v5_0::Connect::parse(body)),
            (Self::MqttProtocolCore, _) => compare_core!(v3_1_1::Connect::parse(body)),
            (Self::MqttProto, Version::V5) => {
                compare_proto!(v5, v5::Packet::decode(bytes), clean_start);
            }
            (Self::MqttProto, _) => compare_proto!(v3, v3::Packet::decode(bytes), clean_session),
        }
    }
}

/// What follows the fixed header, read apart from the code under test.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    let length_bytes = bytes[1..].iter().take(4).position(|byte| byte & 0x80 == 0)? + 1;
    let (length, body) = bytes[1..].split_at(length_bytes);
    let remaining =
        length.iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    Some(&body[..remaining.min(body.len())])
}

/// The byte behind the protocol's name.
fn level(body: &[u8]) -> u8 {
    let name_bytes = body.first_chunk().map_or(0, |length| u16::from_be_bytes(*length));
    body.get(2 + usize::from(name_bytes)).copied().unwrap_or(0)
}

fn whole(used: Option<usize>, body: &[u8]) -> bool {
    used == Some(body.len())
}
