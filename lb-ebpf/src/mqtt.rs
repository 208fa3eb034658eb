//! The first Control Packet of a connection, read in passing: MQTT 3.1, 3.1.1 and 5.0.
//!
//! What does not lie in one segment, or is no MQTT, is recognised as such and never guessed.

use crate::packet::Packet;

/// What the first bytes of a client are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum First {
    /// A CONNECT.
    Connect = 0,
    /// A TLS record of a handshake.
    Tls = 1,
    /// The beginning of one of both, but too little to tell.
    Beginning = 2,
    /// Neither.
    Other = 3,
}

/// The first bytes of a client, and the Keep Alive of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// What they are.
    pub first: First,
    /// Keep Alive in seconds; 0 is none, or no CONNECT.
    pub keep_alive_s: u16,
}

impl Greeting {
    /// In one word.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.first as u64 | (self.keep_alive_s as u64) << 16
    }

    /// Out of the word that [`Greeting::pack`] made.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        let first = match word & 0xff {
            0 => First::Connect,
            1 => First::Tls,
            2 => First::Beginning,
            _ => First::Other,
        };
        Self { first, keep_alive_s: (word >> 16) as u16 }
    }

    const fn of(first: First) -> Self {
        Self { first, keep_alive_s: 0 }
    }
}

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
/// Handshake records, and the major version that all versions of TLS carry.
const TLS_HANDSHAKE: [u8; 2] = [22, 3];

/// The fixed header of a Control Packet: where what follows lies; `None` if the Remaining Length
/// ends beyond `end` or has more than four bytes.
#[inline(always)]
fn behind_fixed_header(word: u64, at: usize, end: usize) -> Option<usize> {
    let mut bytes = 1;
    while bytes <= 4 {
        let [.., byte] = (word >> (56 - 8 * bytes)).to_be_bytes();
        if byte & 0x80 == 0 {
            let next = at + 1 + bytes;
            return if next < end { Some(next) } else { None };
        }
        bytes += 1;
    }
    None
}

/// What the bytes from `at` to `end` begin with, the first that a client has sent.
#[inline(always)]
pub fn greeting(packet: &impl Packet, at: usize, end: usize) -> Greeting {
    let Some(word) = packet.word(at, end) else { return Greeting::of(First::Beginning) };
    let [kind, second, ..] = word.to_be_bytes();
    if kind == TLS_HANDSHAKE[0] {
        let tls = second == TLS_HANDSHAKE[1] || at + 1 == end;
        return Greeting::of(if tls { First::Tls } else { First::Other });
    }
    if kind != CONNECT {
        return Greeting::of(First::Other);
    }
    let Some(header) = behind_fixed_header(word, at, end) else {
        // Four bytes are the longest Remaining Length; what is cut off reads as zero.
        let endless = (word >> 24) as u32 & 0x8080_8080 == 0x8080_8080;
        return Greeting::of(if endless { First::Other } else { First::Beginning });
    };
    connect(packet, header, end)
}

/// The variable header of a CONNECT: protocol name, level, flags, Keep Alive.
#[inline(always)]
fn connect(packet: &impl Packet, at: usize, end: usize) -> Greeting {
    const MQTT: u64 = 0x0004_4d51_5454;
    const MQISDP: u64 = 0x0006_4d51_4973_6470;
    const MQTT_LEN: usize = 10;
    const MQISDP_LEN: usize = 12;
    let available = end - at;
    let (Some(name), Some(rest)) = (packet.word(at, end), packet.word(at + 8, end)) else {
        return Greeting::of(First::Beginning);
    };
    let (is_mqtt, is_mqisdp) = (name >> 16 == MQTT, name == MQISDP);
    if !is_mqtt && !is_mqisdp {
        return Greeting::of(First::Other);
    }
    let needed = if is_mqtt { MQTT_LEN } else { MQISDP_LEN };
    if available < needed {
        return Greeting::of(First::Beginning);
    }
    // Behind the longer name follow level and flags; behind the shorter they came before.
    let keep_alive_s = if is_mqtt { rest >> 48 } else { rest >> 32 } as u16;
    Greeting { first: First::Connect, keep_alive_s }
}

/// What a broker answers to a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Answer {
    /// Accepted.
    Accepted = 0,
    /// Refused for a reason that lies with the client.
    Refused = 1,
    /// Refused because this broker cannot serve anybody: unavailable, busy, moved, over a quota.
    Unavailable = 2,
    /// No CONNACK.
    Other = 3,
}

/// A CONNACK, or what else a broker sends first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack {
    /// What it says.
    pub answer: Answer,
    /// What becomes of the Keep Alive.
    pub keep_alive: KeepAlive,
    /// Server Keep Alive in seconds, if it says so.
    pub server_keep_alive_s: u16,
}

/// What a CONNACK says of the Keep Alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KeepAlive {
    /// Nothing: the client's stands.
    AsAsked = 0,
    /// The client has to use another one (MQTT 5, section 3.2.2.3.14).
    Other = 1,
    /// It cannot be told: the properties do not lie in this segment, or are not understood.
    Unknown = 2,
}

