//! From a request's body to a [`Context`], in one pass.

mod facts;
mod reader;

use std::borrow::Cow;

use smallvec::SmallVec;

use facts::{item_attribute, new_item, order_attribute, user_attribute};
use reader::{Fault, Node, Reader};

use super::{ATTRIBUTES_MAX, BADGES_MAX, Context, ContextError, GOODS_MAX, Goods, Item};
use crate::engine::attributes::{Attributes, Slot};
use crate::engine::flag::Scope;
use crate::engine::number::SAFE_INTEGER_MAX;

/// A parsed body.
#[derive(Debug, Default)]
pub struct Parsed<'a> {
    /// The facts.
    pub context: Context<'a>,
    /// The placement asked for, in a decision's body.
    pub placement: Option<Cow<'a, str>>,
    /// The signature of the unit, taken out before evaluation.
    pub unit_signature: Option<Cow<'a, str>>,
}

/// Parses `{"context": {...}}`. A body without `context` is an empty one: real clients send it.
///
/// # Errors
/// [`ContextError`], which names the field.
pub fn parse_ofrep<'a>(body: &'a [u8], attributes: &Attributes) -> Result<Parsed<'a>, ContextError> {
    parse(body, attributes, Form::Ofrep)
}

/// Parses `{"placement", "user": {...}, "order": {..., "goods": [...]}}`.
///
/// # Errors
/// [`ContextError`], which names the field.
pub fn parse_decision<'a>(body: &'a [u8], attributes: &Attributes) -> Result<Parsed<'a>, ContextError> {
    let parsed = parse(body, attributes, Form::Decision)?;
    match &parsed.placement {
        Some(_) => Ok(parsed),
        None => Err(ContextError::Shape { field: "placement", wanted: "a text" }),
    }
}

/// Parses `{"placement", "user": {...}, "goods": [...]}`: goods that stand alone, each an order of its own.
///
/// # Errors
/// [`ContextError`], which names the field.
pub fn parse_badges<'a>(body: &'a [u8], attributes: &Attributes) -> Result<Parsed<'a>, ContextError> {
    let parsed = parse(body, attributes, Form::Badges)?;
    match (&parsed.placement, &parsed.context.goods) {
        (Some(_), Some(_)) => Ok(parsed),
        (None, _) => Err(ContextError::Shape { field: "placement", wanted: "a text" }),
        (_, None) => Err(ContextError::Shape { field: "goods", wanted: "a list" }),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Ofrep,
    Decision,
    Badges,
}

impl Form {
    fn goods_max(self) -> usize {
        match self {
            Self::Ofrep | Self::Decision => GOODS_MAX,
            Self::Badges => BADGES_MAX,
        }
    }
}

fn parse<'a>(body: &'a [u8], attributes: &Attributes, form: Form) -> Result<Parsed<'a>, ContextError> {
    let mut parsed = Parsed::default();
    fill(&mut parsed, body, attributes, form).map_err(|fault| *fault)?;
    Ok(parsed)
}

fn fill<'a>(
    parsed: &mut Parsed<'a>,
    body: &'a [u8],
    attributes: &Attributes,
    form: Form,
) -> Result<(), Fault> {
    let reader = Reader::new(body)?;
    let mut builder =
        Builder { reader, parsed, attributes, form, user_seen: false, order_seen: false, flat_item: None };
    builder.whole()?;
    let Builder { parsed, user_seen, flat_item, .. } = builder;
    if form != Form::Ofrep && !user_seen {
        return Err(Box::new(ContextError::Shape { field: "user", wanted: "an object" }));
    }
    if let (None, Some(item)) = (&parsed.context.goods, flat_item)
        && !item.id.is_empty()
    {
        parsed.context.goods = Some(SmallVec::from_iter([item]));
    }
    if form != Form::Badges {
        derive_amount(&mut parsed.context)?;
    }
    Ok(())
}

/// `order.amount`, if absent, is the sum of price x quantity; missing if an item has no price.
fn derive_amount(context: &mut Context<'_>) -> Result<(), ContextError> {
    if let (None, Some(goods)) = (context.amount, &context.goods)
        && !goods.is_empty()
        && let Some(sum) = goods.iter().try_fold(0_i128, |sum, item| Some(sum + item.value()?))
    {
        let amount = i64::try_from(sum).ok().filter(|amount| *amount <= SAFE_INTEGER_MAX);
        context.amount =
            Some(amount.ok_or_else(|| ContextError::OutOfRange { field: "order.amount".into() })?);
    }
    Ok(())
}

struct Builder<'a, 's> {
    reader: Reader<'a>,
    parsed: &'s mut Parsed<'a>,
    attributes: &'s Attributes,
    form: Form,
    user_seen: bool,
    order_seen: bool,
    /// From flat attributes `goods.id`, `goods.price`, ... of clients that cannot nest.
    flat_item: Option<Item<'a>>,
}

