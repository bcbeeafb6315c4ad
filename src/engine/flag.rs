//! The flag document: what people edit of a flag, typed. Reading one from JSON is in [`read()`];
//! what it needs of its environment is checked in [`super::validate`].

mod condition;
mod read;
mod reader;
mod rules;

use std::collections::BTreeMap;

pub(in crate::engine) use condition::compile_pattern;
pub use read::{FIELDS, read};
pub use reader::{Fault, Faults};

use super::decision::Arm;
use super::key::{AudienceKey, FlagKey, LayerKey, PlacementKey, RuleId, StepKey, VariantKey};
use super::number::Number;
use super::share::Share;
use super::version::OwnedVersion;

/// Hours of attribution where a flag names none.
pub const ATTRIBUTION_HOURS_DEFAULT: i64 = 24;
/// Longest attribution window in hours.
pub const ATTRIBUTION_HOURS_MAX: i64 = 720;
/// Relative effect worth finding where a flag names none.
pub const MIN_EFFECT_DEFAULT: f64 = 0.05;
/// Most rules of a flag.
pub const RULES_MAX: usize = 100;
/// Most conditions of a flag, nested ones counted.
pub const CONDITIONS_MAX: usize = 1_000;
/// Most values of a list in a condition.
pub const LIST_VALUES_MAX: usize = 10_000;
/// Longest pattern in bytes.
pub const PATTERN_BYTES_MAX: usize = 256;
/// Largest compiled pattern in bytes.
pub const PATTERN_COMPILED_BYTES_MAX: usize = 1 << 20;
/// Most variants of a flag.
pub const VARIANTS_MAX: usize = 100;
/// Most stops, and most metrics, of a flag.
pub const STEPS_MAX: usize = 50;
/// Most attributes kept with an exposure.
pub const CAPTURE_MAX: usize = 4;
/// Most prerequisites of a flag.
pub const PREREQUISITES_MAX: usize = 10;
/// Longest text in bytes.
pub const TEXT_BYTES_MAX: usize = 4_096;

/// Whether a flag decides by its rules. It stands beside the document, not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Decides by its rules.
    Live,
    /// Shut: serves `off_variant`.
    Killed,
    /// Shut and put away; kept, since history and events refer to it.
    Archived,
}

impl State {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Killed => "killed",
            Self::Archived => "archived",
        }
    }

    /// Reads the word of the API.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Live, Self::Killed, Self::Archived].into_iter().find(|state| state.as_str() == text)
    }
}

/// The type that all values of a flag have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// A whole number of 64 bits.
    Integer,
    /// A number, always written with a fraction.
    Float,
    /// A JSON object.
    Object,
}

impl ValueType {
    /// All types with their words.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Boolean, "boolean"),
        (Self::String, "string"),
        (Self::Integer, "integer"),
        (Self::Float, "float"),
        (Self::Object, "object"),
    ];
}

/// A variant's value as typed JSON text: an integer is `1`, a float `1.0`, object keys in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantValue(Box<str>);

impl VariantValue {
    /// The value of `json` as `value_type`; `None` if it has another type.
    #[must_use]
    pub fn typed(value_type: ValueType, json: &serde_json::Value) -> Option<Self> {
        let text = match value_type {
            ValueType::Boolean => json.as_bool()?.to_string(),
            ValueType::String => serde_json::Value::from(json.as_str()?).to_string(),
            ValueType::Integer => Number::from_json(json)?.whole()?.to_string(),
            ValueType::Float => {
                // `-0.0` and `0.0` are one value to every reader that compares numbers.
                let value = json.as_f64()?;
                serde_json::Value::from(if value == 0.0 { 0.0 } else { value }).to_string()
            }
            ValueType::Object => json.as_object().map(|_| json.to_string())?,
        };
        Some(Self(text.into()))
    }

    /// JSON text.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.0
    }
}

/// Where an attribute comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The shopper.
    User,
    /// The order.
    Order,
    /// One item of the order: only inside the goods gate.
    Goods,
}

/// An attribute such as `user.region`; only the first dot separates.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attribute {
    /// Where it comes from.
    pub scope: Scope,
    /// Its name there.
    pub name: Box<str>,
}

impl Attribute {
    /// Parses `user.x`, `order.x` or `goods.x`; the name has 1 to 256 bytes and no control character.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scope, name) = text.split_once('.')?;
        let scope = match scope {
            "user" => Scope::User,
            "order" => Scope::Order,
            "goods" => Scope::Goods,
            _ => return None,
        };
        let fits = (1..=256).contains(&name.len()) && !name.chars().any(char::is_control);
        fits.then(|| Self { scope, name: name.into() })
    }

    /// `user.id`, the unit by default.
    #[must_use]
    pub fn user_id() -> Self {
        Self { scope: Scope::User, name: "id".into() }
    }
}