impl Connack {
    /// In one word.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self) -> u64 {
        let Self { answer, keep_alive, server_keep_alive_s } = self;
        answer as u64 | (keep_alive as u64) << 8 | (server_keep_alive_s as u64) << 16
    }

    /// Out of the word that [`Connack::pack`] made.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        let answer = match word & 0xff {
            0 => Answer::Accepted,
            1 => Answer::Refused,
            2 => Answer::Unavailable,
            _ => Answer::Other,
        };
        let keep_alive = match word >> 8 & 0xff {
            0 => KeepAlive::AsAsked,
            1 => KeepAlive::Other,
            _ => KeepAlive::Unknown,
        };
        Self { answer, keep_alive, server_keep_alive_s: (word >> 16) as u16 }
    }
}

/// What a broker answers with the bytes from `at` to `end`.
#[inline(always)]
pub fn connack(packet: &impl Packet, at: usize, end: usize) -> Connack {
    let other =
        Connack { answer: Answer::Other, keep_alive: KeepAlive::Unknown, server_keep_alive_s: 0 };
    let Some(word) = packet.word(at, end) else { return other };
    let Some(header) = behind_fixed_header(word, at, end) else { return other };
    let [kind, remaining, ..] = word.to_be_bytes();
    if kind != CONNACK || end < header + 2 {
        return other;
    }
    let Some(variable) = packet.word(header, end) else { return other };
    let [_, code, ..] = variable.to_be_bytes();
    let answer = match code {
        0 => Answer::Accepted,
        // MQTT 3.1.1: server unavailable. MQTT 5: server unavailable, server busy, quota exceeded,
        // use another server, server moved, connection rate exceeded.
        3 | 0x88 | 0x89 | 0x97 | 0x9c | 0x9d | 0x9f => Answer::Unavailable,
        _ => Answer::Refused,
    };
    if remaining == 2 {
        // Before MQTT 5 there are no properties.
        return Connack { answer, keep_alive: KeepAlive::AsAsked, server_keep_alive_s: 0 };
    }
    let (keep_alive, server_keep_alive_s) = server_keep_alive(packet, header + 2, end);
    Connack { answer, keep_alive, server_keep_alive_s }
}

/// More properties than a CONNACK may have, but for User Properties, which may be any number.
const MOST_PROPERTIES: u32 = 24;