impl<'a> Builder<'a, '_> {
    /// Of duplicates the last counts: an earlier `context`, or `user`, is forgotten.
    fn forget_user(&mut self) {
        self.parsed.unit_signature = None;
        if self.form == Form::Ofrep {
            self.parsed.context = Context::default();
            (self.flat_item, self.order_seen) = (None, false);
        } else {
            self.parsed.context.user_id = None;
            self.forget(Scope::User);
        }
    }

    /// An order begins: an earlier one is forgotten.
    fn next_order(&mut self) {
        if self.order_seen {
            self.parsed.context.amount = None;
            self.forget(Scope::Order);
            if self.form == Form::Decision {
                self.parsed.context.goods = None;
            }
        }
        self.order_seen = true;
    }

    fn forget(&mut self, scope: Scope) {
        let names = self.attributes;
        let keep = |slot: Slot| names.name(slot).is_none_or(|name| name.scope != scope);
        self.parsed.context.attributes.retain(|(slot, _)| keep(*slot));
    }

    fn whole(&mut self) -> Result<(), Fault> {
        if !self.reader.open(b'{', "body")? {
            return Err(Box::new(ContextError::Shape { field: "body", wanted: "an object" }));
        }
        let mut first = true;
        while let Some(name) = self.reader.key(first)? {
            first = false;
            match (self.form, &*name) {
                (Form::Ofrep, "context") | (Form::Decision | Form::Badges, "user") => self.user()?,
                (Form::Decision, "order") => self.order()?,
                (Form::Badges, "goods") => self.goods()?,
                (Form::Decision | Form::Badges, "placement") => match self.reader.value(1)? {
                    Node::Text(text) => self.parsed.placement = Some(text),
                    _ => return Err(Box::new(ContextError::Shape { field: "placement", wanted: "a text" })),
                },
                _ => {
                    self.reader.value(1)?;
                }
            }
        }
        self.reader.end()
    }

    fn user(&mut self) -> Result<(), Fault> {
        if self.user_seen {
            self.forget_user();
        }
        self.user_seen = true;
        if !self.reader.open(b'{', "user")? {
            return Err(Box::new(ContextError::Shape { field: "user", wanted: "an object" }));
        }
        let ofrep = self.form == Form::Ofrep;
        let (mut count, mut targeting_key) = (0_usize, None);
        while let Some(name) = self.reader.key(count == 0)? {
            count += 1;
            if count > ATTRIBUTES_MAX {
                return Err(Box::new(ContextError::TooManyAttributes { field: "user" }));
            }
            match &*name {
                "order" if ofrep => self.order()?,
                "goods" if ofrep => self.goods()?,
                _ => {
                    let node = self.reader.value(2)?;
                    user_attribute(self, &name, node, ofrep, &mut targeting_key)?;
                }
            }
        }
        if targeting_key.is_some() {
            self.parsed.context.user_id = targeting_key;
        }
        Ok(())
    }

    fn order(&mut self) -> Result<(), Fault> {
        self.next_order();
        if !self.reader.open(b'{', "order")? {
            return Ok(());
        }
        // In a decision's body the order stands beside the user, in OFREP's inside it.
        let depth = if self.form == Form::Decision { 2 } else { 3 };
        let mut count = 0_usize;
        while let Some(name) = self.reader.key(count == 0)? {
            count += 1;
            if count > ATTRIBUTES_MAX {
                return Err(Box::new(ContextError::TooManyAttributes { field: "order" }));
            }
            if self.form == Form::Decision && name == "goods" {
                self.goods()?;
            } else {
                let node = self.reader.value(depth)?;
                order_attribute(self, &name, node)?;
            }
        }
        Ok(())
    }

    fn goods(&mut self) -> Result<(), Fault> {
        if !self.reader.open(b'[', "goods")? {
            self.parsed.context.goods = None;
            return Ok(());
        }
        let most = self.form.goods_max();
        // Each is filled in where it stays.
        let goods = self.parsed.context.goods.insert(Goods::new());
        while self.reader.item(goods.is_empty())? {
            let at = goods.len();
            if at == most {
                return Err(Box::new(ContextError::TooManyGoods { most }));
            }
            goods.push(new_item());
            if let Some(item) = goods.last_mut() {
                read_item(&mut self.reader, self.attributes, item, at)?;
            }
        }
        Ok(())
    }
}

/// Reads the item at place `at`.
fn read_item<'a>(
    reader: &mut Reader<'a>,
    attributes: &Attributes,
    item: &mut Item<'a>,
    at: usize,
) -> Result<(), Fault> {
    if !reader.open(b'{', "goods item")? {
        return Err(Box::new(ContextError::Shape { field: "goods item", wanted: "an object" }));
    }
    let mut count = 0_usize;
    while let Some(name) = reader.key(count == 0)? {
        count += 1;
        if count > ATTRIBUTES_MAX {
            return Err(Box::new(ContextError::TooManyAttributes { field: "goods item" }));
        }
        let node = reader.value(4)?;
        item_attribute(attributes, item, &name, node, at)?;
    }
    if item.id.is_empty() {
        return Err(Box::new(ContextError::Id { field: format!("goods[{at}].id") }));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
