//! Explanations in the document.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::decide::{Arm, DecisionFault, OfrepContext, Reason, context_example};
use super::flag::Document;

/// Whose decision is explained, and of which document.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainRequest {
    /// The facts in OFREP's form.
    #[schema(nullable = false)]
    pub(super) context: Option<OfrepContext>,
    /// A draft to explain instead of the stored document.
    pub(super) document: Option<Document>,
}

/// A decision and how it came about.
#[derive(ToSchema)]
pub(super) struct Explanation {
    /// The flag's key.
    pub(super) flag: String,
    /// Its version; 0 for the draft of a new flag.
    pub(super) version: i64,
    /// Whether a draft was explained.
    pub(super) draft: bool,
    /// The number of the state that decided.
    pub(super) snapshot: i64,
    /// The decision.
    pub(super) decision: ExplainedDecision,
    /// The steps in order.
    pub(super) trace: Vec<TraceStep>,
}

/// The decision that is explained.
#[derive(ToSchema)]
pub(super) struct ExplainedDecision {
    /// Whether the shopper would see it.
    pub(super) visible: bool,
    /// Why.
    pub(super) reason: Reason,
    /// Which variant.
    pub(super) variant: Option<String>,
    /// Which rule decided.
    pub(super) rule: Option<String>,
    /// The arm; `null` for what is not measured.
    pub(super) arm: Option<Arm>,
    /// Whether an exposure would be measured.
    #[schema(nullable = false)]
    pub(super) measured: Option<bool>,
    /// With `ERROR`: why nothing could be decided.
    #[schema(nullable = false)]
    pub(super) code: Option<DecisionFault>,
}

/// One step. Which fields stand beside depends on `step`: buckets and thresholds are parts per million of the line.
#[derive(ToSchema)]
pub(super) struct TraceStep {
    /// What is asked.
    pub(super) step: StepKind,
    /// The answer; absent where an error cut the step short.
    #[schema(required = false)]
    pub(super) result: Value,
    /// The steps inside it.
    #[schema(nullable = false, no_recursion)]
    pub(super) steps: Option<Vec<TraceStep>>,
    /// What it is about.
    #[serde(flatten)]
    pub(super) fields: std::collections::BTreeMap<String, Value>,
}

/// What a step asks.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum StepKind {
    /// Is the flag live and not past its end?
    State,
    /// The unit is missing.
    Unit,
    /// Does another flag serve what is required?
    Prerequisite,
    /// Is the unit inside the layer's range?
    Layer,
    /// Do the goods pass?
    Goods,
    /// Is one item eligible?
    Item,
    /// Does a rule act?
    Rule,
    /// Where does the unit stand in a rollout?
    Rollout,
    /// Which of several variants?
    Split,
    /// Is one condition true?
    Condition,
    /// Are all?
    AllOf,
    /// Is one?
    AnyOf,
    /// Is the inner one false?
    Not,
}

/// A call's body.
pub(super) fn request() -> Value {
    json!({"context": context_example()})
}

/// Its answer.
pub(super) fn answer() -> Value {
    json!({
        "flag": "wechat-scan-pay", "version": 5, "draft": false, "snapshot": 7,
        "decision": {"arm": "treatment", "measured": true, "reason": "SPLIT", "rule": "ramp", "variant": "on",
                     "visible": true},
        "trace": [
            {"step": "state", "flag": "wechat-scan-pay", "state": "live", "expired": false, "result": true},
            {"step": "rule", "rule": "ramp", "result": "true"},
            {"step": "rollout", "bucket": 2486, "treatment_below": 50000, "control_from": 950_000,
             "result": "treatment"},
        ],
    })
}
