//! The first data of a connection, read from a slice.

/// What a client begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// A CONNECT, with its Keep Alive.
    Connect(u16),
    Tls,
    /// Too little to tell.
    Beginning,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    Refused,
    Unavailable,
    /// No CONNACK.
    Other,
}

/// What a CONNACK says of the Keep Alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    AsAsked,
    Other(u16),
    Unknown,
}

/// What follows a fixed header.
enum Behind<'a> {
    Header(&'a [u8]),
    /// The header, or what must follow it, is not here.
    Cut,
    /// A Remaining Length of more than four bytes.
    Malformed,
}

fn behind_fixed_header(data: &[u8]) -> Behind<'_> {
    for bytes in 1..=4 {
        match data.get(bytes) {
            None => return Behind::Cut,
            Some(byte) if byte & 0x80 == 0 => {
                let rest = &data[bytes + 1..];
                return if rest.is_empty() { Behind::Cut } else { Behind::Header(rest) };
            }
            Some(_) => {}
        }
    }
    Behind::Malformed
}

pub fn greeting(data: &[u8]) -> Greeting {
    match data {
        [22] => Greeting::Tls,
        [] | [0x10] => Greeting::Beginning,
        [22, major, ..] => {
            if *major == 3 {
                Greeting::Tls
            } else {
                Greeting::Other
            }
        }
        [0x10, ..] => match behind_fixed_header(data) {
            Behind::Header(rest) => connect(rest),
            Behind::Cut => Greeting::Beginning,
            Behind::Malformed => Greeting::Other,
        },
        _ => Greeting::Other,
    }
}

/// The variable header; of one that is shorter than the longer name nothing is said.
fn connect(header: &[u8]) -> Greeting {
    let behind_name = if header.len() <= 8 {
        return Greeting::Beginning;
    } else if header.starts_with(b"\0\x04MQTT") {
        6
    } else if header.starts_with(b"\0\x06MQIsdp") {
        8
    } else {
        return Greeting::Other;
    };
    // Level, flags, and then the Keep Alive.
    match header[behind_name..] {
        [_, _, high, low, ..] => Greeting::Connect(u16::from_be_bytes([high, low])),
        _ => Greeting::Beginning,
    }
}

pub fn connack(data: &[u8]) -> (Answer, KeepAlive) {
    let Behind::Header(header) = behind_fixed_header(data) else {
        return (Answer::Other, KeepAlive::Unknown);
    };
    let (0x20, [_, code, properties @ ..]) = (data[0], header) else {
        return (Answer::Other, KeepAlive::Unknown);
    };
    let answer = match code {
        0 => Answer::Accepted,
        3 | 0x88 | 0x89 | 0x97 | 0x9c | 0x9d | 0x9f => Answer::Unavailable,
        _ => Answer::Refused,
    };
    let keep_alive = if data[1] == 2 { KeepAlive::AsAsked } else { server_keep_alive(properties) };
    (answer, keep_alive)
}

fn server_keep_alive(data: &[u8]) -> KeepAlive {
    let (length, mut rest) = match data {
        [length @ 0..0x80, rest @ ..] => (usize::from(*length), rest),
        [low, high @ 0..0x80, rest @ ..] => {
            (usize::from(low & 0x7f) | usize::from(*high) << 7, rest)
        }
        _ => return KeepAlive::Unknown,
    };
    let Some(end) = rest.len().checked_sub(length) else { return KeepAlive::Unknown };
    for _ in 0..24 {
        if rest.len() == end {
            return KeepAlive::AsAsked;
        }
        // What is cut off reads as zero.
        let at = |place: usize| rest.get(place).copied().unwrap_or(0);
        let text = |place: usize| usize::from(u16::from_be_bytes([at(place), at(place + 1)]));
        let property = match at(0) {
            0x13 => return KeepAlive::Other(u16::from_be_bytes([at(1), at(2)])),
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 2,
            0x21 | 0x22 => 3,
            0x11 | 0x27 => 5,
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => 3 + text(1),
            0x26 if 3 + text(1) >= rest.len() => return KeepAlive::Unknown,
            0x26 => 5 + text(1) + text(3 + text(1)),
            _ => return KeepAlive::Unknown,
        };
        match rest.get(property..) {
            Some(behind) if behind.len() >= end => rest = behind,
            _ => return KeepAlive::Unknown,
        }
    }
    KeepAlive::Unknown
}
