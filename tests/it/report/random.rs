//! Random histories, told to the service bit by bit, with reports in between: returning shoppers, stages, rows that come
//! late, out of order, or again with an earlier time, deleted units, moments around full hours.

use std::collections::BTreeMap;

use huidu::clock::{HOUR_MS, MINUTE_MS};
use huidu::engine::flag::Document;
use huidu::engine::share::Share;
use huidu::report::about::{About, Stage};
use huidu::report::ask::Question;
use huidu::report::load::Asked;
use huidu::report::series::Bucket;
use huidu::stats::figures::Interval;
use huidu::stats::guardrail;
use huidu::stats::mean::ValueComparison;
use huidu::store::{ExposureRow, StepRow, StoredUnit};
use serde_json::{Value, json};

use super::plain::{Range, World};
use super::told::every_null_has_a_note;
use super::*;

/// The quantile at which values are cut.
const CAP: f64 = 0.75;

/// Numbers that look random and are the same each time.
pub(crate) struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % below
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[usize::try_from(self.roll(list.len() as i64)).unwrap()]
    }

    /// Now, or a little before a full hour, or late.
    fn time(&mut self, now: i64) -> i64 {
        let at = match self.roll(6) {
            0 => now - self.roll(30 * HOUR_MS),
            1 => now - now.rem_euclid(HOUR_MS) + self.roll(3) - 1,
            2 => now - self.roll(20 * MINUTE_MS),
            _ => now - self.roll(2_000),
        };
        at.clamp(DAY_ONE, now)
    }

    fn exposure(&mut self, now: i64) -> ExposureRow {
        let unit = format!("u-{}", self.roll(9));
        let at = self.time(now);
        // Mostly of the stage that is open, sometimes by an old token.
        let open = (at - DAY_ONE) / (6 * HOUR_MS) + 1;
        let stage = if self.roll(4) == 0 { (open - self.roll(3)).max(1) } else { open };
        let variant = if self.roll(8) == 0 { "off" } else { ["on", "off"][usize::from(*unit > *"u-4")] };
        let mut row = shown(&unit, stage, variant, at);
        row.captured = match self.roll(4) {
            0 => None,
            n => Some(json!({"region": format!("CN-{n}")}).to_string()),
        };
        if self.roll(12) == 0 {
            (row.rule, row.arm, row.variant) = ("invited".into(), 2, "on".into());
        }
        if self.roll(5) == 0 {
            (row.flag, row.captured) = (2, None);
        }
        row
    }

    fn step(&mut self, now: i64) -> StepRow {
        let (unit, at) = (format!("u-{}", self.roll(10)), self.time(now));
        let id = self.roll(40).to_string();
        if self.roll(2) == 0 {
            let name = self.of(&["clicked", "opened", "done", "gone"]);
            let stage = ((at - DAY_ONE) / (6 * HOUR_MS) + 1 - self.roll(2)).max(1);
            return StepRow { id: id.into(), ..stop(&unit, name, stage, at) };
        }
        let mut row = step(&unit, self.of(&["paid", "paid", "failed", "complained"]), &id, at);
        if self.roll(2) == 0 {
            (row.value, row.currency) = (Some(self.roll(100_000)), Some(self.of(&["CNY", "USD"]).into()));
        }
        row.attributes = match self.roll(3) {
            0 => None,
            _ => Some(json!({"method": self.of(&["wechat", "alipay", "cash"])}).to_string()),
        };
        row
    }
}

/// The parts of a row of the answer that the reference knows.
fn known(row: &Value, reference: &Value) -> Value {
    let pick = |row: &Value, reference: &Value| -> Value {
        reference.as_object().unwrap().keys().map(|name| (name.clone(), row[name].clone())).collect()
    };
    let list = |name: &str| -> Value {
        let pairs = row[name].as_array().unwrap().iter().zip(reference[name].as_array().unwrap());
        pairs.map(|(row, reference)| pick(row, reference)).collect()
    };
    json!({"metrics": list("metrics"), "funnel": list("funnel"), "funnel_exposed_users": row["funnel_exposed_users"]})
}

