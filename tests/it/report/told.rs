//! What a report says beside its numbers: why there is none, when to look again, whom to trust.

use huidu::clock::DAY_MS;
use huidu::engine::share::Share;
use huidu::stats::compare::{Better, Comparison, Question as Asking, Role, compare};
use huidu::stats::counts::{Count, Strata, Stratum};
use huidu::stats::power::Pace;

use super::*;

/// Each null of a report has a note, at its own pointer or, for one side of an interval, at that of the interval; but for
/// those that say that there is nothing to say.
#[track_caller]
pub(crate) fn every_null_has_a_note(report: &Value, place: &str) {
    let mut nulls = Vec::new();
    find_nulls(report, "", &mut nulls);
    let has =
        |pointer: &str| report["notes"].as_array().unwrap().iter().any(|note| note["pointer"] == *pointer);
    for pointer in nulls.iter().filter(|pointer| !is_said(report, pointer)) {
        let (holder, own) = pointer.rsplit_once('/').unwrap();
        let is_side = own.parse::<usize>().is_ok();
        assert!(has(pointer) || (is_side && has(holder)), "{place}: no note says why {pointer} is null");
    }
}

fn find_nulls(value: &Value, pointer: &str, nulls: &mut Vec<String>) {
    match value {
        Value::Null => nulls.push(pointer.to_owned()),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                find_nulls(item, &format!("{pointer}/{at}"), nulls);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                find_nulls(field, &format!("{pointer}/{name}"), nulls);
            }
        }
        _ => {}
    }
}

/// Whether a null is no missing figure.
fn is_said(report: &Value, pointer: &str) -> bool {
    let (holder, own) = pointer.rsplit_once('/').unwrap();
    let holder_value = report.pointer(holder).unwrap();
    match own {
        "why" | "not_worse_than" => true,
        "look_again" => holder_value["verdict"] != "undecided",
        "to" | "percent" | "control" => pointer.starts_with("/stages/"),
        // Of a flag without a goal, which one note says.
        "converted_users" | "rate" | "rate_ci" => {
            report["goal"].is_null() && holder.rsplit('/').nth(1) == Some("variants")
        }
        "converted" => report["goal"].is_null(),
        _ => false,
    }
}

/// One stage that is open from the first day on.
fn one_stage(change: &Value) -> About {
    let mut about = about(&document(change));
    about.stages.truncate(1);
    about.stages[0].closed_at = None;
    about
}

async fn asked(bench: &Bench, about: &About, from_ms: Option<i64>, to_ms: Option<i64>) -> Value {
    let (by, cap) = (Some("user.region".to_owned()), Share::from_percent(90.0));
    let question = Question::Report { asked: Asked { from_ms, to_ms }, by, cap };
    let report = bench.reports.compute(about.clone(), question).await.unwrap();
    every_null_has_a_note(&report, &format!("{from_ms:?} to {to_ms:?}"));
    report
}

/// The code of the note on a pointer.
#[track_caller]
fn code<'r>(report: &'r Value, pointer: &str) -> &'r str {
    row(&report["notes"], &[("pointer", pointer)])["code"].as_str().unwrap()
}

fn goal(report: &Value) -> &Value {
    row(&report["comparisons"], &[("metric", "paid")])
}

/// Twenty treated and twenty of control on each of fourteen days, one an hour; every fifth pays.
fn fortnight() -> (Vec<ExposureRow>, Vec<StepRow>) {
    let (mut exposures, mut steps) = (Vec::new(), Vec::new());
    for day in 0..14 {
        for hour in 0..20 {
            for variant in ["on", "off"] {
                let (unit, at) = (
                    format!("{variant}-{day}-{hour}"),
                    DAY_ONE + day * DAY_MS + hour * HOUR_MS + 7 * MINUTE_MS,
                );
                exposures.push(shown(&unit, 1, variant, at));
                if hour % 5 == 0 {
                    steps.push(step(&unit, "paid", "o", at + 1_000));
                }
            }
        }
    }
    (exposures, steps)
}

