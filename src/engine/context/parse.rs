//! From a request's body to a [`Context`], in one pass of `serde_json`.

mod facts;
mod node;

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;

use facts::{item_attribute, new_item, order_attribute, user_attribute};
use node::{AnyValue, Name, Node};

use super::{ATTRIBUTES_MAX, BADGES_MAX, Context, ContextError, GOODS_MAX, Item};
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
    let text = std::str::from_utf8(body).map_err(|error| {
        let good = body.get(..error.valid_up_to()).unwrap_or_default();
        let line_start = good.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        ContextError::Json {
            detail: "invalid UTF-8".into(),
            line: good.iter().filter(|b| **b == b'\n').count() + 1,
            column: good.len() - line_start + 1,
        }
    })?;
    let mut builder = Builder {
        parsed: Parsed::default(),
        attributes,
        fault: None,
        form,
        user_seen: false,
        order_seen: false,
        flat_item: None,
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let outcome = Top(&mut builder).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    let Builder { mut parsed, fault, user_seen, flat_item, .. } = builder;
    if let Err(error) = outcome {
        let (line, column) = (error.line(), error.column());
        return Err(match fault {
            // Where it is too deep only the reader of the text knows.
            Some(ContextError::TooDeep { .. }) => ContextError::TooDeep { line, column },
            Some(fault) => fault,
            None => ContextError::Json {
                detail: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
                line,
                column,
            },
        });
    }
    if form != Form::Ofrep && !user_seen {
        return Err(ContextError::Shape { field: "user", wanted: "an object" });
    }
    if let (None, Some(item)) = (&parsed.context.goods, flat_item)
        && !item.id.is_empty()
    {
        parsed.context.goods = Some(SmallVec::from_iter([item]));
    }
    if form != Form::Badges {
        derive_amount(&mut parsed.context)?;
    }
    Ok(parsed)
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
    parsed: Parsed<'a>,
    attributes: &'s Attributes,
    /// The typed reason of a refusal: `serde`'s own errors carry only text.
    fault: Option<ContextError>,
    form: Form,
    user_seen: bool,
    order_seen: bool,
    /// From flat attributes `goods.id`, `goods.price`, ... of clients that cannot nest.
    flat_item: Option<Item<'a>>,
}

impl Builder<'_, '_> {
    #[cold]
    fn refuse<E: serde::de::Error>(&mut self, fault: ContextError) -> E {
        let error = E::custom("refused");
        self.fault.get_or_insert(fault);
        error
    }

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
}

/// Makes a seed that needs an object: any other type is refused by the name of its field; with `null: true`
/// a `null` counts as missing.
macro_rules! object_seed {
    ($seed:ident, $field:expr, |$this:ident, $entries:ident| $body:block) => {
        object_seed!($seed, $field, null: false, |$this, $entries| $body);
    };
    ($seed:ident, $field:expr, null: $null:expr, |$this:ident, $entries:ident| $body:block) => {
        impl<'a> DeserializeSeed<'a> for $seed<'_, 'a, '_> {
            type Value = ();

            fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
                deserializer.deserialize_any(self)
            }
        }

        impl<'a> Visitor<'a> for $seed<'_, 'a, '_> {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object as `{}`", $field)
            }

            fn visit_map<A: MapAccess<'a>>(self, mut $entries: A) -> Result<(), A::Error> {
                let $this = self;
                $body
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
                if $null { Ok(()) } else { self.visit_bool(false) }
            }

            shape_refusals! { ContextError::Shape { field: $field, wanted: "an object" } }
        }
    };
}

/// Refuses every scalar, `null` excepted, and list where an object is needed.
macro_rules! shape_refusals {
    ($fault:expr) => {
        fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
            Err(self.0.refuse($fault))
        }
        fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
            Err(self.0.refuse($fault))
        }
        fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
            Err(self.0.refuse($fault))
        }
        fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
            Err(self.0.refuse($fault))
        }
        fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
            Err(self.0.refuse($fault))
        }
        fn visit_seq<A: SeqAccess<'a>>(self, _: A) -> Result<(), A::Error> {
            Err(self.0.refuse($fault))
        }
    };
}

struct Top<'b, 'a, 's>(&'b mut Builder<'a, 's>);
struct User<'b, 'a, 's>(&'b mut Builder<'a, 's>);
struct OrderObject<'b, 'a, 's>(&'b mut Builder<'a, 's>);
struct Goods<'b, 'a, 's>(&'b mut Builder<'a, 's>);
struct ItemObject<'b, 'a, 's>(&'b mut Builder<'a, 's>, &'b mut SmallVec<[Item<'a>; 4]>);

