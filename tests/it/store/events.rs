//! Events: what each row becomes, as if they had come one by one.

use std::collections::{BTreeMap, BTreeSet};

use huidu::store::{
    EventBatch, EventOutcome, ExposedUsersRow, ExposureOutcome, ExposureRow, StepOutcome, StepRow, Store,
};

use crate::postgres::on_both_engines;
use ExposureOutcome::{Added, Duplicate, Moved};

fn shown(unit: &str, stage: i64, variant: &str, at: i64) -> ExposureRow {
    ExposureRow {
        environment: 1,
        unit: unit.into(),
        flag: 1,
        stage,
        rule: "ramp".into(),
        unit_attribute: "user.id".into(),
        arm: i64::from(variant == "on"),
        variant: variant.into(),
        bucket: Some(at),
        at,
        captured: (at % 2 == 0).then(|| format!("{{\"region\":\"CN-{at}\"}}")),
    }
}

/// The counts of exposed users that are not zero.
async fn exposed(db: &Store, environment: i64) -> Vec<ExposedUsersRow> {
    let mut rows = db.exposed_users(environment).await.unwrap();
    rows.retain(|row| row.users != 0);
    rows
}

fn step(unit: &str, id: &str, at: i64) -> StepRow {
    StepRow {
        environment: 1,
        unit: unit.into(),
        unit_attribute: "user.id".into(),
        step: "qr_shown".into(),
        id: id.into(),
        flag: Some(1),
        stage: None,
        rule: None,
        resolve: true,
        value: None,
        currency: None,
        order_id: None,
        at,
        attributes: None,
    }
}

fn found(stage: i64, variant: &str) -> StepOutcome {
    StepOutcome::Added {
        stage: Some(stage),
        rule: Some("ramp".into()),
        variant: Some(variant.into()),
        arm: Some(i64::from(variant == "on")),
    }
}

const NOWHERE: StepOutcome = StepOutcome::Added { stage: None, rule: None, variant: None, arm: None };

type ExposureKey = (i64, String, i64, i64, String);
type StepKey = (i64, [String; 4]);

/// The store of events, one by one, without any of its tricks.
#[derive(Default)]
struct Model {
    /// With the number of times that each was replaced.
    exposures: BTreeMap<ExposureKey, (ExposureRow, i64)>,
    /// With stage and rule.
    steps: BTreeMap<StepKey, (Option<i64>, Option<String>)>,
}

impl Model {
    fn expose(&mut self, row: &ExposureRow) -> ExposureOutcome {
        let key = (row.environment, row.unit.clone(), row.flag, row.stage, row.rule.clone());
        match self.exposures.get_mut(&key) {
            None => {
                self.exposures.insert(key, (row.clone(), 0));
                Added
            }
            Some((held, replaced)) if row.at < held.at => {
                *held = row.clone();
                *replaced += 1;
                Moved
            }
            Some(_) => Duplicate,
        }
    }

    fn step(&mut self, row: &StepRow) -> StepOutcome {
        let texts = [&row.unit, &row.unit_attribute, &row.step, &row.id].map(ToString::to_string);
        let key = (row.environment, texts);
        if self.steps.contains_key(&key) {
            return StepOutcome::Duplicate;
        }
        let mut best: Option<&ExposureRow> = None;
        for (held, _) in self.exposures.values() {
            let fits = (held.environment, &*held.unit, Some(held.flag), &*held.unit_attribute)
                == (row.environment, &*row.unit, row.flag, &*row.unit_attribute)
                && held.at <= row.at;
            if row.resolve && fits && best.is_none_or(|b| held.at >= b.at) {
                best = Some(held);
            }
        }
        let (stage, rule) = if row.resolve {
            (best.map(|b| b.stage), best.map(|b| b.rule.clone()))
        } else {
            (row.stage, row.rule.as_ref().map(ToString::to_string))
        };
        let (variant, arm) = (best.map(|b| b.variant.clone()), best.map(|b| b.arm));
        self.steps.insert(key, (stage, rule.clone()));
        StepOutcome::Added { stage, rule, variant, arm }
    }

    fn take(&mut self, batch: &EventBatch) -> EventOutcome {
        let exposures = batch.exposures.iter().map(|row| self.expose(row)).collect();
        let steps = batch.steps.iter().map(|row| self.step(row)).collect();
        EventOutcome { exposures, steps }
    }

    fn rows(&self, environment: i64) -> Vec<ExposureRow> {
        self.exposures
            .values()
            .filter(|(r, _)| r.environment == environment)
            .map(|(r, _)| r.clone())
            .collect()
    }

    fn users(&self, environment: i64) -> Vec<ExposedUsersRow> {
        let rows = self.rows(environment);
        let units: BTreeSet<_> = rows.iter().map(|r| (r.flag, &r.variant, r.arm, &r.unit)).collect();
        let mut counts = BTreeMap::new();
        for (flag, variant, arm, _) in units {
            *counts.entry((flag, variant.clone(), arm)).or_insert(0) += 1;
        }
        counts
            .into_iter()
            .map(|((flag, variant, arm), users)| ExposedUsersRow { flag, variant, arm, users })
            .collect()
    }
}

