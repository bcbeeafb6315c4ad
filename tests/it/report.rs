//! Reports: every number against the plainest possible counting of the same rows, and each sentence of the contract.

mod history;
pub(crate) mod http;
mod job;
mod plain;
mod random;
mod scale;
mod told;

use std::collections::BTreeMap;
use std::sync::Arc;

use huidu::clock::{HOUR_MS, HandClock, MINUTE_MS};
use huidu::engine::flag::{Document, Faults, read};
use huidu::report::about::{About, Stage, StageRule};
use huidu::report::ask::Question;
use huidu::report::count::Subject;
use huidu::report::load::Asked;
use huidu::report::plan::Plan;
use huidu::report::{ReportError, Reports};
use huidu::store::{EventBatch, ExposureRow, StepRow, Store};
use huidu::telemetry::metrics::Metrics;
use serde_json::{Value, json};

/// A Wednesday, on the hour.
pub(crate) const DAY_ONE: i64 = 1_795_503_600_000;

/// The flag that most tests report on.
pub(crate) fn document(change: &Value) -> Arc<Document> {
    let mut document = json!({
        "key": "scan-pay", "placement": "checkout", "value_type": "boolean", "variants": {"off": false, "on": true},
        "off_variant": "off", "salt": "s",
        "rules": [{"id": "ramp", "serve": {"rollout": {"percent": 50, "control": 50}}}],
        "funnel": ["clicked", {"step": "opened", "optional": true}, "done"],
        "metrics": [{"step": "paid", "by": "method", "values": ["wechat", "alipay"]}, {"step": "failed", "window_hours": 2}],
        "goal": "paid", "attribution_hours": 6, "capture": ["user.region"],
        "guardrails": [{"step": "failed", "margin": 0.01}],
    });
    document.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let mut faults = Faults::default();
    let read = read(&document, &mut faults);
    Arc::new(read.unwrap_or_else(|| panic!("{faults:?}")))
}

/// What is reported on: environment 1, flag 1, stages 1 to 9 with half and half.
pub(crate) fn about(document: &Arc<Document>) -> About {
    let rule = StageRule {
        rule: "ramp".into(),
        variant: None,
        percent: Some(50.0),
        control: Some(50.0),
        split: BTreeMap::from([("on".to_owned(), 1)]),
    };
    let stage = |stage| Stage {
        stage,
        opened_at: DAY_ONE + (stage - 1) * 6 * HOUR_MS,
        closed_at: (stage < 9).then_some(DAY_ONE + stage * 6 * HOUR_MS),
        off_variant: "off".into(),
        rules: vec![rule.clone()],
    };
    About {
        environment: "production".into(),
        key: "scan-pay".into(),
        subject: Subject { environment: 1, flag: 1, plan: Arc::new(Plan::of(document)) },
        document: document.clone(),
        stages: (1..=9).map(stage).collect(),
        neighbours: BTreeMap::from([(2, "friend-pay".to_owned())]),
    }
}

/// An exposure of flag 1.
pub(crate) fn shown(unit: &str, stage: i64, variant: &str, at: i64) -> ExposureRow {
    ExposureRow {
        environment: 1,
        unit: unit.into(),
        flag: 1,
        stage,
        rule: "ramp".into(),
        unit_attribute: "user.id".into(),
        arm: i64::from(variant == "on"),
        variant: variant.into(),
        bucket: Some(1),
        at,
        captured: Some(r#"{"region":"CN-31"}"#.to_owned()),
    }
}

/// A step of no flag.
pub(crate) fn step(unit: &str, step: &str, id: &str, at: i64) -> StepRow {
    StepRow {
        environment: 1,
        unit: unit.into(),
        unit_attribute: "user.id".into(),
        step: step.into(),
        id: id.into(),
        flag: None,
        stage: None,
        rule: None,
        resolve: false,
        value: None,
        currency: None,
        order_id: None,
        at,
        attributes: None,
    }
}

/// A stop of flag 1.
pub(crate) fn stop(unit: &str, name: &str, stage: i64, at: i64) -> StepRow {
    let id = format!("{name}-{at}");
    StepRow { flag: Some(1), stage: Some(stage), rule: Some("ramp".into()), ..step(unit, name, &id, at) }
}

/// A store with a clock of its own, and reports of it.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) reports: Reports,
}

impl Bench {
    pub(crate) fn new(store: &Store, now_ms: i64) -> Self {
        let clock = HandClock::at(now_ms);
        let reports = Reports::new(store.clone(), clock.clone(), Metrics::new().unwrap());
        Self { store: store.clone(), clock, reports }
    }

    /// As the service stores what arrives at `now_ms`.
    pub(crate) async fn arrive(&self, exposures: Vec<ExposureRow>, steps: Vec<StepRow>, now_ms: i64) {
        let late = now_ms - huidu::store::LATE_AFTER_MS;
        self.store.append_events(&EventBatch { exposures, steps }, late).await.unwrap();
    }

    /// As the job does, until nothing is due.
    pub(crate) async fn keep_all(&self, about: &About) {
        loop {
            let due = self.reports.due(&about.subject).await.unwrap();
            if due.is_empty() {
                return;
            }
            for due in due {
                self.reports.keep(&about.subject, due).await.unwrap();
            }
        }
    }

    pub(crate) async fn report(&self, about: &About, asked: Asked, by: Option<&str>) -> Value {
        let question = Question::Report { asked, by: by.map(str::to_owned), cap: None };
        self.reports.compute(about.clone(), question).await.unwrap()
    }
}

