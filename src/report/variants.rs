//! Who was exposed and who converted, by rule, arm and variant.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::about::{About, RowKey};
use super::notes::{Notes, Told};
use super::plan::{Goal, Plan};
use super::tally::{MetricTally, StopTally, Tally};
use super::totals::Sums;
use crate::engine::decision::Arm;
use crate::stats::figures::{Interval, Why};
use crate::stats::proportion::wilson;

/// Counts of one step, of the units whose window has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reached {
    /// All of them.
    pub(super) exposed: u64,
    /// Those whose window is open, not among them.
    pub(super) maturing: u64,
    /// Those who did it.
    pub(super) users: u64,
}

impl Reached {
    /// Users over exposed; `None` of nobody.
    #[must_use]
    pub(super) fn rate(self) -> Option<f64> {
        share(self.users, self.exposed)
    }

    /// Why there is no rate.
    #[must_use]
    pub(super) fn why(self) -> Why {
        if self.maturing > 0 { Why::Maturing } else { Why::NothingExposed }
    }

    fn interval(self) -> Option<Interval> {
        (self.exposed > 0).then(|| wilson(self.users, self.exposed))
    }
}

/// `part` of `whole`; `None` of nothing.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// An interval as two numbers.
pub(super) fn interval(interval: Option<Interval>) -> Value {
    interval.map_or(Value::Null, |interval| json!([interval.low, interval.high]))
}

/// The word of an arm.
pub(super) fn arm_word(arm: u8) -> &'static str {
    Arm::from_number(i64::from(arm)).map_or("unknown", Arm::as_str)
}

/// What a metric came to.
#[must_use]
pub(super) fn metric(plan: &Plan, tally: &Tally, at: usize) -> Reached {
    let window = plan.metrics.get(at).map_or(plan.funnel_window, |metric| metric.window);
    let exposed = tally.matured(window);
    let users = tally.metric(at).map_or(0, |metric| metric.users);
    Reached { exposed, maturing: tally.units - exposed, users }
}

/// What the goal came to; without a goal who was exposed.
#[must_use]
pub(super) fn goal(plan: &Plan, tally: &Tally) -> Reached {
    match plan.goal {
        Some(Goal::Metric(at)) => metric(plan, tally, at),
        Some(Goal::Stop(at)) => stop(plan, tally, at),
        None => stop(plan, tally, usize::MAX),
    }
}

fn stop(plan: &Plan, tally: &Tally, at: usize) -> Reached {
    let exposed = tally.matured(plan.funnel_window);
    let users = tally.stops.get(at).map_or(0, |stop| stop.users);
    Reached { exposed, maturing: tally.units - exposed, users }
}

