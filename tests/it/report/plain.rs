//! The plainest counting there is: all rows in memory, every definition written out, nothing kept, nothing shared with
//! the service.

use std::collections::{BTreeMap, BTreeSet};

use huidu::clock::{HOUR_MS, MINUTE_MS};
use huidu::engine::flag::Document;
use huidu::stats::compare::{Better, Question, Role, compare};
use huidu::stats::counts::{Count, Pair, Strata, Stratum};
use huidu::stats::mean::{self, Sums, ValueComparison, ValuePair, ValueStratum, Values};
use huidu::stats::ratio::{self, RatioPair, RatioStratum, RatioSums};
use huidu::store::{ExposureRow, StepRow};
use serde_json::{Map, Value, json};

/// All rows, as the store keeps them.
#[derive(Default, Clone)]
pub(crate) struct World {
    pub(crate) exposures: BTreeMap<(String, i64, i64, String), ExposureRow>,
    pub(crate) steps: BTreeMap<[String; 3], StepRow>,
}

/// Reached, inferred, out of order.
type StopOutcome = (bool, bool, bool);

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) struct Range {
    pub(crate) as_of: i64,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl World {
    pub(crate) fn expose(&mut self, row: ExposureRow) {
        let key = (row.unit.clone(), row.flag, row.stage, row.rule.clone());
        match self.exposures.get(&key) {
            Some(known) if known.at <= row.at => {}
            _ => drop(self.exposures.insert(key, row)),
        }
    }

    pub(crate) fn step(&mut self, row: StepRow) {
        let key = [&row.unit, &row.step, &row.id].map(ToString::to_string);
        self.steps.entry(key).or_insert(row);
    }

    pub(crate) fn erase(&mut self, unit: &str) {
        self.exposures.retain(|_, row| row.unit != unit);
        self.steps.retain(|_, row| row.unit != unit);
    }

    /// Exposures of flag 1 inside the range.
    fn shown(&self, range: Range) -> Vec<&ExposureRow> {
        let own = self.exposures.values().filter(|row| row.flag == 1);
        own.filter(|row| row.at >= range.from && row.at < range.to).collect()
    }

    /// The first exposure of each unit under a rule, arm and variant.
    fn firsts(&self, range: Range) -> BTreeMap<(String, i64, String), Vec<&ExposureRow>> {
        let mut rows: BTreeMap<(String, i64, String), Vec<&ExposureRow>> = BTreeMap::new();
        for row in self.shown(range) {
            let earlier = self.shown(range).into_iter().any(|other| {
                other.unit == row.unit
                    && (&other.rule, other.arm, &other.variant) == (&row.rule, row.arm, &row.variant)
                    && (other.at, other.stage) < (row.at, row.stage)
            });
            if !earlier {
                rows.entry((row.rule.clone(), row.arm, row.variant.clone())).or_default().push(row);
            }
        }
        rows
    }

    /// The steps of a metric that count for an exposure.
    fn events(&self, row: &ExposureRow, metric: &str, window: i64) -> Vec<&StepRow> {
        let own = self.steps.values().filter(|step| step.unit == row.unit && step.step == metric);
        own.filter(|step| step.flag.is_none() && step.at >= row.at && step.at < row.at + window).collect()
    }

    /// Times of a stop that count for an exposure.
    fn stops(&self, row: &ExposureRow, stop: &str, window: i64) -> Vec<i64> {
        let own = self.steps.values().filter(|step| {
            step.flag == Some(1)
                && step.unit == row.unit
                && step.step == stop
                && step.stage == Some(row.stage)
                && step.rule.as_deref() == Some(&row.rule)
        });
        let mut times: Vec<i64> =
            own.map(|step| step.at).filter(|at| *at >= row.at && *at < row.at + window).collect();
        times.sort_unstable();
        times
    }

    /// What became of each stop: reached, inferred, out of order.
    fn funnel(&self, document: &Document, row: &ExposureRow) -> Vec<StopOutcome> {
        let window = document.attribution_hours * HOUR_MS;
        let times: Vec<Vec<i64>> =
            document.funnel.iter().map(|stop| self.stops(row, stop.step.as_str(), window)).collect();
        let mut seen: Vec<Option<i64>> = vec![None; times.len()];
        let mut time = row.at;
        let mut broken_at = times.len();
        for at in 0..times.len() {
            if !document.funnel[at].optional {
                seen[at] = times[at].iter().copied().find(|t| *t >= time);
                match seen[at] {
                    Some(t) => time = t,
                    None => {
                        broken_at = at;
                        break;
                    }
                }
            }
        }
        for at in 0..broken_at {
            if document.funnel[at].optional {
                let before = seen[..at].iter().flatten().copied().max().unwrap_or(row.at);
                let after = seen[at + 1..].iter().flatten().copied().next().unwrap_or(i64::MAX);
                seen[at] = times[at].iter().copied().find(|t| *t >= before && *t <= after);
                if times[at].iter().find(|t| **t >= before).is_some_and(|t| *t > after) {
                    seen[at] = None;
                }
            }
        }
        let outcome = (0..times.len()).map(|at| {
            let later = seen[at + 1..].iter().any(Option::is_some);
            let inferred = seen[at].is_none() && document.funnel[at].optional && later;
            (seen[at].is_some() || inferred, inferred, seen[at].is_none() && !times[at].is_empty())
        });
        outcome.collect()
    }

    /// The numbers of the answer's `variants`, by rule, arm and variant.
    pub(crate) fn variants(
        &self,
        document: &Document,
        range: Range,
    ) -> BTreeMap<(String, i64, String), Value> {
        let rows = self.firsts(range).into_iter();
        rows.map(|(key, rows)| (key, self.row(document, range, &rows))).collect()
    }

    fn row(&self, document: &Document, range: Range, rows: &[&ExposureRow]) -> Value {
        let matured = |row: &&&ExposureRow, window: i64| row.at + window + 10 * MINUTE_MS <= range.as_of;
        let mut metrics = Vec::new();
        for metric in &document.metrics {
            let window = document.window_hours(metric) * HOUR_MS;
            let closed: Vec<_> = rows.iter().filter(|row| matured(row, window)).collect();
            let done = |row: &ExposureRow| self.events(row, metric.step.as_str(), window);
            let mut value: Map<String, Value> = Map::new();
            let mut by: BTreeMap<String, u64> = BTreeMap::new();
            for row in &closed {
                let mut own = BTreeSet::new();
                for event in done(row) {
                    if let (Some(amount), Some(currency)) = (event.value, &event.currency) {
                        let sum = value.get(&**currency).and_then(Value::as_i64).unwrap_or_default();
                        value.insert(currency.to_string(), (sum + amount).into());
                    }
                    let attributes: Value =
                        serde_json::from_str(event.attributes.as_deref().unwrap_or("{}")).unwrap();
                    let name = metric.by.as_deref().and_then(|by| attributes[by].as_str()).unwrap_or("other");
                    let known = metric.values.iter().any(|known| **known == *name);
                    own.insert(if known { name.to_owned() } else { "other".to_owned() });
                }
                own.into_iter().for_each(|name| *by.entry(name).or_default() += 1);
            }
            let mut json = json!({
                "step": metric.step.as_str(), "exposed_users": closed.len(), "maturing_users": rows.len() - closed.len(),
                "users": closed.iter().filter(|row| !done(row).is_empty()).count(),
                "events": closed.iter().map(|row| done(row).len()).sum::<usize>(), "value": value,
            });
            if metric.by.is_some() {
                for name in metric.values.iter().map(|name| name.to_string()).chain(["other".to_owned()]) {
                    json["by"][&name] = by.get(&name).copied().unwrap_or_default().into();
                }
            }
            metrics.push(json);
        }
        let window = document.attribution_hours * HOUR_MS;
        let closed: Vec<_> = rows.iter().filter(|row| matured(row, window)).collect();
        let outcomes: Vec<_> = closed.iter().map(|row| self.funnel(document, row)).collect();
        let count =
            |of: fn(&StopOutcome) -> bool, at: usize| outcomes.iter().filter(|one| of(&one[at])).count();
        let funnel: Vec<Value> = (0..document.funnel.len())
            .map(|at| {
                json!({
                    "step": document.funnel[at].step.as_str(), "users": count(|stop| stop.0, at),
                    "inferred": count(|stop| stop.1, at), "out_of_order": count(|stop| stop.2, at),
                })
            })
            .collect();
        json!({"metrics": metrics, "funnel": funnel, "funnel_exposed_users": closed.len()})
    }

    /// Units of each stage and variant, and those of them that matured and converted by `metric`.
    pub(crate) fn stages(
        &self,
        range: Range,
        metric: &str,
        window: i64,
    ) -> BTreeMap<(i64, String), (u64, u64, u64)> {
        self.stages_of(range, metric, window, &|_| true)
    }

    fn stages_of(
        &self,
        range: Range,
        metric: &str,
        window: i64,
        belongs: &dyn Fn(&ExposureRow) -> bool,
    ) -> BTreeMap<(i64, String), (u64, u64, u64)> {
        let mut stages: BTreeMap<(i64, String), (u64, u64, u64)> = BTreeMap::new();
        for row in self.shown(range).into_iter().filter(|row| belongs(row)) {
            let count = stages.entry((row.stage, row.variant.clone())).or_default();
            count.0 += 1;
            if row.at + window + 10 * MINUTE_MS <= range.as_of {
                count.1 += 1;
                count.2 += u64::from(!self.events(row, metric, window).is_empty());
            }
        }
        stages
    }

    /// Difference and always-valid p of `metric`, from counts and pairs of this reference.
    pub(crate) fn comparison(&self, range: Range, metric: &str, window: i64) -> (Option<f64>, Option<f64>) {
        self.comparison_of(range, metric, window, &|_| true)
    }

    /// The same of exposures that belong.
    pub(crate) fn comparison_of(
        &self,
        range: Range,
        metric: &str,
        window: i64,
        belongs: &dyn Fn(&ExposureRow) -> bool,
    ) -> (Option<f64>, Option<f64>) {
        let counts = self.stages_of(range, metric, window, belongs);
        let stages: BTreeSet<i64> = counts.keys().map(|(stage, _)| *stage).collect();
        let stages: Vec<i64> = stages.into_iter().collect();
        let count = |stage: i64, variant: &str| {
            let (_, units, converted) = counts.get(&(stage, variant.to_owned())).copied().unwrap_or_default();
            Count { units, converted }
        };
        let strata: Vec<Stratum> = stages
            .iter()
            .map(|stage| Stratum {
                stage: u32::try_from(*stage).unwrap(),
                treatment: count(*stage, "on"),
                control: count(*stage, "off"),
            })
            .collect();
        let pairs = |variant: &str| {
            let mut pairs = Vec::new();
            for (earlier, low) in stages.iter().enumerate() {
                for (later, high) in stages.iter().enumerate().skip(earlier + 1) {
                    let mut pair = Pair { earlier, later, ..Pair::default() };
                    let rows = |stage: i64| {
                        let own = self.shown(range).into_iter();
                        own.filter(move |row| row.stage == stage && row.variant == variant && belongs(row))
                    };
                    for a in rows(*low) {
                        for b in rows(*high).filter(|b| b.unit == a.unit) {
                            let closed = |row: &ExposureRow| row.at + window + 10 * MINUTE_MS <= range.as_of;
                            if closed(a) && closed(b) {
                                let did = |row| !self.events(row, metric, window).is_empty();
                                pair.units += 1;
                                pair.earlier_converted += u64::from(did(a));
                                pair.later_converted += u64::from(did(b));
                                pair.both_converted += u64::from(did(a) && did(b));
                            }
                        }
                    }
                    if pair.units > 0 {
                        pairs.push(pair);
                    }
                }
            }
            pairs
        };
        let made = compare(&Question {
            counts: Strata { strata: &strata, treatment_pairs: &pairs("on"), control_pairs: &pairs("off") },
            maturing_users: 0,
            role: Role::Metric,
            better: Better::More,
            treatments: 1,
            srm_ok: true,
            margin: None,
            min_effect: 0.05,
            pace: None,
            window_hours: 6,
        });
        (made.absolute_lift, made.always_valid_p)
    }

    /// By value of `method`: the rates of both arms, weighted over the stages by `n_1 n_0 / (n_1 + n_0)`. Nothing where no
    /// stage has both.
    pub(crate) fn by(
        &self,
        range: Range,
        metric: &str,
        window: i64,
        belongs: &dyn Fn(&ExposureRow) -> bool,
    ) -> Vec<(&'static str, f64, f64)> {
        let shown = self.shown(range).into_iter().filter(|row| belongs(row));
        let closed: Vec<_> = shown.filter(|row| row.at + window + 10 * MINUTE_MS <= range.as_of).collect();
        let of = |stage: i64, variant: &str| -> Vec<&ExposureRow> {
            closed.iter().copied().filter(|row| row.stage == stage && row.variant == variant).collect()
        };
        let paid_by = |row: &ExposureRow, value: &str| {
            self.events(row, metric, window).iter().any(|event| {
                let attributes: Value =
                    serde_json::from_str(event.attributes.as_deref().unwrap_or("{}")).unwrap();
                let method = attributes["method"].as_str().unwrap_or("other");
                value == if ["wechat", "alipay"].contains(&method) { method } else { "other" }
            })
        };
        let stages: BTreeSet<i64> = closed.iter().map(|row| row.stage).collect();
        let mut sums = ["wechat", "alipay", "other"].map(|value| (value, 0.0, 0.0));
        let mut all = 0.0;
        for stage in stages {
            let (treated, control) = (of(stage, "on"), of(stage, "off"));
            let (n1, n0) = (treated.len() as f64, control.len() as f64);
            if n1 > 0.0 && n0 > 0.0 {
                let weight = n1 * n0 / (n1 + n0);
                all += weight;
                for (value, treatment_sum, control_sum) in &mut sums {
                    let users =
                        |rows: &[&ExposureRow]| rows.iter().filter(|row| paid_by(row, value)).count() as f64;
                    *treatment_sum += weight * users(&treated) / n1;
                    *control_sum += weight * users(&control) / n0;
                }
            }
        }
        let rates =
            sums.into_iter().map(|(value, treatment, control)| (value, treatment / all, control / all));
        if all > 0.0 { rates.collect() } else { Vec::new() }
    }

    /// Units that had more than one arm or variant under a rule.
    pub(crate) fn switched(&self, range: Range) -> usize {
        let mut ways: BTreeMap<(String, String), BTreeSet<(i64, String)>> = BTreeMap::new();
        for row in self.shown(range).into_iter().filter(|row| row.arm != 2) {
            let own = ways.entry((row.unit.clone(), row.rule.clone())).or_default();
            own.insert((row.arm, row.variant.clone()));
        }
        ways.values().filter(|ways| ways.len() > 1).count()
    }

    /// Stops in the range without an exposure of their stage and rule before its end.
    pub(crate) fn without_exposure(&self, range: Range) -> usize {
        let stops = self.steps.values().filter(|step| step.flag == Some(1));
        let inside = stops.filter(|step| step.at >= range.from && step.at < range.to);
        inside
            .filter(|step| {
                !self.exposures.values().any(|row| {
                    row.flag == 1
                        && row.unit == step.unit
                        && Some(row.stage) == step.stage
                        && Some(row.rule.as_str()) == step.rule.as_deref()
                        && row.at < range.to
                })
            })
            .count()
    }

    /// Exposed and converted by region of the shown exposure, over all rows.
    pub(crate) fn regions(&self, range: Range, metric: &str, window: i64) -> BTreeMap<String, (u64, u64)> {
        let mut regions: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for row in self.firsts(range).into_values().flatten() {
            let captured: Value = serde_json::from_str(row.captured.as_deref().unwrap_or("{}")).unwrap();
            let count =
                regions.entry(captured["region"].as_str().unwrap_or("(none)").to_owned()).or_default();
            if row.at + window + 10 * MINUTE_MS <= range.as_of {
                count.0 += 1;
                count.1 += u64::from(!self.events(row, metric, window).is_empty());
            } else {
                count.0 += 0;
            }
        }
        regions
    }

    /// Whether the unit of an exposure saw flag 2 before the shortest window ended.
    pub(crate) fn saw(&self, row: &ExposureRow, shortest: i64) -> bool {
        let other = self.exposures.values().filter(|other| other.flag == 2 && other.unit == row.unit);
        other.filter(|other| other.arm != 0).any(|other| other.at < row.at + shortest)
    }

    /// What a unit spent in one currency after an exposure.
    fn spent(&self, row: &ExposureRow, metric: &str, window: i64, currency: &str) -> f64 {
        let events = self.events(row, metric, window).into_iter();
        let own = events.filter(|event| event.currency.as_deref() == Some(currency));
        own.filter_map(|event| event.value).sum::<i64>() as f64
    }

    /// The quantile of what units spent that spent something, in stages with both arms, and the share of all value above.
    pub(crate) fn cap(&self, range: Range, what: (&str, i64, &str), quantile: f64) -> Option<(f64, f64)> {
        let (metric, window, currency) = what;
        let shown = self.shown(range).into_iter();
        let closed: Vec<_> = shown.filter(|row| row.at + window + 10 * MINUTE_MS <= range.as_of).collect();
        let has =
            |stage: i64, variant: &str| closed.iter().any(|row| row.stage == stage && row.variant == variant);
        let pooled = closed.iter().filter(|row| has(row.stage, "on") && has(row.stage, "off"));
        let spent = pooled.map(|row| self.spent(row, metric, window, currency));
        let mut spent: Vec<f64> = spent.filter(|spent| *spent > 0.0).collect();
        spent.sort_by(f64::total_cmp);
        let place = quantile * (spent.len().checked_sub(1)? as f64);
        let below = (0..spent.len()).rfind(|at| *at as f64 <= place)?;
        let (low, high) = (spent[below], spent[(below + 1).min(spent.len() - 1)]);
        let cap = low + (high - low) * (place - below as f64);
        let above: f64 = spent.iter().map(|spent| (spent - cap).max(0.0)).sum();
        Some((cap, above / spent.iter().sum::<f64>()))
    }

    /// Value per user of one currency, each user's up to `cap`.
    pub(crate) fn value(
        &self,
        range: Range,
        (metric, window, currency): (&str, i64, &str),
        cap: f64,
    ) -> ValueComparison {
        let closed = |row: &&ExposureRow| row.at + window + 10 * MINUTE_MS <= range.as_of;
        let rows: Vec<&ExposureRow> = self.shown(range);
        let stages: BTreeSet<i64> = rows.iter().map(|row| row.stage).collect();
        let stages: Vec<i64> = stages.into_iter().collect();
        let of = |stage: i64, variant: &str| -> Vec<&ExposureRow> {
            let own = rows.iter().copied().filter(|row| row.stage == stage && row.variant == variant);
            own.filter(closed).collect()
        };
        let spent = |row: &ExposureRow| self.spent(row, metric, window, currency).min(cap);
        let sums = |rows: Vec<&ExposureRow>| Sums {
            units: rows.len() as u64,
            sum: rows.iter().map(|row| spent(row)).sum(),
            squares: rows.iter().map(|row| spent(row).powi(2)).sum(),
        };
        let strata: Vec<ValueStratum> = stages
            .iter()
            .map(|stage| ValueStratum {
                stage: u32::try_from(*stage).unwrap(),
                treatment: sums(of(*stage, "on")),
                control: sums(of(*stage, "off")),
            })
            .collect();
        let pairs = |variant: &str| {
            let mut pairs = Vec::new();
            for (earlier, low) in stages.iter().enumerate() {
                for (later, high) in stages.iter().enumerate().skip(earlier + 1) {
                    let mut pair = ValuePair { earlier, later, ..ValuePair::default() };
                    for a in of(*low, variant) {
                        for b in of(*high, variant).into_iter().filter(|b| b.unit == a.unit) {
                            pair.units += 1;
                            pair.earlier_sum += spent(a);
                            pair.later_sum += spent(b);
                            pair.products += spent(a) * spent(b);
                        }
                    }
                    if pair.units > 0 {
                        pairs.push(pair);
                    }
                }
            }
            pairs
        };
        mean::compare(&Values {
            strata: &strata,
            treatment_pairs: &pairs("on"),
            control_pairs: &pairs("off"),
        })
    }

    /// Events of one metric per event of another, over the same window.
    pub(crate) fn ratio(&self, range: Range, (y, x): (&str, &str), window: i64) -> ValueComparison {
        let count = |row: &ExposureRow, step: &str| self.events(row, step, window).len() as f64;
        self.ratio_of(range, window, &|row| (count(row, y), count(row, x)))
    }

    /// What was spent per event with a value of one currency.
    pub(crate) fn per_order(
        &self,
        range: Range,
        (metric, window, currency): (&str, i64, &str),
    ) -> ValueComparison {
        let orders = |row: &ExposureRow| {
            let events = self.events(row, metric, window).into_iter();
            events.filter(|event| event.currency.as_deref() == Some(currency)).count() as f64
        };
        self.ratio_of(range, window, &|row| (self.spent(row, metric, window, currency), orders(row)))
    }

    fn ratio_of(
        &self,
        range: Range,
        window: i64,
        both: &dyn Fn(&ExposureRow) -> (f64, f64),
    ) -> ValueComparison {
        let closed = |row: &&ExposureRow| row.at + window + 10 * MINUTE_MS <= range.as_of;
        let rows: Vec<&ExposureRow> = self.shown(range).into_iter().filter(closed).collect();
        let stages: BTreeSet<i64> = self.shown(range).iter().map(|row| row.stage).collect();
        let stages: Vec<i64> = stages.into_iter().collect();
        let of = |stage: i64, variant: &str| -> Vec<&ExposureRow> {
            rows.iter().copied().filter(|row| row.stage == stage && row.variant == variant).collect()
        };
        let sums = |rows: Vec<&ExposureRow>| {
            let mut sums = RatioSums { units: rows.len() as u64, ..RatioSums::default() };
            for row in rows {
                let (y, x) = both(row);
                sums.y += y;
                sums.x += x;
                sums.yy += y * y;
                sums.xy += x * y;
                sums.xx += x * x;
            }
            sums
        };
        let stratum = |stage: &i64| RatioStratum {
            stage: u32::try_from(*stage).unwrap(),
            treatment: sums(of(*stage, "on")),
            control: sums(of(*stage, "off")),
        };
        let strata: Vec<RatioStratum> = stages.iter().map(stratum).collect();
        let pairs = |variant: &str| {
            let mut pairs = Vec::new();
            for (earlier, low) in stages.iter().enumerate() {
                for (later, high) in stages.iter().enumerate().skip(earlier + 1) {
                    let mut pair = RatioPair { earlier, later, ..RatioPair::default() };
                    for a in of(*low, variant) {
                        for b in of(*high, variant).into_iter().filter(|b| b.unit == a.unit) {
                            let ((ay, ax), (by, bx)) = (both(a), both(b));
                            pair.units += 1;
                            pair.earlier_y += ay;
                            pair.earlier_x += ax;
                            pair.later_y += by;
                            pair.later_x += bx;
                            pair.yy += ay * by;
                            pair.xx += ax * bx;
                            pair.earlier_x_later_y += ax * by;
                            pair.earlier_y_later_x += ay * bx;
                        }
                    }
                    if pair.units > 0 {
                        pairs.push(pair);
                    }
                }
            }
            pairs
        };
        ratio::compare(&strata, &pairs("on"), &pairs("off"))
    }

    /// Of the treated, each once by the first exposure: those whose window has closed, and those who did it.
    pub(crate) fn treated(&self, range: Range, metric: &str, window: i64) -> Count {
        let firsts = self.firsts(range);
        let treated =
            firsts.iter().filter(|((rule, arm, variant), _)| rule == "ramp" && *arm == 1 && variant == "on");
        let closed: Vec<_> = treated
            .flat_map(|(_, rows)| rows)
            .filter(|row| row.at + window + 10 * MINUTE_MS <= range.as_of)
            .collect();
        let converted = closed.iter().filter(|row| !self.events(row, metric, window).is_empty()).count();
        Count { units: closed.len() as u64, converted: converted as u64 }
    }

    /// Units, by row, that saw flag 2 before the shortest window ended, and whose shortest window has closed.
    pub(crate) fn saw_both(&self, range: Range, shortest: i64) -> usize {
        let saw =
            |row: &&ExposureRow| row.at + shortest + 10 * MINUTE_MS <= range.as_of && self.saw(row, shortest);
        // A unit that came again counts by its first exposure, if that one is closed.
        self.firsts(range).into_values().flatten().filter(saw).count()
    }
}
