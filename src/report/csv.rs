//! Tables of an answer as CSV: one row an entry, nested numbers in columns of their own, such as
//! `funnel.entry_clicked.users` or `rate_ci.low`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::export::defused;

/// Tables of a report.
pub const REPORT_TABLES: [&str; 11] = [
    "variants",
    "comparisons",
    "guardrails",
    "values",
    "ratios",
    "stages",
    "segments",
    "segment_comparisons",
    "overlap",
    "srm",
    "notes",
];

/// One row: columns in the order in which they came.
type Row = Vec<(String, String)>;

/// The table `name` of an answer as CSV.
#[must_use]
pub fn table(answer: &Value, name: &str) -> Vec<u8> {
    let rows = match name {
        "segments" => parts(answer.get("segments"), "variants", &["value"]),
        "segment_comparisons" => parts(answer.get("segments"), "comparisons", &["value", "is_rest"]),
        "overlap" => overlap(answer.get("overlap")),
        "points" => parts(answer.get("points"), "variants", &["day", "from", "to"]),
        "srm" => list(answer.pointer("/srm/per_stage")).iter().map(flat).collect(),
        name => list(answer.get(name)).iter().map(flat).collect(),
    };
    written(&rows)
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The entries of the list `of` of each part, after the fields `own` of the part.
fn parts(answer: Option<&Value>, of: &str, own: &[&str]) -> Vec<Row> {
    let rows = list(answer).iter().flat_map(|part| {
        let entries = list(part.get(of)).iter();
        entries.map(move |entry| [fields(part, own), flat(entry)].concat())
    });
    rows.collect()
}

/// The comparisons of those who saw another entry and of those who did not: `part` says which. An entry without any has one
/// row all the same, as it says how many saw both.
fn overlap(answer: Option<&Value>) -> Vec<Row> {
    let mut rows = Vec::new();
    for other in list(answer) {
        let own = fields(other, &["flag", "units"]);
        let before = rows.len();
        for part in ["saw", "did_not"] {
            let named = [("part".to_owned(), part.to_owned())];
            rows.extend(
                list(other.get(part)).iter().map(|made| [own.as_slice(), &named, &flat(made)].concat()),
            );
        }
        if rows.len() == before {
            rows.push(own);
        }
    }
    rows
}

fn fields(part: &Value, names: &[&str]) -> Row {
    let mut row = Row::new();
    for (name, value) in names.iter().filter_map(|name| Some((name, part.get(*name)?))) {
        flatten(name, value, &mut row);
    }
    row
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
        Value::Array(items) if items.iter().any(|item| named(item).is_some()) => {
            for (by, own, item) in items.iter().filter_map(named) {
                let fields = item.iter().filter(|(field, _)| *field != by);
                fields.for_each(|(field, value)| flatten(&format!("{name}.{own}.{field}"), value, row));
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

/// By which field an item of a list is called, how, and the item: by its step, or the value that it is about.
fn named(item: &Value) -> Option<(&'static str, &str, &Map<String, Value>)> {
    let of = |field: &'static str| Some((field, item.get(field)?.as_str()?, item.as_object()?));
    of("step").or_else(|| of("value"))
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
    fn parts_that_were_looked_at_afterwards_have_tables() {
        let made = |variant: &str| json!({"rule": "ramp", "variant": variant, "metric": "paid", "absolute_lift": 0.5});
        let segments = json!([
            {"value": "CN-31", "is_rest": false, "variants": [], "comparisons": [made("on"), made("qr")]},
            {"value": "other", "is_rest": true, "variants": [], "comparisons": [made("on")]},
        ]);
        check(
            &json!({"segments": segments}),
            "segment_comparisons",
            "value,is_rest,rule,variant,metric,absolute_lift\n\
             CN-31,false,ramp,on,paid,0.5\nCN-31,false,ramp,qr,paid,0.5\nother,true,ramp,on,paid,0.5\n",
        );
        let overlap = json!([
            {"flag": "friend-pay", "units": 7, "saw": [made("on")], "did_not": [made("on")]},
            {"flag": "no-goal", "units": 3, "saw": [], "did_not": []},
        ]);
        check(
            &json!({"overlap": overlap}),
            "overlap",
            "flag,units,part,rule,variant,metric,absolute_lift\n\
             friend-pay,7,saw,ramp,on,paid,0.5\nfriend-pay,7,did_not,ramp,on,paid,0.5\nno-goal,3,,,,,\n",
        );
    }

    #[test]
    fn what_a_value_adds_has_columns_of_its_own() {
        let by =
            json!([{"value": "wechat", "absolute_lift": 0.5}, {"value": "other", "absolute_lift": -0.25}]);
        let answer = json!({"comparisons": [{"variant": "on", "by": by}]});
        check(
            &answer,
            "comparisons",
            "variant,by.wechat.absolute_lift,by.other.absolute_lift\non,0.5,-0.25\n",
        );
    }

    #[test]
    fn lists_and_negative_numbers_stay_what_they_are() {
        let answer =
            json!({"comparisons": [{"variant": "-x", "stages_pooled": [1, 2], "absolute_lift": -0.5}]});
        check(&answer, "comparisons", "variant,absolute_lift,stages_pooled\n'-x,-0.5,1 2\n");
    }
}