/// A small generator whose seed repeats a run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 % n).unwrap()
    }

    fn exposure(&mut self) -> ExposureRow {
        let variant = ["on", "off", "big"][usize::try_from(self.below(3)).unwrap()];
        let mut row = shown(&format!("u-{}", self.below(6)), self.below(3) + 1, variant, self.below(40));
        row.environment = self.below(2) + 1;
        row.flag = self.below(2) + 1;
        row.rule = ["ramp", "testers"][usize::try_from(self.below(2)).unwrap()].into();
        if self.below(9) == 0 {
            row.unit_attribute = "user.device_id".into();
        }
        row
    }

    fn step(&mut self) -> StepRow {
        let mut row = step(&format!("u-{}", self.below(6)), &format!("e-{}", self.below(60)), self.below(50));
        row.environment = self.below(2) + 1;
        match self.below(4) {
            0 => {
                (row.flag, row.resolve) = (None, false);
                (row.value, row.currency) = (Some(self.below(1 << 53)), Some("CNY".into()));
                row.attributes = Some("{\"payment_method\":\"wechat\"}".into());
            }
            1 => {
                (row.stage, row.rule, row.resolve) = (Some(self.below(3)), Some("ramp".into()), false);
            }
            _ => row.flag = Some(self.below(2) + 1),
        }
        row
    }

    fn batch(&mut self) -> EventBatch {
        let (exposures, steps) = (self.below(13), self.below(9));
        EventBatch {
            exposures: (0..exposures).map(|_| self.exposure()).collect(),
            steps: (0..steps).map(|_| self.step()).collect(),
        }
    }
}