object_seed!(Top, "body", |this, entries| {
    while let Some(name) = entries.next_key_seed(Name)? {
        match (this.0.form, &*name) {
            (Form::Ofrep, "context") | (Form::Decision | Form::Badges, "user") => {
                if this.0.user_seen {
                    this.0.forget_user();
                }
                this.0.user_seen = true;
                entries.next_value_seed(User(&mut *this.0))?;
            }
            (Form::Decision, "order") => {
                this.0.next_order();
                entries.next_value_seed(OrderObject(&mut *this.0))?;
            }
            (Form::Badges, "goods") => entries.next_value_seed(Goods(&mut *this.0))?,
            (Form::Decision | Form::Badges, "placement") => {
                match entries.next_value_seed(AnyValue { builder: &mut *this.0, depth: 1 })? {
                    Node::Text(text) => this.0.parsed.placement = Some(text),
                    _ => {
                        return Err(this
                            .0
                            .refuse(ContextError::Shape { field: "placement", wanted: "a text" }));
                    }
                }
            }
            _ => {
                entries.next_value_seed(AnyValue { builder: &mut *this.0, depth: 1 })?;
            }
        }
    }
    Ok(())
});

object_seed!(User, "user", |this, entries| {
    let ofrep = this.0.form == Form::Ofrep;
    let (mut count, mut targeting_key) = (0_usize, None);
    while let Some(name) = entries.next_key_seed(Name)? {
        count += 1;
        if count > ATTRIBUTES_MAX {
            return Err(this.0.refuse(ContextError::TooManyAttributes { field: "user" }));
        }
        match &*name {
            "order" if ofrep => {
                this.0.next_order();
                entries.next_value_seed(OrderObject(&mut *this.0))?;
            }
            "goods" if ofrep => entries.next_value_seed(Goods(&mut *this.0))?,
            _ => {
                let node = entries.next_value_seed(AnyValue { builder: &mut *this.0, depth: 2 })?;
                user_attribute(this.0, &name, node, ofrep, &mut targeting_key)?;
            }
        }
    }
    if targeting_key.is_some() {
        this.0.parsed.context.user_id = targeting_key;
    }
    Ok(())
});

object_seed!(OrderObject, "order", null: true, |this, entries| {
    let mut count = 0_usize;
    while let Some(name) = entries.next_key_seed(Name)? {
        count += 1;
        if count > ATTRIBUTES_MAX {
            return Err(this.0.refuse(ContextError::TooManyAttributes { field: "order" }));
        }
        if this.0.form == Form::Decision && name == "goods" {
            entries.next_value_seed(Goods(&mut *this.0))?;
        } else {
            // In a decision's body the order stands beside the user, in OFREP's inside it.
            let depth = if this.0.form == Form::Decision { 2 } else { 3 };
            let node = entries.next_value_seed(AnyValue { builder: &mut *this.0, depth })?;
            order_attribute(this.0, &name, node)?;
        }
    }
    Ok(())
});

impl<'a> DeserializeSeed<'a> for Goods<'_, 'a, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Goods<'_, 'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list as `goods`")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        let mut goods = SmallVec::new();
        while items.next_element_seed(ItemObject(&mut *self.0, &mut goods))?.is_some() {
            let most = self.0.form.goods_max();
            if goods.len() > most {
                return Err(self.0.refuse(ContextError::TooManyGoods { most }));
            }
        }
        self.0.parsed.context.goods = Some(goods);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.parsed.context.goods = None;
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        Err(self.0.refuse(ContextError::Shape { field: "goods", wanted: "a list" }))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.visit_bool(true)
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.visit_bool(true)
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.visit_bool(true)
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.visit_bool(true)
    }

    fn visit_map<A: MapAccess<'a>>(self, _: A) -> Result<(), A::Error> {
        self.visit_bool(true)
    }
}

object_seed!(ItemObject, "goods item", |this, entries| {
    let (mut item, at, mut count) = (new_item(), this.1.len(), 0_usize);
    while let Some(name) = entries.next_key_seed(Name)? {
        count += 1;
        if count > ATTRIBUTES_MAX {
            return Err(this.0.refuse(ContextError::TooManyAttributes { field: "goods item" }));
        }
        let node = entries.next_value_seed(AnyValue { builder: &mut *this.0, depth: 4 })?;
        item_attribute(this.0, &mut item, &name, node, at)?;
    }
    if item.id.is_empty() {
        return Err(this.0.refuse(ContextError::Id { field: format!("goods[{at}].id") }));
    }
    this.1.push(item);
    Ok(())
});

#[cfg(test)]
mod tests;