impl std::fmt::Display for Attribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scope = match self.scope {
            Scope::User => "user",
            Scope::Order => "order",
            Scope::Goods => "goods",
        };
        write!(f, "{scope}.{}", self.name)
    }
}

/// What an audience holds ids of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudienceKind {
    /// Users.
    User,
    /// Goods.
    Goods,
    /// Values of some other attribute.
    Other,
}

impl AudienceKind {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Goods => "goods",
            Self::Other => "other",
        }
    }

    /// Reads the word of the API.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::User, Self::Goods, Self::Other].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A condition as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Condition {
    /// True if all are.
    AllOf(Vec<Condition>),
    /// True if one is.
    AnyOf(Vec<Condition>),
    /// True if the inner one is false.
    Not(Box<Condition>),
    /// Membership of the unit (of the goods id inside the gate), or of an attribute.
    Audience {
        /// Whose members.
        audience: AudienceKey,
        /// `None`: the unit, or the goods id.
        attribute: Option<Attribute>,
    },
    /// A test of one attribute.
    Attribute {
        /// Which.
        attribute: Attribute,
        /// How.
        test: Test,
    },
}

/// How two things are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// `lt`, `before`.
    Less,
    /// `lte`.
    LessOrEqual,
    /// Equal in order.
    Equal,
    /// `gte`.
    GreaterOrEqual,
    /// `gt`, `after`.
    Greater,
}

impl Order {
    /// Whether `ordering` satisfies this.
    #[must_use]
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Equal => ordering.is_eq(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Greater => ordering.is_gt(),
        }
    }
}

/// A list in a condition: one type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum List {
    /// Texts, or nothing.
    Texts(Vec<Box<str>>),
    /// Numbers.
    Numbers(Vec<Number>),
    /// Booleans.
    Booleans(Vec<bool>),
}

/// A scalar in a condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// Text.
    Text(Box<str>),
    /// A number.
    Number(Number),
    /// A boolean.
    Boolean(bool),
}

/// A test with its operand, as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Test {
    /// `eq`, or `ne` if negated.
    Equals {
        /// The operand.
        value: Scalar,
        /// `ne`.
        negated: bool,
    },
    /// `in`, or `not_in` if negated.
    In {
        /// The operand.
        list: List,
        /// `not_in`.
        negated: bool,
    },
    /// `contains`: a part of a text, or an element of an array.
    Contains(Scalar),
    /// `starts_with`.
    StartsWith(Box<str>),
    /// `ends_with`.
    EndsWith(Box<str>),
    /// `matches`: an unanchored pattern.
    Matches(Box<str>),
    /// `lt`, `lte`, `gt`, `gte`.
    Compare(Order, Number),
    /// `semver_*`.
    Version(Order, OwnedVersion),
    /// `before`, `after`: milliseconds since 1970.
    Time(Order, i64),
    /// `exists`.
    Exists(bool),
}

/// What the order needs of its goods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// Every item eligible.
    All,
    /// One item eligible.
    Any,
    /// Eligible items make at least this share of the order's value.
    ValueShare(Share),
}

/// The goods gate.
#[derive(Debug, Clone, PartialEq)]
pub struct Goods {
    /// What the order needs.
    pub matching: Match,
    /// Whether a context without goods fails.
    pub required: bool,
    /// One must be true, if there are any.
    pub include: Vec<Condition>,
    /// None may be true.
    pub exclude: Vec<Condition>,
    /// Which goods are in.
    pub rollout: Share,
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Unique in the flag.
    pub id: RuleId,
    /// For people.
    pub description: String,
    /// When it acts; `AllOf([])` where left out.
    pub when: Condition,
    /// What it serves.
    pub serve: Serve,
}

/// What a rule serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serve {
    /// One variant to all.
    Variant(VariantKey),
    /// A rollout.
    Rollout(Rollout),
}

impl Serve {
    /// What it can give that is measured, where units outside the rollout get the variant `off`.
    #[must_use]
    pub fn outcomes<'d>(&'d self, off: &'d VariantKey) -> Vec<(&'d VariantKey, Arm)> {
        match self {
            Self::Variant(variant) => vec![(variant, Arm::Fixed)],
            Self::Rollout(rollout) => {
                let control = (rollout.control > Share::NONE).then_some((off, Arm::Control));
                rollout.split.keys().map(|variant| (variant, Arm::Treatment)).chain(control).collect()
            }
        }
    }
}

/// A rollout with its control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Treated, from the bottom of the line.
    pub percent: Share,
    /// Measured as control, from the top of the line.
    pub control: Share,
    /// Relative weights of the served variants; the one variant besides `off_variant` where left out.
    pub split: BTreeMap<VariantKey, u32>,
}