on_both_engines! {
    async fn the_earliest_exposure_wins_whatever_the_order(db) {
        let send = async |exposures| {
            db.append_events(&EventBatch { exposures, steps: vec![] }, i64::MIN).await.unwrap().exposures
        };
        let at = |at| shown("u", 1, "on", at);
        assert_eq!(send(vec![at(5), at(4), at(4)]).await, [Added, Moved, Duplicate]);
        assert_eq!(send(vec![at(5), at(3)]).await, [Duplicate, Moved]);
        assert_eq!(send(vec![at(3), at(9)]).await, [Duplicate, Duplicate]);
        let other = ExposureRow { variant: "off".into(), arm: 0, captured: Some("{}".into()), ..at(1) };
        assert_eq!(send(vec![at(2), other.clone()]).await, [Moved, Moved]);
        assert_eq!(db.unit_exposures(1, &[("user.id", "u")]).await.unwrap(), [other], "the whole row");
        assert_eq!(db.number("SELECT replaced FROM exposures").await, 4);
        let counted = [ExposedUsersRow { flag: 1, variant: "off".into(), arm: 0, users: 1 }];
        assert_eq!(exposed(&db, 1).await, counted);
        assert_eq!(send(vec![]).await, []);
    }

    async fn a_unit_counts_once_a_variant_over_all_stages(db) {
        let exposures = vec![
            shown("a", 1, "on", 1), shown("a", 2, "on", 2), shown("a", 3, "off", 3), shown("b", 1, "on", 1),
        ];
        db.append_events(&EventBatch { exposures, steps: vec![] }, i64::MIN).await.unwrap();
        let users = exposed(&db, 1).await;
        assert_eq!(users.iter().map(|u| (u.variant.as_str(), u.arm, u.users)).collect::<Vec<_>>(),
                   [("off", 0, 1), ("on", 1, 2)]);
        assert_eq!(db.recount_exposed_users(1).await.unwrap(), users);
        assert!(exposed(&db, 2).await.is_empty());
        let asked = db.unit_exposures(1, &[("user.id", "b"), ("user.id", "b"), ("user.device_id", "a")]).await.unwrap();
        assert_eq!(asked, [shown("b", 1, "on", 1)]);
    }

    async fn a_step_finds_the_latest_exposure_before_it(db) {
        db.append_events(&EventBatch { exposures: vec![shown("u", 1, "off", 10)], steps: vec![] }, i64::MIN).await.unwrap();
        let batch = EventBatch {
            exposures: vec![shown("u", 2, "on", 20)],
            steps: vec![
                step("u", "1", 9), step("u", "2", 10), step("u", "3", 19), step("u", "4", 20), step("u", "4", 5),
                StepRow { unit_attribute: "user.device_id".into(), ..step("u", "5", 99) }, step("v", "6", 99),
                StepRow { stage: Some(7), rule: Some("r".into()), resolve: false, ..step("u", "7", 99) },
            ],
        };
        let given = StepOutcome::Added { stage: Some(7), rule: Some("r".into()), variant: None, arm: None };
        let outcome = db.append_events(&batch, i64::MIN).await.unwrap();
        assert_eq!(outcome.steps, [
            NOWHERE, found(1, "off"), found(1, "off"), found(2, "on"), StepOutcome::Duplicate, NOWHERE, NOWHERE, given,
        ]);
        let again = db.append_events(&batch, i64::MIN).await.unwrap();
        assert!(again.steps.iter().all(|s| *s == StepOutcome::Duplicate));
        assert_eq!(again.exposures, [Duplicate]);
        assert_eq!(db.counts(1).await.unwrap().steps, 7);
        assert_eq!(db.number("SELECT count(*) FROM steps WHERE stage = 1").await, 2);
    }

    async fn of_a_large_batch_each_known_step_is_told_from_the_new_ones(db) {
        let some = |known: fn(&usize) -> bool| -> Vec<StepRow> {
            (0..1_100).filter(known).map(|n| step("u", &format!("{n:04}"), 1)).collect()
        };
        let send = async |steps| {
            db.append_events(&EventBatch { exposures: vec![], steps }, i64::MIN).await.unwrap().steps
        };
        // Many together, each third of the next, none of the last: whole statements are known, new, and mixed.
        let before = |n: &usize| *n < 300 || (300..800).contains(n) && n.is_multiple_of(3);
        assert!(send(some(before)).await.iter().all(|outcome| *outcome == NOWHERE));
        let outcomes = send(some(|_| true)).await;
        for (n, outcome) in outcomes.iter().enumerate() {
            assert_eq!(*outcome, if before(&n) { StepOutcome::Duplicate } else { NOWHERE }, "{n}");
        }
        assert_eq!(outcomes.len(), 1_100);
        assert_eq!(db.number("SELECT count(*) FROM steps").await, 1_100);
    }

    async fn any_batches_equal_the_same_events_one_by_one(db) {
        let (mut dice, mut model) = (Dice(0x2545_F491_4F6C_DD1D), Model::default());
        for round in 0..200 {
            let batch = dice.batch();
            assert_eq!(db.append_events(&batch, i64::MIN).await.unwrap(), model.take(&batch), "round {round}: {batch:#?}");
        }
        let units: Vec<_> = (0..6).map(|n| format!("u-{n}")).collect();
        let units: Vec<_> = units.iter()
            .flat_map(|u| [("user.id", u.as_str()), ("user.device_id", u.as_str())]).collect();
        for environment in [1, 2] {
            assert_eq!(db.unit_exposures(environment, &units).await.unwrap(), model.rows(environment));
            assert_eq!(exposed(&db, environment).await, model.users(environment));
            assert_eq!(db.recount_exposed_users(environment).await.unwrap(), model.users(environment));
        }
        let replaced: i64 = model.exposures.values().map(|(_, n)| n).sum();
        assert_eq!(db.number("SELECT CAST(SUM(replaced) AS BIGINT) FROM exposures").await, replaced);
        let resolved = model.steps.values().filter(|(stage, _)| stage.is_some()).count();
        assert_eq!(db.number("SELECT count(*) FROM steps WHERE stage IS NOT NULL").await, i64::try_from(resolved).unwrap());
    }

    async fn writers_at_once_count_each_row_once(db) {
        let second = huidu::store::open(&db.url, &crate::postgres::creating()).await.unwrap();
        let mut tasks = Vec::new();
        for (n, store) in [&db.store, &second, &db.store, &second].into_iter().enumerate() {
            let (store, seed) = (store.clone(), u64::try_from(n).unwrap() / 2 + 77);
            tasks.push(tokio::spawn(async move {
                let (mut dice, mut added) = (Dice(seed), 0_i64);
                for _ in 0..25 {
                    let outcome = store.append_events(&dice.batch(), i64::MIN).await.unwrap();
                    let exposures = outcome.exposures.iter().filter(|o| **o == Added).count();
                    let steps = outcome.steps.iter().filter(|s| **s != StepOutcome::Duplicate).count();
                    added += i64::try_from(exposures + steps).unwrap();
                }
                added
            }));
        }
        let mut added = 0;
        for task in tasks {
            added += task.await.unwrap();
        }
        let mut stored = 0;
        for environment in [1, 2] {
            let counts = db.counts(environment).await.unwrap();
            stored += counts.exposures + counts.steps;
            assert_eq!(exposed(&db, environment).await, db.recount_exposed_users(environment).await.unwrap());
        }
        let keys = "SELECT DISTINCT environment, unit, unit_attribute, step, id FROM steps";
        let keys = db.number(&format!("SELECT count(*) FROM ({keys}) AS keys")).await;
        assert_eq!(keys, db.number("SELECT count(*) FROM steps").await, "none twice");
        assert_eq!(added, stored);
    }

    async fn a_large_batch_is_one_call(db) {
        let exposures: Vec<_> = (0..5_000).map(|n| shown(&format!("u-{n}"), 1, "on", n)).collect();
        let steps: Vec<_> = (0..5_000).map(|n| step(&format!("u-{n}"), "1", n + 1)).collect();
        let outcome = db.append_events(&EventBatch { exposures, steps }, i64::MIN).await.unwrap();
        assert!(outcome.exposures.iter().all(|o| *o == Added));
        assert!(outcome.steps.iter().all(|s| *s == found(1, "on")));
        assert_eq!(exposed(&db, 1).await[0].users, 5_000);
    }
}
