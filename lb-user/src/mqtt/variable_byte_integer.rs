//! The variable byte integer: seven bits a byte, the lowest first, in at most four bytes (section
//! 1.5.5 of MQTT 5.0; Remaining Length in MQTT 3.1.1).

/// The largest value it can hold.
pub(super) const MAX: u32 = 0x0fff_ffff;

/// Bytes that hold none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    Incomplete,
    TooLong,
}

/// The value at the start of `bytes`, and what follows it; more bytes than it needs are allowed, as
/// MQTT 3.1.1 says nothing against them.
pub(super) fn decode(bytes: &[u8]) -> Result<(u32, &[u8]), Error> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[index + 1..]));
        }
    }
    Err(if bytes.len() < 4 { Error::Incomplete } else { Error::TooLong })
}

/// How many bytes `value` takes when it takes as few as it can.
pub(super) const fn encoded_bytes(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x001f_ffff => 3,
        _ => 4,
    }
}

/// Appends `value`, which must be at most [`MAX`].
pub(super) fn encode(mut value: u32, into: &mut Vec<u8>) {
    debug_assert!(value <= MAX);
    while value > 0x7f {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_protocol_core::mqtt::packet::VariableByteInteger;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_are_written_as_another_codec_does_and_read_back(value in 0..=MAX, rest: Vec<u8>) {
            let mut bytes = Vec::new();
            encode(value, &mut bytes);
            let judge = VariableByteInteger::from_u32(value).unwrap();
            prop_assert_eq!(&bytes, judge.as_bytes());
            prop_assert_eq!(bytes.len(), encoded_bytes(value));
            bytes.extend(&rest);
            prop_assert_eq!(decode(&bytes), Ok((value, rest.as_slice())));
        }
    }

    #[test]
    fn what_ends_too_early_or_too_late_is_none() {
        assert_eq!(decode(&[]), Err(Error::Incomplete));
        assert_eq!(decode(&[0x80, 0x80, 0x80]), Err(Error::Incomplete));
        assert_eq!(decode(&[0x80, 0x80, 0x80, 0x80]), Err(Error::TooLong));
    }
}
