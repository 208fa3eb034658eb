//! The properties of packets of MQTT 5.0 (section 2.2.2).

use super::field::{FieldError, Fields};

/// Properties one after the other: each its identifier and its value.
#[derive(Clone, Debug)]
pub(super) struct Properties<'a> {
    fields: Fields<'a>,
    allowed: Allowed,
    /// A bit for each identifier that came.
    seen: u64,
}

/// The value of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u32),
    Binary(&'a [u8]),
    Text(&'a str),
    Pair(&'a str, &'a str),
}

/// Where properties stand, which decides what they may be: a bit for each identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed(u64);

/// Bytes that hold no properties, or not those that may stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PropertyError {
    Field(FieldError),
    /// An identifier the standard does not assign.
    Unknown,
    /// A property of another packet.
    Misplaced,
    /// The same property twice.
    Duplicate,
    /// A value the standard does not allow.
    Value,
}

pub(super) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
pub(super) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(super) const AUTHENTICATION_METHOD: u8 = 0x15;
pub(super) const AUTHENTICATION_DATA: u8 = 0x16;
pub(super) const SERVER_REFERENCE: u8 = 0x1c;
pub(super) const REASON_STRING: u8 = 0x1f;
const USER_PROPERTY: u8 = 0x26;
/// All identifiers lie below.
const END: u8 = 0x2b;

impl Allowed {
    /// In a CONNECT (section 3.1.2.11).
    pub(super) const CONNECT: Self =
        Self::of(&[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27]);
    /// Of a will (section 3.1.3.2).
    pub(super) const WILL: Self = Self::of(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26]);
    /// In a CONNACK (section 3.2.2.3).
    pub(super) const CONNACK: Self = Self::of(&[
        0x11, 0x12, 0x13, 0x15, 0x16, 0x1a, 0x1c, 0x1f, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28,
        0x29, 0x2a,
    ]);

    const fn of(identifiers: &[u8]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < identifiers.len() {
            bits |= 1 << identifiers[index];
            index += 1;
        }
        Self(bits)
    }

    const fn has(self, id: u8) -> bool {
        id < END && self.0 & 1 << id != 0
    }
}

impl From<FieldError> for PropertyError {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl<'a> Properties<'a> {
    /// The properties at the front of `fields`, behind their length; `fields` goes on behind them.
    pub(super) fn at_front(fields: &mut Fields<'a>, allowed: Allowed) -> Result<Self, FieldError> {
        let bytes = fields.variable()? as usize;
        let place = fields.skip(bytes)?;
        Ok(Self { fields: Fields::new(fields.slice(&place), 0), allowed, seen: 0 })
    }

    fn property(&mut self) -> Result<(u8, Value<'a>), PropertyError> {
        // Identifiers are variable byte integers, but all that exist take one byte.
        let id = self.fields.byte()?;
        let value = self.value(id)?;
        if !self.allowed.has(id) {
            return Err(PropertyError::Misplaced);
        }
        if self.seen & 1 << id != 0 && id != USER_PROPERTY {
            return Err(PropertyError::Duplicate);
        }
        self.seen |= 1 << id;
        if is_legal(id, value) { Ok((id, value)) } else { Err(PropertyError::Value) }
    }

    fn value(&mut self, id: u8) -> Result<Value<'a>, PropertyError> {
        let fields = &mut self.fields;
        Ok(match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => {
                Value::Number(fields.byte()?.into())
            }
            0x13 | 0x21 | 0x22 | 0x23 => Value::Number(fields.two_bytes()?.into()),
            0x02 | 0x11 | 0x18 | 0x27 => Value::Number(fields.four_bytes()?),
            0x0b => Value::Number(fields.variable()?),
            0x03 | 0x08 | 0x12 | 0x15 | 0x1a | 0x1c | 0x1f => Value::Text(text(fields)?),
            0x09 | 0x16 => {
                let place = fields.binary()?;
                Value::Binary(fields.slice(&place))
            }
            0x26 => Value::Pair(text(fields)?, text(fields)?),
            _ => return Err(PropertyError::Unknown),
        })
    }
}

fn text<'a>(fields: &mut Fields<'a>) -> Result<&'a str, FieldError> {
    let place = fields.text()?;
    Ok(fields.str(&place))
}

/// Whether the standard allows the value.
fn is_legal(id: u8, value: Value) -> bool {
    match (id, value) {
        // Yes or no.
        (0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a, Value::Number(number)) => {
            number <= 1
        }
        // Subscription Identifier, Receive Maximum, Topic Alias, Maximum Packet Size.
        (0x0b | 0x21 | 0x23 | 0x27, Value::Number(number)) => number != 0,
        // Response Topic: a Topic Name (section 3.3.2.3.5).
        (0x08, Value::Text(topic)) => super::is_topic_name(topic),
        _ => true,
    }
}

impl<'a> Iterator for Properties<'a> {
    type Item = Result<(u8, Value<'a>), PropertyError>;

    /// The next property; ends after the first that is malformed.
    fn next(&mut self) -> Option<Self::Item> {
        if self.fields.is_empty() {
            return None;
        }
        let property = self.property();
        if property.is_err() {
            self.fields = Fields::new(&[], 0);
        }
        Some(property)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANYWHERE: Allowed = Allowed(u64::MAX);

    fn all(allowed: Allowed, bytes: &[u8]) -> Result<Vec<(u8, Value<'_>)>, PropertyError> {
        Properties::at_front(&mut Fields::new(bytes, 0), allowed)?.collect()
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
        assert_eq!(all(ANYWHERE, bytes), Ok(expected));
    }

    #[test]
    fn what_follows_the_properties_is_left() {
        let mut fields = Fields::new(b"\xff\x02\x24\x01rest", 1);
        assert_eq!(Properties::at_front(&mut fields, ANYWHERE).unwrap().count(), 1);
        assert_eq!(fields.at(), 4);
    }

    #[test]
    fn what_is_malformed_is_refused_once() {
        use PropertyError::{Duplicate, Field, Misplaced, Unknown, Value};
        let connect = |bytes| all(Allowed::CONNECT, bytes).unwrap_err();
        for cut in [&b""[..], b"\x01", b"\x02\x21\0", b"\x03\x15\0\x01x"] {
            assert_eq!(connect(cut), Field(FieldError::Truncated), "{cut:02x?}");
        }
        assert_eq!(connect(b"\x01\x7f"), Unknown);
        assert_eq!(connect(b"\x03\x80\x80\x80"), Unknown);
        assert_eq!(connect(b"\x04\x15\0\x01\xff"), Field(FieldError::Utf8));
        assert_eq!(connect(b"\x03\x13\0\x01"), Misplaced, "Server Keep Alive");
        assert_eq!(connect(b"\x06\x21\0\x01\x21\0\x01"), Duplicate);
        assert_eq!(connect(b"\x03\x21\0\0"), Value, "Receive Maximum 0");
        assert_eq!(connect(b"\x02\x17\x02"), Value, "Request Problem Information 2");
        assert_eq!(all(Allowed::WILL, b"\x04\x08\0\x01#"), Err(Value), "Response Topic #");
        let user = b"\x0e\x26\0\x01k\0\x01v\x26\0\x01k\0\x01v";
        assert_eq!(all(Allowed::CONNECT, user).unwrap().len(), 2, "as often as one likes");
        let mut two = Properties::at_front(&mut Fields::new(b"\x02\x7f\x7f", 0), ANYWHERE).unwrap();
        assert_eq!((two.next(), two.next()), (Some(Err(Unknown)), None));
    }
}
