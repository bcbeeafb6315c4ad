//! Stages: how many units each arm got, and whether they came in the shares that the percentages say.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::about::{About, Stage, StageRule};
use super::fact::{CONTROL, Key, TREATMENT};
use super::notes::Notes;
use super::totals::{Range, Sums};
use super::variants;
use crate::clock::rfc3339;
use crate::stats::srm::{self, Split, Srm};

/// Stages and rules as JSON: what was asked for is in `range`.
#[must_use]
pub(super) fn stages(about: &About, sums: &Sums, range: Range) -> Value {
    let mut list = Vec::new();
    for stage in &about.stages {
        let inside = stage.opened_at < range.to_ms && stage.closed_at.is_none_or(|at| at > range.from_ms);
        let mut rules: Vec<(&str, Option<&StageRule>)> =
            stage.rules.iter().map(|rule| (rule.rule.as_str(), Some(rule))).collect();
        for key in sums.rows.keys().filter(|key| key.stage == stage.stage) {
            if !rules.iter().any(|(rule, _)| *rule == &*key.rule) {
                rules.push((&key.rule, None));
            }
        }
        for (rule, served) in rules {
            let arms = arms(about, sums, stage, rule);
            let is_rollout = served.is_some_and(|served| served.percent.is_some());
            if arms.is_empty() && !(inside && is_rollout) {
                continue;
            }
            list.push(json!({
                "stage": stage.stage, "from": rfc3339(stage.opened_at), "to": stage.closed_at.map(rfc3339),
                "rule": rule, "percent": served.and_then(|served| served.percent),
                "control": served.and_then(|served| served.control), "arms": arms,
            }));
        }
    }
    Value::Array(list)
}

fn arms(about: &About, sums: &Sums, stage: &Stage, rule: &str) -> Map<String, Value> {
    let own = sums.rows.iter().filter(|(key, _)| key.stage == stage.stage && &*key.rule == rule);
    let mut counts: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for (key, row) in own {
        let goal = variants::goal(about.plan(), &row.all);
        let converted = match about.plan().goal {
            Some(super::plan::Goal::Metric(_)) => goal.users,
            // The funnel is counted by a unit's first exposure.
            Some(super::plan::Goal::Stop(_)) | None => variants::goal(about.plan(), &row.first).users,
        };
        let count = counts.entry(&key.variant).or_default();
        *count = (count.0 + row.all.units, count.1 + goal.exposed, count.2 + converted);
    }
    let has_goal = about.plan().goal.is_some();
    let json = |(variant, (units, matured, converted)): (&str, (u64, u64, u64))| {
        let converted = has_goal.then_some(converted);
        (variant.to_owned(), json!({"units": units, "matured_units": matured, "converted": converted}))
    };
    counts.into_iter().map(json).collect()
}

/// Whether units came in the expected shares, and that as JSON.
#[must_use]
pub(super) fn srm(about: &About, sums: &Sums, notes: &mut Notes) -> (bool, Value) {
    let strata = strata(about, sums);
    let checked = checked(&strata);
    let per_stage = strata.iter().zip(&checked.per_stage).enumerate().map(|(at, (stratum, check))| {
        for note in &check.notes {
            notes.why(&format!("/srm/per_stage/{at}"), note.field, note.why);
        }
        let named = |values: Vec<Value>| -> Map<String, Value> {
            stratum.names.iter().cloned().zip(values).collect()
        };
        json!({
            "stage": stratum.stage, "rule": stratum.rule,
            "expected": named(stratum.split.shares.iter().map(|share| json!(share)).collect()),
            "observed": named(stratum.split.observed.iter().map(|units| json!(units)).collect()),
            "chi_square": check.chi_square, "p_value": check.p_value,
        })
    });
    let per_stage: Vec<Value> = per_stage.collect();
    (checked.ok, json!({"per_stage": per_stage, "sequential_p": checked.sequential_p, "ok": checked.ok}))
}

/// How surprising the arms' shares are over all stages: always valid, 0 to 1.
#[must_use]
pub(super) fn sequential_p(about: &About, sums: &Sums) -> f64 {
    checked(&strata(about, sums)).sequential_p
}

fn checked(strata: &[Stratum<'_>]) -> Srm {
    srm::check(&strata.iter().map(|stratum| stratum.split.clone()).collect::<Vec<_>>())
}

/// In order of the stages' beginning.
fn strata<'a>(about: &'a About, sums: &Sums) -> Vec<Stratum<'a>> {
    let rules = about.stages.iter().flat_map(|stage| stage.rules.iter().map(move |rule| (stage, rule)));
    rules.filter_map(|(stage, rule)| stratum(stage, rule, sums)).collect()
}

struct Stratum<'s> {
    stage: i64,
    rule: &'s str,
    names: Vec<String>,
    split: Split,
}

/// What one rule's rollout should have brought in one stage, and what it did; `None` if nobody came.
fn stratum<'s>(stage: &Stage, rule: &'s StageRule, sums: &Sums) -> Option<Stratum<'s>> {
    let units = |arm: u8, variant: &str| {
        let key = Key { rule: rule.rule.as_str().into(), arm, variant: variant.into(), stage: stage.stage };
        sums.rows.get(&key).map_or(0, |row| row.all.units)
    };
    let mut names: Vec<String> = Vec::new();
    let mut split = Split { shares: Vec::new(), observed: Vec::new() };
    for (arm, variant, share) in rule.shares() {
        let variant = variant.unwrap_or(&stage.off_variant);
        names.push(variant.to_owned());
        split.shares.push(share);
        split.observed.push(units(arm, variant));
    }
    if names.is_empty() {
        return None;
    }
    // Where none can be, too: a variant without weight.
    let own = sums.rows.iter().filter(|(key, _)| {
        key.stage == stage.stage && *key.rule == *rule.rule && [TREATMENT, CONTROL].contains(&key.arm)
    });
    for (key, row) in own.filter(|(_, row)| row.all.units > 0) {
        if !names.iter().any(|name| **name == *key.variant) {
            names.push(key.variant.to_string());
            split.shares.push(0.0);
            split.observed.push(row.all.units);
        }
    }
    (split.observed.iter().sum::<u64>() > 0).then_some(Stratum {
        stage: stage.stage,
        rule: &rule.rule,
        names,
        split,
    })
}
