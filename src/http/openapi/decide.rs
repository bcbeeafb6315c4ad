//! Decisions, badges and OFREP in the document.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::call::{Call, text};
use crate::access::role::Decide;
use crate::http::problem::Code;

/// The shopper. Every other field is an attribute, such as `region`: a text, a number, a boolean, or a list of these.
#[derive(ToSchema)]
pub(super) struct User {
    /// The unit of most flags. Without it flags that need it cannot decide.
    #[schema(min_length = 1, max_length = 256, example = "u-9")]
    pub(super) id: Option<String>,
    /// The text that the shop's backend signed for this id, where the environment demands it of `client` keys;
    /// anything else counts as none.
    #[schema(rename = "unitSignature", required = false)]
    pub(super) unit_signature: Value,
    /// Attributes that conditions ask.
    #[serde(flatten)]
    pub(super) attributes: BTreeMap<String, Value>,
}

/// One item of the order. Every other field is an attribute, such as `category`.
#[derive(ToSchema)]
pub(super) struct Item {
    /// Its id.
    #[schema(min_length = 1, max_length = 256, example = "g-1")]
    pub(super) id: String,
    /// For one piece, in the currency's minor unit: 45900 is 459.00 CNY.
    #[schema(minimum = 0, maximum = 9007199254740991_i64, example = 45900)]
    pub(super) price: Option<i64>,
    /// How many; 1 where it is left out.
    #[schema(minimum = 0, maximum = 9007199254740991_i64, example = 1)]
    pub(super) quantity: Option<i64>,
    /// Attributes that conditions of the goods gate ask.
    #[serde(flatten)]
    pub(super) attributes: BTreeMap<String, Value>,
}

/// The order. Every other field is an attribute.
#[derive(ToSchema)]
pub(super) struct Order {
    /// Its id.
    #[schema(min_length = 1, max_length = 256, example = "u-9")]
    pub(super) id: Option<String>,
    /// Its value in the minor unit; the sum of price x quantity where it is left out.
    #[schema(minimum = 0, maximum = 9007199254740991_i64, example = 45900)]
    pub(super) amount: Option<i64>,
    /// Its goods.
    #[schema(max_items = 200)]
    pub(super) goods: Option<Vec<Item>>,
    /// Attributes that conditions ask, such as `currency`.
    #[serde(flatten)]
    pub(super) attributes: BTreeMap<String, Value>,
}

/// Whose entries, and for which order.
#[derive(ToSchema)]
pub(super) struct DecisionsRequest {
    /// Where the entries stand.
    #[schema(example = "checkout")]
    pub(super) placement: String,
    /// The shopper.
    pub(super) user: User,
    /// The order.
    pub(super) order: Option<Order>,
}

/// The entries of a placement, invisible ones included.
#[derive(ToSchema)]
pub(super) struct Decisions {
    /// The environment that decided.
    pub(super) environment: String,
    /// The number of the state that decided; it grows with every change.
    pub(super) snapshot: i64,
    /// By position, then key. Empty where no flag names the placement.
    pub(super) entries: Vec<Entry>,
}

/// One entry. Show it only if `visible`.
#[derive(ToSchema)]
pub(super) struct Entry {
    /// The flag's key.
    pub(super) flag: String,
    /// Whether the shopper may see it.
    pub(super) visible: bool,
    /// Which variant is served; absent with `ERROR`.
    #[schema(nullable = false)]
    pub(super) variant: Option<String>,
    /// The variant's value; absent with `ERROR`.
    #[schema(required = false)]
    pub(super) value: Value,
    /// Why.
    pub(super) reason: Reason,
    /// With `ERROR`: why nothing could be decided.
    #[schema(nullable = false)]
    pub(super) code: Option<DecisionFault>,
    /// The rule that decided; for `server` and `admin` keys only, `null` where none did.
    pub(super) rule: Option<String>,
    /// The arm; for `server` and `admin` keys only, `null` for what is not measured.
    pub(super) arm: Option<Arm>,
    /// Where a goods gate was asked.
    #[schema(nullable = false)]
    pub(super) goods: Option<Eligibility>,
    /// Sealed: send it back with exposures and steps. Absent for what is not measured.
    #[schema(nullable = false)]
    pub(super) exposure_token: Option<String>,
}