/// The row of an answer's list in which all `fields` are so.
#[track_caller]
pub(crate) fn row<'a>(list: &'a Value, fields: &[(&str, &str)]) -> &'a Value {
    let found =
        list.as_array().unwrap().iter().find(|row| fields.iter().all(|(name, value)| row[name] == *value));
    found.unwrap_or_else(|| panic!("no {fields:?} in {list:#}"))
}

crate::postgres::on_both_engines! {
    async fn the_numbers_of_a_small_history(db) {
        let bench = Bench::new(&db, DAY_ONE + 12 * HOUR_MS);
        let at = DAY_ONE + MINUTE_MS;
        let mut paid = step("ann", "paid", "o-1", at + 90_000);
        (paid.value, paid.currency) = (Some(45_900), Some("CNY".into()));
        paid.attributes = Some(r#"{"method":"wechat"}"#.into());
        let exposures = vec![
            shown("ann", 1, "on", at), shown("bob", 1, "on", at), shown("cat", 1, "off", at),
            // Matured by the window of 2 hours, not by that of 6.
            shown("dan", 2, "on", DAY_ONE + 8 * HOUR_MS),
        ];
        let steps = vec![
            paid, step("cat", "failed", "f-1", at), step("ann", "failed", "f-2", at + 2 * HOUR_MS),
            stop("ann", "clicked", 1, at + 8_200), stop("ann", "done", 1, at + 20_000), stop("bob", "done", 1, at + 5),
            stop("eve", "clicked", 1, at),
        ];
        bench.arrive(exposures, steps, at).await;
        let about = about(&document(&json!({})));
        let report = bench.report(&about, Asked::default(), None).await;

        let on = row(&report["variants"], &[("arm", "treatment")]);
        assert_eq!((&on["rule"], &on["variant"]), (&json!("ramp"), &json!("on")));
        assert_eq!([&on["exposed_users"], &on["maturing_users"], &on["converted_users"], &on["rate"]],
                   [&json!(2), &json!(1), &json!(1), &json!(0.5)], "{on:#}");
        assert_eq!(on["value"], json!({"CNY": 45_900}));
        assert_eq!(on["funnel"], json!([
            {"step": "clicked", "optional": false, "users": 1, "inferred": 0, "of_exposed": 0.5, "of_previous": 0.5,
             "median_seconds_from_previous": 8.3195, "out_of_order": 0},
            {"step": "opened", "optional": true, "users": 1, "inferred": 1, "of_exposed": 0.5, "of_previous": 1.0,
             "median_seconds_from_previous": null, "out_of_order": 0},
            {"step": "done", "optional": false, "users": 1, "inferred": 0, "of_exposed": 0.5, "of_previous": 1.0,
             "median_seconds_from_previous": null, "out_of_order": 1},
        ]));
        let paid = row(&on["metrics"], &[("step", "paid")]);
        assert_eq!((&paid["users"], &paid["by"]), (&json!(1), &json!({"wechat": 1, "alipay": 0, "other": 0})));
        let failed = row(&on["metrics"], &[("step", "failed")]);
        assert_eq!((&failed["users"], &failed["exposed_users"], &failed["maturing_users"]), (&json!(0), &json!(3), &json!(0)),
                   "its window is 2 hours: dan has matured, and ann's failure came as it ended");
        let off = row(&report["variants"], &[("arm", "control")]);
        assert_eq!((&off["exposed_users"], &off["converted_users"]), (&json!(1), &json!(0)));
        assert_eq!(report["without_exposure"], 1, "eve was never exposed");
        let stage = row(&report["stages"], &[("rule", "ramp")]);
        assert_eq!(stage["arms"], json!({"on": {"units": 2, "matured_units": 2, "converted": 1},
                                         "off": {"units": 1, "matured_units": 1, "converted": 0}}));
        assert_eq!(report["srm"]["per_stage"][0]["observed"], json!({"on": 2, "off": 1}));
        assert_eq!(report["srm"]["per_stage"][1]["observed"], json!({"on": 1, "off": 0}), "at once");
        let goal = row(&report["comparisons"], &[("metric", "paid")]);
        assert_eq!((&goal["baseline"], &goal["absolute_lift"], &goal["verdict"]), (&json!("off"), &json!(0.5), &json!("undecided")));
        assert_eq!(goal["stages_pooled"], json!([1]));
        assert_eq!(report["guardrails"][0]["step"], "failed");
    }

    async fn a_flag_that_nobody_saw_has_a_report_too(db) {
        let bench = Bench::new(&db, DAY_ONE);
        let report = bench.report(&about(&document(&json!({}))), Asked::default(), Some("user.region")).await;
        let on = row(&report["variants"], &[("arm", "treatment")]);
        assert_eq!((&on["exposed_users"], &on["rate"], &on["rate_ci"]), (&json!(0), &Value::Null, &Value::Null));
        let goal = row(&report["comparisons"], &[("metric", "paid")]);
        assert_eq!((&goal["verdict"], &goal["why"], &goal["p_value"]), (&json!("no_comparison"), &json!("nothing_exposed"), &Value::Null));
        assert_eq!((&report["segments"], &report["srm"]["ok"]), (&json!([]), &json!(true)));
        let codes: Vec<_> = report["notes"].as_array().unwrap().iter().map(|note| note["code"].as_str().unwrap()).collect();
        assert!(codes.contains(&"nothing_exposed"), "{codes:?}");
    }

    async fn a_split_by_what_is_not_captured_is_refused(db) {
        let bench = Bench::new(&db, DAY_ONE);
        let question = Question::Report { asked: Asked::default(), by: Some("user.age".into()), cap: None };
        let refused = bench.reports.compute(about(&document(&json!({}))), question).await;
        assert!(matches!(refused, Err(ReportError::NotCaptured { .. })), "{refused:?}");
    }
}
