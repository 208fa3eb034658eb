//! Another codec, which says what it makes of the vectors.

use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};

use crate::mqtt::Version;
use crate::mqtt::decode::Connect;

/// Remaining Length and what follows it, read apart from the code under test: the judge's own
/// reader of fixed headers belongs to its connection, which knows no first packet.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    let length_bytes = bytes[1..].iter().take(4).position(|byte| byte & 0x80 == 0)? + 1;
    let (length, body) = bytes[1..].split_at(length_bytes);
    let remaining =
        length.iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    Some(&body[..remaining.min(body.len())])
}

/// Whether the judge takes the bytes for a CONNECT. The level decides which of its codecs is asked,
/// as it does in its connection.
pub(super) fn accepts_connect(bytes: &[u8]) -> bool {
    let Some(body) = body(bytes).filter(|_| bytes[0] == 0x10) else { return false };
    match body.get(6) {
        Some(4) => whole(v3_1_1::Connect::parse(body).ok().map(|(_, used)| used), body),
        Some(5) => whole(v5_0::Connect::parse(body).ok().map(|(_, used)| used), body),
        _ => false,
    }
}

/// Whether the judge takes the bytes for a CONNACK that answers a CONNECT of `version`.
pub(super) fn accepts_connack(version: Version, bytes: &[u8]) -> bool {
    let Some(body) = body(bytes).filter(|_| bytes[0] == 0x20) else { return false };
    match version {
        Version::V31 => false,
        Version::V311 => v3_1_1::Connack::parse(body).is_ok(),
        Version::V5 => whole(v5_0::Connack::parse(body).ok().map(|(_, used)| used), body),
    }
}

fn whole(used: Option<usize>, body: &[u8]) -> bool {
    used == Some(body.len())
}

/// Asserts that both have read the same.
pub(super) fn compare(bytes: &[u8], ours: &Connect) {
    let body = body(bytes).unwrap();
    macro_rules! compare {
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
    match ours.version() {
        Version::V5 => compare!(v5_0::Connect::parse(body)),
        Version::V31 | Version::V311 => compare!(v3_1_1::Connect::parse(body)),
    }
}

/// Asserts that the judge disagrees where the vector says so, and only there.
pub(super) fn differs(name: &str, said: Option<&str>, judge_accepts: bool, ours_accepts: bool) {
    let expected = match said.map(|said| said.split(':').next()) {
        None => ours_accepts,
        Some(Some("accepts")) => true,
        Some(Some("refuses")) => false,
        Some(other) => panic!("{name}: the judge {other:?}"),
    };
    assert_eq!(judge_accepts, expected, "{name}: whether the judge accepts it");
    assert!(said.is_none() || judge_accepts != ours_accepts, "{name}: no difference to explain");
}