fn arm_number(row: &Value) -> i64 {
    ["control", "treatment", "fixed"].iter().position(|arm| row["arm"] == *arm).unwrap() as i64
}

fn same_variants(told: &Value, expected: &BTreeMap<(String, i64, String), Value>, place: &str) {
    let mut seen = 0;
    for row in told.as_array().unwrap() {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let key = (text("rule"), arm_number(row), text("variant"));
        match expected.get(&key) {
            Some(expected) => {
                assert_eq!(known(row, expected), *expected, "{place}: {key:?}");
                let goal = &expected["metrics"][0];
                assert_eq!(
                    [&row["exposed_users"], &row["maturing_users"], &row["converted_users"], &row["value"]],
                    [&goal["exposed_users"], &goal["maturing_users"], &goal["users"], &goal["value"]],
                    "{place}: {key:?}"
                );
                seen += 1;
            }
            None => assert_eq!(
                (&row["exposed_users"], &row["maturing_users"]),
                (&json!(0), &json!(0)),
                "{place}: {key:?}"
            ),
        }
    }
    assert_eq!(seen, expected.len(), "{place}");
}

fn close(a: &Value, b: Option<f64>) -> bool {
    match (a.as_f64(), b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * b.abs().max(1e-9),
        (None, None) => true,
        _ => false,
    }
}

/// Every number of a report against the reference.
fn check(report: &Value, world: &World, document: &Document, range: Range, place: &str) {
    every_null_has_a_note(report, place);
    same_variants(&report["variants"], &world.variants(document, range), place);
    let (goal, window) = ("paid", 6 * HOUR_MS);
    let mut stages = world.stages(range, goal, window);
    for entry in report["stages"].as_array().unwrap() {
        for (variant, arm) in entry["arms"].as_object().unwrap() {
            let key = (entry["stage"].as_i64().unwrap(), variant.clone());
            let own = stages.entry(key).or_default();
            let told = |name: &str| arm[name].as_u64().unwrap();
            own.0 -= told("units");
            own.1 -= told("matured_units");
            own.2 -= told("converted");
        }
    }
    assert!(stages.values().all(|left| *left == (0, 0, 0)), "{place}: {stages:?}");
    let ramp = ramp_only(world);
    for (metric, window) in [("paid", window), ("failed", 2 * HOUR_MS)] {
        let told = row(&report["comparisons"], &[("metric", metric)]);
        let (lift, p) = ramp.comparison(range, metric, window);
        assert!(close(&told["absolute_lift"], lift), "{place}: {metric}: {lift:?} is not {told:#}");
        assert!(close(&told["always_valid_p"], p), "{place}: {metric}: {p:?} is not {told:#}");
    }
    same_by(
        row(&report["comparisons"], &[("metric", goal)]),
        &ramp.by(range, goal, window, &|_| true),
        place,
    );
    check_parts(report, &ramp, range, place);
    assert_eq!(report["switched_units"], world.switched(range), "{place}");
    assert_eq!(report["without_exposure"], world.without_exposure(range), "{place}");
    let overlap = row(&report["overlap"], &[("flag", "friend-pay")]);
    assert_eq!(overlap["units"], world.saw_both(range, 2 * HOUR_MS), "{place}");
    let mut regions = world.regions(range, goal, window);
    for segment in report["segments"].as_array().unwrap() {
        let own = regions
            .remove(segment["value"].as_str().unwrap())
            .unwrap_or_else(|| panic!("{place}: {segment:#}"));
        let sum = |name: &str| -> u64 {
            segment["variants"].as_array().unwrap().iter().map(|row| row[name].as_u64().unwrap()).sum()
        };
        assert_eq!((sum("exposed_users"), sum("converted_users")), own, "{place}: {}", segment["value"]);
    }
    assert!(regions.is_empty(), "{place}: {regions:?}");
}

