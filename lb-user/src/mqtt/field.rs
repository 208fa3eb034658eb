//! The fields packets are made of: integers, binary data and strings (section 1.5 of MQTT 5.0, 1.5
//! of MQTT 3.1.1), read one after the other.

use std::ops::Range;

use super::variable_byte_integer as varint;

/// Bytes that are not the field they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldError {
    /// It ends behind the last byte there is.
    Truncated,
    /// A variable byte integer of more than four bytes.
    LengthTooLong,
    /// A variable byte integer that fits into fewer bytes.
    LengthNotMinimal,
    /// A string that is not well-formed UTF-8, surrogates included.
    Utf8,
    /// A string with U+0000.
    NullCharacter,
}

/// Reads fields from the front of bytes, and knows where they lie.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Fields from `at` to the end of `bytes`; places count from the start of `bytes`.
    pub(super) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where the next field begins.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FieldError> {
        let bytes = self.rest().first_chunk().ok_or(FieldError::Truncated)?;
        self.at += N;
        Ok(*bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, FieldError> {
        self.array().map(u8::from_be_bytes)
    }

    /// An integer of two bytes, the high one first.
    pub(super) fn two_bytes(&mut self) -> Result<u16, FieldError> {
        self.array().map(u16::from_be_bytes)
    }

    /// An integer of four bytes, the highest first.
    pub(super) fn four_bytes(&mut self) -> Result<u32, FieldError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A variable byte integer in as few bytes as it needs.
    pub(super) fn variable(&mut self) -> Result<u32, FieldError> {
        let rest = self.rest();
        let (value, behind) = varint::decode(rest).map_err(|error| match error {
            varint::Error::Incomplete => FieldError::Truncated,
            varint::Error::TooLong => FieldError::LengthTooLong,
        })?;
        let bytes = rest.len() - behind.len();
        if bytes != varint::encoded_bytes(value) {
            return Err(FieldError::LengthNotMinimal);
        }
        self.at += bytes;
        Ok(value)
    }

    /// The place of the next `bytes` bytes.
    pub(super) fn skip(&mut self, bytes: usize) -> Result<Range<usize>, FieldError> {
        let end = self.at.checked_add(bytes).filter(|end| *end <= self.bytes.len());
        let range = self.at..end.ok_or(FieldError::Truncated)?;
        self.at = range.end;
        Ok(range)
    }

    /// The place of binary data behind its length in two bytes.
    pub(super) fn binary(&mut self) -> Result<Range<usize>, FieldError> {
        let bytes = self.two_bytes()?.into();
        self.skip(bytes)
    }

    /// The place of a string behind its length in two bytes.
    pub(super) fn text(&mut self) -> Result<Range<usize>, FieldError> {
        let range = self.binary()?;
        let text = std::str::from_utf8(self.slice(&range)).map_err(|_| FieldError::Utf8)?;
        if text.contains('\0') { Err(FieldError::NullCharacter) } else { Ok(range) }
    }

    /// The bytes at a place.
    pub(super) fn slice(&self, range: &Range<usize>) -> &'a [u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    /// The text at the place of a string.
    pub(super) fn str(&self, range: &Range<usize>) -> &'a str {
        // It was well-formed when `text` found it.
        std::str::from_utf8(self.slice(range)).unwrap_or_default()
    }
}

/// Appends a field behind its length in two bytes; `None` if it is longer than 65535 bytes.
pub(super) fn append(into: &mut Vec<u8>, field: &[u8]) -> Option<()> {
    let length = u16::try_from(field.len()).ok()?;
    into.extend(length.to_be_bytes());
    into.extend(field);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_one_another() {
        let mut fields = Fields::new(b"\xff\x07\x01\x02\x80\x01\0\x02ok\0\x01\xff\0\0\0\x05", 1);
        assert_eq!(fields.byte(), Ok(7));
        assert_eq!(fields.two_bytes(), Ok(0x0102));
        assert_eq!(fields.variable(), Ok(128));
        let text = fields.text().unwrap();
        assert_eq!((fields.str(&text), text), ("ok", 8..10));
        let binary = fields.binary().unwrap();
        assert_eq!(fields.slice(&binary), [0xff]);
        assert!(!fields.is_empty());
        assert_eq!((fields.four_bytes(), fields.is_empty()), (Ok(5), true));
        assert_eq!(fields.byte(), Err(FieldError::Truncated));
    }

    #[test]
    fn what_is_no_field_is_told_apart() {
        use FieldError::{LengthNotMinimal, LengthTooLong, NullCharacter, Truncated, Utf8};
        let text = |bytes| Fields::new(bytes, 0).text().map(drop);
        assert_eq!(text(b"\0\x03ok"), Err(Truncated));
        assert_eq!(text(b"\0"), Err(Truncated));
        assert_eq!(text(b"\0\x01\xff"), Err(Utf8));
        assert_eq!(text(b"\0\x02\xc0\x80"), Err(Utf8), "U+0000 in two bytes");
        assert_eq!(text(b"\0\x03\xed\xa0\x80"), Err(Utf8), "a surrogate");
        assert_eq!(text(b"\0\x01\0"), Err(NullCharacter));
        assert_eq!(text("\0\x03\u{feff}".as_bytes()), Ok(()), "a BOM is a character as any other");
        let variable = |bytes| Fields::new(bytes, 0).variable();
        assert_eq!(variable(b"\x80"), Err(Truncated));
        assert_eq!(variable(b"\x80\x80\x80\x80\x01"), Err(LengthTooLong));
        assert_eq!(variable(b"\x80\0"), Err(LengthNotMinimal));
    }
}