/// What the goal of such a history should come to, by the plainest counting: matured units of the range, and how many of
/// them joined since a week before the last that have matured.
fn expected(
    (exposures, steps): &(Vec<ExposureRow>, Vec<StepRow>),
    now: i64,
    (from, to): (i64, i64),
) -> Comparison {
    let cut = now - 6 * HOUR_MS - 10 * MINUTE_MS;
    let week = (cut - 7 * DAY_MS).div_euclid(HOUR_MS) * HOUR_MS;
    let since = week.max(from).max(DAY_ONE);
    let count = |variant: &str, until: i64| {
        let own =
            exposures.iter().filter(|row| row.variant == variant && row.at >= from && row.at < to.min(until));
        let own: Vec<_> = own.filter(|row| row.at <= cut).collect();
        let converted = own.iter().filter(|row| steps.iter().any(|step| step.unit == row.unit)).count();
        Count { units: own.len() as u64, converted: converted as u64 }
    };
    let stratum = |until| Stratum { stage: 1, treatment: count("on", until), control: count("off", until) };
    let (strata, before) = ([stratum(i64::MAX)], stratum(week));
    let days = (cut.min(to) - since) as f64 / DAY_MS as f64;
    compare(&Asking {
        counts: Strata { strata: &strata, ..Strata::default() },
        maturing_users: 0,
        role: Role::Goal,
        better: Better::More,
        treatments: 1,
        srm_ok: true,
        margin: None,
        min_effect: 0.5,
        pace: (days > 0.0).then(|| Pace::of(&strata[0], &before, days)),
        window_hours: 6,
    })
}

#[track_caller]
fn same_advice(told: &Value, own: &Comparison) {
    let power = own.power.unwrap();
    let again = own.look_again.map(|again| json!({"users": again.users, "days": again.days}));
    assert_eq!(told["look_again"], again.unwrap_or_default(), "{own:?}");
    let smallest = json!({"fixed": power.mde_fixed, "always_valid": power.mde_sequential,
                          "days_fixed": power.days_fixed, "days_always_valid": power.days_sequential});
    assert_eq!(told["smallest_effect"], smallest);
}