/// As [`close`], where sums of money may be added in another order.
fn near(a: &Value, b: Option<f64>) -> bool {
    match (a.as_f64(), b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * b.abs().max(1.0),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// What each value of a metric's `by` is said to add.
fn same_by(told: &Value, own: &[(&str, f64, f64)], place: &str) {
    let listed = told["by"].as_array().unwrap();
    assert_eq!(listed.len(), own.len(), "{place}: {own:?} is not {told:#}");
    for (told, (value, treatment, control)) in listed.iter().zip(own) {
        assert!(
            told["value"] == *value
                && near(&told["treatment_rate"], Some(*treatment))
                && near(&told["control_rate"], Some(*control))
                && near(&told["absolute_lift"], Some(treatment - control)),
            "{place}: {own:?} is not {told:#}"
        );
    }
}

/// What is told of two means, and of their difference.
fn same_difference(told: &Value, own: &ValueComparison, means: [&str; 2], place: &str) {
    let ends = |told: &Value, own: Option<Interval>| {
        near(&told[0], own.map(|ci| ci.low)) && near(&told[1], own.map(|ci| ci.high))
    };
    assert!(
        near(&told[means[0]], own.treatment_mean)
            && near(&told[means[1]], own.control_mean)
            && near(&told["difference"], own.difference)
            && ends(&told["difference_ci"], own.difference_ci)
            && ends(&told["always_valid_ci"], own.always_valid_ci)
            && near(&told["p_value"], own.p_value)
            && near(&told["always_valid_p"], own.always_valid_p),
        "{place}: {own:?} is not {told:#}"
    );
}

/// The rates of a result's parts: both arms of an overlap, values by currency, a guardrail by a limit.
fn check_parts(report: &Value, ramp: &World, range: Range, place: &str) {
    let (window, shortest) = (6 * HOUR_MS, 2 * HOUR_MS);
    let overlap = row(&report["overlap"], &[("flag", "friend-pay")]);
    for (part, wanted) in [("saw", true), ("did_not", false)] {
        let told = row(&overlap[part], &[("metric", "paid")]);
        let (lift, p) = ramp.comparison_of(range, "paid", window, &|row| ramp.saw(row, shortest) == wanted);
        assert!(close(&told["absolute_lift"], lift), "{place}: {part}: {lift:?} is not {told:#}");
        assert!(close(&told["always_valid_p"], p), "{place}: {part}: {p:?} is not {told:#}");
        same_by(told, &ramp.by(range, "paid", window, &|row| ramp.saw(row, shortest) == wanted), place);
    }
    for told in report["values"].as_array().unwrap() {
        let (metric, currency) = (told["metric"].as_str().unwrap(), told["currency"].as_str().unwrap());
        let own_window = if metric == "failed" { shortest } else { window };
        let what = (metric, own_window, currency);
        let means = ["treatment_per_user", "control_per_user"];
        same_difference(told, &ramp.value(range, what, f64::INFINITY), means, place);
        let own = ramp.per_order(range, what);
        same_difference(&told["per_order"], &own, ["treatment_per_order", "control_per_order"], place);
        let cap = ramp.cap(range, what, CAP);
        let capped = &told["capped"];
        assert!(near(&capped["cap"], cap.map(|(cap, _)| cap)), "{place}: {cap:?} is not {capped:#}");
        assert!(
            near(&capped["removed_share"], cap.map(|(_, share)| share)),
            "{place}: {cap:?} is not {capped:#}"
        );
        let own = ramp.value(range, what, cap.map_or(f64::INFINITY, |(cap, _)| cap));
        same_difference(capped, &own, means, place);
    }
    let (told, own) = (&report["ratios"][0], ramp.ratio(range, ("complained", "paid"), window));
    assert_eq!((&told["metric"], &told["per"]), (&json!("complained"), &json!("paid")), "{place}");
    same_difference(told, &own, ["treatment_ratio", "control_ratio"], place);
    let limit = report["guardrails"].as_array().unwrap().iter().find(|own| !own["limit"].is_null()).unwrap();
    let own = guardrail::limit(ramp.treated(range, "failed", shortest), 0.2);
    assert!(
        close(&limit["rate"], own.rate)
            && close(&limit["e_value"], own.e_value)
            && limit["state"] == own.state.as_str(),
        "{place}: {own:?} is not {limit:#}"
    );
}

/// The world without the testers' rule.
fn ramp_only(world: &World) -> World {
    let mut ramp = world.clone();
    ramp.exposures.retain(|_, row| row.flag != 1 || row.rule == "ramp");
    ramp
}

async fn compare_all(bench: &Bench, about: &About, world: &World, now: i64, dice: &mut Dice, place: &str) {
    let first = world.exposures.values().filter(|row| row.flag == 1).map(|row| row.at);
    let stops = world.steps.values().filter(|step| step.flag == Some(1)).map(|step| step.at);
    let Some(first) = first.chain(stops).min() else { return };
    let mut asked = vec![(None, None)];
    for _ in 0..2 {
        let from = DAY_ONE + dice.roll(now - DAY_ONE + 1);
        let from = if dice.roll(2) == 0 { from - from.rem_euclid(HOUR_MS) } else { from };
        asked.push((Some(from), None));
        asked.push((Some(from), Some(from + dice.roll(20 * HOUR_MS))));
    }
    for (from_ms, to_ms) in asked {
        let (by, cap) = (Some("user.region".to_owned()), Share::from_percent(100.0 * CAP));
        let question = Question::Report { asked: Asked { from_ms, to_ms }, by, cap };
        let report = bench.reports.compute(about.clone(), question).await.unwrap();
        assert!(!report["notes"].to_string().contains("hours_waiting"), "{place}");
        let range = Range { as_of: now, from: from_ms.unwrap_or(first), to: to_ms.unwrap_or(now + 1) };
        let place = format!("{place}, {from_ms:?} to {to_ms:?}");
        check(&report, world, &about.document, range, &place);
        let question =
            Question::Series { asked: Asked { from_ms, to_ms }, bucket: Bucket::Day("Asia/Shanghai".into()) };
        let series = bench.reports.compute(about.clone(), question).await.unwrap();
        let sum = |name: &str| -> u64 {
            let points = series["points"].as_array().unwrap().iter();
            points
                .flat_map(|point| point["variants"].as_array().unwrap())
                .map(|row| row[name].as_u64().unwrap())
                .sum()
        };
        let total = |name: &str| -> u64 {
            report["variants"].as_array().unwrap().iter().map(|row| row[name].as_u64().unwrap()).sum()
        };
        for name in ["exposed_users", "maturing_users", "converted_users"] {
            assert_eq!(sum(name), total(name), "{place}: points add up to the report: {name}");
        }
    }
}

/// A moment of the last seconds, or of the last minutes.
fn young(dice: &mut Dice, now: i64) -> i64 {
    now - if dice.roll(4) == 0 { dice.roll(7 * MINUTE_MS) } else { dice.roll(3_000) }
}

crate::postgres::on_both_engines! {
    async fn random_histories_are_counted_like_the_plainest_way(db) {
        for seed in 0..4 {
            db.place_steps().await.unwrap();
            for table in ["exposures", "steps", "report_hours", "report_days", "report_parts", "report_marks"] {
                db.execute(&format!("DELETE FROM {table}")).await;
            }
            let mut days = 0;
            let mut dice = Dice(seed);
            let guardrails = json!([{"step": "failed", "margin": 0.01}, {"step": "failed", "limit": 0.2}]);
            let metrics = json!([{"step": "paid", "by": "method", "values": ["wechat", "alipay"]},
                                 {"step": "failed", "window_hours": 2}, {"step": "complained", "ratio": "paid"}]);
            let mut about = about(&document(&json!({"guardrails": guardrails, "metrics": metrics})));
            let last = about.stages.last().unwrap().clone();
            let opened = |stage: i64| DAY_ONE + (stage - 1) * 6 * HOUR_MS;
            about.stages.extend((10..60).map(|stage| Stage { stage, opened_at: opened(stage), ..last.clone() }));
            let mut world = World::default();
            let mut now = DAY_ONE + HOUR_MS;
            let bench = Bench::new(&db, now);
            for round in 0..12 {
                let forward = dice.roll(14 * HOUR_MS);
                now += forward;
                bench.clock.advance(forward);
                let (mut exposures, mut steps) = (Vec::new(), Vec::new());
                for _ in 0..dice.roll(14) {
                    exposures.push(dice.exposure(now));
                    steps.push(dice.step(now));
                    steps.push(dice.step(now));
                }
                exposures.iter().for_each(|row| world.expose(row.clone()));
                steps.iter().for_each(|row| world.step(row.clone()));
                bench.arrive(exposures, steps, now).await;
                if dice.roll(5) == 0 {
                    let unit = format!("u-{}", dice.roll(9));
                    world.erase(&unit);
                    db.place_steps().await.unwrap();
                    let mut tx = db.begin_write().await.unwrap();
                    let unit = StoredUnit { environment: 1, attribute: "user.id", unit: &unit };
                    tx.erase_exposures(unit, 1_000).await.unwrap();
                    tx.erase_steps(unit, 1_000).await.unwrap();
                    tx.commit().await.unwrap();
                }
                if dice.roll(3) > 0 {
                    bench.keep_all(&about).await;
                    days += db.number("SELECT count(*) FROM report_days").await;
                }
                compare_all(&bench, &about, &world, now, &mut dice, &format!("seed {seed}, round {round}")).await;
            }
            assert!(days > 0, "whole days are kept");
            let kept = bench.report(&about, Asked::default(), Some("user.region")).await;
            let another = Bench::new(&db, now);
            assert_eq!(another.report(&about, Asked::default(), Some("user.region")).await, kept, "another instance");
            db.execute("DELETE FROM report_days").await;
            assert_eq!(bench.report(&about, Asked::default(), Some("user.region")).await, kept, "without days");
            db.execute("DELETE FROM report_hours").await;
            assert_eq!(bench.report(&about, Asked::default(), Some("user.region")).await, kept, "counted anew");
            let hours = db.number("SELECT count(*) FROM report_hours").await;
            assert!(hours > 10, "whole hours are kept: {hours}");
        }
    }

    async fn young_rows_are_counted_like_the_plainest_way(db) {
        for seed in 0..3 {
            for table in ["exposures", "steps", "report_hours", "report_days", "report_parts", "report_marks"] {
                db.execute(&format!("DELETE FROM {table}")).await;
            }
            let mut dice = Dice(100 + seed);
            let metrics = json!([{"step": "paid", "by": "method", "values": ["wechat", "alipay"]},
                                 {"step": "failed", "window_hours": 2}, {"step": "complained", "ratio": "paid"}]);
            let guardrails = json!([{"step": "failed", "margin": 0.01}, {"step": "failed", "limit": 0.2}]);
            let about = about(&document(&json!({"guardrails": guardrails, "metrics": metrics})));
            let mut world = World::default();
            let mut now = DAY_ONE + 8 * HOUR_MS + 40 * MINUTE_MS;
            let bench = Bench::new(&db, now);
            for round in 0..25 {
                let forward = dice.roll(3 * MINUTE_MS);
                now += forward;
                bench.clock.advance(forward);
                let (mut exposures, mut steps) = (Vec::new(), Vec::new());
                for _ in 0..dice.roll(4) {
                    exposures.push(ExposureRow { at: young(&mut dice, now), ..dice.exposure(now) });
                    steps.push(StepRow { at: young(&mut dice, now), ..dice.step(now) });
                }
                exposures.iter().for_each(|row| world.expose(row.clone()));
                steps.iter().for_each(|row| world.step(row.clone()));
                bench.arrive(exposures, steps, now).await;
                compare_all(&bench, &about, &world, now, &mut dice, &format!("seed {seed}, round {round}")).await;
            }
        }
    }
}
