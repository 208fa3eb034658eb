//! A number in JSON, by its pointer (RFC 6901).

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::number::{self, ValueError};

/// Where in a document a value stands: nothing for the whole of it, or names and indices with a slash
/// before each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(String);

/// A text that is no pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointerError {
    /// The first character is no slash.
    NoSlash,
    /// A tilde is followed by neither `0` nor `1`.
    Tilde,
}

impl Pointer {
    /// Reads a pointer (section 3).
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(PointerError::NoSlash);
        }
        if text.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
            return Err(PointerError::Tilde);
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The load at this place of the document `text`; a text that is a number is one, because some
    /// brokers put numbers into quotes.
    pub fn load(&self, text: &[u8]) -> Result<f64, ValueError> {
        let document: Value =
            serde_json::from_slice(text).map_err(|error| ValueError::NotJson(error.to_string()))?;
        let found =
            document.pointer(&self.0).ok_or_else(|| ValueError::NothingThere(self.0.clone()))?;
        match found {
            Value::Number(number) => number.as_f64().map_or_else(|| self.no_number(), number::load),
            Value::String(text) => number::from_text(text.as_bytes()),
            _ => self.no_number(),
        }
    }

    fn no_number(&self) -> Result<f64, ValueError> {
        Err(ValueError::NoNumber(self.0.clone()))
    }
}

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn load(pointer: &str, text: &str) -> Result<f64, ValueError> {
        Pointer::parse(pointer).unwrap().load(text.as_bytes())
    }

    #[test]
    fn the_pointers_of_the_standard_lead_where_it_says() {
        // Section 5, those whose values are numbers.
        let document = r#"{ "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4,
            "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8 }"#;
        let pointers = ["/", "/a~1b", "/c%d", "/e^f", "/g|h", "/i\\j", "/k\"l", "/ ", "/m~0n"];
        for (pointer, value) in pointers.iter().zip(0_u8..) {
            assert_eq!(load(pointer, document), Ok(value.into()), "{pointer}");
        }
    }

    #[test]
    fn a_load_is_found_in_lists_at_the_top_and_in_quotes() {
        assert_eq!(load("/nodes/1/load1", r#"{"nodes": [{}, {"load1": "1.65"}]}"#), Ok(1.65));
        assert_eq!(load("", " 17 "), Ok(17.0));
    }

    #[test]
    fn what_is_not_there_and_what_is_no_number_are_told_apart() {
        let document = r#"{"a": [1], "b": "many", "c": -1, "d": null}"#;
        let no_number = |at: &str| Err(ValueError::NoNumber(at.into()));
        assert_eq!(load("/x", document), Err(ValueError::NothingThere("/x".into())));
        assert_eq!(load("/a/1", document), Err(ValueError::NothingThere("/a/1".into())));
        assert_eq!(load("/a", document), no_number("/a"));
        assert_eq!(load("/d", document), no_number("/d"));
        assert_eq!(load("/b", document), Err(ValueError::NoNumberText("many".into())));
        assert_eq!(load("/c", document), Err(ValueError::Negative(-1.0)));
        assert!(matches!(load("/a", "<html>"), Err(ValueError::NotJson(_))));
        let deep = "[".repeat(100_000);
        assert!(matches!(load("/a", &deep), Err(ValueError::NotJson(_))), "no stack overflow");
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        assert_eq!(Pointer::parse("load1"), Err(PointerError::NoSlash));
        assert_eq!(Pointer::parse("/a~b"), Err(PointerError::Tilde));
        assert_eq!(Pointer::parse("/a~"), Err(PointerError::Tilde));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(pointer in "(/([a-z0-9]|~[01])*){0,4}", text: Vec<u8>) {
            let _ = Pointer::parse(&pointer).unwrap().load(&text);
        }
    }
}