/// Goods by what the gate said, as ids in the order sent.
#[derive(ToSchema)]
pub(super) struct Eligibility {
    /// May be paid for through the entry.
    pub(super) eligible: Vec<String>,
    /// May not.
    pub(super) ineligible: Vec<String>,
}

/// One page of goods, each asked as if it were the whole order.
#[derive(ToSchema)]
pub(super) struct EligibilityRequest {
    /// Where the entries stand.
    #[schema(example = "checkout")]
    pub(super) placement: String,
    /// The shopper.
    pub(super) user: User,
    /// The goods.
    #[schema(max_items = 1000)]
    pub(super) goods: Vec<Item>,
}

/// Which goods may carry the badge of which entry.
#[derive(ToSchema)]
pub(super) struct EligibilityAnswer {
    /// The number of the state that decided.
    pub(super) snapshot: i64,
    /// The goods in the order sent.
    pub(super) goods: Vec<Badges>,
    /// Flags that could not be asked, since an audience cannot be read.
    #[schema(nullable = false)]
    pub(super) unavailable: Option<Vec<String>>,
}

/// The entries that one item may carry.
#[derive(ToSchema)]
pub(super) struct Badges {
    /// The item.
    pub(super) id: String,
    /// Keys of flags.
    pub(super) entries: Vec<String>,
}

/// OFREP's body.
#[derive(ToSchema)]
pub(super) struct OfrepRequest {
    /// The facts; without them everything is missing.
    #[schema(nullable = false)]
    pub(super) context: Option<OfrepContext>,
}

/// The facts in OFREP's form. Every other field is an attribute of the user.
#[derive(ToSchema)]
pub(super) struct OfrepContext {
    /// The unit, as `user.id`; empty counts as missing.
    #[schema(rename = "targetingKey", max_length = 256, example = "u-9")]
    pub(super) targeting_key: Option<String>,
    /// The text that the shop's backend signed for this key, where the environment demands it of `client` keys;
    /// anything else counts as none.
    #[schema(rename = "unitSignature", required = false)]
    pub(super) unit_signature: Value,
    /// The order.
    pub(super) order: Option<OfrepOrder>,
    /// Its goods.
    #[schema(max_items = 200)]
    pub(super) goods: Option<Vec<Item>>,
    /// Attributes that conditions ask.
    #[serde(flatten)]
    pub(super) attributes: BTreeMap<String, Value>,
}

/// The order in OFREP's form: its goods stand beside it. Every other field is an attribute.
#[derive(ToSchema)]
pub(super) struct OfrepOrder {
    /// Its id.
    #[schema(min_length = 1, max_length = 256, example = "u-9")]
    pub(super) id: Option<String>,
    /// Its value in the minor unit; the sum of price x quantity where it is left out.
    #[schema(minimum = 0, maximum = 9007199254740991_i64, example = 45900)]
    pub(super) amount: Option<i64>,
    /// Attributes that conditions ask, such as `currency`.
    #[serde(flatten)]
    pub(super) attributes: BTreeMap<String, Value>,
}

/// What one flag serves.
#[derive(ToSchema)]
pub(super) struct OfrepFlag {
    /// The flag's key.
    pub(super) key: String,
    /// The variant's value.
    pub(super) value: Value,
    /// Which variant.
    pub(super) variant: String,
    /// Why, in the protocol's words; `UNKNOWN`: no rule matched.
    pub(super) reason: OfrepReason,
    /// What huidu says beside.
    pub(super) metadata: OfrepMetadata,
}

/// What huidu says beside a flag's value.
#[derive(ToSchema)]
pub(super) struct OfrepMetadata {
    /// The environment.
    #[schema(rename = "flagSetId")]
    pub(super) flag_set_id: String,
    /// The flag's version.
    pub(super) version: i64,
    /// The rule that decided; for `server` and `admin` keys only.
    #[schema(nullable = false)]
    pub(super) rule: Option<String>,
    /// Sealed: send it back with exposures and steps. Absent for what is not measured.
    #[schema(rename = "exposureToken", nullable = false)]
    pub(super) exposure_token: Option<String>,
}

