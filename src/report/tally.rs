//! Sums of facts. They add up: over hours, over stages, over instances.

use serde::{Deserialize, Serialize};

use super::fact::{Earlier, Fact, MetricOutcome, Worth};
use super::histogram::Histogram;
use super::plan::Plan;
use super::sorted::Sorted;

/// Sums of some exposures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// All of them.
    pub units: u64,
    /// Those whose window has closed, by window.
    pub matured: Vec<u64>,
    /// By metric: of those whose window has closed.
    pub metrics: Vec<MetricTally>,
    /// By stop: of those whose window has closed.
    pub stops: Vec<StopTally>,
    /// By metric that is a ratio.
    pub ratios: Vec<RatioTally>,
}

/// Sums of one metric.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricTally {
    /// Units with an event.
    pub users: u64,
    /// Events.
    pub events: u64,
    /// Units by value of `by`, `other` last.
    pub by: Vec<u64>,
    /// By currency.
    pub values: Sorted<Box<str>, ValueTally>,
}

/// Sums of a ratio, over units: of events y, of those they are compared per x, and of their products.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatioTally {
    /// Of y.
    pub y: u64,
    /// Of x.
    pub x: u64,
    /// Of y y.
    pub yy: u64,
    /// Of x y.
    pub xy: u64,
    /// Of x x.
    pub xx: u64,
}

/// Sums of a ratio over units that are in two strata, the lower and the higher stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairRatio {
    /// Of y in the lower one.
    pub lower_y: u64,
    /// Of y in the higher one.
    pub higher_y: u64,
    /// Of x in the lower one.
    pub lower_x: u64,
    /// Of x in the higher one.
    pub higher_x: u64,
    /// Of lower y times higher y.
    pub yy: u64,
    /// Of lower x times higher x.
    pub xx: u64,
    /// Of lower x times higher y.
    pub lower_x_higher_y: u64,
    /// Of lower y times higher x.
    pub lower_y_higher_x: u64,
}

/// Sums of money of one currency, by unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueTally {
    /// Of the units' sums.
    pub sum: u128,
    /// Of their squares.
    pub squares: u128,
    /// Of the units' orders.
    pub orders: u64,
    /// Of the squares of their orders.
    pub orders_squares: u64,
    /// Of the products of a unit's sum and its orders.
    pub products: u128,
}

/// Sums of one stop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopTally {
    /// Units that reached it.
    pub users: u64,
    /// Of those, the ones of which only a later stop was seen.
    pub inferred: u64,
    /// Units with an event of it that does not fit the order.
    pub out_of_order: u64,
    /// Times since the stop before.
    pub times: Histogram,
}

/// Sums of units that are in two strata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairTally {
    /// Those whose windows have closed in both, by window.
    pub matured: Vec<u64>,
    /// By metric.
    pub metrics: Vec<PairMetric>,
    /// By metric that is a ratio.
    pub ratios: Vec<PairRatio>,
}

/// Sums of one metric over units that are in two strata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairMetric {
    /// Converted in the lower stage.
    pub lower: u64,
    /// Converted in the higher stage.
    pub higher: u64,
    /// Converted in both.
    pub both: u64,
    /// By currency.
    pub values: Sorted<Box<str>, PairValue>,
}

/// Sums of money over units that are in two strata.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairValue {
    /// Of the units' sums in the lower stage.
    pub lower: u128,
    /// Of those in the higher one.
    pub higher: u128,
    /// Of the products of both.
    pub products: u128,
    /// Of the units' orders in the lower stage.
    pub lower_orders: u64,
    /// Of those in the higher one.
    pub higher_orders: u64,
    /// Of the products of both.
    pub orders_products: u64,
    /// Of lower orders times higher sum.
    pub lower_orders_higher: u128,
    /// Of lower sum times higher orders.
    pub lower_higher_orders: u128,
}

/// How much of the funnel is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stops {
    /// Nothing.
    No,
    /// Who reached what.
    Counts,
    /// That, and after which time.
    Times,
}

/// The place `at` of `list`, which grows to hold it.
fn place<T: Default + Clone>(list: &mut Vec<T>, at: usize) -> Option<&mut T> {
    if list.len() <= at {
        list.resize(at + 1, T::default());
    }
    list.get_mut(at)
}

fn bump(list: &mut Vec<u64>, at: usize, by: u64) {
    if let Some(count) = place(list, at) {
        *count += by;
    }
}

fn merge_counts(into: &mut Vec<u64>, from: &[u64]) {
    for (at, count) in from.iter().enumerate().filter(|(_, count)| **count > 0) {
        bump(into, at, *count);
    }
}

