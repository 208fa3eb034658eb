//! Names of services and backends.

use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The most bytes a name has.
pub const MAX_LENGTH: usize = 64;

/// The name of a service or a backend: 1 to 64 of the characters `A-Z a-z 0-9 . _ -`, so that it
/// fits into a URL, a label of a metric and a shell command without quoting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

/// A text that is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// No character at all.
    #[error("is empty")]
    Empty,
    /// More than 64 bytes.
    #[error("has {0} bytes, more than {MAX_LENGTH}")]
    TooLong(usize),
    /// A character outside of the permitted set.
    #[error("contains {0:?}")]
    Character(char),
}

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let permitted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if let Some(c) = text.chars().find(|c| !permitted(*c)) {
            return Err(InvalidName::Character(c));
        }
        if text.len() > MAX_LENGTH {
            return Err(InvalidName::TooLong(text.len()));
        }
        Ok(Self(text))
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::try_from(text.to_owned())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad`, so that tables can give a width.
        f.pad(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_64_plain_characters() {
        assert!("broker-1.eu_west".parse::<Name>().is_ok());
        assert!("x".repeat(64).parse::<Name>().is_ok());
        assert_eq!("".parse::<Name>(), Err(InvalidName::Empty));
        assert_eq!("x".repeat(65).parse::<Name>(), Err(InvalidName::TooLong(65)));
        assert_eq!("broker 1".parse::<Name>(), Err(InvalidName::Character(' ')));
        assert_eq!("bröker".parse::<Name>(), Err(InvalidName::Character('ö')));
    }
}
