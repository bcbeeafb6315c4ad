//! Exports: the same rows in every form, oldest first, whoever asks for them in whatever pieces.

mod large;
mod recompute;

use serde_json::{Value, json};

use crate::events::{from_now, gift};
use crate::fixture::*;
use crate::postgres::{Database, Engine, block_on};

const MINUTE: i64 = 60_000;

fn path(table: &str, query: &str) -> String {
    format!("/v1/environments/production/flags/gift/{table}?{query}")
}

/// All rows from the page `after` on, one page after the other.
fn pages(huidu: &Huidu, table: &str, after: &str, limit: usize) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), after.to_owned());
    loop {
        let answer = huidu.get(&path(table, &format!("limit={limit}{cursor}")), ADMIN).expect(200);
        let page = answer.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit, "{page}");
        rows.extend(items.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

/// All rows as lines of JSON, cursors included.
fn lines(huidu: &Huidu, table: &str, query: &str) -> Vec<Value> {
    let answer = huidu.get(&path(table, &format!("{query}&format=ndjson")), ADMIN).expect(200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All rows as CSV reads them, by column.
fn csv_rows(huidu: &Huidu, table: &str) -> Vec<Value> {
    let answer = huidu.call("GET", &path(table, ""), ADMIN, &[("accept", "text/csv")], b"").expect(200);
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
    let name = format!("attachment; filename=\"gift-{table}.csv\"");
    assert_eq!(answer.header("content-disposition"), Some(&*name));
    let mut reader = csv::Reader::from_reader(answer.text.as_bytes());
    reader
        .deserialize::<std::collections::BTreeMap<String, String>>()
        .map(|row| json!(row.unwrap()))
        .collect()
}

/// What a cell of CSV says of a value.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@', '\'', '\t']) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn without_cursor(row: &Value) -> Value {
    let mut row = row.clone();
    row.as_object_mut().unwrap().remove("cursor").unwrap();
    row
}

/// An exposure of `user` to `gift`, `minutes` ago.
fn shown(user: &str, minutes: i64) -> Value {
    json!({"type": "exposure", "flag": "gift", "user_id": user, "variant": "on", "at": from_now(-minutes * MINUTE),
           "context": {"region": "CN-31"}})
}

fn stop(id: &str, user: &str, step: &str, minutes: i64) -> Value {
    json!({"id": id, "type": "step", "flag": "gift", "step": step, "user_id": user, "at": from_now(-minutes * MINUTE)})
}

fn metric(id: &str, user: &str, step: &str, minutes: i64) -> Value {
    json!({"id": id, "type": "step", "step": step, "user_id": user, "at": from_now(-minutes * MINUTE)})
}

#[track_caller]
fn send(huidu: &Huidu, events: &[Value]) {
    let answer = huidu.events(&huidu.server, &json!(events)).expect(200).json();
    assert_eq!(answer["accepted"], events.len(), "{answer}");
}

/// A service on either engine with the flag `gift` and another one.
fn services() -> [Huidu; 2] {
    let mut url = String::new();
    block_on(async { url = Database::empty(Engine::Postgres).await.url.clone() });
    let services = [Huidu::start(), Huidu::start_with(&[("DATABASE_URL", &url)])];
    for huidu in &services {
        huidu.create_flag(&gift());
        let mut other = gift();
        other["key"] = json!("other");
        other["funnel"] = json!(["other_opened"]);
        other["metrics"] = json!(["order_paid", "other_metric"]);
        huidu.create_flag(&other);
    }
    services
}

/// Events in any order, many of them in the same millisecond; what is exported of them, by the ids of its rows.
fn play(huidu: &Huidu) -> (usize, Vec<&'static str>) {
    let same = from_now(-30 * MINUTE);
    let at_once = |mut event: Value| {
        event["at"] = json!(same);
        event
    };
    let mut events: Vec<Value> = (0..40).map(|n| shown(&format!("u-{n:02}"), 200 - n * 3 % 70)).collect();
    events.extend((0..20).map(|n| at_once(shown(&format!("same-{n:02}"), 0))));
    let exposures = events.len();
    let mut formula = metric("=cmd|' /C calc'!A0", "u-01", "order_paid", 10);
    formula["attributes"] = json!({"payment_method": "@wechat, \"灰度\"\n"});
    formula["order_id"] = json!("-1");
    formula["value"] = json!(45_900);
    formula["currency"] = json!("CNY");
    events.extend([
        formula,
        stop("s-late", "u-02", "gift_sent", 5),
        stop("s-early", "u-02", "gift_opened", 150),
        stop("s-never", "stranger", "gift_opened", 20),
        metric("m-before", "u-03", "order_paid", 300),
        metric("m-after", "u-03", "order_paid", 6),
        metric("m-stranger", "stranger", "order_paid", 6),
        metric("m-other", "u-03", "other_metric", 6),
        at_once(metric("t-2", "u-04", "gift_returned", 0)),
        at_once(metric("t-1", "u-04", "order_paid", 0)),
        at_once(stop("t-3", "u-04", "gift_opened", 0)),
        json!({"id": "other", "type": "step", "flag": "other", "step": "other_opened", "user_id": "u-05"}),
        json!({"id": "device", "type": "step", "step": "order_paid", "units": {"user.device_id": "u-06"}}),
        json!({"type": "exposure", "flag": "other", "user_id": "stranger", "variant": "on"}),
    ]);
    for part in events.chunks(17) {
        send(huidu, part);
    }
    // Equal times are in the order of unit, unit attribute, step and id.
    (exposures, vec!["s-early", "t-3", "t-2", "t-1", "s-never", "=cmd|' /C calc'!A0", "m-after", "s-late"])
}

#[test]
fn every_form_tells_the_same_rows_oldest_first() {
    for huidu in services() {
        let (exposures, steps) = play(&huidu);
        for table in ["exposures", "conversions"] {
            let whole = lines(&huidu, table, "");
            let rows: Vec<Value> = whole.iter().map(without_cursor).collect();
            for limit in [1, 7, 10_000] {
                assert_eq!(pages(&huidu, table, "", limit), rows, "{table} by {limit}");
            }
            let cells = csv_rows(&huidu, table);
            assert_eq!(cells.len(), rows.len());
            for (cells, row) in cells.iter().zip(&whole) {
                for (column, value) in row.as_object().unwrap() {
                    assert_eq!(cells[column], cell(value), "{table} {column}: {row}");
                }
            }
            let times: Vec<&str> = rows.iter().map(|row| row["at"].as_str().unwrap()).collect();
            assert!(times.is_sorted(), "{table}: {times:?}");
        }
        let rows = lines(&huidu, "exposures", "");
        assert_eq!(rows.len(), exposures);
        let row = rows.iter().find(|row| row["unit"] == "u-07").unwrap();
        assert_eq!(
            [
                &row["stage"],
                &row["rule"],
                &row["arm"],
                &row["variant"],
                &row["unit_attribute"],
                &row["captured"]
            ],
            [
                &json!(1),
                &json!("ramp"),
                &json!("treatment"),
                &json!("on"),
                &json!("user.id"),
                &json!({"region": "CN-31"})
            ]
        );
        let ids: Vec<Value> = lines(&huidu, "conversions", "").iter().map(|row| row["id"].clone()).collect();
        assert_eq!(ids, steps);
    }
}

#[test]
fn rows_of_steps_say_whose_they_are() {
    let [huidu, _] = services();
    play(&huidu);
    let rows = lines(&huidu, "conversions", "");
    let row = |id: &str| rows.iter().find(|row| row["id"] == id).unwrap();
    let owner = |id: &str| ["unit", "step", "flag", "stage", "rule"].map(|field| row(id)[field].clone());
    let expected = |texts: [Value; 5]| texts;
    assert_eq!(
        owner("s-early"),
        expected([json!("u-02"), json!("gift_opened"), json!("gift"), json!(1), json!("ramp")])
    );
    // A stop without an exposure belongs to the flag, but to no stage.
    assert_eq!(
        owner("s-never"),
        expected([json!("stranger"), json!("gift_opened"), json!("gift"), Value::Null, Value::Null])
    );
    assert_eq!(
        owner("m-after"),
        expected([json!("u-03"), json!("order_paid"), Value::Null, Value::Null, Value::Null])
    );
    let paid = row("=cmd|' /C calc'!A0");
    assert_eq!(
        [&paid["value"], &paid["currency"], &paid["order_id"], &paid["attributes"]],
        [&json!(45_900), &json!("CNY"), &json!("-1"), &json!({"payment_method": "@wechat, \"灰度\"\n"})]
    );
}

#[test]
fn an_export_goes_on_after_any_row() {
    for huidu in services() {
        play(&huidu);
        for table in ["exposures", "conversions"] {
            let whole = lines(&huidu, table, "");
            for (at, row) in whole.iter().enumerate() {
                let cursor = row["cursor"].as_str().unwrap();
                let rest = lines(&huidu, table, &format!("cursor={cursor}"));
                assert_eq!(rest, whole[at + 1..], "{table} after row {at}");
                // A list goes on after the same cursor.
                if at % 9 == 0 {
                    let expected: Vec<Value> = rest.iter().map(without_cursor).collect();
                    assert_eq!(pages(&huidu, table, &format!("&cursor={cursor}"), 5), expected);
                }
            }
            assert_eq!(lines(&huidu, table, "limit=3"), whole[..3], "{table}");
        }
    }
}

#[test]
fn a_range_begins_with_its_first_moment_and_ends_before_its_last() {
    for huidu in services() {
        play(&huidu);
        for table in ["exposures", "conversions"] {
            let whole = lines(&huidu, table, "");
            let time = |at: usize| whole[at]["at"].as_str().unwrap().to_owned();
            let (from, to) = (time(2), time(whole.len() - 2));
            let within = |row: &&Value| (from.as_str()..to.as_str()).contains(&row["at"].as_str().unwrap());
            let expected: Vec<Value> = whole.iter().filter(within).cloned().collect();
            assert!((1..whole.len() - 2).contains(&expected.len()));
            let query = format!("from={from}&to={to}");
            assert_eq!(lines(&huidu, table, &query), expected, "{table}");
            // A cursor before the range does not widen it, one inside it shortens it.
            let after = |row: &Value| format!("{query}&cursor={}", row["cursor"].as_str().unwrap());
            assert_eq!(lines(&huidu, table, &after(&whole[0])), expected);
            assert_eq!(lines(&huidu, table, &after(&expected[0])), expected[1..]);
            assert_eq!(lines(&huidu, table, "from=2099-01-01T00:00:00Z"), [] as [Value; 0]);
        }
        let empty = huidu.get(&path("exposures", "from=2099-01-01T00:00:00Z&format=csv"), ADMIN).expect(200);
        assert_eq!(
            empty.text, "unit,bucket,stage,rule,arm,variant,at,unit_attribute,captured,cursor\n",
            "a table without rows has its head"
        );
    }
}

#[test]
fn what_cannot_be_asked_is_refused_by_name() {
    let [huidu, _] = services();
    play(&huidu);
    let step = lines(&huidu, "conversions", "limit=1").remove(0);
    let foreign = format!("cursor={}", step["cursor"].as_str().unwrap());
    for query in [
        "limit=0",
        "limit=10001",
        "limit=x",
        "format=xml",
        "cursor=x",
        "cursor=",
        "from=yesterday",
        "to=1",
        "by=x",
        &foreign,
    ] {
        let refused = huidu.get(&path("exposures", query), ADMIN).refused(400, "query_invalid");
        let name = query.split('=').next().unwrap();
        assert!(refused.text.contains(name), "{query}: {}", refused.text);
    }
    huidu.get("/v1/environments/production/flags/nobody/exposures", ADMIN).refused(404, "not_found");
    // Whoever is gone is exported still.
    huidu.manage("POST", "/flags/gift/archive", Some(1), &json!({})).expect(200);
    assert!(!lines(&huidu, "conversions", "").is_empty());
    let head = huidu.call("HEAD", &path("exposures", "format=csv"), ADMIN, &[], b"").expect(200);
    assert_eq!((head.text.as_str(), head.header("content-type")), ("", Some("text/csv; charset=utf-8")));
}
