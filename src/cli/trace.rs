//! A decision and its trace as people read them: one line a step, its outcome in front.

use serde_json::Value;

use super::output::{Output, Tone, plain, word};
use crate::report::sentence::figure::count;

/// Columns of an outcome.
const OUTCOME_WIDTH: usize = 9;

/// What is served and why, in a few lines.
pub(super) fn decision(flag: &str, decision: &Value, output: Output) -> Vec<String> {
    let text = |field: &str| decision.get(field).and_then(Value::as_str);
    let visible = decision.get("visible").and_then(Value::as_bool).unwrap_or_default();
    let served = match text("variant") {
        Some(variant) if visible => output.tone(Tone::Good, &format!("{}, visible", plain(variant))),
        Some(variant) => output.tone(Tone::Doubtful, &format!("{}, not visible", plain(variant))),
        None => output.tone(Tone::Bad, "no decision"),
    };
    let mut lines = vec![format!("{}: {served}", output.tone(Tone::Strong, &plain(flag)))];
    let mut fact = |name: &str, words: String| lines.push(format!("  {name:<8} {words}"));
    if let Some(value) = decision.get("value") {
        fact("value", plain(&value.to_string()));
    }
    fact("because", because(text("reason"), text("rule"), text("code")));
    match (text("arm"), decision.get("measured").and_then(Value::as_bool)) {
        (Some(arm), Some(false)) => fact("arm", format!("{arm}, not measured: no stage is open or no unit")),
        (Some(arm), _) => fact("arm", arm.to_owned()),
        (None, _) if text("variant").is_some() => fact("arm", "none: not measured".to_owned()),
        (None, _) => {}
    }
    for (field, name) in [("eligible", "eligible"), ("ineligible", "not")] {
        let goods = decision.pointer(&format!("/goods/{field}")).and_then(Value::as_array);
        if let Some(goods) = goods.filter(|goods| !goods.is_empty()) {
            fact(name, goods.iter().map(word).collect::<Vec<_>>().join(", "));
        }
    }
    lines
}

/// The reason as a sentence.
fn because(reason: Option<&str>, rule: Option<&str>, code: Option<&str>) -> String {
    let reason = reason.unwrap_or_default();
    let words = match (reason, rule) {
        ("STATIC", _) => "the flag has no rules, so its default is served".to_owned(),
        ("DISABLED", _) => "the flag is killed, archived or at its end".to_owned(),
        ("TARGETING_MATCH", Some(rule)) => format!("rule {} serves this variant", plain(rule)),
        ("TARGETING_MATCH", None) => "a prerequisite or the goods gate shuts it".to_owned(),
        ("SPLIT", Some(rule)) => format!("the rollout of rule {}", plain(rule)),
        ("SPLIT", None) => "the unit is outside the flag's range of the layer".to_owned(),
        ("DEFAULT", _) => "no rule is true, so the default is served".to_owned(),
        _ => match code.unwrap_or_default() {
            "unit_missing" => "the context has no unit, which this flag or a prerequisite hashes".to_owned(),
            "audience_unavailable" => "an audience that decides cannot be read".to_owned(),
            "flag_unreadable" => "the flag cannot be read".to_owned(),
            other => plain(other),
        },
    };
    format!("{reason}: {words}")
}

/// The steps of a trace, one a line.
pub(super) fn trace(steps: &[Value], output: Output) -> Vec<String> {
    let mut lines = Vec::new();
    add(steps, 0, output, &mut lines);
    lines
}

fn add(steps: &[Value], depth: usize, output: Output, lines: &mut Vec<String>) {
    for step in steps {
        let (outcome, tone) = outcome(step);
        let mark = output.tone(tone, &format!("{outcome:<OUTCOME_WIDTH$}"));
        lines.push(format!("  {mark} {}{}", "  ".repeat(depth), words(step)));
        if let Some(inner) = step.get("steps").and_then(Value::as_array) {
            add(inner, depth + 1, output, lines);
        }
    }
}

fn outcome(step: &Value) -> (&str, Tone) {
    match step.get("result") {
        Some(Value::Bool(true)) => ("yes", Tone::Good),
        Some(Value::Bool(false)) => ("no", Tone::Faint),
        Some(Value::String(truth)) => match truth.as_str() {
            "true" => ("yes", Tone::Good),
            "false" => ("no", Tone::Faint),
            "unknown" => ("unknown", Tone::Doubtful),
            "none" => ("none", Tone::Faint),
            arm => (arm, Tone::Good),
        },
        // An error ended the evaluation inside this step.
        _ => ("stopped", Tone::Bad),
    }
}

