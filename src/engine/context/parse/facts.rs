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
                keep(&mut builder.parsed.context.attributes, slot, name, node)
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
                let slot = Some(Slot::ORDER_ID);
                keep(&mut builder.parsed.context.attributes, slot, name, Node::Text(text))
            }
            _ => Err(Box::new(ContextError::Id { field: "order.id".into() })),
        },
        _ => {
            let slot = builder.attributes.find(Scope::Order, name);
            keep(&mut builder.parsed.context.attributes, slot, name, node)
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
            keep(&mut item.attributes, slot, name, node)?;
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

/// Whether a text of this length may be the value of an attribute, or stand in it.
fn fits(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX
}

/// Keeps a value that some flag asks for; of duplicates the last counts. Nobody may send one that is too long.
#[inline]
fn keep<'a, const N: usize>(
    attributes: &mut SmallVec<[(Slot, Value<'a>); N]>,
    slot: Option<Slot>,
    name: &str,
    node: Node<'a>,
) -> Result<(), Fault> {
    let fits = match &node {
        Node::Text(text) => fits(text),
        Node::List(list) => !list.iter().any(|one| matches!(one, Element::Text(text) if !fits(text))),
        Node::Absent | Node::Number(_) | Node::Boolean(_) | Node::Object => true,
    };
    if !fits {
        return Err(Box::new(ContextError::TooLong { field: name.chars().take(100).collect() }));
    }
    let Some(slot) = slot else { return Ok(()) };
    let known = attributes.iter().position(|(known, _)| *known == slot);
    let value = match node {
        Node::Text(text) => Value::Text(text),
        Node::Number(number) => Value::Number(number),
        Node::Boolean(value) => Value::Boolean(value),
        Node::List(list) => Value::List(list),
        Node::Absent | Node::Object => {
            if let Some(at) = known {
                attributes.swap_remove(at);
            }
            return Ok(());
        }
    };
    match known.and_then(|at| attributes.get_mut(at)) {
        Some((_, place)) => *place = value,
        None => attributes.push((slot, value)),
    }
    Ok(())
}
