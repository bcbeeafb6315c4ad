//! Strict JSON for what is stored: duplicate keys and deep nesting are refused with their place.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting of any JSON that huidu reads.
pub const DEPTH_MAX: usize = 32;

/// What is wrong with a text that should be JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonFaultKind {
    /// No JSON, or not UTF-8.
    Syntax,
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// The same key twice in one object.
    DuplicateKey,
}

/// A refusal of a JSON text, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail} at line {line}, column {column} ({pointer:?})")]
pub struct JsonFault {
    /// What is wrong.
    pub kind: JsonFaultKind,
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// JSON pointer of the value that was being read.
    pub pointer: String,
    /// What is wrong, for people.
    pub detail: String,
}

/// Parses JSON that will be stored.
///
/// # Errors
/// [`JsonFault`] for bad syntax, bad UTF-8, nesting over 32 and duplicate keys.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonFault> {
    parse_within(bytes, DEPTH_MAX)
}

/// Parses JSON that holds documents which will be stored, so that it may be nested a little deeper.
///
/// # Errors
/// As [`parse`], with nesting over `depth_max`.
pub fn parse_within(bytes: &[u8], depth_max: usize) -> Result<Value, JsonFault> {
    let kind = RefCell::new(JsonFaultKind::Syntax);
    let walk = Walk { path: RefCell::default(), kind, depth_max };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Strict { walk: &walk, depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| JsonFault {
            kind: *walk.kind.borrow(),
            line: error.line(),
            column: error.column(),
            pointer: pointer_of(&walk.path.borrow()),
            detail: without_place(&error.to_string()),
        })
}

/// A JSON pointer (RFC 6901) from its parts.
#[must_use]
pub fn pointer_of(parts: &[String]) -> String {
    parts.iter().fold(String::new(), |pointer, part| child(&pointer, part))
}

/// The pointer of `part` below `pointer`.
#[must_use]
pub fn child(pointer: &str, part: &str) -> String {
    format!("{pointer}/{}", part.replace('~', "~0").replace('/', "~1"))
}

/// `serde_json` ends its messages with the place, which a fault carries apart.
fn without_place(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}

struct Walk {
    path: RefCell<Vec<String>>,
    kind: RefCell<JsonFaultKind>,
    depth_max: usize,
}

#[derive(Clone, Copy)]
struct Strict<'w> {
    walk: &'w Walk,
    depth: usize,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= self.walk.depth_max {
            *self.walk.kind.borrow_mut() = JsonFaultKind::TooDeep;
            return Err(E::custom(format_args!("nested deeper than {}", self.walk.depth_max)));
        }
        Ok(Self { walk: self.walk, depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        loop {
            self.walk.path.borrow_mut().push(list.len().to_string());
            let item = items.next_element_seed(inner)?;
            self.walk.path.borrow_mut().pop();
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.walk.path.borrow_mut().push(key.clone());
            if object.contains_key(&key) {
                *self.walk.kind.borrow_mut() = JsonFaultKind::DuplicateKey;
                return Err(A::Error::custom(format_args!("the key {key:?} stands twice in one object")));
            }
            let value = entries.next_value_seed(inner)?;
            self.walk.path.borrow_mut().pop();
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_json_is_read_as_it_stands() {
        let text = br#"{"b":[1,2.5,null,true,"\u4e2d"],"a":{"c":-3}}"#;
        let value = parse(text).unwrap();
        assert_eq!(value, serde_json::from_slice::<Value>(text).unwrap());
    }

    #[test]
    fn a_fault_has_its_kind_place_and_pointer() {
        let deep = format!("{{\"when\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        for (text, kind, line, pointer) in [
            ("{\"a\":1,\n\"a\":2}", JsonFaultKind::DuplicateKey, 2, "/a"),
            ("{\"x\":{\"y\":[0,{\"k/\":1,\"k/\":1}]}}", JsonFaultKind::DuplicateKey, 1, "/x/y/1/k~1"),
            ("{\"a\":\n\n nope}", JsonFaultKind::Syntax, 3, "/a"),
            ("{\"a\":NaN}", JsonFaultKind::Syntax, 1, "/a"),
            ("{\"a\":1e400}", JsonFaultKind::Syntax, 1, "/a"),
            ("{} x", JsonFaultKind::Syntax, 1, ""),
            ("", JsonFaultKind::Syntax, 1, ""),
            ("\u{feff}{}", JsonFaultKind::Syntax, 1, ""),
            ("\"\\ud800\"", JsonFaultKind::Syntax, 1, ""),
        ] {
            let fault = parse(text.as_bytes()).unwrap_err();
            assert_eq!((fault.kind, fault.pointer.as_str()), (kind, pointer), "{text}: {fault}");
            assert!(fault.line == line || text.is_empty(), "{text}: {fault}");
        }
        let fault = parse(deep.as_bytes()).unwrap_err();
        assert_eq!(fault.kind, JsonFaultKind::TooDeep);
        assert_eq!(parse(b"\"\xff\"").unwrap_err().kind, JsonFaultKind::Syntax);
    }

    #[test]
    fn exactly_32_levels_are_allowed() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(parse(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err().kind, JsonFaultKind::TooDeep);
    }
}
