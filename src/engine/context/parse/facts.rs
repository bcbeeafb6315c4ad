//! What a context keeps of each attribute.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::Builder;
use super::reader::{Fault, Node};
use crate::engine::attributes::{Attributes, Slot};
use crate::engine::context::{ContextError, Element, ID_BYTES_MAX, Item, Value};
use crate::engine::flag::{Scope, TEXT_BYTES_MAX};
use crate::engine::number::{Number, SAFE_INTEGER_MAX};

/// An attribute of the user; in OFREP's form also those of the order and the goods that stand flat beside it.
pub(super) fn user_attribute<'a>(
    builder: &mut Builder<'a, '_>,
    name: &str,
    node: Node<'a>,
    ofrep: bool,
    targeting_key: &mut Option<Cow<'a, str>>,
) -> Result<(), Fault> {
    match name {
        "targetingKey" if ofrep => match node {
            Node::Text(text) if text.len() > ID_BYTES_MAX => {
                Err(Box::new(ContextError::Unit { field: "targetingKey" }))
            }
            // Real clients send an empty key for "nobody"; it counts as missing.
            Node::Text(text) => {
                *targeting_key = Some(text).filter(|text| !text.is_empty());
                Ok(())
            }
            Node::Absent => {
                *targeting_key = None;
                Ok(())
            }
            _ => Err(Box::new(ContextError::Unit { field: "targetingKey" })),
        },
        "id" if ofrep => {
            builder.parsed.context.user_id = match node {
                Node::Text(text) if (1..=ID_BYTES_MAX).contains(&text.len()) => Some(text),
                _ => None,
            };
            Ok(())
        }
        "id" => {
            builder.parsed.context.user_id = match node {
                Node::Text(text) if (1..=ID_BYTES_MAX).contains(&text.len()) => Some(text),
                Node::Absent => None,
                _ => return Err(Box::new(ContextError::Unit { field: "user.id" })),
            };
            Ok(())
        }
        "unitSignature" => {
            builder.parsed.unit_signature = match node {
                Node::Text(text) => Some(text),
                _ => None,
            };
            Ok(())
        }
        _ => match flat(name).filter(|_| ofrep) {
            Some(("order", name)) => order_attribute(builder, name, node),
            Some(("goods", name)) => {
                let mut item = builder.flat_item.take().unwrap_or_else(new_item);
                // Here `null` means no item: an object of the list needs an id, a flat client may have none.
                let outcome = if name == "id" && matches!(node, Node::Absent) {
                    item.id = Cow::Borrowed("");
                    Ok(())
                } else {
                    item_attribute(builder.attributes, &mut item, name, node, 0)
                };
                builder.flat_item = Some(item);
                outcome
            }
            _ => {
                let slot = builder.attributes.find(Scope::User, name);
                let value = value_of(name, node)?;
                keep(&mut builder.parsed.context.attributes, slot, value);
                Ok(())
            }
        },
    }
}

/// Scope and name of what a client that cannot nest writes as one name.
fn flat(name: &str) -> Option<(&str, &str)> {
    // Nearly none has a dot, and to look for one byte is cheaper than to look for a character.
    if name.as_bytes().contains(&b'.') { name.split_once('.') } else { None }
}

/// An attribute of the order.
pub(super) fn order_attribute<'a>(
    builder: &mut Builder<'a, '_>,
    name: &str,
    node: Node<'a>,
) -> Result<(), Fault> {
    match name {
        "amount" => {
            builder.parsed.context.amount = money(node, || "order.amount".into())?;
            Ok(())
        }
        "id" if !matches!(&node, Node::Absent) => match node {
            Node::Text(text) if (1..=ID_BYTES_MAX).contains(&text.len()) => {
                keep(&mut builder.parsed.context.attributes, Some(Slot::ORDER_ID), Some(Value::Text(text)));
                Ok(())
            }
            _ => Err(Box::new(ContextError::Id { field: "order.id".into() })),
        },
        _ => {
            let slot = builder.attributes.find(Scope::Order, name);
            let value = value_of(name, node)?;
            keep(&mut builder.parsed.context.attributes, slot, value);
            Ok(())
        }
    }
}

/// An item of which nothing was said yet.
pub(super) fn new_item<'a>() -> Item<'a> {
    Item {
        id: Cow::Borrowed(""),
        id_hash: std::cell::OnceCell::new(),
        price: None,
        quantity: 1,
        attributes: SmallVec::new(),
    }
}

/// An attribute of the item at place `at`.
pub(super) fn item_attribute<'a>(
    attributes: &Attributes,
    item: &mut Item<'a>,
    name: &str,
    node: Node<'a>,
    at: usize,
) -> Result<(), Fault> {
    match name {
        "id" => match node {
            Node::Text(text) if (1..=ID_BYTES_MAX).contains(&text.len()) => item.id = text,
            _ => return Err(Box::new(ContextError::Id { field: format!("goods[{at}].id") })),
        },
        "price" => item.price = money(node, || format!("goods[{at}].price"))?,
        "quantity" => item.quantity = money(node, || format!("goods[{at}].quantity"))?.unwrap_or(1),
        _ => {
            let slot = attributes.find(Scope::Goods, name);
            let value = value_of(name, node)?;
            keep(&mut item.attributes, slot, value);
        }
    }
    Ok(())
}

/// A whole number 0..2^53-1; 45900.0 is taken, `null` is missing.
fn money(node: Node<'_>, field: impl FnOnce() -> String) -> Result<Option<i64>, Fault> {
    match node {
        Node::Absent => Ok(None),
        Node::Number(Number::Whole(value)) if (0..=SAFE_INTEGER_MAX).contains(&value) => Ok(Some(value)),
        _ => Err(Box::new(ContextError::OutOfRange { field: field() })),
    }
}

fn value_of<'a>(name: &str, node: Node<'a>) -> Result<Option<Value<'a>>, Fault> {
    Ok(match node {
        Node::Text(text) if text.len() > TEXT_BYTES_MAX => {
            return Err(Box::new(ContextError::TooLong { field: name.chars().take(100).collect() }));
        }
        Node::Text(text) => Some(Value::Text(text)),
        Node::Number(number) => Some(Value::Number(number)),
        Node::Boolean(value) => Some(Value::Boolean(value)),
        Node::List(list) => {
            let long =
                |element: &Element<'_>| matches!(element, Element::Text(t) if t.len() > TEXT_BYTES_MAX);
            if list.iter().any(long) {
                return Err(Box::new(ContextError::TooLong { field: name.chars().take(100).collect() }));
            }
            Some(Value::List(list))
        }
        Node::Absent | Node::Object => None,
    })
}

/// Keeps a value that some flag asks for; of duplicates the last counts.
fn keep<'a, const N: usize>(
    attributes: &mut SmallVec<[(Slot, Value<'a>); N]>,
    slot: Option<Slot>,
    value: Option<Value<'a>>,
) {
    let Some(slot) = slot else { return };
    let known = attributes.iter().position(|(known, _)| *known == slot);
    match (known, value) {
        (Some(at), Some(value)) => {
            if let Some((_, place)) = attributes.get_mut(at) {
                *place = value;
            }
        }
        (Some(at), None) => {
            attributes.swap_remove(at);
        }
        (None, Some(value)) => attributes.push((slot, value)),
        (None, None) => {}
    }
}