crate::postgres::on_both_engines! {
    async fn when_to_look_again_is_the_same_with_whole_days_and_without(db) {
        let now = DAY_ONE + 14 * DAY_MS + 3 * HOUR_MS + 21 * MINUTE_MS;
        let bench = Bench::new(&db, now);
        let history = fortnight();
        bench.arrive(history.0.clone(), history.1.clone(), now).await;
        let about = one_stage(&json!({"min_effect": 0.5, "metrics": ["paid"], "guardrails": []}));
        let forever = (i64::MIN, i64::MAX);
        let own = expected(&history, now, forever);
        let again = own.look_again.unwrap();
        assert!(again.days > 1 && again.days < 365 && again.users > 40, "{again:?}");
        // By hours that are counted now, by whole days, by hours alone.
        same_advice(goal(&asked(&bench, &about, None, None).await), &own);
        bench.keep_all(&about).await;
        assert!(db.number("SELECT count(*) FROM report_days").await > 3);
        same_advice(goal(&asked(&bench, &about, None, None).await), &own);
        db.execute("DELETE FROM report_days").await;
        same_advice(goal(&asked(&bench, &about, None, None).await), &own);
        // A range has the pace of what lies in it.
        for (from, to) in [
            (Some(DAY_ONE + 3 * DAY_MS), None),
            (Some(DAY_ONE + 10 * DAY_MS + 30 * MINUTE_MS), None),
            (None, Some(DAY_ONE + 11 * DAY_MS)),
            (Some(DAY_ONE + 9 * DAY_MS), Some(DAY_ONE + 12 * DAY_MS)),
            (None, Some(DAY_ONE + 5 * DAY_MS)),
        ] {
            let own = expected(&history, now, (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX)));
            let report = asked(&bench, &about, from, to).await;
            same_advice(goal(&report), &own);
            if own.look_again.is_none() {
                assert_eq!(code(&report, "/comparisons/0/look_again"), "no_growth");
            }
        }
    }

    async fn a_flag_that_is_shut_is_not_told_to_wait(db) {
        let now = DAY_ONE + 14 * DAY_MS + 3 * HOUR_MS;
        let bench = Bench::new(&db, now);
        let (exposures, steps) = fortnight();
        bench.arrive(exposures, steps, now).await;
        let mut about = one_stage(&json!({"min_effect": 0.5}));
        about.stages[0].closed_at = Some(now - HOUR_MS);
        let report = asked(&bench, &about, None, None).await;
        let told = goal(&report);
        assert_eq!((&told["verdict"], &told["look_again"]), (&json!("undecided"), &Value::Null));
        assert_eq!(code(&report, "/comparisons/0/look_again"), "not_open");
        assert_eq!(told["smallest_effect"]["days_always_valid"], Value::Null);
        assert_eq!(code(&report, "/comparisons/0/smallest_effect/days_always_valid"), "not_open");
        let said = told["sentence"]["en"].as_str().unwrap();
        assert!(said.contains("It is shut") && !said.contains("look again"), "{said}");
        // Of another metric nobody is told when to look again.
        let failed = row(&report["comparisons"], &[("metric", "failed")]);
        let said = failed["sentence"]["en"].as_str().unwrap();
        assert!(!said.contains("joined") && !said.contains("shut") && !said.contains("look again"), "{said}");
        assert_eq!(code(&report, "/comparisons/1/look_again"), "not_the_goal");
        assert_eq!(code(&report, "/overlap/0/did_not/0/look_again"), "not_the_goal");
        assert!(!report["notes"].to_string().contains("no_growth"));
    }

    async fn who_still_has_time_is_not_nobody(db) {
        let at = DAY_ONE + MINUTE_MS;
        let bench = Bench::new(&db, at + 30 * MINUTE_MS);
        let limits = json!({"guardrails": [{"step": "failed", "margin": 0.01}, {"step": "failed", "limit": 0.2}],
                            "metrics": ["paid", "failed", {"step": "complained", "ratio": "paid"}]});
        let about = one_stage(&limits);
        let mut order = step("ann", "paid", "o-1", at + 1);
        (order.value, order.currency) = (Some(100), Some("CNY".into()));
        bench.arrive(vec![shown("ann", 1, "on", at), shown("bob", 1, "off", at)], vec![order], at).await;
        let report = asked(&bench, &about, None, None).await;
        assert_eq!(goal(&report)["why"], "maturing");
        for pointer in ["/guardrails/0/difference", "/guardrails/1/rate", "/ratios/0/difference", "/comparisons/1/p_value"] {
            assert_eq!(code(&report, pointer), "maturing", "{pointer}");
        }
        for guardrail in report["guardrails"].as_array().unwrap() {
            let said = guardrail["sentence"]["en"].as_str().unwrap();
            assert!(!said.contains("obody") && said.contains("time to act is not over"), "{said}");
        }
        // Ann's window closes, control comes only now.
        bench.arrive(vec![shown("cat", 1, "off", at + 5 * HOUR_MS)], vec![], at + 5 * HOUR_MS).await;
        db.execute("DELETE FROM exposures WHERE unit = 'bob'").await;
        let alone = Bench::new(&db, at + 6 * HOUR_MS + 30 * MINUTE_MS);
        let report = asked(&alone, &about, None, None).await;
        let told = goal(&report);
        assert_eq!((&told["why"], &told["stages_left_out"]), (&json!("maturing"), &json!([1])), "{told:#}");
        let said = told["sentence"]["en"].as_str().unwrap();
        assert!(said.contains("on both sides") && !said.contains("control percentage"), "{said}");
        for pointer in ["/values/0/difference", "/values/0/per_order/difference", "/values/0/capped/cap", "/guardrails/0/difference"] {
            assert_eq!(code(&report, pointer), "maturing", "{pointer}");
        }
    }

    async fn where_only_testers_came_the_comparison_says_so(db) {
        let bench = Bench::new(&db, DAY_ONE + DAY_MS);
        let tester = ExposureRow { rule: "invited".into(), arm: 2, ..shown("ann", 1, "on", DAY_ONE) };
        bench.arrive(vec![tester], vec![], DAY_ONE).await;
        let report = asked(&bench, &one_stage(&json!({})), None, None).await;
        let told = goal(&report);
        assert_eq!((&told["verdict"], &told["why"]), (&json!("no_comparison"), &json!("only_fixed")));
        assert!(told["sentence"]["zh"].as_str().unwrap().contains("只有测试人员"), "{told}");
        assert_eq!(code(&report, "/guardrails/0/difference"), "only_fixed");
        // One of control, and it is something else.
        bench.arrive(vec![shown("bob", 1, "off", DAY_ONE)], vec![], DAY_ONE + DAY_MS).await;
        let report = asked(&bench, &one_stage(&json!({})), None, None).await;
        assert_eq!(goal(&report)["why"], "no_treatment");
    }

    async fn exposures_of_a_stage_that_is_not_stored_are_counted_in_a_note(db) {
        let bench = Bench::new(&db, DAY_ONE + DAY_MS);
        let strays = vec![shown("ann", 77, "on", DAY_ONE), shown("bob", 77, "off", DAY_ONE), shown("cat", 1, "on", DAY_ONE)];
        bench.arrive(strays, vec![], DAY_ONE).await;
        let report = asked(&bench, &one_stage(&json!({})), None, None).await;
        let note = row(&report["notes"], &[("code", "stage_unknown")]);
        assert!(note["detail"].as_str().unwrap().ends_with(": 2"), "{note}");
    }

    async fn nothing_holds_where_units_came_in_other_shares(db) {
        let limits = json!({"guardrails": [{"step": "failed", "margin": 0.9}, {"step": "failed", "limit": 0.5}]});
        let about = one_stage(&limits);
        let bench = Bench::new(&db, DAY_ONE + DAY_MS);
        let people = |many: i64, name: &str, variant: &str| -> Vec<ExposureRow> {
            (0..many).map(|at| shown(&format!("{name}-{at}"), 1, variant, DAY_ONE + at)).collect()
        };
        bench.arrive([people(150, "t", "on"), people(150, "c", "off")].concat(), vec![], DAY_ONE).await;
        let states = |report: &Value| report["guardrails"].as_array().unwrap().iter().map(|own| own["state"].clone()).collect::<Vec<_>>();
        let report = asked(&bench, &about, None, None).await;
        assert_eq!((&report["srm"]["ok"], states(&report)), (&json!(true), vec![json!("holds"); 2]));
        bench.arrive(people(300, "more", "on"), vec![], DAY_ONE + DAY_MS).await;
        let report = asked(&bench, &about, None, None).await;
        assert_eq!((&report["srm"]["ok"], states(&report)), (&json!(false), vec![json!("undecided"); 2]));
        for (at, guardrail) in report["guardrails"].as_array().unwrap().iter().enumerate() {
            assert_eq!(code(&report, &format!("/guardrails/{at}/state")), "srm");
            let said = guardrail["sentence"]["en"].as_str().unwrap();
            assert!(said.contains("other shares") && !said.contains("may go on"), "{said}");
        }
    }

    async fn a_metric_that_chance_among_many_explains_is_told_so(db) {
        let about = one_stage(&json!({"metrics": ["paid", "failed", "complained"], "guardrails": []}));
        let arm = |converted| Count { units: 400, converted };
        let alone = |failed| {
            let strata = [Stratum { stage: 1, treatment: arm(failed), control: arm(20) }];
            let counts = Strata { strata: &strata, ..Strata::default() };
            compare(&Asking { counts, maturing_users: 0, role: Role::Metric, better: Better::More, treatments: 1, srm_ok: true,
                              margin: None, min_effect: 0.05, pace: None, window_hours: 6 }).always_valid_p.unwrap()
        };
        // Three are adjusted together: both metrics, and the goal of those who saw no other entry.
        let failed = (21..400).find(|failed| alone(*failed) < 0.048).unwrap();
        assert!(alone(failed) > 0.05 / 3.0, "{failed}: {}", alone(failed));
        let bench = Bench::new(&db, DAY_ONE + DAY_MS);
        let (mut exposures, mut steps) = (Vec::new(), Vec::new());
        for (variant, failures) in [("on", failed), ("off", 20)] {
            for at in 0..400 {
                let unit = format!("{variant}-{at}");
                exposures.push(shown(&unit, 1, variant, DAY_ONE + at));
                if u64::try_from(at).unwrap() < failures {
                    steps.push(step(&unit, "failed", "f", DAY_ONE + at));
                }
            }
        }
        bench.arrive(exposures, steps, DAY_ONE).await;
        let report = bench.report(&about, Asked::default(), None).await;
        every_null_has_a_note(&report, "vetoed");
        let told = row(&report["comparisons"], &[("metric", "failed")]);
        assert!(told["always_valid_ci"][0].as_f64().unwrap() > 0.0 && told["adjusted_p"].as_f64().unwrap() > 0.05, "{told:#}");
        assert_eq!(told["verdict"], "undecided");
        let said = told["sentence"]["en"].as_str().unwrap();
        assert!(said.starts_with("Not beyond chance among the 3 compared") && !said.contains("may be anything"), "{said}");
    }

    async fn no_null_is_without_a_note_at_the_edges(db) {
        // Of treatment, of control: how many come, how many of them pay; one arm or none within the last window.
        let people: [(i64, i64); 4] = [(0, 0), (1, 1), (3, 0), (3, 3)];
        let plain = json!({"metrics": [{"step": "paid", "by": "method", "values": ["wechat"]}, {"step": "failed", "window_hours": 2},
                                       {"step": "complained", "ratio": "paid"}],
                           "guardrails": [{"step": "failed", "margin": 0.01}, {"step": "failed", "limit": 0.2}]});
        let aimless = Document { goal: None, ..(*document(&plain)).clone() };
        let mut staged = plain.clone();
        staged["goal"] = json!("clicked");
        let abouts = [document(&plain), Arc::new(aimless), document(&staged)].map(|document| about(&document));
        let now = DAY_ONE + 2 * DAY_MS;
        for treatment in people {
            for control in people {
                for late in [0, 1, 2] {
                    for table in ["exposures", "steps", "report_hours", "report_days", "report_parts", "report_marks"] {
                        db.execute(&format!("DELETE FROM {table}")).await;
                    }
                    let bench = Bench::new(&db, now);
                    let (mut exposures, mut steps) = (Vec::new(), Vec::new());
                    for (variant, (many, paying), is_late) in [("on", treatment, late == 1), ("off", control, late == 2)] {
                        for unit in 0..many {
                            let (name, stage) = (format!("{variant}-{unit}"), 1 + unit % 2);
                            let at = if is_late { now - HOUR_MS } else { DAY_ONE + unit };
                            exposures.push(shown(&name, stage, variant, at));
                            if unit < paying {
                                let mut order = step(&name, "paid", "o", at);
                                (order.value, order.currency) = (Some(unit), Some("CNY".into()));
                                steps.push(order);
                            }
                        }
                    }
                    bench.arrive(exposures, steps, now).await;
                    for about in &abouts {
                        asked(&bench, about, None, None).await;
                    }
                }
            }
        }
    }
}