fn words(step: &Value) -> String {
    let text = |field: &str| plain(step.get(field).and_then(Value::as_str).unwrap_or("?"));
    let ppm = |field: &str| step.get(field).and_then(Value::as_u64).map_or("?".to_owned(), count);
    match step.get("step").and_then(Value::as_str).unwrap_or_default() {
        "state" if step.get("expired").and_then(Value::as_bool) == Some(true) => {
            format!("{} is {}, but its end has passed", text("flag"), text("state"))
        }
        "state" => format!("{} is {}", text("flag"), text("state")),
        "unit" => format!("{} needs {}, which is not there", text("flag"), text("unit")),
        "prerequisite" => format!("requires {}", text("flag")),
        "layer" => {
            format!("layer: bucket {}, the flag has {} to {}", ppm("bucket"), ppm("from"), ppm("to"))
        }
        "goods" => match (text("match").as_str(), step.get("share_percent").and_then(Value::as_f64)) {
            ("any", _) => "goods: one item must be eligible".to_owned(),
            ("value_share", Some(share)) => {
                format!("goods: items of {share} % of the value must be eligible")
            }
            _ => "goods: all items must be eligible".to_owned(),
        },
        "item" => format!("item {}: bucket {}, must be below {}", text("id"), ppm("bucket"), ppm("below")),
        "rule" => format!("rule {}", text("rule")),
        "rollout" => format!(
            "bucket {}: treatment below {}, control from {}",
            ppm("bucket"),
            ppm("treatment_below"),
            ppm("control_from")
        ),
        "split" => format!("split: bucket {}", ppm("bucket")),
        "condition" => condition(step),
        "all_of" => "all of".to_owned(),
        "any_of" => "any of".to_owned(),
        other => plain(other),
    }
}

fn condition(step: &Value) -> String {
    let text = |field: &str| step.get(field).and_then(Value::as_str).map(plain);
    let sent = match (step.get("value"), text("cause").as_deref()) {
        (None | Some(Value::Null), _) => "not sent".to_owned(),
        (Some(value), Some("wrong_type")) => format!("{} has another type", plain(&value.to_string())),
        (Some(value), Some("audience_unavailable")) => {
            format!("cannot be read for {}", plain(&value.to_string()))
        }
        (Some(value), _) => plain(&value.to_string()),
    };
    match (text("audience"), text("attribute")) {
        (Some(audience), _) => format!("in audience {audience}: {sent}"),
        (None, attribute) => format!(
            "{} {} {}: {sent}",
            attribute.unwrap_or_else(|| "?".to_owned()),
            text("op").unwrap_or_default(),
            plain(&step.get("wanted").unwrap_or(&Value::Null).to_string()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_reason_is_a_sentence() {
        for (reason, rule, code, words) in [
            ("SPLIT", Some("ramp"), None, "the rollout of rule ramp"),
            ("SPLIT", None, None, "layer"),
            ("TARGETING_MATCH", Some("invited"), None, "rule invited serves"),
            ("TARGETING_MATCH", None, None, "goods gate"),
            ("DISABLED", None, None, "killed"),
            ("STATIC", None, None, "no rules"),
            ("DEFAULT", None, None, "no rule is true"),
            ("ERROR", None, Some("unit_missing"), "no unit"),
            ("ERROR", None, Some("audience_unavailable"), "audience"),
        ] {
            let text = because(Some(reason), rule, code);
            assert!(text.starts_with(reason) && text.contains(words), "{text}");
        }
    }

    #[test]
    fn each_step_is_a_line_with_its_outcome_in_front() {
        let steps = json!([
            {"step": "state", "flag": "f", "state": "live", "expired": false, "result": true},
            {"step": "state", "flag": "f", "state": "live", "expired": true, "result": false},
            {"step": "unit", "flag": "f", "unit": "user.id", "result": false},
            {"step": "prerequisite", "flag": "g", "result": true, "steps": [
                {"step": "state", "flag": "g", "state": "killed", "expired": false, "result": false}]},
            {"step": "layer", "bucket": 1, "from": 0, "to": 500_000, "result": true},
            {"step": "goods", "match": "value_share", "share_percent": 50.0, "result": false, "steps": [
                {"step": "item", "id": "g-1\u{1b}[2J", "bucket": 48_213, "below": 1_000_000, "result": true}]},
            {"step": "rule", "rule": "r", "result": "unknown", "steps": [
                {"step": "not", "result": "unknown", "cause": "missing", "steps": [
                    {"step": "condition", "attribute": "user.region", "op": "in", "wanted": ["HK"],
                     "value": null, "cause": "missing", "result": "unknown"}]},
                {"step": "condition", "audience": "a", "value": "u", "cause": "audience_unavailable", "result": "unknown"},
                {"step": "condition", "attribute": "user.n", "op": "gt", "wanted": 1, "value": "x",
                 "cause": "wrong_type", "result": "unknown"}]},
            {"step": "rollout", "bucket": 2_486, "treatment_below": 50_000, "control_from": 950_000,
             "result": "treatment", "steps": [{"step": "split", "bucket": 7, "result": true}]},
            {"step": "rule", "rule": "cut"},
        ]);
        let lines = trace(steps.as_array().unwrap(), Output::plain());
        assert_eq!(
            lines,
            [
                "  yes       f is live",
                "  no        f is live, but its end has passed",
                "  no        f needs user.id, which is not there",
                "  yes       requires g",
                "  no          g is killed",
                "  yes       layer: bucket 1, the flag has 0 to 500,000",
                "  no        goods: items of 50 % of the value must be eligible",
                "  yes         item g-1 [2J: bucket 48,213, must be below 1,000,000",
                "  unknown   rule r",
                "  unknown     not",
                "  unknown       user.region in [\"HK\"]: not sent",
                "  unknown     in audience a: cannot be read for \"u\"",
                "  unknown     user.n gt 1: \"x\" has another type",
                "  treatment bucket 2,486: treatment below 50,000, control from 950,000",
                "  yes         split: bucket 7",
                "  stopped   rule cut",
            ]
        );
    }
}
