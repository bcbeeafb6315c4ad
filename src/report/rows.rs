//! From stored rows to units.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::fact::{CONTROL, Key, MetricEvent, Shown, StopEvent, Unit};
use super::plan::Plan;
use crate::store::{ReportExposure, ReportStep};

/// Captured attributes that an exposure of older days lacks.
const NOT_CAPTURED: &str = "(none)";

/// The units of rows that were read for the flag numbered `flag`.
pub(super) fn units(
    plan: &Plan,
    flag: i64,
    mut exposures: Vec<ReportExposure>,
    mut steps: Vec<ReportStep>,
) -> Vec<Unit> {
    exposures.sort_by(|a, b| (&a.unit, &a.unit_attribute).cmp(&(&b.unit, &b.unit_attribute)));
    steps.sort_by(|a, b| (&a.unit, &a.unit_attribute).cmp(&(&b.unit, &b.unit_attribute)));
    let mut steps = steps.into_iter().peekable();
    let mut units: Vec<Unit> = Vec::new();
    let same =
        |a: &ReportExposure, b: &ReportExposure| (&a.unit, &a.unit_attribute) == (&b.unit, &b.unit_attribute);
    for rows in exposures.chunk_by(same) {
        let Some(name) = rows.first() else { continue };
        let mut unit = Unit::default();
        rows.iter().for_each(|row| take_exposure(&mut unit, plan, flag, row));
        let order =
            |step: &ReportStep| (&step.unit, &step.unit_attribute).cmp(&(&name.unit, &name.unit_attribute));
        while let Some(step) = steps.next_if(|step| order(step) != Ordering::Greater) {
            // Steps of a unit of the same name, but of another kind, belong to nobody here.
            if order(&step) == Ordering::Equal {
                take_step(&mut unit, plan, &step);
            }
        }
        units.push(unit);
    }
    units
}

fn take_exposure(unit: &mut Unit, plan: &Plan, flag: i64, row: &ReportExposure) {
    let arm = u8::try_from(row.arm).unwrap_or(u8::MAX);
    if row.flag != flag {
        if arm != CONTROL {
            unit.others.push((row.flag, row.at));
        }
        return;
    }
    let key =
        Key { rule: row.rule.as_str().into(), arm, variant: row.variant.as_str().into(), stage: row.stage };
    unit.shown.push(Shown { key, at: row.at, captured: captured(plan, row.captured.as_deref()) });
}

/// The value of each attribute that the plan captures.
fn captured(plan: &Plan, stored: Option<&str>) -> Vec<Box<str>> {
    if plan.capture.is_empty() {
        return Vec::new();
    }
    let stored: BTreeMap<String, String> =
        stored.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let value = |attribute: &str| {
        // They are stored without the scope, which is always the user.
        let name = attribute.split_once('.').map_or(attribute, |(_, name)| name);
        stored.get(name).map_or(NOT_CAPTURED, String::as_str).into()
    };
    plan.capture.iter().map(|attribute| value(attribute)).collect()
}

fn take_step(unit: &mut Unit, plan: &Plan, row: &ReportStep) {
    if row.flag.is_some() {
        // One that found no exposure when it came has neither: it is counted apart.
        if let (Some(stage), Some(rule)) = (row.stage, &row.rule) {
            let stop = plan.stops.iter().position(|stop| *stop.step == *row.step);
            unit.stops.push(StopEvent { stop, at: row.at, stage, rule: rule.as_str().into() });
        }
        return;
    }
    let Some(at) = plan.metrics.iter().position(|metric| *metric.step == *row.step) else { return };
    let Some(metric) = plan.metrics.get(at) else { return };
    let by = metric.by.as_deref().and_then(|by| {
        let attributes: BTreeMap<String, String> = serde_json::from_str(row.attributes.as_deref()?).ok()?;
        let value = attributes.get(by)?;
        metric.values.iter().position(|known| **known == *value.as_str())
    });
    let amount = row.value.and_then(|value| u64::try_from(value).ok());
    unit.metrics.push(MetricEvent {
        metric: at,
        at: row.at,
        by: by.unwrap_or(metric.values.len()),
        value: row.currency.as_deref().map(Into::into).zip(amount),
    });
}
