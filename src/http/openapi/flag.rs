//! The flag document in the document of the API. `engine::flag` reads it; examples/ holds two whole ones.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::ToSchema;

/// What people edit of a flag.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FlagDocument)]
pub(super) struct Document {
    /// Equal to the path's; it never changes.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,100}$", example = "wechat-scan-pay")]
    pub(super) key: String,
    /// For people; the key where it is left out.
    #[schema(nullable = false)]
    pub(super) name: Option<String>,
    /// For people.
    #[schema(nullable = false, max_length = 4096)]
    pub(super) description: Option<String>,
    /// Who answers for it.
    #[schema(nullable = false)]
    pub(super) owner: Option<String>,
    /// For people.
    #[schema(nullable = false, max_items = 50)]
    pub(super) tags: Option<Vec<String>>,
    /// Where it is shown: such a flag is an entry.
    #[schema(nullable = false, pattern = "^[A-Za-z0-9._-]{1,100}$", example = "checkout")]
    pub(super) placement: Option<String>,
    /// The order of entries; ties go by key.
    #[schema(nullable = false, minimum = -1000000, maximum = 1000000)]
    pub(super) position: Option<i64>,
    /// The type of all values.
    pub(super) value_type: ValueType,
    /// Values by key, all of `value_type`; 1 to 100.
    #[schema(example = json!({"off": false, "on": true}))]
    pub(super) variants: BTreeMap<String, Value>,
    /// Served where nothing opens.
    #[schema(example = "off")]
    pub(super) off_variant: String,
    /// Served where no rule matches; `off_variant` where it is left out.
    #[schema(nullable = false)]
    pub(super) default_variant: Option<String>,
    /// Prefix of all hashes; made at the first writing.
    #[schema(nullable = false, pattern = "^[A-Za-z0-9._-]{1,100}$")]
    pub(super) salt: Option<String>,
    /// What is hashed: `user.id` where it is left out.
    #[schema(nullable = false, pattern = r"^(user|order)\..+$", example = "user.id")]
    pub(super) unit: Option<String>,
    /// A part of a line that several flags share.
    #[schema(nullable = false)]
    pub(super) layer: Option<Layer>,
    /// Flags that come first.
    #[schema(nullable = false, max_items = 10)]
    pub(super) prerequisites: Option<Vec<Prerequisite>>,
    /// The goods gate.
    #[schema(nullable = false)]
    pub(super) goods: Option<GoodsGate>,
    /// The first that is true decides.
    #[schema(nullable = false, max_items = 100)]
    pub(super) rules: Option<Vec<Rule>>,
    /// The entry's own stops in order.
    #[schema(nullable = false, max_items = 50)]
    pub(super) funnel: Option<Vec<Stop>>,
    /// Further steps, counted for treatment and control alike.
    #[schema(nullable = false, max_items = 50)]
    pub(super) metrics: Option<Vec<Metric>>,
    /// The step that counts as conversion, of `funnel` or `metrics`.
    #[schema(nullable = false, example = "order_paid")]
    pub(super) goal: Option<String>,
    /// Hours in which a step counts for an exposure; 24 where it is left out.
    #[schema(nullable = false, minimum = 1, maximum = 720)]
    pub(super) attribution_hours: Option<i64>,
    /// User attributes kept with an exposure.
    #[schema(nullable = false, max_items = 4)]
    pub(super) capture: Option<Vec<String>>,
    /// The relative effect worth finding; 0.05 where it is left out.
    #[schema(nullable = false, minimum = 0.0001, maximum = 10)]
    pub(super) min_effect: Option<f64>,
    /// Limits on steps of `metrics` where less is better.
    #[schema(nullable = false, max_items = 50)]
    pub(super) guardrails: Option<Vec<Guardrail>>,
    /// The test's end: off after it.
    #[schema(nullable = false, format = DateTime)]
    pub(super) expire_at: Option<String>,
}

/// The type that all values of a flag have.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum ValueType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// A whole number of 64 bits.
    Integer,
    /// A number.
    Float,
    /// A JSON object.
    Object,
}

/// Whether a flag decides by its rules.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum FlagState {
    /// By its rules.
    Live,
    /// Shut: serves `off_variant`.
    Killed,
    /// Shut and put away.
    Archived,
}

