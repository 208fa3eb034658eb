//! Finds the line of a YAML path.
//!
//! serde has no notion of lines, but `serde_yaml` notes where an error was raised: reading the text
//! again with a visitor that walks down the path and fails at its end gives the place.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    error::Location,
    path::{Step, YamlPath},
};

/// The place of the value at `path` in `text`; if it is missing, of what should hold it.
pub fn locate(text: &str, path: &YamlPath) -> Option<Location> {
    let mut path = path.clone();
    loop {
        let walk = Walk(path.steps());
        if let Err(stop) = walk.deserialize(serde_yaml::Deserializer::from_str(text)) {
            return stop.location().map(Location::from);
        }
        path = path.parent()?;
    }
}

impl From<serde_yaml::Location> for Location {
    fn from(location: serde_yaml::Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

/// Reads a value; fails where the path ends, succeeds if it leads nowhere.
struct Walk<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.0.first() {
            None => deserializer.deserialize_any(Stop),
            Some(Step::Key(_)) => deserializer.deserialize_map(self),
            Some(Step::Index(_)) => deserializer.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shape that was read before")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.0 {
                [Step::Key(wanted), rest @ ..] if *wanted == key => {
                    map.next_value_seed(Walk(rest))?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let [Step::Index(wanted), rest @ ..] = self.0 else { return Ok(()) };
        for _ in 0..*wanted {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(Walk(rest))?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Fails with any value: the default of every method of `Visitor` is an error.
struct Stop;

impl Visitor<'_> for Stop {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing: this is the place")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nlist:\n  - x: 1\n    y: 2\n  - x: 3\n  - [7, 8]\nend:\n";

    fn place(path: &YamlPath) -> Option<(usize, usize)> {
        locate(TEXT, path).map(|at| (at.line, at.column))
    }

    #[test]
    fn a_value_is_found_where_it_stands() {
        let list = YamlPath::default().key("list");
        assert_eq!(place(&YamlPath::default().key("a")), Some((1, 4)));
        assert_eq!(place(&list.index(0).key("y")), Some((4, 8)));
        assert_eq!(place(&list.index(1).key("x")), Some((5, 8)));
        assert_eq!(place(&list.index(2).index(1)), Some((6, 9)));
        assert_eq!(place(&list.index(1)), Some((5, 5)));
    }

    #[test]
    fn a_missing_value_is_found_where_it_belongs() {
        let list = YamlPath::default().key("list");
        assert_eq!(place(&list.index(1).key("y")), Some((5, 5)));
        assert_eq!(place(&list.index(9)), Some((3, 3)));
        assert_eq!(place(&YamlPath::default().key("none").key("such")), Some((1, 1)));
    }
}
