//! Every key that the raw shape knows, found by reading it from a source that notes what it is
//! asked for.

use std::{cell::RefCell, collections::BTreeSet};

use serde::{
    Deserialize as _, Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor, value::Error},
    forward_to_deserialize_any,
};

use crate::config::raw;

/// The paths of all keys, as in `services[].health.port`.
pub fn all_keys() -> BTreeSet<String> {
    let keys = RefCell::default();
    raw::Config::deserialize(Source { path: String::new(), keys: &keys }).unwrap();
    keys.into_inner()
}

/// Gives a mapping every key it can have, a list one item, and anything else some text.
#[derive(Clone)]
struct Source<'k> {
    path: String,
    keys: &'k RefCell<BTreeSet<String>>,
}

impl<'de> Deserializer<'de> for Source<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str("text")
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let item = Self { path: format!("{}[]", self.path), ..self };
        visitor.visit_seq(OneItem(Some(item)))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(AllFields { of: self, fields, current: "" })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct tuple tuple_struct map enum identifier ignored_any
    }
}

struct OneItem<'k>(Option<Source<'k>>);

impl<'de> SeqAccess<'de> for OneItem<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0.take().map(|item| seed.deserialize(item)).transpose()
    }
}

struct AllFields<'k> {
    of: Source<'k>,
    fields: &'static [&'static str],
    current: &'static str,
}

impl<'de> MapAccess<'de> for AllFields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((first, rest)) = self.fields.split_first() else { return Ok(None) };
        (self.current, self.fields) = (first, rest);
        seed.deserialize(serde::de::value::StrDeserializer::new(first)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let path = match self.of.path.as_str() {
            "" => self.current.to_owned(),
            path => format!("{path}.{}", self.current),
        };
        self.of.keys.borrow_mut().insert(path.clone());
        seed.deserialize(Source { path, ..self.of.clone() })
    }
}

#[test]
fn keys_are_found_at_every_depth() {
    let keys = all_keys();
    for key in
        ["seed", "nat.ports", "services[].backends[].weight", "services[].health.tls.ca_file"]
    {
        assert!(keys.contains(key), "{key} in {keys:?}");
    }
}
