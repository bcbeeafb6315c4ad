//! Hours added up to a range.

use std::collections::BTreeMap;
use std::ops::{RangeFrom, RangeTo};

use super::again::{ByHour, OverlapAgain};
use super::fact::{Earlier, Fact, Key};
use super::hour::{Cells, Main, Overlap, PairKey, Pairs};
use super::hours::{hour_of, span_of};
use super::plan::Plan;
use super::tally::{Stops, Tally};

/// From one moment up to before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first moment.
    pub from_ms: i64,
    /// The moment after the last.
    pub to_ms: i64,
    /// Whether exposures lie before it: then units that came again may be new in it.
    pub is_cut: bool,
}

/// Where a range begins, as an exposure sees it whose unit came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The first moment of the range.
    pub from_ms: i64,
    /// The hour whose earlier exposures are looked at, where kept sums tell of all others.
    pub only: Option<i64>,
}

impl Cut {
    /// Where `range` begins.
    #[must_use]
    pub fn at(range: Range) -> Self {
        Self { from_ms: range.from_ms, only: None }
    }

    /// The same, for exposures of which sums by hour tell all but what the hour decides inside which it begins.
    #[must_use]
    pub fn inside(range: Range) -> Self {
        Self { from_ms: range.from_ms, only: Some(hour_of(range.from_ms)) }
    }

    fn looks_at(self, earlier: &Earlier) -> bool {
        self.only.is_none_or(|hour| hour_of(earlier.at) == hour)
    }
}

/// Sums of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Units by their first exposure in the range under their rule, arm and variant: what is shown.
    pub first: Tally,
    /// All exposures: what is compared.
    pub all: Tally,
}

/// Sums by key, and of units in two strata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// By key.
    pub rows: BTreeMap<Key, Row>,
    /// Of units in two strata.
    pub pairs: Pairs,
}

/// What a report needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Of all exposures.
    pub sums: Sums,
    /// Units of each key, matured by the goal's window, up to the moment that growth is measured from.
    pub early: BTreeMap<Key, u64>,
    /// Units that switched arm or variant under one rule.
    pub switched: u64,
    /// Stops without an exposure of their stage and rule before the end of their hour.
    pub orphans: u64,
    /// Those of them that had one later.
    pub claimed: u64,
}

/// Units that saw another flag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Exposures of units that saw it.
    pub sums: Sums,
    /// Units in two strata that saw it by one of both exposures or by both.
    pub either: Pairs,
}

impl Sums {
    /// Takes cells in, as far as they do not depend on where the range begins.
    pub fn add(&mut self, cells: &Cells, range: Range) {
        for (key, group) in cells.groups.iter() {
            let row = self.rows.entry(key.clone()).or_default();
            row.first.merge(&group.first);
            row.all.merge(&group.first);
            row.all.merge(&group.again);
        }
        if !range.is_cut {
            merge_pairs(&mut self.pairs, &cells.pairs);
        }
    }

    /// Takes in what depends on it, of an exposure whose unit came before.
    pub fn add_again(
        &mut self,
        plan: &Plan,
        fact: &Fact,
        cut: Cut,
        stops: Stops,
        pairs_with: impl Fn(&Earlier) -> bool,
    ) {
        let latest = fact.earlier.iter().max_by_key(|earlier| earlier.at);
        if latest.is_some_and(|latest| latest.at < cut.from_ms && cut.looks_at(latest)) {
            self.rows.entry(fact.key.clone()).or_default().first.add(plan, fact, stops);
        }
        add_pairs(&mut self.pairs, plan, fact, cut, pairs_with);
    }

    /// Takes in what depends on it, of kept exposures whose units came before: all of it, but what an earlier exposure
    /// of the very hour decides that the range begins inside.
    pub fn add_by_hour(&mut self, hours: &ByHour, from_ms: i64) {
        let (before, after) = sides(from_ms);
        for (key, group) in hours.range(before).flat_map(|(_, cells)| cells.groups.iter()) {
            self.rows.entry(key.clone()).or_default().first.merge(&group.first);
        }
        for (_, cells) in hours.range(after) {
            merge_pairs(&mut self.pairs, &cells.pairs);
        }
    }

    /// Takes all of another in.
    pub fn merge(&mut self, other: &Self) {
        for (key, row) in &other.rows {
            let own = self.rows.entry(key.clone()).or_default();
            own.first.merge(&row.first);
            own.all.merge(&row.all);
        }
        merge_pairs(&mut self.pairs, &other.pairs);
    }

    /// Units that are shown, over all keys.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.rows.values().map(|row| row.first.units).sum()
    }
}

/// Hours that lie wholly before a moment, and those that lie wholly after it.
fn sides(from_ms: i64) -> (RangeTo<i64>, RangeFrom<i64>) {
    let hour = hour_of(from_ms);
    let after = if span_of(hour).from_ms == from_ms { hour } else { hour + 1 };
    (..hour, after..)
}

fn merge_pairs(into: &mut Pairs, from: &Pairs) {
    for (key, pair) in from.iter() {
        into.entry(key).merge(pair);
    }
}

fn add_pairs(pairs: &mut Pairs, plan: &Plan, fact: &Fact, cut: Cut, pairs_with: impl Fn(&Earlier) -> bool) {
    let inside = fact.earlier.iter().filter(|earlier| earlier.at >= cut.from_ms && cut.looks_at(earlier));
    for earlier in inside.filter(|earlier| pairs_with(earlier)) {
        pairs.entry(&PairKey::of(fact, earlier)).add(plan, fact, earlier);
    }
}

impl Totals {
    /// Stops without an exposure of their stage and rule.
    #[must_use]
    pub fn without_exposure(&self) -> u64 {
        self.orphans.saturating_sub(self.claimed)
    }

    /// Takes an hour in; `is_early`: it counts where growth is measured from.
    pub fn add(&mut self, plan: &Plan, main: &Main, range: Range, is_early: bool) {
        self.sums.add(&main.cells, range);
        let switched =
            main.switched.iter().filter(|(after, last)| *after < range.from_ms && range.from_ms <= *last);
        self.switched += switched.count() as u64;
        self.orphans += main.orphans.len() as u64;
        self.claimed += main.claimed.iter().filter(|at| **at >= range.from_ms).count() as u64;
        if is_early {
            for (key, group) in main.cells.groups.iter() {
                let matured =
                    group.first.matured(plan.goal_window()) + group.again.matured(plan.goal_window());
                *self.early.entry(key.clone()).or_default() += matured;
            }
        }
    }
}

impl Seen {
    /// Takes an hour in, as far as it does not depend on where the range begins.
    pub fn add(&mut self, overlap: &Overlap, range: Range) {
        self.sums.add(&overlap.seen, range);
        if !range.is_cut {
            merge_pairs(&mut self.either, &overlap.either);
        }
    }

    /// Takes in what depends on it, of an exposure whose unit came before.
    pub fn add_again(&mut self, plan: &Plan, fact: &Fact, cut: Cut, flag: i64) {
        if fact.others.contains(&flag) {
            self.sums.add_again(plan, fact, cut, Stops::No, |earlier| earlier.others.contains(&flag));
        }
        let saw = fact.others.contains(&flag);
        add_pairs(&mut self.either, plan, fact, cut, |earlier| saw || earlier.others.contains(&flag));
    }

    /// As [`Sums::add_by_hour`].
    pub fn add_by_hour(&mut self, own: &OverlapAgain, from_ms: i64) {
        self.sums.add_by_hour(&own.seen, from_ms);
        for (_, cells) in own.either.range(sides(from_ms).1) {
            merge_pairs(&mut self.either, &cells.pairs);
        }
    }
}
