//! Values and names of a context's JSON.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::Builder;
use crate::engine::context::{ContextError, Element};
use crate::engine::json::DEPTH_MAX;
use crate::engine::number::Number;

/// What a JSON value is, as far as a context can use it.
pub(super) enum Node<'a> {
    Absent,
    Text(Cow<'a, str>),
    Number(Number),
    Boolean(bool),
    List(Vec<Element<'a>>),
    /// An object: skipped.
    Object,
}

/// Reads any value; `depth` levels are open around it.
pub(super) struct AnyValue<'b, 'a, 's> {
    pub(super) builder: &'b mut Builder<'a, 's>,
    pub(super) depth: usize,
}

impl<'a> DeserializeSeed<'a> for AnyValue<'_, 'a, '_> {
    type Value = Node<'a>;

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<Node<'a>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for AnyValue<'_, 'a, '_> {
    type Value = Node<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node<'a>, E> {
        Ok(Node::Absent)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node<'a>, E> {
        Ok(Node::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node<'a>, E> {
        Ok(Node::Number(Number::Whole(value)))
    }

    #[expect(clippy::cast_precision_loss, reason = "beyond 2^63 a float is what JSON readers make of it")]
    fn visit_u64<E>(self, value: u64) -> Result<Node<'a>, E> {
        Ok(Node::Number(i64::try_from(value).map_or_else(|_| Number::from_f64(value as f64), Number::Whole)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node<'a>, E> {
        Ok(Node::Number(Number::from_f64(value)))
    }

    fn visit_borrowed_str<E>(self, value: &'a str) -> Result<Node<'a>, E> {
        Ok(Node::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Node<'a>, E> {
        // Only an escape can make a NUL, and only texts with escapes come this way.
        if value.contains('\0') {
            return Err(self.builder.refuse(ContextError::Nul));
        }
        Ok(Node::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<Node<'a>, A::Error> {
        if self.depth >= DEPTH_MAX {
            return Err(self.builder.refuse(ContextError::TooDeep { line: 0, column: 0 }));
        }
        let mut list = Vec::new();
        while let Some(node) =
            items.next_element_seed(AnyValue { builder: &mut *self.builder, depth: self.depth + 1 })?
        {
            list.push(match node {
                Node::Text(text) => Element::Text(text),
                Node::Number(number) => Element::Number(number),
                Node::Boolean(value) => Element::Boolean(value),
                Node::Absent | Node::List(_) | Node::Object => Element::Other,
            });
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut entries: A) -> Result<Node<'a>, A::Error> {
        if self.depth >= DEPTH_MAX {
            return Err(self.builder.refuse(ContextError::TooDeep { line: 0, column: 0 }));
        }
        while entries.next_key_seed(Name)?.is_some() {
            entries.next_value_seed(AnyValue { builder: &mut *self.builder, depth: self.depth + 1 })?;
        }
        Ok(Node::Object)
    }
}

/// A key of an object.
pub(super) struct Name;

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Cow<'a, str>;

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<Cow<'a, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Name {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, value: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Cow<'a, str>, E> {
        if value.contains('\0') {
            return Err(E::custom("U+0000 is not allowed in a key"));
        }
        Ok(Cow::Owned(value.to_owned()))
    }
}
