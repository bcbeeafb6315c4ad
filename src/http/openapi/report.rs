//! Reports in the document.

use serde_json::json;

use super::call::{Call, between, text, time, words};
use super::results::{Report, Series, report_example, series_example};
use crate::access::role::Read;
use crate::http::problem::Code;

const FLAG: &str = "/v1/environments/{environment}/flags/{key}";

/// What both calls have in common.
fn call(tail: &str, id: &'static str, summary: &'static str) -> Call {
    Call::get(&format!("{FLAG}{tail}"), id, summary)
        .access::<Read>()
        .query("from", "Exposures from this moment on; left out: all.", time())
        .query("to", "Exposures before this moment; left out: up to now.", time())
        .query("format", "Instead of `Accept`.", words(&["json", "csv"]))
        .refuses(&[Code::FlagUnreadable, Code::ReportsBusy, Code::ReportPreparing])
        .stored()
}

/// All calls of this topic.
pub(super) fn calls() -> Vec<Call> {
    vec![
        call("/report", "getReport", "What a flag came to")
            .says(
                "Who was exposed, who converted, where shoppers give up, and whether the entry gains or loses. Numbers are \
                 of units whose attribution window has closed; the others are `maturing_users`. Only `verdict` and the \
                 states of guardrails decide; they hold however often you look.",
            )
            .query(
                "by",
                "Split by this attribute of the flag's `capture`: its 50 most frequent values, the others together.",
                text().examples([json!("user.region")]).build(),
            )
            .query(
                "cap",
                "Tells values per user also with those cut that lie above this quantile of what users spent that spent \
                 something: 0.9 to 0.9999.",
                between(0.9, 0.9999),
            )
            .query(
                "table",
                "Which table `format=csv` writes; `variants` where it is left out.",
                words(&crate::report::csv::REPORT_TABLES),
            )
            .answers::<Report>(200, "The report.", report_example())
            .or_text("text/csv", "rule,variant,arm,exposed_users,maturing_users,converted_users\r\nramp,on,treatment,10000,310,1320\r\n"),
        call("/timeseries", "getTimeseries", "The report by hour or day")
            .says(
                "Each unit counts at its first exposure in the range, so the points add up to the report. Points without \
                 exposures are left out.",
            )
            .query("by", "`day` where it is left out.", words(&["hour", "day"]))
            .query(
                "tz",
                "Time zone whose days are meant; left out: the setting `timezone`.",
                text().examples([json!("Asia/Shanghai")]).build(),
            )
            .answers::<Series>(200, "The points.", series_example())
            .or_text("text/csv", "day,from,to,rule,variant,arm,exposed_users\r\n2026-11-24,2026-11-23T16:00:00.000Z,2026-11-24T16:00:00.000Z,ramp,on,treatment,812\r\n"),
    ]
}
