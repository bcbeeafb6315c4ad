//! The lines of docs/exports.md, run on an export of a real service: Python, ClickHouse and DuckDB find the same counts and
//! the same comparison, and they are those of the database and of the report.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};

use super::send;
use crate::events::from_now;
use crate::fixture::*;
use crate::postgres::block_on;

const HOUR: i64 = 3_600_000;
const FLAG: &str = "/v1/environments/production/flags/wechat-scan-pay";

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Shoppers of one stage: `users` of them, shown the entry between `from` and `to` hours ago; what they did then.
fn shop(huidu: &Huidu, dice: &mut Dice, users: i64, (from, to): (i64, i64)) {
    let mut events = Vec::new();
    for user in 0..users {
        let user = format!("u-{user}");
        let mut facts = json!({"id": user, "region": "CN-31", "app_version": "10.9.1"});
        let goods = json!([{"id": "g-1", "category": "shoes", "price": 45_900}]);
        let entry = huidu.entry("wechat-scan-pay", &facts, &goods);
        if entry["exposure_token"].is_null() || dice.below(4) == 0 {
            continue;
        }
        let facts = facts.as_object_mut().unwrap();
        facts.insert("goods".into(), goods);
        let mut ago = (to * HOUR) + dice.below((from - to) * HOUR);
        events.push(
            json!({"type": "exposure", "flag": "wechat-scan-pay", "user_id": user, "at": from_now(-ago),
                           "variant": entry["variant"], "context": facts}),
        );
        let shown = ago;
        for step in ["entry_clicked", "qr_shown", "qr_saved", "wechat_opened", "entry_paid"] {
            // Some stops are left out, some come before the one before them, some after the window.
            ago -= dice.below(90_000) - 9_000 - if dice.below(40) == 0 { 30 * HOUR } else { 0 };
            if dice.below(5) > 0 && ago > 0 {
                events
                    .push(json!({"id": format!("{user}-{shown}"), "type": "step", "flag": "wechat-scan-pay",
                                   "step": step, "user_id": user, "at": from_now(-ago)}));
            }
        }
        for order in 0..dice.below(3) {
            let ago = (shown - dice.below(48 * HOUR) + 6 * HOUR).max(1_000);
            events
                .push(json!({"id": format!("{user}-{shown}-{order}"), "type": "step", "step": "order_paid",
                               "user_id": user, "at": from_now(-ago)}));
        }
    }
    for part in events.chunks(1_000) {
        send(huidu, part);
    }
}

/// Rows of the database behind the service's back, each as JSON.
fn asked(huidu: &Huidu, sql: &str) -> Vec<Value> {
    let mut found = Vec::new();
    block_on(async {
        let url = format!("sqlite:{}", huidu.database().display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
        found = rows.iter().map(|row| serde_json::from_str(row.get(0)).unwrap()).collect();
    });
    found
}

/// Exposed and converted by rule, variant and arm, and units and converted by stage, straight from the tables.
fn counted(huidu: &Huidu, as_of: i64) -> (Value, Value) {
    let (day, grace) = (24 * HOUR, HOUR / 6);
    let arm = "CASE arm WHEN 0 THEN 'control' WHEN 1 THEN 'treatment' ELSE 'fixed' END";
    let converted = format!(
        "EXISTS (SELECT 1 FROM steps AS s WHERE s.unit = x.unit AND s.step = 'order_paid' AND s.at >= x.at AND s.at < x.at + {day})"
    );
    let closed = format!("x.at + {day} + {grace} <= {as_of}");
    let variants = format!(
        "SELECT json_array(rule, variant, {arm}, count(*), sum({converted})) FROM (
             SELECT rule, variant, arm, unit, min(at) AS at FROM exposures
             WHERE flag = (SELECT number FROM flags WHERE environment = 1 AND key = 'wechat-scan-pay')
             GROUP BY rule, variant, arm, unit) AS x WHERE {closed} GROUP BY rule, variant, arm ORDER BY 1"
    );
    let stages = format!(
        "SELECT json_array(stage, rule, variant, {arm}, count(*), sum({closed} AND {converted})) FROM exposures AS x
         WHERE flag = (SELECT number FROM flags WHERE environment = 1 AND key = 'wechat-scan-pay')
         GROUP BY stage, rule, variant, arm ORDER BY 1"
    );
    (json!(asked(huidu, &variants)), json!(asked(huidu, &stages)))
}

