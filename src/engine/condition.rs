//! Compiled conditions, three-valued: true, false, or unknown with its cause (Kleene's strong logic).
//! Unknown never opens: a rule acts on true only.

use regex::Regex;

use super::asks::Ask;
use super::attributes::{Attributes, Slot};
use super::context::{Element, Operand};
use super::flag::{self, List, Order, Scalar, Scope};
use super::index::AudienceIndex;
use super::map::Set;
use super::number::Number;
use super::version::{OwnedVersion, Version};

/// Why a condition is unknown; a later cause outweighs an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The attribute was not sent.
    Missing,
    /// The attribute has another type than the condition's.
    WrongType,
    /// The audience could not be read: evaluation ends, since skipping a blocking rule would open the next.
    Unreadable,
}

/// A truth value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// True.
    True,
    /// False.
    False,
    /// Cannot be known.
    Unknown(Cause),
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl std::ops::Not for Truth {
    type Output = Self;

    /// `not unknown` is unknown.
    fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            unknown @ Self::Unknown(_) => unknown,
        }
    }
}

impl Truth {
    /// False if one is false, else unknown if one is unknown, else true.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::Unknown(a), Self::Unknown(b)) => Self::Unknown(a.max(b)),
            (unknown @ Self::Unknown(_), Self::True) | (Self::True, unknown @ Self::Unknown(_)) => unknown,
            (Self::True, Self::True) => Self::True,
        }
    }

    /// True if one is true, else unknown if one is unknown, else false.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        !((!self).and(!other))
    }
}

/// A compiled condition.
#[derive(Debug)]
pub enum Condition {
    /// True if all are.
    AllOf(Box<[Condition]>),
    /// True if one is.
    AnyOf(Box<[Condition]>),
    /// The other way round.
    Not(Box<Condition>),
    /// Membership.
    Audience {
        /// Whose members.
        audience: AudienceIndex,
        /// Of what.
        subject: Subject,
    },
    /// A test of an attribute.
    Attribute {
        /// Which.
        slot: Slot,
        /// Whether it is the item's.
        of_item: bool,
        /// How.
        test: Test,
    },
}

/// Whose membership an audience condition asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The unit, read from this slot.
    Unit(Slot),
    /// The goods id.
    Item,
    /// An attribute of the user or the order.
    Attribute(Slot),
    /// An attribute of the item.
    ItemAttribute(Slot),
}

/// A compiled test: lists as hash sets, patterns and versions parsed.
#[derive(Debug)]
pub enum Test {
    /// `eq`, `ne`, `in`, `not_in`.
    OneOf(Values, bool),
    /// `contains` on a text; on an array an element.
    ContainsText(Box<str>),
    /// `contains` of a number or boolean: an element of an array.
    ContainsElement(Values),
    /// `starts_with`.
    StartsWith(Box<str>),
    /// `ends_with`.
    EndsWith(Box<str>),
    /// `matches`.
    Matches(Box<Regex>),
    /// `lt`, `lte`, `gt`, `gte`.
    Compare(Order, Number),
    /// `semver_*`.
    Version(Order, OwnedVersion),
    /// `before`, `after`.
    Time(Order, i64),
    /// `exists`.
    Exists(bool),
}

/// Most texts that are compared one by one.
const FEW: usize = 6;

/// Values of one type.
#[derive(Debug)]
pub enum Values {
    /// One text: most conditions.
    Text(Box<str>),
    /// A few texts: compared one by one, most told apart by their length.
    Few(Box<[Box<str>]>),
    /// Texts.
    Texts(Set<Box<str>>),
    /// Numbers.
    Numbers(Set<Number>),
    /// Whether true, and whether false, is among them.
    Booleans(bool, bool),
}

impl Values {
    fn scalar(value: &Scalar) -> Self {
        match value {
            Scalar::Text(text) => Self::Text(text.clone()),
            Scalar::Number(number) => Self::Numbers([*number].into_iter().collect()),
            Scalar::Boolean(value) => Self::Booleans(*value, !*value),
        }
    }