/// A range of a line that several flags share, in percent.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Layer {
    /// Which line.
    #[schema(example = "payments")]
    pub(super) key: String,
    /// From here, included.
    #[schema(minimum = 0, maximum = 100)]
    pub(super) from: f64,
    /// To here, excluded.
    #[schema(minimum = 0, maximum = 100)]
    pub(super) to: f64,
}

/// A flag that must serve one of some variants first.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Prerequisite {
    /// Which flag.
    pub(super) flag: String,
    /// Which of its variants will do.
    #[schema(min_items = 1)]
    pub(super) variants: Vec<String>,
}

/// What an order's goods must be.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GoodsGate {
    /// What the order needs; `all` where it is left out.
    #[schema(rename = "match", nullable = false)]
    pub(super) matching: Option<GoodsMatch>,
    /// For `value_share`: which share of the order's value.
    #[schema(nullable = false, minimum = 0, maximum = 100)]
    pub(super) share_percent: Option<f64>,
    /// Whether a context without goods fails; `true` where it is left out.
    #[schema(nullable = false)]
    pub(super) required: Option<bool>,
    /// One must be true of an item, if there are any.
    #[schema(nullable = false)]
    pub(super) include: Option<Vec<Condition>>,
    /// None may be true of an item.
    #[schema(nullable = false)]
    pub(super) exclude: Option<Vec<Condition>>,
    /// Which goods are in, by their own buckets; 100 where it is left out.
    #[schema(nullable = false, minimum = 0, maximum = 100)]
    pub(super) rollout_percent: Option<f64>,
}

/// How many of an order's goods must be eligible.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum GoodsMatch {
    /// Every item.
    All,
    /// One item.
    Any,
    /// A share of the order's value.
    ValueShare,
}

/// A rule.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Unique in the flag.
    #[schema(example = "ramp")]
    pub(super) id: String,
    /// For people.
    #[schema(nullable = false)]
    pub(super) description: Option<String>,
    /// When it acts; always, where it is left out.
    #[schema(nullable = false)]
    pub(super) when: Option<Condition>,
    /// What it serves.
    pub(super) serve: Serve,
}

/// What a rule serves.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum Serve {
    /// One variant to all.
    Fixed(ServeVariant),
    /// A rollout.
    Rollout(ServeRollout),
}

/// One variant to all.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServeVariant {
    /// Which.
    pub(super) variant: String,
}

/// A rollout.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServeRollout {
    /// Its numbers.
    pub(super) rollout: Rollout,
}

/// Percentages have at most four decimals.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollout {
    /// Treated, from the bottom of the line.
    #[schema(minimum = 0, maximum = 100)]
    pub(super) percent: f64,
    /// Measured and served off, from the top of the line; 0 where it is left out.
    #[schema(nullable = false, minimum = 0, maximum = 100)]
    pub(super) control: Option<f64>,
    /// Relative weights of the variants; may be left out where one besides `off_variant` exists.
    #[schema(nullable = false, example = json!({"on": 1}))]
    pub(super) split: Option<BTreeMap<String, u32>>,
}

/// True, false or unknown; a rule acts on true only.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum Condition {
    /// A test of one attribute.
    Attribute(AttributeCondition),
    /// Membership of an audience.
    Audience(AudienceCondition),
    /// True if all are; of none: true.
    AllOf(AllOf),
    /// True if one is; of none: false.
    AnyOf(AnyOf),
    /// True if the inner one is false.
    Not(Not),
}

/// A test of one attribute.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AttributeCondition {
    /// `user.*`, `order.*`, or, inside the goods gate, `goods.*`.
    #[schema(example = "user.region")]
    pub(super) attribute: String,
    /// How.
    pub(super) op: Operator,
    /// What it is compared with: a list of one type for `in` and `not_in`.
    #[schema(required = false, example = json!(["CN-31", "CN-33"]))]
    pub(super) value: Value,
}

/// Membership of an audience.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AudienceCondition {
    /// Which audience.
    #[schema(example = "wechat-testers")]
    pub(super) audience: String,
    /// Whose membership: the unit, or the goods id inside the gate, where it is left out.
    #[schema(nullable = false)]
    pub(super) attribute: Option<String>,
}

