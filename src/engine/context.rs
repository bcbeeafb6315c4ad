//! The facts about one request: a shopper, an order, its goods. Parsed from JSON in one pass, without a
//! tree of values: names that no flag asks for are skipped, texts are borrowed from the body.

mod parse;

use std::borrow::Cow;
use std::cell::OnceCell;

use smallvec::SmallVec;

pub use parse::{Parsed, parse_badges, parse_decision, parse_ofrep};

use super::attributes::Slot;
use super::membership::IdHasher;
use super::number::{Number, SAFE_INTEGER_MAX};
use super::version::Version;

/// Most attributes of a user, of an order, or of one item.
pub const ATTRIBUTES_MAX: usize = 100;
/// Most goods of an order.
pub const GOODS_MAX: usize = 200;
/// Most goods of one call for badges.
pub const BADGES_MAX: usize = 1_000;
/// Longest id in bytes.
pub const ID_BYTES_MAX: usize = 256;

/// Why a body is no context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// No JSON, or not UTF-8.
    #[error("{detail} at line {line}, column {column}")]
    Json {
        /// What is wrong.
        detail: String,
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
    },
    /// Nested deeper than 32.
    #[error("nested deeper than 32 at line {line}, column {column}")]
    TooDeep {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
    },
    /// Something has another shape than the contract's.
    #[error("`{field}`: {wanted} is needed")]
    Shape {
        /// Which field.
        field: &'static str,
        /// What is needed.
        wanted: &'static str,
    },
    /// The unit is no text of 1 to 256 bytes.
    #[error("`{field}` must be a text of 1 to 256 bytes")]
    Unit {
        /// Which field.
        field: &'static str,
    },
    /// Another id is no text of 1 to 256 bytes.
    #[error("`{field}` must be a text of 1 to 256 bytes")]
    Id {
        /// Which field.
        field: String,
    },
    /// A price, a quantity or an amount is no whole number 0..2^53-1.
    #[error("`{field}` must be a whole number from 0 to 9007199254740991 in the currency's minor unit")]
    OutOfRange {
        /// Which field.
        field: String,
    },
    /// Over 200 items, or 1,000 that ask for badges.
    #[error("at most {most} goods")]
    TooManyGoods {
        /// How many there may be.
        most: usize,
    },
    /// Over 100 attributes.
    #[error("`{field}` has at most {ATTRIBUTES_MAX} attributes")]
    TooManyAttributes {
        /// Which object.
        field: &'static str,
    },
    /// A text over 4 KiB.
    #[error("`{field}`: a text has at most 4096 bytes")]
    TooLong {
        /// Which field.
        field: String,
    },
    /// A text holds U+0000.
    #[error("U+0000 is not allowed in a text")]
    Nul,
}

impl ContextError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json { .. } | Self::Nul => "json_invalid",
            Self::TooDeep { .. } => "json_too_deep",
            Self::Shape { .. } => "context_invalid",
            Self::Unit { .. } => "unit_invalid",
            Self::Id { .. } => "id_invalid",
            Self::OutOfRange { .. } => "out_of_range",
            Self::TooManyGoods { .. } => "too_many_goods",
            Self::TooManyAttributes { .. } => "too_many_attributes",
            Self::TooLong { .. } => "string_too_long",
        }
    }
}

/// One value of an array.
#[derive(Debug, Clone, PartialEq)]
pub enum Element<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A number.
    Number(Number),
    /// A boolean.
    Boolean(bool),
    /// `null`, an array or an object: nothing can be said of it.
    Other,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A number.
    Number(Number),
    /// A boolean.
    Boolean(bool),
    /// An array.
    List(Vec<Element<'a>>),
}

/// A value as conditions see it.
#[derive(Debug, Clone, Copy)]
pub enum Operand<'c> {
    /// Text.
    Text(&'c str),
    /// A number.
    Number(Number),
    /// A boolean.
    Boolean(bool),
    /// An array.
    List(&'c [Element<'c>]),
}

impl Value<'_> {
    fn operand(&self) -> Operand<'_> {
        match self {
            Self::Text(text) => Operand::Text(text),
            Self::Number(number) => Operand::Number(*number),
            Self::Boolean(value) => Operand::Boolean(*value),
            Self::List(items) => Operand::List(items),
        }
    }
}

/// Attributes that flags ask for; few, so a scan finds one faster than a map would.
type Attributes<'a, const N: usize> = SmallVec<[(Slot, Value<'a>); N]>;

/// The items of an order.
pub type Goods<'a> = SmallVec<[Item<'a>; 4]>;

/// One item of the order.
#[derive(Debug)]
pub struct Item<'a> {
    id: Cow<'a, str>,
    id_hash: OnceCell<u64>,
    price: Option<i64>,
    quantity: i64,
    attributes: Attributes<'a, 4>,
}

impl Item<'_> {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Price x quantity; `None` without a price.
    #[must_use]
    pub fn value(&self) -> Option<i128> {
        self.price.map(|price| i128::from(price) * i128::from(self.quantity))
    }

    /// The hash of its id, made once.
    #[must_use]
    pub fn id_hash(&self, hasher: &IdHasher) -> u64 {
        *self.id_hash.get_or_init(|| hasher.hash(&self.id))
    }

    /// One of its attributes.
    #[must_use]
    #[inline]
    pub fn attribute(&self, slot: Slot) -> Option<Operand<'_>> {
        match slot {
            Slot::GOODS_ID => Some(Operand::Text(&self.id)),
            Slot::GOODS_PRICE => self.price.map(|price| Operand::Number(Number::Whole(price))),
            Slot::GOODS_QUANTITY => Some(Operand::Number(Number::Whole(self.quantity))),
            _ => find(&self.attributes, slot),
        }
    }
}

