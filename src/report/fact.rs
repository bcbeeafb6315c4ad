//! Facts: what one exposure of one unit came to. A unit's rows in, its facts out; nothing is counted yet.

use serde::{Deserialize, Serialize};

use super::funnel::{self, StopOutcome};
use super::plan::Plan;
use crate::engine::decision::Arm;

/// The arm of testers, who are in no comparison.
pub const FIXED: u8 = Arm::Fixed as u8;
/// The arm of the treated.
pub const TREATMENT: u8 = Arm::Treatment as u8;
/// The arm of those who are measured and not served.
pub const CONTROL: u8 = Arm::Control as u8;

/// What is compared and shown apart: a way of coming to a variant, inside one stage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The rule.
    pub rule: Box<str>,
    /// 0 control, 1 treatment, 2 fixed.
    pub arm: u8,
    /// The variant.
    pub variant: Box<str>,
    /// The stage.
    pub stage: i64,
}

impl Key {
    /// Whether both are the same way of coming to the same variant, in whatever stages.
    #[must_use]
    pub fn is_row_of(&self, other: &Self) -> bool {
        (&self.rule, self.arm, &self.variant) == (&other.rule, other.arm, &other.variant)
    }
}

/// An exposure of a unit to the flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// What it was.
    pub key: Key,
    /// When.
    pub at: i64,
    /// The captured attributes, one for each of the plan's.
    pub captured: Vec<Box<str>>,
}

/// An event of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricEvent {
    /// The metric's place in the plan.
    pub metric: usize,
    /// When.
    pub at: i64,
    /// The place of its value of the metric's `by`; that after the last is `other`.
    pub by: usize,
    /// Currency and amount in its minor unit.
    pub value: Option<(Box<str>, u64)>,
}

/// An event of a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopEvent {
    /// The stop's place in the plan; `None`: the funnel has it no more.
    pub stop: Option<usize>,
    /// When.
    pub at: i64,
    /// The stage that it counts for.
    pub stage: i64,
    /// The rule that it counts for.
    pub rule: Box<str>,
}

/// Everything that is stored of a unit, as far as a flag's report needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its exposures to the flag.
    pub shown: Vec<Shown>,
    /// Its exposures to other flags that it saw (not as control): flag and time.
    pub others: Vec<(i64, i64)>,
    /// Its metric events.
    pub metrics: Vec<MetricEvent>,
    /// Its stops.
    pub stops: Vec<StopEvent>,
}

/// What one metric came to inside its window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricOutcome {
    /// How many events.
    pub events: u32,
    /// Which values of `by` were among them, ascending.
    pub by: Vec<u16>,
    /// By currency, ascending.
    pub values: Vec<(Box<str>, Worth)>,
}

/// What a unit's events of one metric and currency came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worth {
    /// Their sum in the currency's minor unit.
    pub sum: u64,
    /// How many they are: an order is an event with a value.
    pub orders: u32,
}

impl MetricOutcome {
    /// What there is of a currency.
    #[must_use]
    pub fn in_currency(&self, currency: &str) -> Option<Worth> {
        self.values.iter().find(|(own, _)| **own == *currency).map(|(_, worth)| *worth)
    }
}

/// An earlier exposure of the unit under the same rule, arm and variant, in another stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// Its stage.
    pub stage: i64,
    /// When.
    pub at: i64,
    /// Which captured attributes had the same value then, by place.
    pub same: Vec<bool>,
    /// What its metrics came to.
    pub metrics: Vec<MetricOutcome>,
    /// Which other flags it had seen.
    pub others: Vec<i64>,
}

/// What one exposure came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What it was.
    pub key: Key,
    /// When.
    pub at: i64,
    /// How many windows have closed: what lies in others is not counted.
    pub level: usize,
    /// The captured attributes, one for each of the plan's.
    pub captured: Vec<Box<str>>,
    /// What each metric came to.
    pub metrics: Vec<MetricOutcome>,
    /// What became of each stop.
    pub stops: Vec<StopOutcome>,
    /// Earlier exposures under the same rule, arm and variant, by time.
    pub earlier: Vec<Earlier>,
    /// Other flags that the unit saw before the shortest window ended, ascending.
    pub others: Vec<i64>,
    /// Counted from after the first time up to the second, this exposure makes the unit one that switched arm or
    /// variant under one rule.
    pub switched: Option<(i64, i64)>,
    /// Times of the unit's stops for this stage and rule from before the span: they have an exposure after all.
    pub claimed: Vec<i64>,
}

impl Fact {
    /// Other flags that the unit saw by this exposure or an earlier one, ascending.
    #[must_use]
    pub fn saw(&self) -> Vec<i64> {
        let mut flags = self.others.clone();
        flags.extend(self.earlier.iter().flat_map(|earlier| &earlier.others));
        flags.sort_unstable();
        flags.dedup();
        flags
    }
}

/// From one moment up to before another, inside one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first moment.
    pub from_ms: i64,
    /// The moment after the last.
    pub to_ms: i64,
}

impl Span {
    /// Whether a moment lies inside.
    #[must_use]
    pub fn holds(self, at: i64) -> bool {
        (self.from_ms..self.to_ms).contains(&at)
    }
}

/// How much of what has happened is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// So many windows have closed for every exposure.
    Windows(usize),
    /// What has closed at this moment.
    AsOf(i64),
}