    fn list(list: &List) -> Self {
        match list {
            List::Texts(texts) => match texts.as_slice() {
                [only] => Self::Text(only.clone()),
                [_, ..] if texts.len() <= FEW => Self::Few(texts.as_slice().into()),
                texts => Self::Texts(texts.iter().cloned().collect()),
            },
            List::Numbers(numbers) => Self::Numbers(numbers.iter().copied().collect()),
            List::Booleans(values) => Self::Booleans(values.contains(&true), values.contains(&false)),
        }
    }

    /// Whether nothing is listed: then no type is asked for either.
    fn is_empty(&self) -> bool {
        matches!(self, Self::Texts(texts) if texts.is_empty())
    }

    #[inline]
    fn text(&self, value: &str) -> Truth {
        match self {
            Self::Text(only) => (**only == *value).into(),
            Self::Few(texts) => texts.iter().any(|text| **text == *value).into(),
            Self::Texts(texts) => texts.contains(value).into(),
            _ => Truth::Unknown(Cause::WrongType),
        }
    }

    fn number(&self, value: Number) -> Truth {
        match self {
            Self::Numbers(numbers) => numbers.contains(&value).into(),
            _ => Truth::Unknown(Cause::WrongType),
        }
    }

    fn boolean(&self, value: bool) -> Truth {
        match self {
            Self::Booleans(with_true, with_false) => (if value { *with_true } else { *with_false }).into(),
            _ => Truth::Unknown(Cause::WrongType),
        }
    }

    fn element(&self, element: &Element<'_>) -> Truth {
        match element {
            Element::Text(text) => self.text(text),
            Element::Number(number) => self.number(*number),
            Element::Boolean(value) => self.boolean(*value),
            Element::Other => Truth::Unknown(Cause::WrongType),
        }
    }

    /// Whether some element is among these.
    fn any_of(&self, elements: &[Element<'_>]) -> Truth {
        if self.is_empty() {
            return Truth::False;
        }
        elements.iter().fold(Truth::False, |truth, element| truth.or(self.element(element)))
    }

    #[inline]
    fn holds(&self, operand: Operand<'_>) -> Truth {
        if self.is_empty() {
            return Truth::False;
        }
        match operand {
            Operand::Text(text) => self.text(text),
            Operand::Number(number) => self.number(number),
            Operand::Boolean(value) => self.boolean(value),
            Operand::List(elements) => self.any_of(elements),
        }
    }
}

impl Test {
    /// Compiles a test. `None` only for a pattern that a limit refuses, which reading has refused before.
    fn compile(test: &flag::Test) -> Option<Self> {
        Some(match test {
            flag::Test::Equals { value, negated } => Self::OneOf(Values::scalar(value), *negated),
            flag::Test::In { list, negated } => Self::OneOf(Values::list(list), *negated),
            flag::Test::Contains(Scalar::Text(text)) => Self::ContainsText(text.clone()),
            flag::Test::Contains(value) => Self::ContainsElement(Values::scalar(value)),
            flag::Test::StartsWith(text) => Self::StartsWith(text.clone()),
            flag::Test::EndsWith(text) => Self::EndsWith(text.clone()),
            flag::Test::Matches(pattern) => Self::Matches(Box::new(flag::compile_pattern(pattern).ok()?)),
            flag::Test::Compare(order, number) => Self::Compare(*order, *number),
            flag::Test::Version(order, version) => Self::Version(*order, version.clone()),
            flag::Test::Time(order, ms) => Self::Time(*order, *ms),
            flag::Test::Exists(expected) => Self::Exists(*expected),
        })
    }

    /// The truth of a test of versions; `None` is a text that is none.
    #[must_use]
    pub fn version(order: Order, bound: &OwnedVersion, value: Option<Version<'_>>) -> Truth {
        match value {
            Some(value) => order.holds(value.compare(&bound.borrowed())).into(),
            None => Truth::Unknown(Cause::WrongType),
        }
    }

