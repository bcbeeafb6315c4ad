//! Tables of an answer as CSV: one row an entry, nested numbers in columns of their own, such as
//! `funnel.entry_clicked.users` or `rate_ci.low`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::export::defused;

/// Tables of a report.
pub const REPORT_TABLES: [&str; 9] =
    ["variants", "comparisons", "guardrails", "values", "ratios", "stages", "segments", "srm", "notes"];

/// One row: columns in the order in which they came.
type Row = Vec<(String, String)>;

/// The table `name` of an answer as CSV.
#[must_use]
pub fn table(answer: &Value, name: &str) -> Vec<u8> {
    let rows = match name {
        "segments" => parts(answer.get("segments"), &["value"]),
        "points" => parts(answer.get("points"), &["day", "from", "to"]),
        "srm" => list(answer.pointer("/srm/per_stage")).iter().map(flat).collect(),
        name => list(answer.get(name)).iter().map(flat).collect(),
    };
    written(&rows)
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The variants of each part, after the fields `own` of the part.
fn parts(answer: Option<&Value>, own: &[&str]) -> Vec<Row> {
    let mut rows = Vec::new();
    for part in list(answer) {
        for variant in list(part.get("variants")) {
            let mut row = Row::new();
            for name in own {
                if let Some(value) = part.get(*name) {
                    flatten(name, value, &mut row);
                }
            }
            row.extend(flat(variant));
            rows.push(row);
        }
    }
    rows
}

/// Columns that come first, in this order; the others by name.
const FIRST: [&str; 12] = [
    "stage",
    "from",
    "to",
    "rule",
    "variant",
    "arm",
    "baseline",
    "metric",
    "step",
    "currency",
    "exposed_users",
    "maturing_users",
];

fn flat(row: &Value) -> Row {
    let mut columns = Row::new();
    let Some(fields) = row.as_object() else { return columns };
    for name in FIRST {
        if let Some(value) = fields.get(name) {
            flatten(name, value, &mut columns);
        }
    }
    for (name, value) in fields.iter().filter(|(name, _)| !FIRST.contains(&name.as_str())) {
        flatten(name, value, &mut columns);
    }
    columns
}

fn flatten(name: &str, value: &Value, row: &mut Row) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(field, value)| flatten(&format!("{name}.{field}"), value, row));
        }
        Value::Array(items) if items.iter().any(|item| item.get("step").is_some()) => {
            for item in items {
                let step = item.get("step").and_then(Value::as_str).unwrap_or_default();
                let fields = item.as_object().into_iter().flatten().filter(|(field, _)| *field != "step");
                fields.for_each(|(field, value)| flatten(&format!("{name}.{step}.{field}"), value, row));
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::Array(items) if is_interval(name) => {
            for (side, value) in ["low", "high"].iter().zip(items) {
                flatten(&format!("{name}.{side}"), value, row);
            }
        }
        Value::Array(items) => {
            let words: Vec<String> = items.iter().map(ToString::to_string).collect();
            row.push((name.to_owned(), words.join(" ")));
        }
        Value::Null if is_interval(name) => {
            row.extend(["low", "high"].map(|side| (format!("{name}.{side}"), String::new())));
        }
        Value::Null => row.push((name.to_owned(), String::new())),
        Value::String(text) => row.push((name.to_owned(), defused(text).into_owned())),
        other => row.push((name.to_owned(), other.to_string())),
    }
}

fn is_interval(name: &str) -> bool {
    name.ends_with("_ci") || name.ends_with("_bounds")
}

/// All columns that some row has, in the order of their first appearance.
fn written(rows: &[Row]) -> Vec<u8> {
    let mut names: Vec<&str> = Vec::new();
    let mut known: std::collections::BTreeSet<&str> = std::collections::BTreeSet::new();
    for (name, _) in rows.iter().flatten() {
        if known.insert(name) {
            names.push(name);
        }
    }
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    // Writing to memory cannot fail, and every record has as many fields as the first.
    let mut write = |fields: Vec<&str>| drop(writer.write_record(fields));
    if !names.is_empty() {
        write(names.clone());
    }
    for row in rows {
        let fields: BTreeMap<&str, &str> = row.iter().map(|(name, value)| (&**name, &**value)).collect();
        write(names.iter().map(|name| fields.get(name).copied().unwrap_or_default()).collect());
    }
    writer.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(answer: &Value, name: &str, expected: &str) {
        let text = String::from_utf8(table(answer, name)).unwrap();
        assert_eq!(text.replace("\r\n", "\n"), expected, "{name}");
    }

    #[test]
    fn nested_numbers_have_columns_of_their_own() {
        let variants = json!([
            {"rule": "ramp", "variant": "on", "rate": 0.5, "rate_ci": [0.25, 0.75], "value": {"CNY": 7},
             "funnel": [{"step": "seen", "users": 3}]},
            {"rule": "ramp", "variant": "off", "rate": null, "rate_ci": null, "value": {}, "funnel": []},
        ]);
        check(
            &json!({"variants": variants}),
            "variants",
            "rule,variant,funnel.seen.users,rate,rate_ci.low,rate_ci.high,value.CNY\n\
             ramp,on,3,0.5,0.25,0.75,7\nramp,off,,,,,\n",
        );
        let segments = json!([{"value": "=1+1", "variants": variants}]);
        check(
            &json!({"segments": segments}),
            "segments",
            "value,rule,variant,funnel.seen.users,rate,rate_ci.low,rate_ci.high,value.CNY\n\
             '=1+1,ramp,on,3,0.5,0.25,0.75,7\n'=1+1,ramp,off,,,,,\n",
        );
        check(&json!({}), "stages", "");
    }

    #[test]
    fn lists_and_negative_numbers_stay_what_they_are() {
        let answer =
            json!({"comparisons": [{"variant": "-x", "stages_pooled": [1, 2], "absolute_lift": -0.5}]});
        check(&answer, "comparisons", "variant,absolute_lift,stages_pooled\n'-x,-0.5,1 2\n");
    }
}
