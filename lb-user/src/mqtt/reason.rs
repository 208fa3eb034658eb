//! The words the standards use for the codes a broker answers with.

use super::Version;

/// The name of a CONNACK code: a Connect Return code of MQTT 3.1.1 (section 3.2.2.3) or a reason
/// code of MQTT 5.0 (section 2.4).
pub(super) const fn name(version: Version, code: u8) -> &'static str {
    match version {
        Version::V31 | Version::V311 => return_code(code),
        Version::V5 => reason_code(code),
    }
}

const fn return_code(code: u8) -> &'static str {
    match code {
        0 => "connection accepted",
        1 => "unacceptable protocol version",
        2 => "identifier rejected",
        3 => "server unavailable",
        4 => "bad user name or password",
        5 => "not authorized",
        _ => "reserved code",
    }
}

/// The name of a code that a SUBACK refuses with. MQTT 3.1.1 has but one (section 3.9.3), which MQTT 5.0
/// calls unspecified.
pub(super) const fn suback(code: u8) -> &'static str {
    match code {
        0x80 => "failure",
        0xa1 => "subscription identifiers not supported",
        0xa2 => "wildcard subscriptions not supported",
        code => reason_code(code),
    }
}

/// The return code of MQTT 3.1 and 3.1.1 that says the same to a client as a reason code of MQTT 5.0;
/// `None` if there is none.
pub(super) const fn as_return_code(reason: u8) -> Option<u8> {
    match reason {
        0x84 => Some(1),
        0x85 => Some(2),
        0x88 | 0x89 | 0x8b | 0x97 | 0x9c | 0x9d | 0x9f => Some(3),
        0x86 => Some(4),
        0x87 | 0x8a | 0x8c => Some(5),
        _ => None,
    }
}

/// The reason codes that CONNACK and a broker's DISCONNECT can carry.
pub(super) const fn reason_code(code: u8) -> &'static str {
    match code {
        0x00 => "success",
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 => "unsupported protocol version",
        0x85 => "client identifier not valid",
        0x86 => "bad user name or password",
        0x87 => "not authorized",
        0x88 => "server unavailable",
        0x89 => "server busy",
        0x8a => "banned",
        0x8b => "server shutting down",
        0x8c => "bad authentication method",
        0x8d => "keep alive timeout",
        0x8e => "session taken over",
        0x8f => "topic filter invalid",
        0x90 => "topic name invalid",
        0x93 => "receive maximum exceeded",
        0x94 => "topic alias invalid",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        0x9a => "retain not supported",
        0x9b => "QoS not supported",
        0x9c => "use another server",
        0x9d => "server moved",
        0x9e => "shared subscriptions not supported",
        0x9f => "connection rate exceeded",
        0xa0 => "maximum connect time",
        0xa1 => "subscription identifiers not supported",
        0xa2 => "wildcard subscriptions not supported",
        _ => "reserved code",
    }
}