/// A part of a layer's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRange {
    /// Which layer.
    pub key: LayerKey,
    /// From here, included.
    pub from: Share,
    /// To here, excluded.
    pub to: Share,
}

/// A flag that must serve one of some variants first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prerequisite {
    /// Which flag.
    pub flag: FlagKey,
    /// Which of its variants will do.
    pub variants: Vec<VariantKey>,
}

/// A stop of the funnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The step.
    pub step: StepKey,
    /// Whether nobody may see it happen.
    pub optional: bool,
}

/// A step counted for treatment and control alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// The step.
    pub step: StepKey,
    /// The attribute of the event that splits it.
    pub by: Option<Box<str>>,
    /// Its values that count apart.
    pub values: Vec<Box<str>>,
    /// Its own window; the flag's where left out.
    pub window_hours: Option<i64>,
    /// The metric per whose events its own are compared, as failures per attempt.
    pub ratio: Option<StepKey>,
}

/// A limit on a measured rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Guardrail {
    /// The step; fewer is better.
    pub step: StepKey,
    /// What it may not pass.
    pub bound: GuardrailBound,
}

/// What a guardrail may not pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GuardrailBound {
    /// Difference to control in points (0.002 = 0.2 points).
    Margin(f64),
    /// A rate.
    Limit(f64),
}

/// A flag document with defaults filled in: two that compare equal decide and read alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its key.
    pub key: FlagKey,
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// Who answers for it.
    pub owner: String,
    /// For people.
    pub tags: Vec<String>,
    /// Where it is shown; such a flag is a payment entry.
    pub placement: Option<PlacementKey>,
    /// Order of entries.
    pub position: i64,
    /// Type of all values.
    pub value_type: ValueType,
    /// Values by key; the order of the keys cuts the split.
    pub variants: BTreeMap<VariantKey, VariantValue>,
    /// Served where nothing opens.
    pub off_variant: VariantKey,
    /// Served where no rule matches.
    pub default_variant: VariantKey,
    /// Prefix of all hashes; `None` only before it is filled.
    pub salt: Option<Box<str>>,
    /// What is hashed.
    pub unit: Attribute,
    /// Part of a shared line.
    pub layer: Option<LayerRange>,
    /// Flags that come first.
    pub prerequisites: Vec<Prerequisite>,
    /// The goods gate.
    pub goods: Option<Goods>,
    /// Rules in order.
    pub rules: Vec<Rule>,
    /// The entry's own stops in order.
    pub funnel: Vec<Stop>,
    /// Steps counted for treatment and control alike.
    pub metrics: Vec<Metric>,
    /// The step that counts as conversion.
    pub goal: Option<StepKey>,
    /// Attribution window in hours.
    pub attribution_hours: i64,
    /// User attributes kept with an exposure.
    pub capture: Vec<Attribute>,
    /// Relative effect worth finding.
    pub min_effect: f64,
    /// Limits on measured rates.
    pub guardrails: Vec<Guardrail>,
    /// The test's end, milliseconds since 1970.
    pub expire_at: Option<i64>,
}

impl Document {
    /// Whether `other` decides in another way, so that a new stage begins. `expire_at` and the state
    /// are not part of it: they have rules of their own.
    #[must_use]
    pub fn decides_like(&self, other: &Self) -> bool {
        let rules = |document: &Self| -> Vec<_> {
            document.rules.iter().map(|r| (r.id.clone(), r.when.clone(), r.serve.clone())).collect()
        };
        self.value_type == other.value_type
            && self.variants == other.variants
            && self.off_variant == other.off_variant
            && self.default_variant == other.default_variant
            && self.salt == other.salt
            && self.unit == other.unit
            && self.layer == other.layer
            && self.prerequisites == other.prerequisites
            && self.goods == other.goods
            && rules(self) == rules(other)
    }

    /// All conditions, with where they stand: rules, then the gate.
    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let gate = self.goods.iter().flat_map(|goods| goods.include.iter().chain(&goods.exclude));
        self.rules.iter().map(|rule| &rule.when).chain(gate)
    }

    /// The metric `step`, if this flag declares it.
    #[must_use]
    pub fn metric(&self, step: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.step.as_str() == step)
    }

    /// Window of `metric` in hours.
    #[must_use]
    pub fn window_hours(&self, metric: &Metric) -> i64 {
        metric.window_hours.unwrap_or(self.attribution_hours)
    }
}

impl Condition {
    /// Calls `visit` for this condition and all inside it.
    pub fn walk<'c>(&'c self, visit: &mut impl FnMut(&'c Condition)) {
        visit(self);
        match self {
            Self::AllOf(inner) | Self::AnyOf(inner) => inner.iter().for_each(|c| c.walk(visit)),
            Self::Not(inner) => inner.walk(visit),
            Self::Audience { .. } | Self::Attribute { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
