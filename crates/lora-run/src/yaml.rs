//! The one module that knows serde_yaml: a pipeline file's text to typed values, and where in the text a key stands.
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

/// What is wrong with a YAML text, and where: line and column, both from 1.
#[derive(Debug, PartialEq)]
pub(crate) struct YamlError {
    pub(crate) message: String,
    pub(crate) at: Option<(usize, usize)>,
}

/// Reads a whole document. Unknown keys are refused by the types; the error says where they stand.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    if is_too_deep(text) {
        let message = "brackets are nested too deeply".to_owned();
        return Err(YamlError { message, at: None });
    }
    serde_yaml::from_str(text).map_err(|error| {
        let at = error.location().map(|l| (l.line(), l.column()));
        let message = error.to_string();
        let message = message
            .split(" at line ")
            .next()
            .unwrap_or_default()
            .to_owned();
        YamlError { message, at }
    })
}

/// Brackets that may be open at once: the parser's time grows with their square.
const MOST_OPEN: usize = 1000;

/// True if more brackets are open somewhere than any pipeline has, whatever they are part of.
fn is_too_deep(text: &str) -> bool {
    let mut open = 0usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > MOST_OPEN
    })
}

/// Line and column of the key at the end of `path`, e.g. `["steps", "train", "with", "lr"]`.
pub(crate) fn locate(text: &str, path: &[&str]) -> Option<(usize, usize)> {
    let error = Locate { path }
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .err()?;
    (error.to_string().contains(HERE)).then(|| error.location().map(|l| (l.line(), l.column())))?
}

/// A mapping in the order it was written, each key once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ordered<T>(pub(crate) Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Ordered<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OrderedVisitor(PhantomData))
    }
}

struct OrderedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OrderedVisitor<T> {
    type Value = Ordered<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
        let mut entries: Vec<(String, T)> = Vec::new();
        let mut known = HashSet::new();
        while let Some(key) = map.next_key_seed(NewKey(&known))? {
            known.insert(key.clone());
            let value = map.next_value()?;
            entries.push((key, value));
        }
        Ok(Ordered(entries))
    }
}

/// A key that has not been there yet; fails at the key itself, so that the error stands there.
struct NewKey<'a>(&'a HashSet<String>);

impl<'de> DeserializeSeed<'de> for NewKey<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NewKey<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        if self.0.contains(key) {
            return Err(E::custom(format!("`{key}` stands here twice")));
        }
        Ok(key.to_owned())
    }
}

/// The message by which [`Locate`] knows its own error.
const HERE: &str = "\u{1}here";

/// Walks down `path` and fails on purpose at its last key: serde_yaml then tells where that is.
struct Locate<'a> {
    path: &'a [&'a str],
}

impl<'de> DeserializeSeed<'de> for Locate<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Locate<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.path.split_first() else {
            return skip_map(map);
        };
        while let Some(found) = map.next_key_seed(LocateKey {
            key: first,
            last: rest.is_empty(),
        })? {
            if found {
                map.next_value_seed(Locate { path: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

struct LocateKey<'a> {
    key: &'a str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for LocateKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        struct Key<'a>(LocateKey<'a>);
        impl Visitor<'_> for Key<'_> {
            type Value = bool;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
                if key == self.0.key && self.0.last {
                    Err(E::custom(HERE))
                } else {
                    Ok(key == self.0.key)
                }
            }
        }
        deserializer.deserialize_str(Key(self))
    }
}

#[cfg(test)]
mod tests {
    use super::{Ordered, locate, parse};

    const TEXT: &str = "version: 1\nsteps:\n  prep: { use: a, with: { lr: 1, rank: 2 } }\n  train:\n    with:\n      lr: 3\n";

    #[test]
    fn keys_are_found_in_block_and_flow_mappings() {
        assert_eq!(
            locate(TEXT, &["steps", "prep", "with", "rank"]),
            Some((3, 34))
        );
        assert_eq!(
            locate(TEXT, &["steps", "train", "with", "lr"]),
            Some((6, 7))
        );
        assert_eq!(locate(TEXT, &["steps", "nowhere"]), None);
        assert_eq!(locate("just text", &["steps"]), None);
    }

    #[test]
    fn order_is_kept_and_a_key_stands_once() {
        let map: Ordered<u8> = parse("b: 1\na: 2\n").unwrap();
        assert_eq!(map.0, [("b".to_owned(), 1), ("a".to_owned(), 2)]);
        let error = parse::<Ordered<u8>>("b: 1\na: 2\nb: 3\n").unwrap_err();
        assert_eq!(
            (error.message.as_str(), error.at),
            ("`b` stands here twice", Some((3, 1)))
        );
    }

    #[test]
    fn broken_yaml_is_an_error_with_its_place() {
        let error = parse::<Ordered<u8>>("a: [1, \n").unwrap_err();
        assert!(error.at.is_some(), "{error:?}");
    }
}