/// Some places of each row.
fn parts(rows: &Value, places: std::ops::Range<usize>) -> Value {
    rows.as_array().unwrap().iter().map(|row| json!(row.as_array().unwrap()[places.clone()])).collect()
}

/// The report once no hour waits to be counted with what came late.
fn whole_report(huidu: &Huidu) -> Value {
    let mut report = Value::Null;
    let mut asked = 0;
    eventually("all late events are counted", || {
        // Another question each time, since answers are kept for ten seconds.
        asked += 1;
        let from = format!("2000-01-01T00:00:00.{asked:03}Z");
        report = huidu.get(&format!("{FLAG}/report?from={from}"), ADMIN).expect(200).json();
        !report["notes"].as_array().unwrap().iter().any(|note| note["code"] == "hours_waiting")
    });
    report
}

/// What was counted outside is what the service's own report says.
fn same_counts(report: &Value, python: &Value, clickhouse: &Value) {
    let told = |row: &Value| json!([row["rule"], row["variant"], row["arm"]]);
    let order = |rows: &mut Vec<Value>| rows.sort_by_key(ToString::to_string);
    let mut rows: Vec<Value> = Vec::new();
    for row in report["variants"].as_array().unwrap() {
        let funnel: Vec<&Value> =
            row["funnel"].as_array().unwrap().iter().map(|stop| &stop["users"]).collect();
        let mut all = told(row).as_array().unwrap().clone();
        all.extend(["exposed_users", "maturing_users", "converted_users"].map(|name| row[name].clone()));
        all.push(json!(funnel));
        rows.push(json!(all));
    }
    // Rows of the document that nobody came by are in the report alone.
    rows.retain(|row| row[3] != 0 || row[4] != 0);
    let mut found = python["variants"].as_array().unwrap().clone();
    order(&mut rows);
    order(&mut found);
    assert_eq!(found, rows, "exposed, maturing, converted and the funnel in Python");
    let closed = |row: &Value| json!([row[0], row[1], row[2], row[3], row[5]]);
    let mut found: Vec<Value> = parts(&clickhouse["variants"], 0..5).as_array().unwrap().clone();
    order(&mut found);
    let mut rows: Vec<Value> = rows.iter().map(closed).collect();
    order(&mut rows);
    assert_eq!(found, rows, "cohort and converted in ClickHouse");
}

/// The goal against control, as found outside: rule, variant, both rates and the difference; in Python the interval too.
fn same_comparison(report: &Value, found: &Value, figures: usize) {
    let mut comparisons = report["comparisons"].as_array().unwrap().iter();
    let goal = comparisons.find(|own| own["metric"] == "order_paid").unwrap();
    assert_eq!(goal["stages_pooled"].as_array().unwrap().len(), 2, "{goal:#}");
    let rows = found["comparisons"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0][0], &rows[0][1]), (&goal["rule"], &goal["variant"]));
    let [low, high] = [&goal["always_valid_ci"][0], &goal["always_valid_ci"][1]];
    let own = [&goal["treatment_rate"], &goal["control_rate"], &goal["absolute_lift"], low, high];
    assert_eq!(rows[0].as_array().unwrap().len(), 2 + figures, "{rows:?}");
    for (place, own) in own.into_iter().take(figures).enumerate() {
        let (found, own) = (rows[0][place + 2].as_f64().unwrap(), own.as_f64().unwrap());
        assert!((found - own).abs() < 1e-9, "{place}: {found} is not {own}: {goal:#}");
    }
}