    /// The truth of this test for a value; `None` is a missing attribute.
    #[must_use]
    #[inline]
    pub fn holds(&self, operand: Option<Operand<'_>>) -> Truth {
        if let Self::Exists(expected) = self {
            return (operand.is_some() == *expected).into();
        }
        let Some(operand) = operand else { return Truth::Unknown(Cause::Missing) };
        match (self, operand) {
            (Self::OneOf(values, false), operand) => values.holds(operand),
            (Self::OneOf(values, true), operand) => !values.holds(operand),
            (Self::ContainsText(part), Operand::Text(text)) => text.contains(&**part).into(),
            (Self::ContainsText(part), Operand::List(elements)) => {
                Values::Text(part.clone()).any_of(elements)
            }
            (Self::ContainsElement(values), Operand::List(elements)) => values.any_of(elements),
            (Self::StartsWith(part), Operand::Text(text)) => text.starts_with(&**part).into(),
            (Self::EndsWith(part), Operand::Text(text)) => text.ends_with(&**part).into(),
            (Self::Matches(pattern), Operand::Text(text)) => pattern.is_match(text).into(),
            (Self::Compare(order, number), Operand::Number(value)) => {
                order.holds(value.compare(*number)).into()
            }
            (Self::Version(order, bound), Operand::Text(text)) => {
                Self::version(*order, bound, Version::parse(text))
            }
            (Self::Time(order, ms), Operand::Text(text)) => match crate::clock::parse_rfc3339(text) {
                Some(value) => order.holds(value.cmp(ms)).into(),
                None => Truth::Unknown(Cause::WrongType),
            },
            _ => Truth::Unknown(Cause::WrongType),
        }
    }
}

/// What a condition is compiled against: numbers for the names that it uses.
pub(super) struct Names<'n> {
    pub(super) attributes: &'n mut Attributes,
    pub(super) audience: &'n mut dyn FnMut(&str) -> Option<AudienceIndex>,
    pub(super) unit: Slot,
    pub(super) in_goods: bool,
}

impl Condition {
    /// Compiles a condition; the text of what is unknown here, if anything is.
    pub(super) fn compile(condition: &flag::Condition, names: &mut Names<'_>) -> Result<Self, String> {
        Ok(match condition {
            flag::Condition::AllOf(inner) => Self::AllOf(Self::compile_all(inner, names)?),
            flag::Condition::AnyOf(inner) => Self::AnyOf(Self::compile_all(inner, names)?),
            flag::Condition::Not(inner) => Self::Not(Box::new(Self::compile(inner, names)?)),
            flag::Condition::Audience { audience, attribute } => Self::Audience {
                audience: (names.audience)(audience.as_str())
                    .ok_or_else(|| format!("no audience {audience:?}"))?,
                subject: match attribute {
                    None if names.in_goods => Subject::Item,
                    None => Subject::Unit(names.unit),
                    Some(attribute) => match (attribute.scope, names.attributes.number(attribute)) {
                        (Scope::Goods, slot) => Subject::ItemAttribute(slot),
                        (_, slot) => Subject::Attribute(slot),
                    },
                },
            },
            flag::Condition::Attribute { attribute, test } => Self::Attribute {
                slot: names.attributes.number(attribute),
                of_item: attribute.scope == Scope::Goods,
                test: Test::compile(test).ok_or_else(|| "a pattern is over its limits".to_owned())?,
            },
        })
    }

    pub(super) fn compile_all(
        conditions: &[flag::Condition],
        names: &mut Names<'_>,
    ) -> Result<Box<[Self]>, String> {
        conditions.iter().map(|condition| Self::compile(condition, names)).collect()
    }

    /// Whether it asks for an audience of the unit.
    pub(super) fn asks_for_unit(&self) -> bool {
        match self {
            Self::AllOf(inner) | Self::AnyOf(inner) => inner.iter().any(Self::asks_for_unit),
            Self::Not(inner) => inner.asks_for_unit(),
            Self::Audience { subject, .. } => matches!(subject, Subject::Unit(_)),
            Self::Attribute { .. } => false,
        }
    }

    /// Calls `visit` for each audience it asks for, and whose membership.
    pub(super) fn asks(&self, visit: &mut impl FnMut(Ask)) {
        match self {
            Self::AllOf(inner) | Self::AnyOf(inner) => inner.iter().for_each(|c| c.asks(visit)),
            Self::Not(inner) => inner.asks(visit),
            Self::Audience { audience, subject } => visit(Ask { audience: *audience, subject: *subject }),
            Self::Attribute { .. } => {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