impl Level {
    /// How many windows have closed for an exposure.
    pub(super) fn of(self, plan: &Plan, at: i64) -> usize {
        match self {
            Self::Windows(level) => level,
            Self::AsOf(as_of_ms) => plan.level(at, as_of_ms),
        }
    }
}

/// The facts of the unit's exposures inside `slice`, a part of a span that begins at `begins_ms`.
pub fn facts(plan: &Plan, unit: &mut Unit, slice: Span, begins_ms: i64, level: Level) -> Vec<Fact> {
    unit.shown.sort_by(|a, b| (a.at, &a.key.stage, &a.key.rule).cmp(&(b.at, &b.key.stage, &b.key.rule)));
    unit.stops.sort_by_key(|event| event.at);
    let unit = &*unit;
    let inside = unit.shown.iter().enumerate().filter(|(_, shown)| slice.holds(shown.at));
    inside
        .map(|(place, shown)| {
            let before = unit.shown.get(..place).unwrap_or_default();
            Fact {
                key: shown.key.clone(),
                at: shown.at,
                level: level.of(plan, shown.at),
                captured: shown.captured.clone(),
                metrics: metrics(plan, unit, shown.at),
                stops: stops(plan, unit, shown),
                earlier: before
                    .iter()
                    .filter(|earlier| earlier.key.is_row_of(&shown.key))
                    .map(|earlier| Earlier {
                        stage: earlier.key.stage,
                        at: earlier.at,
                        same: earlier.captured.iter().zip(&shown.captured).map(|(a, b)| a == b).collect(),
                        metrics: metrics(plan, unit, earlier.at),
                        others: others(plan, unit, earlier.at),
                    })
                    .collect(),
                others: others(plan, unit, shown.at),
                switched: switched(before, shown),
                claimed: claimed(unit, shown, begins_ms),
            }
        })
        .collect()
}

/// What each metric came to in its window after `at`.
fn metrics(plan: &Plan, unit: &Unit, at: i64) -> Vec<MetricOutcome> {
    let mut outcomes = vec![MetricOutcome::default(); plan.metrics.len()];
    for event in &unit.metrics {
        let Some((metric, outcome)) = plan.metrics.get(event.metric).zip(outcomes.get_mut(event.metric))
        else {
            continue;
        };
        if !(at..at + plan.window_ms(metric.window)).contains(&event.at) {
            continue;
        }
        outcome.events += 1;
        let by = u16::try_from(event.by).unwrap_or(u16::MAX);
        if metric.by.is_some()
            && let Err(place) = outcome.by.binary_search(&by)
        {
            outcome.by.insert(place, by);
        }
        if let Some((currency, value)) = &event.value {
            match outcome.values.binary_search_by(|(known, _)| known.cmp(currency)) {
                Ok(place) => {
                    if let Some((_, worth)) = outcome.values.get_mut(place) {
                        worth.sum = worth.sum.saturating_add(*value);
                        worth.orders += 1;
                    }
                }
                Err(place) => {
                    outcome.values.insert(place, (currency.clone(), Worth { sum: *value, orders: 1 }));
                }
            }
        }
    }
    outcomes
}

fn stops(plan: &Plan, unit: &Unit, shown: &Shown) -> Vec<StopOutcome> {
    let mut times = vec![Vec::new(); plan.stops.len()];
    let window = shown.at..shown.at + plan.window_ms(plan.funnel_window);
    for event in unit.stops.iter().filter(|event| is_for(event, shown) && window.contains(&event.at)) {
        if let Some(times) = event.stop.and_then(|stop| times.get_mut(stop)) {
            times.push(event.at);
        }
    }
    funnel::walk(&plan.stops, &times, shown.at)
}

fn is_for(event: &StopEvent, shown: &Shown) -> bool {
    (event.stage, &event.rule) == (shown.key.stage, &shown.key.rule)
}

fn claimed(unit: &Unit, shown: &Shown, before_ms: i64) -> Vec<i64> {
    let early = unit.stops.iter().filter(|event| event.at < before_ms && is_for(event, shown));
    early.map(|event| event.at).collect()
}

fn others(plan: &Plan, unit: &Unit, at: i64) -> Vec<i64> {
    let until = at + plan.window_ms(0);
    let mut flags: Vec<i64> =
        unit.others.iter().filter(|(_, seen_at)| *seen_at < until).map(|(flag, _)| *flag).collect();
    flags.sort_unstable();
    flags.dedup();
    flags
}

/// From when to when a report must begin for this exposure to be the one that makes its unit a switched one: after
/// the last time that it had already switched, up to its last exposure to something else under the same rule.
fn switched(before: &[Shown], shown: &Shown) -> Option<(i64, i64)> {
    let latest_other = |before: &[Shown], shown: &Shown| {
        let others = before.iter().filter(|other| {
            other.key.rule == shown.key.rule && !other.key.is_row_of(&shown.key) && other.key.arm != FIXED
        });
        others.map(|other| other.at).max()
    };
    if shown.key.arm == FIXED {
        return None;
    }
    let last = latest_other(before, shown)?;
    let already = before
        .iter()
        .enumerate()
        .filter(|(_, earlier)| earlier.key.rule == shown.key.rule && earlier.key.arm != FIXED);
    let already = already
        .filter_map(|(place, earlier)| latest_other(before.get(..place).unwrap_or_default(), earlier))
        .max()
        .unwrap_or(i64::MIN);
    (already < last).then_some((already, last))
}

#[cfg(test)]
mod tests;