/// A flag that could not decide: use the code default.
#[derive(ToSchema)]
pub(super) struct OfrepFailure {
    /// The flag's key.
    pub(super) key: String,
    /// The protocol's word.
    #[schema(rename = "errorCode")]
    pub(super) error_code: String,
    /// Why, for people.
    #[schema(rename = "errorDetails")]
    pub(super) error_details: String,
    /// Empty.
    #[schema(value_type = Object)]
    pub(super) metadata: (),
}

/// All flags of an environment.
#[derive(ToSchema)]
pub(super) struct OfrepFlags {
    /// By key.
    pub(super) flags: Vec<OfrepOutcome>,
    /// Where to hear of changes, unless streams are switched off.
    #[schema(rename = "eventStreams", nullable = false)]
    pub(super) event_streams: Option<Vec<OfrepEventStream>>,
    /// About all of them.
    pub(super) metadata: OfrepFlagsMetadata,
}

/// Where to hear of changes.
#[derive(ToSchema)]
pub(super) struct OfrepEventStream {
    /// `sse`.
    #[schema(rename = "type", example = "sse")]
    pub(super) kind: String,
    /// Its address.
    pub(super) endpoint: OfrepEndpoint,
    /// How long a hidden page listens on, in seconds.
    #[schema(rename = "inactivityDelaySec", example = 120)]
    pub(super) inactivity_delay_seconds: i64,
}

/// An address.
#[derive(ToSchema)]
pub(super) struct OfrepEndpoint {
    /// Its path with a token, which needs no key beside it.
    #[schema(rename = "requestUri", example = "/ofrep/v1/sse?token=AQAC...")]
    pub(super) request_uri: String,
}

/// What one of several flags serves, or why it serves nothing.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum OfrepOutcome {
    /// It serves.
    Flag(OfrepFlag),
    /// It could not decide.
    Failure(OfrepFailure),
}

/// About all flags.
#[derive(ToSchema)]
pub(super) struct OfrepFlagsMetadata {
    /// The environment.
    #[schema(rename = "flagSetId")]
    pub(super) flag_set_id: String,
    /// The number of the state that decided.
    pub(super) snapshot: i64,
}

/// Why a variant was served.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Reason {
    /// The flag has no rules.
    Static,
    /// The flag is shut.
    Disabled,
    /// A rule's fixed variant, the goods gate or a prerequisite.
    TargetingMatch,
    /// A percentage or a layer.
    Split,
    /// No rule matched.
    Default,
    /// Nothing could be decided: `code` says why.
    Error,
}

/// Why a variant was served, in OFREP's words.
#[derive(ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum OfrepReason {
    /// The flag has no rules.
    Static,
    /// The flag is shut.
    Disabled,
    /// A rule's fixed variant, the goods gate or a prerequisite.
    TargetingMatch,
    /// A percentage or a layer.
    Split,
    /// No rule matched.
    Unknown,
}

/// Why nothing could be decided.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum DecisionFault {
    /// The context has no unit for this flag.
    UnitMissing,
    /// Signed units are demanded, and nobody can sign this flag's unit.
    UnitSignatureInvalid,
    /// An audience cannot be read.
    AudienceUnavailable,
    /// The stored flag cannot be read.
    FlagUnreadable,
}

/// How a unit came to its variant; others are not measured.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Arm {
    /// Measured, served off.
    Control,
    /// Inside the percentage.
    Treatment,
    /// A rule's fixed variant, such as for testers.
    Fixed,
}

/// What a context can be refused for.
pub(super) const CONTEXT: [Code; 7] = [
    Code::ContextInvalid,
    Code::UnitInvalid,
    Code::IdInvalid,
    Code::OutOfRange,
    Code::TooManyGoods,
    Code::TooManyAttributes,
    Code::StringTooLong,
];