/// True if all are; of none: true.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AllOf {
    /// The conditions.
    #[schema(no_recursion)]
    pub(super) all_of: Vec<Condition>,
}

/// True if one is; of none: false.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnyOf {
    /// The conditions.
    #[schema(no_recursion)]
    pub(super) any_of: Vec<Condition>,
}

/// True if the inner one is false.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Not {
    /// The condition.
    #[schema(no_recursion)]
    pub(super) not: Box<Condition>,
}

/// A stop of the funnel: a step's key, or an object.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum Stop {
    /// The step.
    Key(String),
    /// The step, and more.
    Full(FunnelStop),
}

/// A stop with what is special about it.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FunnelStop {
    /// The step.
    pub(super) step: String,
    /// It happens where nobody can see it: a later stop implies it.
    #[schema(nullable = false)]
    pub(super) optional: Option<bool>,
}

/// A metric: a step's key, or an object.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum Metric {
    /// The step.
    Key(String),
    /// The step, and how it is split.
    Full(SplitMetric),
}

/// A metric with how it is split.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitMetric {
    /// The step.
    pub(super) step: String,
    /// The attribute of the event that splits it.
    #[schema(nullable = false, example = "payment_method")]
    pub(super) by: Option<String>,
    /// Its values that count apart; the others count as `other`.
    #[schema(nullable = false, max_items = 50)]
    pub(super) values: Option<Vec<String>>,
    /// Its own window; the flag's `attribution_hours` where it is left out.
    #[schema(nullable = false, minimum = 1, maximum = 720)]
    pub(super) window_hours: Option<i64>,
    /// Another step of `metrics`, with the same window: the report compares events of this one per event of that one.
    #[schema(nullable = false, example = "payment_tried")]
    pub(super) ratio: Option<String>,
}

/// A limit on a step of `metrics` where less is better: either `margin` or `limit`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Guardrail {
    /// The step.
    pub(super) step: String,
    /// May not be worse than control by more than this.
    #[schema(nullable = false, minimum = 0, maximum = 1)]
    pub(super) margin: Option<f64>,
    /// May not be over this rate.
    #[schema(nullable = false, minimum = 0, maximum = 1)]
    pub(super) limit: Option<f64>,
}

/// How an attribute is tested; an attribute of another type is unknown.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Operator {
    /// Equal; of a list: some element is.
    Eq,
    /// Not `eq`.
    Ne,
    /// One of a list.
    In,
    /// Not `in`.
    NotIn,
    /// A part of a text, or an element of a list.
    Contains,
    /// A text begins so.
    StartsWith,
    /// A text ends so.
    EndsWith,
    /// A regular expression, unanchored, of at most 256 bytes.
    Matches,
    /// A number is less.
    Lt,
    /// Less or equal.
    Lte,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// A version of 1 to 4 parts is equal.
    SemverEq,
    /// Lower.
    SemverLt,
    /// Lower or equal.
    SemverLte,
    /// Higher.
    SemverGt,
    /// Higher or equal.
    SemverGte,
    /// A time (RFC 3339) is earlier.
    Before,
    /// Later.
    After,
    /// It was sent (`true`, where `value` is left out), or was not (`false`).
    Exists,
}

/// A flag that is valid wherever the audiences of the first start are.
pub(super) fn example() -> Value {
    json!({
        "key": "wechat-scan-pay", "name": "WeChat scan-code payment", "placement": "checkout", "position": 10,
        "value_type": "boolean", "variants": {"off": false, "on": true}, "off_variant": "off",
        "goods": {"match": "all", "include": [
            {"attribute": "goods.category", "op": "in", "value": ["shoes", "clothing", "books", "home"]},
        ]},
        "rules": [
            {"id": "invited", "when": {"audience": "wechat-testers"}, "serve": {"variant": "on"}},
            {"id": "ramp", "when": {"attribute": "user.app_version", "op": "semver_gte", "value": "10.9.0"},
             "serve": {"rollout": {"percent": 5, "control": 5}}},
        ],
        "funnel": ["entry_clicked", "qr_shown", "entry_paid"],
        "metrics": [{"step": "order_paid", "by": "payment_method", "values": ["alipay", "wechat"]}],
        "goal": "order_paid",
    })
}