#[test]
fn what_the_page_shows_finds_the_same_counts_outside() {
    let huidu = Huidu::start();
    let mut dice = Dice(7);
    let percent = |version: i64, percent: i64| {
        let body = json!({"percent": percent, "control": 30});
        huidu.manage("POST", "/flags/wechat-scan-pay/rollout", Some(version), &body).expect(200);
    };
    percent(1, 20);
    shop(&huidu, &mut dice, 300, (200, 100));
    percent(2, 60);
    shop(&huidu, &mut dice, 400, (100, 2));
    let report = whole_report(&huidu);
    let as_of = huidu::clock::parse_rfc3339(report["computed_at"].as_str().unwrap()).unwrap();
    for table in ["exposures", "conversions"] {
        let rows = huidu.get(&format!("{FLAG}/{table}?format=ndjson"), ADMIN).expect(200).text;
        std::fs::write(huidu.folder().join(format!("{table}.ndjson")), rows).unwrap();
    }
    let flag = huidu.get(FLAG, ADMIN).expect(200);
    std::fs::write(huidu.folder().join("flag.json"), &flag.text).unwrap();
    let flag = flag.json();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = Command::new(root.join("tests/exports/install")).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let output = Command::new(root.join("target/tests-python/bin/python"))
        .arg(root.join("tests/exports/compare.py"))
        .args([
            huidu.folder().to_str().unwrap(),
            flag["flag"]["salt"].as_str().unwrap(),
            &flag["stage"].to_string(),
            "60",
        ])
        .arg(jiff::Timestamp::from_millisecond(as_of).unwrap().to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (python, clickhouse, duckdb) = (&found["python"], &found["clickhouse"], &found["duckdb"]);
    let stray = [&python["strangers"], &python["misplaced"], &clickhouse["strangers"], &duckdb["misplaced"]];
    assert_eq!(stray, [&json!(0); 4]);
    assert_eq!(clickhouse["variants"], duckdb["variants"]);
    assert_eq!(clickhouse["stages"], duckdb["stages"]);
    assert_eq!(python["stages"], duckdb["stages"]);
    let (variants, stages) = counted(&huidu, as_of);
    assert_eq!(clickhouse["stages"], stages);
    assert_eq!(parts(&clickhouse["variants"], 0..5), variants);
    for (python, row) in
        python["variants"].as_array().unwrap().iter().zip(clickhouse["variants"].as_array().unwrap())
    {
        // Python tells those apart whose window is open still.
        let closed = json!([python[0], python[1], python[2], python[3], python[5]]);
        assert_eq!(closed, json!(row.as_array().unwrap()[..5]), "{python} {row}");
        assert_eq!(python[6], json!(row.as_array().unwrap()[5..]), "the funnel: {python} {row}");
        assert!(python[4].as_i64().unwrap() > 0, "some are maturing: {python}");
    }
    same_counts(&report, python, clickhouse);
    for (found, figures) in [(python, 5), (clickhouse, 3), (duckdb, 3)] {
        same_comparison(&report, found, figures);
    }
    // The example shows something: units in both arms and stages, and a funnel that loses some at each stop.
    let treatment = &clickhouse["variants"][1];
    let funnel: Vec<i64> = (5..10).map(|at| treatment[at].as_i64().unwrap()).collect();
    assert!(funnel.windows(2).all(|pair| pair[0] > pair[1]) && funnel[4] > 0, "{treatment}");
    assert_eq!(stages.as_array().unwrap().len(), 4, "{stages}");
}

#[test]
fn the_page_shows_what_the_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let collapsed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = read("docs/exports.md");
    let files =
        ["clickhouse.sql", "duckdb.sql"].map(|file| collapsed(&read(&format!("examples/exports/{file}"))));
    let blocks: Vec<String> =
        page.split("\n\n").filter(|block| block.starts_with("    SELECT")).map(collapsed).collect();
    assert_eq!(blocks.len(), 2);
    for (block, file) in blocks.iter().zip(&files) {
        assert!(file.contains(block), "{block}");
    }
}
