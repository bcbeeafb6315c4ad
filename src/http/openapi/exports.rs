//! Exports of events in the document.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::call::{Call, text, time, whole, words};
use super::decide::Arm;
use crate::access::role::Read;

/// The first exposure of a unit in a stage and rule.
#[derive(ToSchema)]
pub(super) struct ExportedExposure {
    /// The unit, as it is stored.
    #[schema(example = "u-9")]
    pub(super) unit: String,
    /// Its place on the rollout's line, in parts per million.
    #[schema(required = true, minimum = 0, maximum = 999_999)]
    pub(super) bucket: Option<i64>,
    /// The stage.
    pub(super) stage: i64,
    /// The rule.
    #[schema(example = "ramp")]
    pub(super) rule: String,
    /// How the unit came to its variant.
    #[schema(required = true)]
    pub(super) arm: Option<Arm>,
    /// What it was shown.
    #[schema(example = "on")]
    pub(super) variant: String,
    /// When.
    #[schema(format = DateTime, example = "2026-11-24T08:00:00.123Z")]
    pub(super) at: String,
    /// What kind of unit it is.
    #[schema(example = "user.id")]
    pub(super) unit_attribute: String,
    /// The attributes that the flag captures.
    #[schema(required = true)]
    pub(super) captured: Option<BTreeMap<String, String>>,
}

/// A step: a stop of the flag's funnel, or a metric that it declares, of a unit that was exposed before.
#[derive(ToSchema)]
pub(super) struct ExportedStep {
    /// The unit, as it is stored.
    #[schema(example = "u-9")]
    pub(super) unit: String,
    /// What kind of unit it is.
    #[schema(example = "user.id")]
    pub(super) unit_attribute: String,
    /// The step.
    #[schema(example = "order_paid")]
    pub(super) step: String,
    /// The event's id, unique for one unit and step.
    pub(super) id: String,
    /// When.
    #[schema(format = DateTime, example = "2026-11-24T08:00:00.123Z")]
    pub(super) at: String,
    /// Value in the currency's minor unit.
    #[schema(required = true)]
    pub(super) value: Option<i64>,
    /// Its currency.
    #[schema(required = true)]
    pub(super) currency: Option<String>,
    /// The order.
    #[schema(required = true)]
    pub(super) order_id: Option<String>,
    /// What some flag splits this metric by.
    #[schema(required = true)]
    pub(super) attributes: Option<BTreeMap<String, String>>,
    /// Of a stop, the stage; `null` for a metric, and where no exposure was known.
    #[schema(required = true)]
    pub(super) stage: Option<i64>,
    /// Of a stop, the rule; `null` as `stage`.
    #[schema(required = true)]
    pub(super) rule: Option<String>,
    /// Of a stop, the flag; `null` for a metric, which may count for several flags.
    #[schema(required = true)]
    pub(super) flag: Option<String>,
}

const FORMS: &str = "Oldest first. As JSON a page of a list; as CSV (cells that a spreadsheet would take for formulas \
begin with `'`) or lines of JSON all rows, streamed. There each row ends with its `cursor`: after an interruption, \
send that of the last whole row.";
const CURSOR: &str = "`next_cursor` of the page before, or a row's `cursor`: what follows it.";

fn export(call: Call) -> Call {
    call.access::<Read>()
        .says(FORMS)
        .query("from", "Not before this time.", time())
        .query("to", "Before this time.", time())
        .query("cursor", CURSOR, text().build())
        .query(
            "limit",
            "Rows at most; 1,000 of JSON, and all of the others, where it is left out.",
            whole(1, 10_000),
        )
        .query("format", "Goes before `Accept`.", words(&["csv", "ndjson", "json"]))
        .stored()
}

fn exposure() -> Value {
    json!({"unit": "u-9", "bucket": 31_415, "stage": 1, "rule": "ramp", "arm": "treatment", "variant": "on",
           "at": "2026-11-24T08:00:00.123Z", "unit_attribute": "user.id", "captured": {"region": "CN-31"}})
}

fn step() -> Value {
    json!({"unit": "u-9", "unit_attribute": "user.id", "step": "order_paid", "id": "o-1-paid",
           "at": "2026-11-24T08:05:00.000Z", "value": 45_900, "currency": "CNY", "order_id": "o-1",
           "attributes": {"payment_method": "wechat"}, "stage": null, "rule": null, "flag": null})
}

/// All calls of this topic.
pub(super) fn calls() -> Vec<Call> {
    let at = |tail: &str| format!("/v1/environments/{{environment}}/flags/{{key}}/{tail}");
    vec![
        export(Call::get(&at("exposures"), "exportExposures", "Who was shown what, and when"))
            .answers_page::<ExportedExposure>("The exposures.", exposure())
            .or_text("text/csv", "unit,bucket,stage,rule,arm,variant,at,unit_attribute,captured,cursor\nu-9,31415,1,ramp,treatment,on,2026-11-24T08:00:00.123Z,user.id,\"{\"\"region\"\":\"\"CN-31\"\"}\",WzE3OTU1MDcyMDAxMjMs...\n")
            .or_text("application/x-ndjson", "{\"unit\":\"u-9\",\"bucket\":31415,\"stage\":1,\"rule\":\"ramp\",\"arm\":\"treatment\",\"variant\":\"on\",\"at\":\"2026-11-24T08:00:00.123Z\",\"unit_attribute\":\"user.id\",\"captured\":{\"region\":\"CN-31\"},\"cursor\":\"WzE3OTU1MDcyMDAxMjMs...\"}\n"),
        export(Call::get(&at("conversions"), "exportConversions", "What they did then: funnel stops and metrics"))
            .answers_page::<ExportedStep>("The steps.", step())
            .or_text("text/csv", "unit,unit_attribute,step,id,at,value,currency,order_id,attributes,stage,rule,flag,cursor\nu-9,user.id,qr_shown,e-2,2026-11-24T08:01:00.000Z,,,,,1,ramp,wechat-scan-pay,WzE3OTU1MDcyNjAwMDAs...\n")
            .or_text("application/x-ndjson", "{\"unit\":\"u-9\",\"unit_attribute\":\"user.id\",\"step\":\"qr_shown\",\"id\":\"e-2\",\"at\":\"2026-11-24T08:01:00.000Z\",\"value\":null,\"currency\":null,\"order_id\":null,\"attributes\":null,\"stage\":1,\"rule\":\"ramp\",\"flag\":\"wechat-scan-pay\",\"cursor\":\"WzE3OTU1MDcyNjAwMDAs...\"}\n"),
    ]
}
