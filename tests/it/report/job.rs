//! Hours that are kept without anybody asking, by one instance of several, and what they say of the arms' shares.

use serde_json::json;

use super::http::{REPORT, document, shoppers};
use crate::fixture::*;
use crate::postgres::{Database, Engine, execute, number};

const P: &str = "huidu_srm_sequential_p{environment=\"production\",flag=\"shown\"}";

/// How many hours it has counted.
fn hours(huidu: &Huidu) -> u64 {
    let text = huidu.get("/metrics", ADMIN).expect(200).text;
    let line = text.lines().find_map(|line| line.strip_prefix("huidu_report_hours_total "));
    line.map_or(0, |number| number.parse().unwrap())
}

/// A payment of one of those who were shown the flag five hours ago, which is told only now.
fn paid_late(huidu: &Huidu) {
    let event = json!({"id": "late", "type": "step", "step": "order_paid", "user_id": "u-1", "ago_ms": 4 * 3_600_000 + 60_000});
    assert_eq!(huidu.events(&huidu.server, &json!([event])).expect(200).json()["accepted"], 1);
}

#[test]
fn hours_are_kept_before_anybody_asks_and_again_where_rows_came_late() {
    let huidu = Huidu::start();
    huidu.create_flag(&document());
    eventually("a flag that nobody saw is no mismatch", || huidu.metric(P) == Some(1.0));
    shoppers(&huidu, 5);
    eventually("the hour of the exposures is kept", || hours(&huidu) > 0);
    let before = hours(&huidu);
    paid_late(&huidu);
    eventually("it is kept anew", || hours(&huidu) > before);
}

#[test]
fn the_shares_of_arms_are_told_and_go_with_the_flag() {
    let mut huidu = Huidu::start();
    huidu.create_flag(&document());
    // Only those who are treated are reported.
    let mut events = Vec::new();
    for user in 0..400 {
        events.push(
            json!({"type": "exposure", "flag": "shown", "user_id": format!("u-{user}"), "variant": "on",
            "context": {"region": "CN-31"}, "ago_ms": 5 * 3_600_000}),
        );
    }
    let answer = huidu.events(&huidu.server, &json!(events)).expect(200).json();
    assert!(answer["accepted"].as_u64().unwrap() > 100, "{answer}");
    eventually("the hour is kept", || hours(&huidu) == 1);
    // A start looks at once, a running service every two minutes.
    huidu.stop();
    huidu.start_again();
    eventually("a mismatch is told", || huidu.metric(P).is_some_and(|p| p < 0.01));
    let report = huidu.get(REPORT, ADMIN).expect(200).json();
    assert_eq!(report["srm"]["sequential_p"].as_f64(), huidu.metric(P), "{}", report["srm"]);
    huidu.manage("POST", "/flags/shown/kill", None, &json!({})).expect(200);
    eventually("who is shut has none", || huidu.metric(P).is_none());
    huidu.manage("POST", "/flags/shown/restore", Some(2), &json!({})).expect(200);
    eventually("who is open again has one again", || huidu.metric(P).is_some());
    huidu.manage("POST", "/flags/shown/archive", Some(3), &json!({})).expect(200);
    assert_eq!(huidu.metric(P), None);
}

#[test]
fn of_two_instances_one_keeps_the_hours_and_both_tell_the_same() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::empty(Engine::Postgres));
    let url = database.url.as_str();
    let here = Huidu::start_with(&[("DATABASE_URL", url)]);
    let there = Huidu::beside(&here);
    let number = |sql: &str| runtime.block_on(number(url, Engine::Postgres, sql));
    let told = |flag: &str| {
        here.create_flag(&ramp(flag, 50.0, 50.0));
        let p = format!("huidu_srm_sequential_p{{environment=\"production\",flag=\"{flag}\"}}");
        for huidu in [&here, &there] {
            eventually("another look at all flags ends", || huidu.metric(&p) == Some(1.0));
        }
    };
    here.create_flag(&document());
    let hold = "INSERT INTO leases (name, holder, token, expires_at, done_at) VALUES ('report_hours', 'a third', 1, 9000000000000000, 0)";
    runtime.block_on(execute(url, Engine::Postgres, hold));
    shoppers(&here, 5);
    ["one", "two"].into_iter().for_each(told);
    assert_eq!(
        (number("SELECT count(*) FROM report_hours"), hours(&here) + hours(&there)),
        (0, 0),
        "a third does it"
    );
    runtime.block_on(execute(url, Engine::Postgres, "DELETE FROM leases WHERE name = 'report_hours'"));
    eventually("the hour is kept", || hours(&here) + hours(&there) > 0);
    paid_late(&there);
    let seen = "SELECT count(*) FROM report_hours AS h JOIN report_marks AS m USING (environment, flag, hour) WHERE h.seen = m.mark";
    eventually("and again, with what came late", || {
        number(seen) == number("SELECT count(*) FROM report_marks")
    });
    let asked = [&here, &there].map(|huidu| huidu.get(REPORT, ADMIN).expect(200).json());
    for part in
        ["variants", "comparisons", "guardrails", "values", "stages", "srm", "overlap", "switched_units"]
    {
        assert_eq!(asked[0][part], asked[1][part], "{part}");
    }
    let rows = asked[0]["variants"].as_array().unwrap().iter();
    assert_eq!(rows.map(|row| row["exposed_users"].as_u64().unwrap()).sum::<u64>(), 40);
    assert_eq!(hours(&here) + hours(&there), 2, "nobody counts what is counted");
}
