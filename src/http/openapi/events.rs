//! Events and tokens in the document.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::call::Call;
use super::decide::Arm;
use crate::access::role::{Decide, Verify};
use crate::http::problem::Code;

/// Up to 1,000 events.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsRequest {
    /// Each is taken or rejected alone.
    #[schema(max_items = 1000)]
    pub(super) events: Vec<Event>,
}

/// What was shown, or done. A `client` key sends exposures and funnel stops, each with its token.
#[derive(ToSchema)]
pub(super) struct Event {
    /// `exposure`: the shopper was shown what a decision said. `step`: the shopper did something.
    #[schema(rename = "type")]
    pub(super) kind: EventKind,
    /// The sender's id: the same event sent again is a duplicate. An exposure needs none.
    pub(super) id: Option<String>,
    /// The decision's sealed token: says user, flag, stage, rule and variant.
    pub(super) token: Option<String>,
    /// Which step.
    #[schema(example = "order_paid")]
    pub(super) step: Option<String>,
    /// Who, where there is no token.
    pub(super) user_id: Option<String>,
    /// Other units, such as `{"user.device_id": "d-1"}`.
    pub(super) units: Option<BTreeMap<String, String>>,
    /// Which flag, for what has no token.
    pub(super) flag: Option<String>,
    /// Which variant was shown, for an exposure without a token.
    pub(super) variant: Option<String>,
    /// The context it was shown in, in OFREP's form.
    #[schema(value_type = Option<Object>)]
    pub(super) context: Option<Value>,
    /// The order.
    pub(super) order_id: Option<String>,
    /// Value in the currency's minor unit; needs `currency`.
    pub(super) value: Option<i64>,
    /// One of the setting `currencies`.
    pub(super) currency: Option<String>,
    /// What flags split their metrics by: texts, numbers, booleans.
    pub(super) attributes: Option<BTreeMap<String, Value>>,
    /// When, RFC 3339; now where it is left out. At most 31 days ago.
    #[schema(example = "2026-11-24T08:00:00Z")]
    pub(super) at: Option<String>,
    /// How many milliseconds before sending, for clocks that are wrong; instead of `at`.
    pub(super) ago_ms: Option<i64>,
}

/// What an event is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum EventKind {
    /// The shopper was shown what a decision said.
    Exposure,
    /// The shopper did something.
    Step,
}

/// The three add up to what was sent.
#[derive(ToSchema)]
pub(super) struct EventsAnswer {
    /// New, and durable.
    pub(super) accepted: u64,
    /// Known already.
    pub(super) duplicates: u64,
    /// Refused; the others are stored.
    pub(super) rejected: Vec<Rejection>,
}

/// Why one event is refused.
#[derive(ToSchema)]
pub(super) struct Rejection {
    /// Its place in the call.
    pub(super) index: u64,
    /// Its id, if it has one.
    #[schema(required = true)]
    pub(super) id: Option<String>,
    /// Stable code, listed in docs/errors.md.
    #[schema(example = "token_invalid")]
    pub(super) code: String,
    /// What is wrong, for people.
    pub(super) detail: String,
}

/// A token to check.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyRequest {
    /// As a decision gave it.
    pub(super) token: String,
}

/// Whether a token is real, and what it says.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum VerifyAnswer {
    /// It is.
    Valid(ValidToken),
    /// It is not.
    Invalid(InvalidToken),
}

/// What a token says, and how its flag stands now. Take a payment only if `visible` and `open`.
#[derive(ToSchema)]
pub(super) struct ValidToken {
    /// `true`.
    pub(super) valid: bool,
    /// Where it was decided.
    pub(super) environment: String,
    /// Which flag.
    pub(super) flag: String,
    /// In which stage.
    pub(super) stage: i64,
    /// The flag's stage now; `null` while it is shut.
    #[schema(required = true)]
    pub(super) current_stage: Option<i64>,
    /// The flag's state now.
    pub(super) state: super::flag::FlagState,
    /// Whether the flag is live and not past its end, now.
    pub(super) open: bool,
    /// The arm.
    pub(super) arm: Arm,
    /// Which variant was served.
    pub(super) variant: String,
    /// Whether the shopper was shown the entry.
    pub(super) visible: bool,
    /// Who: compare it with your shopper.
    pub(super) unit: String,
    /// The day of the decision (UTC).
    #[schema(format = Date, example = "2026-11-24")]
    pub(super) day: String,
}

/// Why a token is not real.
#[derive(ToSchema)]
pub(super) struct InvalidToken {
    /// `false`.
    pub(super) valid: bool,
    /// Why.
    pub(super) code: TokenFault,
}

/// Why a token is not taken.
#[derive(ToSchema)]
pub(super) enum TokenFault {
    /// Not made by this service, or changed.
    #[schema(rename = "token_invalid")]
    Invalid,
    /// Older than 31 days.
    #[schema(rename = "token_expired")]
    Expired,
    /// Of another environment.
    #[schema(rename = "token_foreign")]
    Foreign,
}

/// All calls of this topic.
pub(super) fn calls() -> Vec<Call> {
    vec![
        Call::post("/v1/events", "sendEvents", "Send exposures and steps")
            .says("Answered once the accepted ones are durable. A bad event never costs the others. On 503 and 429 send the same again.")
            .access::<Decide>()
            .json::<EventsRequest>(json!({"events": [
                {"id": "o-1-paid", "type": "step", "step": "order_paid", "user_id": "u-9", "order_id": "o-1",
                 "value": 45900, "currency": "CNY", "attributes": {"payment_method": "wechat"}},
            ]}))
            .refuses(&[Code::BodyInvalid, Code::TooManyEvents, Code::QueueFull])
            .stored()
            .never(&[Code::JsonTooDeep])
            .answers::<EventsAnswer>(
                200,
                "How many were taken.",
                json!({"accepted": 1, "duplicates": 0, "rejected": []}),
            ),
        Call::post("/v1/tokens/verify", "verifyToken", "Check a token before taking a payment")
            .says("Refuse the payment unless `valid`, `visible` and `open`.")
            .access::<Verify>()
            .json::<VerifyRequest>(json!({"token": "AQABAVEtAAAAAaMM..."}))
            .strict()
            .answers::<VerifyAnswer>(200, "What the token says, or why it is not taken.", json!({
                "valid": true, "environment": "production", "flag": "wechat-scan-pay", "stage": 4, "current_stage": 4,
                "state": "live", "open": true, "arm": "treatment", "variant": "on", "visible": true, "unit": "u-9",
                "day": "2026-11-24",
            })),
    ]
}