/// Looks for Server Keep Alive among the properties that begin, with their length, at `at`.
#[inline(always)]
fn server_keep_alive(packet: &impl Packet, at: usize, end: usize) -> (KeepAlive, u16) {
    const SERVER_KEEP_ALIVE: u8 = 0x13;
    let unknown = (KeepAlive::Unknown, 0);
    let Some(word) = packet.word(at, end) else { return unknown };
    let [first, second, ..] = word.to_be_bytes();
    let (mut at, length) = match (first & 0x80, second & 0x80) {
        (0, _) => (at + 1, first as usize),
        (_, 0) => (at + 2, (first & 0x7f) as usize | (second as usize) << 7),
        _ => return unknown,
    };
    let last = at + length;
    if last > end {
        return unknown;
    }
    let mut seen = 0;
    while seen < MOST_PROPERTIES {
        if at == last {
            return (KeepAlive::AsAsked, 0);
        }
        if at > last {
            return unknown;
        }
        let Some(word) = packet.word(at, end) else { return unknown };
        let [id, a, b, ..] = word.to_be_bytes();
        let text = 3 + (u16::from_be_bytes([a, b]) as usize);
        let property = match id {
            SERVER_KEEP_ALIVE => return (KeepAlive::Other, u16::from_be_bytes([a, b])),
            // A byte: Maximum QoS, Retain, Wildcard, Subscription Identifiers, Shared.
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 2,
            // Two bytes: Receive Maximum, Topic Alias Maximum.
            0x21 | 0x22 => 3,
            // Four bytes: Session Expiry Interval, Maximum Packet Size.
            0x11 | 0x27 => 5,
            // A string or binary data.
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => text,
            // User Property: a pair of strings.
            0x26 => {
                let Some(value) = packet.word(at + text, end) else { return unknown };
                let [a, b, ..] = value.to_be_bytes();
                text + 2 + (u16::from_be_bytes([a, b]) as usize)
            }
            _ => return unknown,
        };
        // Whatever it was, the verifier knows the same afterwards, and need not follow each series of
        // properties. No frame is so long that this changes anything.
        at = (at + property) & 0xffff;
        seen += 1;
    }
    unknown
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::host::Bytes;

    fn greet(bytes: &[u8]) -> Greeting {
        // Something comes before, and padding behind.
        let frame = Bytes([&[0xff; 7], bytes, &[0; 5]].concat());
        greeting(&frame, 7, 7 + bytes.len())
    }

    fn answer(bytes: &[u8]) -> Connack {
        let frame = Bytes([&[0xff; 7], bytes, &[0x13; 5]].concat());
        connack(&frame, 7, 7 + bytes.len())
    }

    fn connect(keep_alive_s: u16) -> Greeting {
        Greeting { first: First::Connect, keep_alive_s }
    }

    const MQTT_311: &[u8] = b"\x10\x10\x00\x04MQTT\x04\x02\x01\x2c\x00\x04dev1";
    const MQTT_31: &[u8] = b"\x10\x12\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x04dev1";

    #[test]
    fn a_connect_of_any_version_gives_its_keep_alive() {
        assert_eq!(greet(MQTT_311), connect(300));
        assert_eq!(greet(MQTT_31), connect(60));
        assert_eq!(greet(b"\x10\x11\x00\x04MQTT\x05\x02\xff\xff\x00\x00\x04dev1"), connect(65_535));
    }

    #[test]
    fn a_remaining_length_may_have_up_to_four_bytes() {
        for length in [&b"\x80\x01"[..], b"\xff\xff\x7f", b"\x80\x80\x80\x01"] {
            let bytes = [b"\x10", length, &MQTT_311[2..]].concat();
            assert_eq!(greet(&bytes), connect(300), "{length:?}");
        }
        let bytes = [b"\x10\x80\x80\x80\x80\x01", &MQTT_311[2..]].concat();
        assert_eq!(greet(&bytes).first, First::Other);
    }

    #[test]
    fn what_is_cut_before_the_keep_alive_is_a_beginning() {
        for length in 0..12 {
            assert_eq!(greet(&MQTT_311[..length]).first, First::Beginning, "{length}");
        }
        assert_eq!(greet(b"\x10\xff\xff\xff\x7f").first, First::Beginning, "a long one");
        assert_eq!(greet(b"\x10\xff\xff\xff\xff").first, First::Other, "an endless length");
        assert_eq!(greet(&MQTT_311[..12]), connect(300));
        for length in 0..14 {
            assert_eq!(greet(&MQTT_31[..length]).first, First::Beginning, "{length}");
        }
    }

    #[test]
    fn tls_is_told_from_the_rest() {
        assert_eq!(greet(b"\x16\x03\x01\x02\x00\x01").first, First::Tls);
        assert_eq!(greet(b"\x16").first, First::Tls);
        assert_eq!(greet(b"\x16\x02").first, First::Other);
        for other in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"SSH-2.0-x",
            b"\xc0\x00",
            b"\x10\x10\x00\x04mqtt\x04\x02\x00\x3c",
        ] {
            assert_eq!(greet(other).first, First::Other, "{other:?}");
        }
    }

    fn told(answer: Answer, keep_alive: KeepAlive, server_keep_alive_s: u16) -> Connack {
        Connack { answer, keep_alive, server_keep_alive_s }
    }

    #[test]
    fn a_connack_says_whether_the_broker_serves() {
        use Answer::{Accepted, Other, Refused, Unavailable};
        for (bytes, expected) in [
            (&b"\x20\x02\x00\x00"[..], Accepted),
            (b"\x20\x02\x01\x00", Accepted),
            (b"\x20\x02\x00\x03", Unavailable),
            (b"\x20\x02\x00\x05", Refused),
        ] {
            assert_eq!(answer(bytes), told(expected, KeepAlive::AsAsked, 0));
        }
        assert_eq!(answer(b"\x20\x03\x00\x89\x00"), told(Unavailable, KeepAlive::AsAsked, 0));
        assert_eq!(answer(b"\x20\x03\x00\x87\x00"), told(Refused, KeepAlive::AsAsked, 0));
        for other in [&b"\x20\x02\x00"[..], b"\x30\x02\x00\x00", b"", b"HTTP/1.1 400"] {
            assert_eq!(answer(other).answer, Other, "{other:?}");
        }
    }

    #[test]
    fn a_server_keep_alive_is_found_among_other_properties() {
        let properties = b"\x11\x00\x00\x00\x05\x24\x01\x12\x00\x03abc\x26\x00\x01k\x00\x02vv\x22\x00\x0a\x13\x00\x14\x29\x01";
        let connack = |properties: &[u8]| {
            let length = properties.len() as u8;
            [&[0x20, length + 3, 0, 0, length], properties].concat()
        };
        let whole: Vec<u8> = connack(properties);
        assert_eq!(answer(&whole), told(Answer::Accepted, KeepAlive::Other, 20));
        assert_eq!(answer(&connack(&properties[..20])).keep_alive, KeepAlive::Unknown, "cut");
        assert_eq!(answer(&connack(b"\x24\x01")).keep_alive, KeepAlive::AsAsked);
        assert_eq!(answer(&connack(b"\x99\x01")).keep_alive, KeepAlive::Unknown);
        assert_eq!(answer(&whole[..whole.len() - 1]).keep_alive, KeepAlive::Unknown, "split");
    }
}