/// The facts of one request.
#[derive(Debug, Default)]
pub struct Context<'a> {
    user_id: Option<Cow<'a, str>>,
    user_id_hash: OnceCell<u64>,
    amount: Option<i64>,
    attributes: Attributes<'a, 8>,
    /// The first attribute that was compared as a version, and what it is.
    version: OnceCell<(Slot, [u64; 4])>,
    goods: Option<Goods<'a>>,
    only_user_id: bool,
}

impl<'a> Context<'a> {
    /// `user.id`.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.user_id.as_deref()
    }

    /// Puts another `user.id` in its place: a server's exposure names it apart from the context.
    pub fn set_user_id(&mut self, id: Cow<'a, str>) {
        self.user_id = Some(id);
        (self.user_id_hash, self.version) = (OnceCell::new(), OnceCell::new());
    }

    /// Takes `user.id` out: nobody vouches for it.
    pub fn forget_user_id(&mut self) {
        self.user_id = None;
        (self.user_id_hash, self.version) = (OnceCell::new(), OnceCell::new());
    }

    /// Lets no unit count but `user.id`, the one that can be signed.
    pub fn trust_only_user_id(&mut self) {
        self.only_user_id = true;
    }

    /// Whether the unit that `slot` names counts.
    #[must_use]
    #[inline]
    pub fn trusts(&self, slot: Slot) -> bool {
        !self.only_user_id || slot == Slot::USER_ID
    }

    /// The unit that `slot` names: a text of 1 to 256 bytes.
    #[must_use]
    #[inline]
    pub fn unit(&self, slot: Slot) -> Option<&str> {
        match self.attribute(slot)? {
            Operand::Text(text) if (1..=ID_BYTES_MAX).contains(&text.len()) => Some(text),
            _ => None,
        }
    }

    /// The hash of a unit for audiences; that of `user.id` is made once.
    #[must_use]
    pub fn unit_hash(&self, slot: Slot, unit: &str, hasher: &IdHasher) -> u64 {
        if slot == Slot::USER_ID {
            *self.user_id_hash.get_or_init(|| hasher.hash(unit))
        } else {
            hasher.hash(unit)
        }
    }

    /// What `text`, the attribute of `slot`, is as a version: parsed once for all flags, where it is one of numbers alone.
    #[must_use]
    pub fn version<'t>(&self, slot: Slot, text: &'t str) -> Option<Version<'t>> {
        if let Some((known, parts)) = self.version.get()
            && *known == slot
        {
            return Some(Version::of_parts(*parts));
        }
        let version = Version::parse(text)?;
        if let Some(parts) = version.parts() {
            // Another attribute may stand there already.
            let _known = self.version.set((slot, parts));
        }
        Some(version)
    }

    /// A `user.*` or `order.*` attribute.
    #[must_use]
    #[inline]
    pub fn attribute(&self, slot: Slot) -> Option<Operand<'_>> {
        match slot {
            Slot::USER_ID => self.user_id.as_deref().map(Operand::Text),
            Slot::ORDER_AMOUNT => self.amount.map(|amount| Operand::Number(Number::Whole(amount))),
            _ => find(&self.attributes, slot),
        }
    }

    /// Takes the goods out, to be put back one by one as orders of their own.
    #[must_use]
    pub fn take_goods(&mut self) -> Goods<'a> {
        self.goods.take().unwrap_or_default()
    }

    /// Makes `item` the whole order: its amount is that of the item, `None` without a price.
    ///
    /// # Errors
    /// [`ContextError::OutOfRange`] where price x quantity is over 2^53-1.
    pub fn set_only_item(&mut self, item: Item<'a>) -> Result<(), ContextError> {
        let amount =
            item.value().map(|value| i64::try_from(value).ok().filter(|value| *value <= SAFE_INTEGER_MAX));
        self.amount = match amount {
            None => None,
            Some(Some(amount)) => Some(amount),
            Some(None) => {
                return Err(ContextError::OutOfRange {
                    field: format!("goods {:?}: price x quantity", item.id),
                });
            }
        };
        self.goods = Some(Goods::from_iter([item]));
        Ok(())
    }

    /// The goods; `None` if none were sent.
    #[must_use]
    pub fn goods(&self) -> Option<&[Item<'a>]> {
        self.goods.as_deref()
    }
}

#[inline]
fn find<'c>(attributes: &'c [(Slot, Value<'_>)], slot: Slot) -> Option<Operand<'c>> {
    attributes.iter().find(|(known, _)| *known == slot).map(|(_, value)| value.operand())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_attribute_is_parsed_as_a_version_once_and_the_others_as_they_come() {
        let parts = |context: &Context<'_>, slot, text| context.version(slot, text).and_then(|v| v.parts());
        let mut context = Context::default();
        assert_eq!(context.version(Slot::ORDER_ID, "1.2-beta").map(|version| version.parts()), Some(None));
        assert_eq!(parts(&context, Slot::ORDER_ID, "no version"), None);
        assert_eq!(parts(&context, Slot::USER_ID, "10.9.1"), Some([10, 9, 1, 0]));
        assert_eq!(parts(&context, Slot::USER_ID, "what it was is known"), Some([10, 9, 1, 0]));
        assert_eq!(parts(&context, Slot::ORDER_ID, "2"), Some([2, 0, 0, 0]));
        assert_eq!(parts(&context, Slot::ORDER_ID, "3"), Some([3, 0, 0, 0]));
        context.set_user_id(Cow::Borrowed("4"));
        assert_eq!(parts(&context, Slot::USER_ID, "4"), Some([4, 0, 0, 0]));
        context.forget_user_id();
        assert_eq!(parts(&context, Slot::USER_ID, "5"), Some([5, 0, 0, 0]));
    }
}