/// A context in OFREP's form.
pub(super) fn context_example() -> Value {
    json!({"targetingKey": "tester-1", "app_version": "10.9.1",
           "order": {"id": "o-1", "amount": 45900, "currency": "CNY"},
           "goods": [{"id": "g-1", "category": "shoes", "price": 45900}]})
}

/// All calls of this topic.
pub(super) fn calls() -> Vec<Call> {
    vec![decisions(), eligibility(), ofrep_bulk(), ofrep_single()]
}

fn decisions() -> Call {
    Call::post("/v1/decisions", "decide", "Decide the entries of a placement")
        .says("Every entry is listed, invisible ones too. Show nothing on any status but 200.")
        .access::<Decide>()
        .json::<DecisionsRequest>(json!({
            "placement": "checkout", "user": {"id": "tester-1", "app_version": "10.9.1"},
            "order": {"id": "o-1", "currency": "CNY", "goods": [{"id": "g-1", "category": "shoes", "price": 45900}]},
        }))
        .refuses(&CONTEXT)
        .refuses(&[Code::UnitSignatureInvalid])
        .answers::<Decisions>(200, "The entries.", json!({
            "environment": "production", "snapshot": 1,
            "entries": [{
                "flag": "wechat-scan-pay", "visible": true, "variant": "on", "value": true, "reason": "TARGETING_MATCH",
                "goods": {"eligible": ["g-1"], "ineligible": []}, "exposure_token": "AQABAVEtAAAAAXcs...",
            }],
        }))
}

fn eligibility() -> Call {
    Call::post("/v1/goods/eligibility", "eligibility", "Which goods may carry the badge of which entry")
        .says("Up to 1,000 goods, each as if it were the whole order. Not counted, and no token is given.")
        .access::<Decide>()
        .json::<EligibilityRequest>(json!({
            "placement": "checkout", "user": {"id": "tester-1"},
            "goods": [{"id": "g-1", "category": "shoes", "price": 45900}, {"id": "g-2", "category": "phone", "price": 9900}],
        }))
        .refuses(&CONTEXT)
        .refuses(&[Code::UnitSignatureInvalid])
        .answers::<EligibilityAnswer>(200, "The goods with their entries.", json!({
            "snapshot": 1,
            "goods": [{"id": "g-1", "entries": ["wechat-scan-pay"]}, {"id": "g-2", "entries": ["wechat-friend-pay"]}],
        }))
}

fn ofrep_answer() -> Value {
    json!({"key": "wechat-scan-pay", "value": true, "variant": "on", "reason": "TARGETING_MATCH",
           "metadata": {"flagSetId": "production", "version": 1, "exposureToken": "AQABAVEtAAAAAXcs..."}})
}

fn ofrep_bulk() -> Call {
    Call::post("/ofrep/v1/evaluate/flags", "ofrepEvaluateAll", "Evaluate all flags (OFREP)")
        .says("OpenFeature's remote evaluation protocol, for any of its providers.")
        .access::<Decide>()
        .header("If-None-Match", "The `ETag` of the last answer: 304 where nothing changed.", text().build())
        .json::<OfrepRequest>(json!({"context": context_example()}))
        .refuses(&CONTEXT)
        .refuses(&[Code::UnitSignatureInvalid])
        .answers::<OfrepFlags>(
            200,
            "What each flag serves.",
            json!({"flags": [ofrep_answer()], "metadata": {"flagSetId": "production", "snapshot": 1}}),
        )
        .answers_nothing(304, "Nothing changed since the answer with this `ETag`.")
        .tagged("Changes with the flags, the body, the key and the day.")
}

fn ofrep_single() -> Call {
    Call::post("/ofrep/v1/evaluate/flags/{key}", "ofrepEvaluate", "Evaluate one flag (OFREP)")
        .says("Use the code default on any status but 200.")
        .access::<Decide>()
        .json::<OfrepRequest>(json!({"context": context_example()}))
        .refuses(&CONTEXT)
        .refuses(&[Code::UnitSignatureInvalid])
        .refuses(&[Code::FlagNotFound, Code::UnitMissing, Code::AudienceUnavailable, Code::FlagUnreadable])
        .answers::<OfrepFlag>(200, "What the flag serves.", ofrep_answer())
}
