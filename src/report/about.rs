//! The flag that is reported on: its document, its stages.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::count::Subject;
use super::fact::{CONTROL, FIXED, Key, TREATMENT};
use super::plan::Plan;
use crate::engine::flag::{Document, GuardrailBound, Serve};
use crate::store::StageRow;

/// A flag, as far as its report depends on it.
#[derive(Debug, Clone)]
pub struct About {
    /// The environment's key.
    pub environment: String,
    /// Its key.
    pub key: String,
    /// Its document.
    pub document: Arc<Document>,
    /// What is counted.
    pub subject: Subject,
    /// Its stages in order.
    pub stages: Vec<Stage>,
    /// The other flags of its placement: number and key.
    pub neighbours: BTreeMap<i64, String>,
}

/// A stage.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Its number.
    pub stage: i64,
    /// When it began.
    pub opened_at: i64,
    /// When it ended.
    pub closed_at: Option<i64>,
    /// The variant of control, and of everybody else.
    pub off_variant: String,
    /// How each rule served.
    pub rules: Vec<StageRule>,
}

/// How a rule served in a stage.
#[derive(Debug, Clone, Deserialize)]
pub struct StageRule {
    /// Its id.
    pub rule: String,
    /// Its one variant, if it serves one to all.
    pub variant: Option<String>,
    /// Treated, in percent.
    pub percent: Option<f64>,
    /// Measured as control, in percent.
    pub control: Option<f64>,
    /// Weights of the variants.
    #[serde(default)]
    pub split: BTreeMap<String, u32>,
}

#[derive(Deserialize)]
struct Deciding {
    off_variant: String,
    rules: Vec<StageRule>,
}

impl Stage {
    /// A stored stage; `None` if what is stored cannot be read.
    #[must_use]
    pub fn read(row: &StageRow) -> Option<Self> {
        let Deciding { off_variant, rules } = serde_json::from_str(&row.deciding).ok()?;
        let (stage, opened_at, closed_at) = (row.stage, row.opened_at, row.closed_at);
        Some(Self { stage, opened_at, closed_at, off_variant, rules })
    }
}

impl StageRule {
    /// The expected share of each arm that is measured: treatment variants in order, then control. Empty for a rule
    /// without a rollout, or one that measures nobody.
    #[must_use]
    pub fn shares(&self) -> Vec<(u8, Option<&str>, f64)> {
        let (Some(percent), Some(control)) = (self.percent, self.control) else { return Vec::new() };
        let weights: f64 = self.split.values().map(|weight| f64::from(*weight)).sum();
        let measured = percent + control;
        if measured <= 0.0 || weights <= 0.0 {
            return Vec::new();
        }
        let treated = self.split.iter().map(|(variant, weight)| {
            (TREATMENT, Some(variant.as_str()), percent * f64::from(*weight) / weights / measured)
        });
        treated.chain([(CONTROL, None, control / measured)]).collect()
    }
}

/// A row of the answer: a way of coming to a variant, over all stages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    /// The rule.
    pub rule: Box<str>,
    /// 0 control, 1 treatment, 2 fixed.
    pub arm: u8,
    /// The variant.
    pub variant: Box<str>,
}

impl From<&Key> for RowKey {
    fn from(key: &Key) -> Self {
        Self { rule: key.rule.clone(), arm: key.arm, variant: key.variant.clone() }
    }
}

impl About {
    /// What is counted.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.subject.plan
    }

    /// Rows that the document's rollouts have, exposed or not.
    #[must_use]
    pub fn configured(&self) -> Vec<RowKey> {
        let mut rows = Vec::new();
        for rule in &self.document.rules {
            let Serve::Rollout(rollout) = &rule.serve else { continue };
            let row =
                |arm, variant: &str| RowKey { rule: rule.id.as_str().into(), arm, variant: variant.into() };
            let treated = rollout.split.iter().filter(|(_, weight)| **weight > 0);
            rows.extend(treated.map(|(variant, _)| row(TREATMENT, variant.as_str())));
            if rollout.control.ppm() > 0 {
                rows.push(row(CONTROL, self.document.off_variant.as_str()));
            }
        }
        rows
    }

    /// Where a row stands: rules as in the document, then others; treatment, control, fixed.
    #[must_use]
    pub fn order(&self, row: &RowKey) -> (usize, u8, RowKey) {
        let rule = self.document.rules.iter().position(|rule| rule.id.as_str() == &*row.rule);
        let arm = match row.arm {
            TREATMENT => 0,
            CONTROL => 1,
            FIXED => 2,
            _ => 3,
        };
        (rule.unwrap_or(usize::MAX), arm, row.clone())
    }

    /// Whether less of a step is better: it is named in a guardrail.
    #[must_use]
    pub fn is_harm(&self, step: &str) -> bool {
        self.document.guardrails.iter().any(|guardrail| guardrail.step.as_str() == step)
    }

    /// The margin of a step's guardrail, if it has one.
    #[must_use]
    pub fn margin(&self, step: &str) -> Option<f64> {
        let own = self.document.guardrails.iter().filter(|guardrail| guardrail.step.as_str() == step);
        own.filter_map(|guardrail| match guardrail.bound {
            GuardrailBound::Margin(margin) => Some(margin),
            GuardrailBound::Limit(_) => None,
        })
        .next()
    }

    /// The open stage; `None` of a flag that is shut.
    #[must_use]
    pub fn open_stage(&self) -> Option<&Stage> {
        self.stages.iter().rev().find(|stage| stage.closed_at.is_none())
    }
}
