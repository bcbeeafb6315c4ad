//! Telling and erasing one unit in the document.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::administer::AuditEntry;
use super::call::Call;
use crate::access::role::Administer;
use crate::http::problem::Code;

/// Which unit.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UnitRequest {
    /// Its id, as your systems know it.
    #[schema(min_length = 1, max_length = 256)]
    pub(super) unit: String,
    /// What kind of unit it is: a `user.*` or `order.*` attribute.
    #[schema(default = "user.id")]
    pub(super) attribute: Option<String>,
    /// Why, for the audit; the unit's name is hidden in it.
    #[schema(max_length = 500)]
    pub(super) reason: Option<String>,
}

/// What was erased of a unit.
#[derive(ToSchema)]
pub(super) struct ErasedUnit {
    /// The environment's key.
    pub(super) environment: String,
    /// What kind of unit it is.
    pub(super) attribute: String,
    /// Exposures that were deleted.
    #[schema(minimum = 0)]
    pub(super) exposures: i64,
    /// Steps that were deleted.
    #[schema(minimum = 0)]
    pub(super) steps: i64,
    /// Audiences that it was taken out of, the contents kept for rollback included.
    pub(super) audiences: Vec<String>,
    /// Lines of the audit in which its name was hidden.
    #[schema(minimum = 0)]
    pub(super) audit: i64,
    /// Versions of flags and audiences in whose reason its name was hidden.
    #[schema(minimum = 0)]
    pub(super) versions: i64,
    /// Flags whose conditions name it: they are left as they are.
    pub(super) named_in_flags: Vec<String>,
}

/// What is stored of a unit.
#[derive(ToSchema)]
pub(super) struct StoredUnit {
    /// The environment's key.
    pub(super) environment: String,
    /// What kind of unit it is.
    pub(super) attribute: String,
    /// As it was named.
    pub(super) unit: String,
    /// As events hold it: the same, or its hash.
    pub(super) stored_as: String,
    /// When this was read.
    #[schema(format = DateTime)]
    pub(super) exported_at: String,
    /// Its exposures.
    pub(super) exposures: Vec<StoredExposure>,
    /// Its steps.
    pub(super) steps: Vec<StoredStep>,
    /// Audiences that it is in.
    pub(super) audiences: Vec<String>,
    /// Lines of the audit that name it.
    pub(super) audit: Vec<AuditEntry>,
    /// Flags whose conditions name it.
    pub(super) named_in_flags: Vec<String>,
}

/// An exposure as it is stored.
#[derive(ToSchema)]
pub(super) struct StoredExposure {
    /// The flag's key.
    pub(super) flag: String,
    /// The stage.
    pub(super) stage: i64,
    /// The rule.
    pub(super) rule: String,
    /// How the unit came to its variant.
    #[schema(example = "treatment")]
    pub(super) arm: String,
    /// The variant.
    pub(super) variant: String,
    /// The unit's bucket, in parts per million.
    #[schema(required = true)]
    pub(super) bucket: Option<i64>,
    /// When.
    #[schema(format = DateTime)]
    pub(super) at: String,
    /// Attributes that the flag captures.
    #[schema(required = true, value_type = Option<Object>)]
    pub(super) captured: Option<Value>,
}

/// A step as it is stored.
#[derive(ToSchema)]
pub(super) struct StoredStep {
    /// Which step.
    pub(super) step: String,
    /// The event's id.
    pub(super) id: String,
    /// The flag's key, of a funnel stop.
    #[schema(required = true)]
    pub(super) flag: Option<String>,
    /// The stage, of a funnel stop.
    #[schema(required = true)]
    pub(super) stage: Option<i64>,
    /// The rule, of a funnel stop.
    #[schema(required = true)]
    pub(super) rule: Option<String>,
    /// The value in the currency's minor unit.
    #[schema(required = true)]
    pub(super) value: Option<i64>,
    /// The currency.
    #[schema(required = true)]
    pub(super) currency: Option<String>,
    /// The order.
    #[schema(required = true)]
    pub(super) order_id: Option<String>,
    /// When.
    #[schema(format = DateTime)]
    pub(super) at: String,
    /// Attributes that some flag splits this metric by.
    #[schema(required = true, value_type = Option<Object>)]
    pub(super) attributes: Option<Value>,
}

fn call(path: &str, id: &'static str, summary: &'static str) -> Call {
    Call::post(path, id, summary)
        .access::<Administer>()
        .reason()
        .json::<UnitRequest>(json!({"unit": "u-9", "reason": "asked for by letter"}))
        .strict()
        .refuses(&[Code::UnitInvalid, Code::QueryInvalid])
        .stored()
}

/// All calls of this topic.
pub(super) fn calls() -> Vec<Call> {
    vec![
        call("/v1/environments/{environment}/units/export", "exportUnit", "Read what is stored of a unit")
            .says("Steps are streamed: an answer that fails in its middle is cut off.")
            .answers::<StoredUnit>(
                200,
                "What is stored.",
                json!({
                    "environment": "production", "attribute": "user.id", "unit": "u-9", "stored_as": "u-9",
                    "exported_at": "2026-11-24T20:13:09.109Z", "audiences": ["wechat-testers"], "audit": [],
                    "named_in_flags": [],
                    "exposures": [{"flag": "wechat-scan-pay", "stage": 4, "rule": "ramp", "arm": "treatment",
                                   "variant": "on", "bucket": 2486, "at": "2026-11-24T20:13:09.062Z",
                                   "captured": {"region": "CN-31"}}],
                    "steps": [{"step": "order_paid", "id": "o-1-paid", "flag": null, "stage": null, "rule": null,
                               "value": 45900, "currency": "CNY", "order_id": "o-1",
                               "at": "2026-11-24T20:14:10.000Z", "attributes": {"payment_method": "wechat"}}],
                }),
            ),
        call("/v1/environments/{environment}/units/erase", "eraseUnit", "Erase what is stored of a unit")
            .says(
                "Its exposures and steps, its place in audiences, its name in the audit. \
                 Stopped anywhere, it is done again; done again, it finds nothing.",
            )
            .answers::<ErasedUnit>(
                200,
                "What was erased.",
                json!({
                    "environment": "production", "attribute": "user.id", "exposures": 1, "steps": 2,
                    "audiences": ["wechat-testers"], "audit": 0, "versions": 0, "named_in_flags": [],
                }),
            ),
    ]
}