/// The shown sums of each row, stages together: those of the document's rollouts even if nobody was exposed.
#[must_use]
pub(super) fn rows(about: &About, sums: &Sums) -> Vec<(RowKey, Tally)> {
    let mut rows: BTreeMap<RowKey, Tally> =
        about.configured().into_iter().map(|row| (row, Tally::default())).collect();
    for (key, row) in sums.rows.iter().filter(|(_, row)| row.first.units > 0) {
        rows.entry(key.into()).or_default().merge(&row.first);
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_cached_key(|(row, _)| about.order(row));
    rows
}

/// Rows as JSON; `pointer` is where they stand.
#[must_use]
pub(super) fn variants(about: &About, sums: &Sums, pointer: &str, notes: &mut Notes) -> Value {
    let rows = rows(about, sums);
    let json = rows.iter().enumerate().map(|(at, (row, tally))| {
        let pointer = format!("{pointer}/{at}");
        let mut json = json!({"rule": &*row.rule, "variant": &*row.variant, "arm": arm_word(row.arm)});
        if let Value::Object(json) = &mut json {
            fill(about.plan(), tally, json, &pointer, notes);
        }
        json
    });
    Value::Array(json.collect())
}

/// Adds the numbers of one row.
pub(super) fn fill(
    plan: &Plan,
    tally: &Tally,
    json: &mut Map<String, Value>,
    pointer: &str,
    notes: &mut Notes,
) {
    let goal = goal(plan, tally);
    json.insert("exposed_users".into(), goal.exposed.into());
    json.insert("maturing_users".into(), goal.maturing.into());
    let has_goal = plan.goal.is_some();
    let converted = has_goal.then_some(goal.users);
    json.insert("converted_users".into(), json!(converted));
    json.insert("rate".into(), json!(goal.rate().filter(|_| has_goal)));
    json.insert("rate_ci".into(), interval(goal.interval().filter(|_| has_goal)));
    if has_goal && goal.exposed == 0 {
        notes.why(pointer, "rate", goal.why());
        notes.why(pointer, "rate_ci", goal.why());
    }
    let value = match plan.goal {
        Some(Goal::Metric(at)) => tally.metric(at).map(values),
        Some(Goal::Stop(_)) | None => None,
    };
    json.insert("value".into(), value.unwrap_or_else(|| json!({})));
    // Another number where the goal has a window of its own.
    json.insert("funnel_exposed_users".into(), tally.matured(plan.funnel_window).into());
    json.insert("funnel".into(), funnel(plan, tally, pointer, notes));
    let metrics = plan.metrics.iter().enumerate().map(|(at, own)| {
        let reached = metric(plan, tally, at);
        let counts = tally.metric(at);
        if reached.exposed == 0 {
            let pointer = format!("{pointer}/metrics/{at}");
            notes.why(&pointer, "rate", reached.why());
            notes.why(&pointer, "rate_ci", reached.why());
        }
        let mut json = json!({
            "step": &*own.step, "users": reached.users, "exposed_users": reached.exposed,
            "maturing_users": reached.maturing, "rate": reached.rate(), "rate_ci": interval(reached.interval()),
            "events": counts.map_or(0, |metric| metric.events),
            "value": counts.map_or_else(|| json!({}), values),
        });
        if let (Value::Object(json), Some(_)) = (&mut json, &own.by) {
            let by = by_value(plan, tally, at).into_iter().map(|(name, users)| (name.to_owned(), users.into()));
            json.insert("by".into(), Value::Object(by.collect()));
        }
        json
    });
    json.insert("metrics".into(), metrics.collect());
}

/// Units by value of a metric's `by`: its values as they are listed, then `other`. Nothing where it has no `by`.
#[must_use]
pub(super) fn by_value<'p>(plan: &'p Plan, tally: &Tally, metric: usize) -> Vec<(&'p str, u64)> {
    let Some(own) = plan.metrics.get(metric).filter(|own| own.by.is_some()) else { return Vec::new() };
    let counts = tally.metric(metric);
    let count = |at: usize| counts.and_then(|metric| metric.by.get(at)).copied().unwrap_or_default();
    let named = own.values.iter().enumerate().map(|(at, name)| (&**name, count(at)));
    // A value that is itself called so counts with the others.
    let (others, mut by): (Vec<_>, Vec<_>) = named.partition(|(name, _)| *name == "other");
    let others: u64 = others.iter().map(|(_, users)| users).sum();
    by.push(("other", others + count(own.values.len())));
    by
}

fn values(metric: &MetricTally) -> Value {
    let sums = metric.values.iter().map(|(currency, value)| (currency.to_string(), whole(value.sum)));
    Value::Object(sums.collect())
}

/// A sum as a whole number, or as a float where it is too large for one.
fn whole(sum: u128) -> Value {
    u64::try_from(sum).map_or_else(|_| json!(sum as f64), Value::from)
}

fn funnel(plan: &Plan, tally: &Tally, pointer: &str, notes: &mut Notes) -> Value {
    let exposed = tally.matured(plan.funnel_window);
    let mut previous = exposed;
    let nothing = StopTally::default();
    let stops = plan.stops.iter().enumerate().map(|(at, stop)| {
        let counts = tally.stops.get(at).unwrap_or(&nothing);
        let median = counts.times.median_ms().map(|ms| ms / 1_000.0);
        let pointer = format!("{pointer}/funnel/{at}");
        let of_exposed = share(counts.users, exposed);
        let of_previous = share(counts.users, previous);
        if of_exposed.is_none() {
            let why = if tally.units > 0 { Why::Maturing } else { Why::NothingExposed };
            notes.why(&pointer, "of_exposed", why);
        }
        if of_previous.is_none() {
            let detail = "nobody reached the stop before it";
            notes.add(&format!("{pointer}/of_previous"), Told::NobodyBefore, detail);
        }
        if median.is_none() {
            let detail = "nobody was seen at this stop after the one before it";
            notes.add(&format!("{pointer}/median_seconds_from_previous"), Told::NoTimes, detail);
        }
        previous = counts.users;
        json!({
            "step": &*stop.step, "optional": stop.optional, "users": counts.users, "inferred": counts.inferred,
            "of_exposed": of_exposed, "of_previous": of_previous,
            "median_seconds_from_previous": median, "out_of_order": counts.out_of_order,
        })
    });
    stops.collect()
}
