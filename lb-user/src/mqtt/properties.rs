//! The properties of packets of MQTT 5.0 (section 2.2.2).

use super::variable_byte_integer as varint;

/// Properties one after the other: each its identifier and its value.
#[derive(Clone, Debug)]
pub(super) struct Properties<'a> {
    rest: &'a [u8],
}

/// The value of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u32),
    Binary(&'a [u8]),
    Text(&'a str),
    Pair(&'a str, &'a str),
}

/// Bytes that hold no properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'a> Properties<'a> {
    /// Properties behind their length, that take up `bytes` to the end.
    pub(super) fn whole(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (length, rest) = varint::decode(bytes).map_err(|_| Malformed)?;
        if rest.len() == length as usize { Ok(Self { rest }) } else { Err(Malformed) }
    }

    fn property(&mut self) -> Result<(u8, Value<'a>), Malformed> {
        // Identifiers are variable byte integers, but all that exist take one byte.
        let [id] = self.take()?;
        let value = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => {
                Value::Number(u32::from(u8::from_be_bytes(self.take()?)))
            }
            0x13 | 0x21 | 0x22 | 0x23 => Value::Number(u32::from(u16::from_be_bytes(self.take()?))),
            0x02 | 0x11 | 0x18 | 0x27 => Value::Number(u32::from_be_bytes(self.take()?)),
            0x0b => {
                let (number, rest) = varint::decode(self.rest).map_err(|_| Malformed)?;
                self.rest = rest;
                Value::Number(number)
            }
            0x03 | 0x08 | 0x12 | 0x15 | 0x1a | 0x1c | 0x1f => Value::Text(self.text()?),
            0x09 | 0x16 => Value::Binary(self.binary()?),
            0x26 => Value::Pair(self.text()?, self.text()?),
            _ => return Err(Malformed),
        };
        Ok((id, value))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let length = u16::from_be_bytes(self.take()?).into();
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.binary()?).map_err(|_| Malformed)
    }
}

impl<'a> Iterator for Properties<'a> {
    type Item = Result<(u8, Value<'a>), Malformed>;

    /// The next property; ends after the first that is malformed.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let property = self.property();
        if property.is_err() {
            self.rest = &[];
        }
        Some(property)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u8, Value<'_>)>, Malformed> {
        Properties::whole(bytes)?.collect()
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let bytes = b"\x1d\x24\x01\x21\x01\x02\x27\0\x01\0\0\x0b\x80\x01\x1f\0\x02ok\x16\0\x01\xff\x26\0\x01k\0\x01v";
        let expected = vec![
            (0x24, Value::Number(1)),
            (0x21, Value::Number(258)),
            (0x27, Value::Number(65_536)),
            (0x0b, Value::Number(128)),
            (0x1f, Value::Text("ok")),
            (0x16, Value::Binary(&[0xff])),
            (0x26, Value::Pair("k", "v")),
        ];
        assert_eq!(all(bytes), Ok(expected));
    }

    #[test]
    fn what_is_malformed_is_refused_once() {
        for bytes in [&b""[..], b"\x01", b"\0\0", b"\x01\x7f", b"\x02\x21\0", b"\x04\x1f\0\x01\xff"]
        {
            assert_eq!(all(bytes), Err(Malformed), "{bytes:02x?}");
        }
        let mut properties = Properties::whole(b"\x02\x7f\x7f").unwrap();
        assert_eq!((properties.next(), properties.next()), (Some(Err(Malformed)), None));
    }
}
