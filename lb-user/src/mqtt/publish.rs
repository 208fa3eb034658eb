//! The PUBLISH packet, as a client receives it.

use super::{Version, field::Fields};

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The topic; empty where MQTT 5.0 has an alias in its place.
    pub topic: &'a str,
    /// The Application Message.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Reads what follows the fixed header (section 3.3 of each version), whose low four bits are `flags`;
    /// `None` if it is malformed. Properties are passed over.
    #[must_use]
    pub fn decode(version: Version, flags: u8, body: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(body, 0);
        let topic = fields.text().ok()?;
        match flags >> 1 & 3 {
            0 => {}
            // The Packet Identifier.
            1 | 2 => drop(fields.two_bytes().ok()?),
            _ => return None,
        }
        if version == Version::V5 {
            let bytes = fields.variable().ok()?;
            fields.skip(bytes as usize).ok()?;
        }
        Some(Self { topic: fields.str(&topic), payload: body.get(fields.at()..)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn topic_and_payload_are_found_in_every_kind_of_message() {
        let message = |payload| Some(Publish { topic: "t/1", payload });
        assert_eq!(Publish::decode(Version::V311, 1, b"\0\x03t/112.5"), message(b"12.5"));
        assert_eq!(Publish::decode(Version::V311, 2, b"\0\x03t/1\0\x0912.5"), message(b"12.5"));
        assert_eq!(Publish::decode(Version::V5, 1, b"\0\x03t/1\0x"), message(b"x"));
        assert_eq!(Publish::decode(Version::V5, 4, b"\0\x03t/1\0\x09\x02\x01\x01"), message(b""));
    }

    #[test]
    fn what_is_malformed_is_no_message() {
        assert_eq!(Publish::decode(Version::V311, 6, b"\0\x01tx"), None, "QoS 3");
        for body in [&b""[..], b"\0\x02t", b"\0\x01\xff"] {
            assert_eq!(Publish::decode(Version::V311, 0, body), None, "{body:?}");
        }
        assert_eq!(Publish::decode(Version::V5, 0, b"\0\x01t"), None, "no properties");
        assert_eq!(Publish::decode(Version::V5, 0, b"\0\x01t\x05x"), None, "too few of them");
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(flags in 0_u8..16, body: Vec<u8>) {
            for version in [Version::V311, Version::V5] {
                let _ = Publish::decode(version, flags, &body);
            }
        }
    }
}