impl Tally {
    /// Takes an exposure in, with so much of its funnel.
    pub fn add(&mut self, plan: &Plan, fact: &Fact, stops: Stops) {
        self.units += 1;
        for window in 0..fact.level {
            bump(&mut self.matured, window, 1);
        }
        for (at, (metric, outcome)) in plan.metrics.iter().zip(&fact.metrics).enumerate() {
            if metric.window < fact.level
                && outcome.events > 0
                && let Some(tally) = place(&mut self.metrics, at)
            {
                tally.add(outcome);
            }
        }
        for (at, y, x) in ratios(plan, fact.level, &fact.metrics) {
            if (y > 0 || x > 0)
                && let Some(tally) = place(&mut self.ratios, at)
            {
                let one = RatioTally { y, x, yy: y * y, xy: x * y, xx: x * x };
                tally.merge(&one);
            }
        }
        if stops == Stops::No || plan.funnel_window >= fact.level {
            return;
        }
        for (at, outcome) in fact.stops.iter().enumerate() {
            if (outcome.reached || outcome.out_of_order)
                && let Some(tally) = place(&mut self.stops, at)
            {
                tally.users += u64::from(outcome.reached);
                tally.inferred += u64::from(outcome.inferred);
                tally.out_of_order += u64::from(outcome.out_of_order);
                if let Some(since_ms) = outcome.since_ms.filter(|_| stops == Stops::Times) {
                    tally.times.add(since_ms);
                }
            }
        }
    }

    /// Takes all of another in.
    pub fn merge(&mut self, other: &Self) {
        self.units += other.units;
        merge_counts(&mut self.matured, &other.matured);
        for (at, metric) in other.metrics.iter().enumerate() {
            if let Some(tally) = place(&mut self.metrics, at) {
                tally.merge(metric);
            }
        }
        for (at, ratio) in other.ratios.iter().enumerate() {
            if let Some(tally) = place(&mut self.ratios, at) {
                tally.merge(ratio);
            }
        }
        for (at, stop) in other.stops.iter().enumerate() {
            if let Some(tally) = place(&mut self.stops, at) {
                tally.users += stop.users;
                tally.inferred += stop.inferred;
                tally.out_of_order += stop.out_of_order;
                tally.times.merge(&stop.times);
            }
        }
    }

    /// Those whose window at this place has closed.
    #[must_use]
    pub fn matured(&self, window: usize) -> u64 {
        self.matured.get(window).copied().unwrap_or_default()
    }

    /// The metric at this place, if somebody did it.
    #[must_use]
    pub fn metric(&self, at: usize) -> Option<&MetricTally> {
        self.metrics.get(at)
    }
}

/// Numerator and denominator of each ratio whose window has closed, by the metric's place.
fn ratios<'f>(
    plan: &'f Plan,
    level: usize,
    outcomes: &'f [MetricOutcome],
) -> impl Iterator<Item = (usize, u64, u64)> + 'f {
    let closed = plan.metrics.iter().enumerate().filter(move |(_, metric)| metric.window < level);
    closed.filter_map(|(at, metric)| {
        let events = |at: usize| outcomes.get(at).map_or(0, |outcome| u64::from(outcome.events));
        Some((at, events(at), events(metric.ratio?)))
    })
}

impl RatioTally {
    fn merge(&mut self, other: &Self) {
        self.y = self.y.saturating_add(other.y);
        self.x = self.x.saturating_add(other.x);
        self.yy = self.yy.saturating_add(other.yy);
        self.xy = self.xy.saturating_add(other.xy);
        self.xx = self.xx.saturating_add(other.xx);
    }
}

impl PairRatio {
    fn of((lower_y, lower_x): (u64, u64), (higher_y, higher_x): (u64, u64)) -> Self {
        Self {
            lower_y,
            higher_y,
            lower_x,
            higher_x,
            yy: lower_y * higher_y,
            xx: lower_x * higher_x,
            lower_x_higher_y: lower_x * higher_y,
            lower_y_higher_x: lower_y * higher_x,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.lower_y = self.lower_y.saturating_add(other.lower_y);
        self.higher_y = self.higher_y.saturating_add(other.higher_y);
        self.lower_x = self.lower_x.saturating_add(other.lower_x);
        self.higher_x = self.higher_x.saturating_add(other.higher_x);
        self.yy = self.yy.saturating_add(other.yy);
        self.xx = self.xx.saturating_add(other.xx);
        self.lower_x_higher_y = self.lower_x_higher_y.saturating_add(other.lower_x_higher_y);
        self.lower_y_higher_x = self.lower_y_higher_x.saturating_add(other.lower_y_higher_x);
    }
}

impl MetricTally {
    fn add(&mut self, outcome: &MetricOutcome) {
        self.users += 1;
        self.events += u64::from(outcome.events);
        for by in &outcome.by {
            bump(&mut self.by, usize::from(*by), 1);
        }
        for (currency, worth) in &outcome.values {
            self.values.entry(currency).merge(&ValueTally::of(*worth));
        }
    }

    fn merge(&mut self, other: &Self) {
        self.users += other.users;
        self.events += other.events;
        merge_counts(&mut self.by, &other.by);
        for (currency, value) in other.values.iter() {
            self.values.entry(currency).merge(value);
        }
    }
}

impl PairTally {
    /// Takes a unit in that was shown the same in an earlier stage too. Its earlier windows closed before the later.
    pub fn add(&mut self, plan: &Plan, fact: &Fact, earlier: &Earlier) {
        for window in 0..fact.level {
            bump(&mut self.matured, window, 1);
        }
        let (before, now) = (&earlier.metrics, &fact.metrics);
        // Events of an old token may come after those of a newer stage.
        let (lower, higher) = if earlier.stage < fact.key.stage { (before, now) } else { (now, before) };
        for (at, _) in plan.metrics.iter().enumerate().filter(|(_, metric)| metric.window < fact.level) {
            let (Some(lower), Some(higher)) = (lower.get(at), higher.get(at)) else { continue };
            if (lower.events > 0 || higher.events > 0)
                && let Some(tally) = place(&mut self.metrics, at)
            {
                tally.add(lower, higher);
            }
        }
        for ((at, lower_y, lower_x), (_, higher_y, higher_x)) in
            ratios(plan, fact.level, lower).zip(ratios(plan, fact.level, higher))
        {
            if (lower_y + lower_x + higher_y + higher_x > 0)
                && let Some(tally) = place(&mut self.ratios, at)
            {
                tally.merge(&PairRatio::of((lower_y, lower_x), (higher_y, higher_x)));
            }
        }
    }

    /// Takes all of another in.
    pub fn merge(&mut self, other: &Self) {
        merge_counts(&mut self.matured, &other.matured);
        for (at, ratio) in other.ratios.iter().enumerate() {
            if let Some(tally) = place(&mut self.ratios, at) {
                tally.merge(ratio);
            }
        }
        for (at, from) in other.metrics.iter().enumerate() {
            let Some(into) = place(&mut self.metrics, at) else { continue };
            into.lower += from.lower;
            into.higher += from.higher;
            into.both += from.both;
            for (currency, value) in from.values.iter() {
                into.values.entry(currency).merge(value);
            }
        }
    }
}

impl PairMetric {
    fn add(&mut self, lower: &MetricOutcome, higher: &MetricOutcome) {
        self.lower += u64::from(lower.events > 0);
        self.higher += u64::from(higher.events > 0);
        self.both += u64::from(lower.events > 0 && higher.events > 0);
        let of_lower = lower.values.iter().filter(|(own, _)| higher.in_currency(own).is_none());
        for (currency, _) in higher.values.iter().chain(of_lower) {
            let [lower, higher] = [lower, higher].map(|own| own.in_currency(currency).unwrap_or_default());
            self.values.entry(currency).merge(&PairValue::of(lower, higher));
        }
    }
}

impl ValueTally {
    fn of(worth: Worth) -> Self {
        let (sum, orders) = (u128::from(worth.sum), u64::from(worth.orders));
        let squares = sum.saturating_mul(sum);
        let products = sum.saturating_mul(orders.into());
        Self { sum, squares, orders, orders_squares: orders * orders, products }
    }

    fn merge(&mut self, other: &Self) {
        self.sum = self.sum.saturating_add(other.sum);
        self.squares = self.squares.saturating_add(other.squares);
        self.orders = self.orders.saturating_add(other.orders);
        self.orders_squares = self.orders_squares.saturating_add(other.orders_squares);
        self.products = self.products.saturating_add(other.products);
    }
}

impl PairValue {
    fn of(low: Worth, high: Worth) -> Self {
        let (lower, higher) = (u128::from(low.sum), u128::from(high.sum));
        let (lower_orders, higher_orders) = (u64::from(low.orders), u64::from(high.orders));
        Self {
            lower,
            higher,
            products: lower.saturating_mul(higher),
            lower_orders,
            higher_orders,
            orders_products: lower_orders * higher_orders,
            lower_orders_higher: higher.saturating_mul(lower_orders.into()),
            lower_higher_orders: lower.saturating_mul(higher_orders.into()),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.lower = self.lower.saturating_add(other.lower);
        self.higher = self.higher.saturating_add(other.higher);
        self.products = self.products.saturating_add(other.products);
        self.lower_orders = self.lower_orders.saturating_add(other.lower_orders);
        self.higher_orders = self.higher_orders.saturating_add(other.higher_orders);
        self.orders_products = self.orders_products.saturating_add(other.orders_products);
        self.lower_orders_higher = self.lower_orders_higher.saturating_add(other.lower_orders_higher);
        self.lower_higher_orders = self.lower_higher_orders.saturating_add(other.lower_higher_orders);
    }
}
