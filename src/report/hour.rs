//! What the exposures of one hour, or of a part of one, add up to; and how that is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::amounts::Amounts;
use super::fact::{Earlier, Fact, Key};
use super::plan::Plan;
use super::sorted::Sorted;
use super::tally::{PairTally, Stops, Tally};

/// Most values of one captured attribute that an hour keeps apart, the most frequent ones.
const VALUES_MAX: usize = 1_000;

/// Units that are in two strata of one row: rule, arm, variant, lower and higher stage.
pub type Pairs = Sorted<PairKey, PairTally>;

/// Two strata of one row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PairKey {
    /// The rule.
    pub rule: Box<str>,
    /// 0 control, 1 treatment, 2 fixed.
    pub arm: u8,
    /// The variant.
    pub variant: Box<str>,
    /// The lower stage.
    pub lower: i64,
    /// The higher stage.
    pub higher: i64,
}

impl PairKey {
    /// The strata that a unit is in by an exposure and one before it.
    #[must_use]
    pub fn of(fact: &Fact, earlier: &Earlier) -> Self {
        let (a, b) = (fact.key.stage, earlier.stage);
        Self {
            rule: fact.key.rule.clone(),
            arm: fact.key.arm,
            variant: fact.key.variant.clone(),
            lower: a.min(b),
            higher: a.max(b),
        }
    }
}

/// Exposures of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Those that are their unit's first under their rule, arm and variant.
    pub first: Tally,
    /// The others, without their funnel.
    pub again: Tally,
}

/// Sums by key, and of units in two strata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cells {
    /// By key.
    pub groups: Sorted<Key, Group>,
    /// Of units in two strata.
    pub pairs: Pairs,
}

impl Cells {
    fn add(&mut self, plan: &Plan, fact: &Fact, stops: Stops, pairs_with: impl Fn(&Earlier) -> bool) {
        let group = self.groups.entry(&fact.key);
        if fact.earlier.is_empty() {
            group.first.add(plan, fact, stops);
        } else {
            group.again.add(plan, fact, Stops::No);
        }
        for earlier in fact.earlier.iter().filter(|earlier| pairs_with(earlier)) {
            self.pairs.entry(&PairKey::of(fact, earlier)).add(plan, fact, earlier);
        }
    }

    /// How many units it holds.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.groups.values().map(|group| group.first.units + group.again.units).sum()
    }

    /// Takes all of others in.
    pub fn merge(&mut self, other: &Self) {
        for (key, group) in other.groups.iter() {
            let own = self.groups.entry(key);
            own.first.merge(&group.first);
            own.again.merge(&group.again);
        }
        for (key, pair) in other.pairs.iter() {
            self.pairs.entry(key).merge(pair);
        }
    }
}

/// The whole of an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Main {
    /// Sums of all exposures.
    pub cells: Cells,
    /// See [`Fact::switched`].
    pub switched: Vec<(i64, i64)>,
    /// See [`Fact::claimed`].
    pub claimed: Vec<i64>,
    /// Times of stops without an exposure of their stage and rule before the hour's end.
    pub orphans: Vec<i64>,
}

/// One value of one captured attribute; `value` `None`: all that are not kept apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The attribute's place in the plan.
    pub attribute: usize,
    /// The value.
    pub value: Option<Box<str>>,
    /// Sums of its exposures.
    pub cells: Cells,
}

/// Units that saw another flag too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlap {
    /// The other flag's number.
    pub flag: i64,
    /// Sums of the exposures of units that saw it.
    pub seen: Cells,
    /// Units in two strata that saw it by one of both exposures or by both.
    pub either: Pairs,
}

/// What an hour, or a part of one, adds up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hour {
    /// What every report needs.
    pub main: Main,
    /// Exposures of units that came before: needed where a report begins after their earlier ones.
    pub again: Vec<Fact>,
    /// By captured attribute and value.
    pub segments: Vec<Segment>,
    /// By other flag.
    pub overlap: Vec<Overlap>,
    /// Single amounts.
    pub amounts: Amounts,
}

/// An hour that facts are still added to.
#[derive(Debug, Default)]
pub struct Adding {
    hour: Hour,
    segments: BTreeMap<(usize, Box<str>), Cells>,
    overlap: BTreeMap<i64, Overlap>,
}

impl Adding {
    /// Takes a fact in.
    pub fn add(&mut self, plan: &Plan, fact: Fact) {
        let main = &mut self.hour.main;
        main.cells.add(plan, &fact, Stops::Times, |_| true);
        main.switched.extend(fact.switched);
        main.claimed.extend(&fact.claimed);
        for (attribute, value) in fact.captured.iter().enumerate() {
            let cells = self.segments.entry((attribute, value.clone())).or_default();
            cells.add(plan, &fact, Stops::Counts, |earlier| has_same(earlier, attribute));
        }
        count_overlap(&mut self.overlap, plan, &fact);
        self.hour.amounts.add(plan, &fact);
        if !fact.earlier.is_empty() {
            self.hour.again.push(fact);
        }
    }

    /// The hour, with stops without exposure at the times `orphans`.
    #[must_use]
    pub fn finish(mut self, orphans: Vec<i64>) -> Hour {
        self.hour.main.orphans = orphans;
        self.hour.segments = cut(self.segments);
        self.hour.overlap = self.overlap.into_values().collect();
        self.hour
    }
}

/// Whether the attribute had the same value at an earlier exposure.
#[must_use]
pub fn has_same(earlier: &Earlier, attribute: usize) -> bool {
    earlier.same.get(attribute).copied().unwrap_or_default()
}

fn count_overlap(overlap: &mut BTreeMap<i64, Overlap>, plan: &Plan, fact: &Fact) {
    // Before its first window closes, the unit may yet see another.
    if fact.level == 0 {
        return;
    }
    for flag in &fact.others {
        let both = |earlier: &Earlier| earlier.others.contains(flag);
        overlap.entry(*flag).or_default().seen.add(plan, fact, Stops::No, both);
    }
    for earlier in &fact.earlier {
        let mut flags: Vec<i64> = fact.others.iter().chain(&earlier.others).copied().collect();
        flags.sort_unstable();
        flags.dedup();
        for flag in flags {
            let entry = overlap.entry(flag).or_default();
            entry.either.entry(&PairKey::of(fact, earlier)).add(plan, fact, earlier);
        }
    }
    for (flag, entry) in overlap {
        entry.flag = *flag;
    }
}

/// The most frequent values of each attribute, the rest together.
fn cut(segments: BTreeMap<(usize, Box<str>), Cells>) -> Vec<Segment> {
    let mut by_attribute: BTreeMap<usize, Vec<(Box<str>, Cells)>> = BTreeMap::new();
    for ((attribute, value), cells) in segments {
        by_attribute.entry(attribute).or_default().push((value, cells));
    }
    let mut kept = Vec::new();
    for (attribute, mut values) in by_attribute {
        values.sort_by_cached_key(|(value, cells)| (std::cmp::Reverse(cells.units()), value.clone()));
        let rest = values.split_off(values.len().min(VALUES_MAX));
        kept.extend(values.into_iter().map(|(value, cells)| Segment {
            attribute,
            value: Some(value),
            cells,
        }));
        if !rest.is_empty() {
            let mut cells = Cells::default();
            rest.iter().for_each(|(_, one)| cells.merge(one));
            kept.push(Segment { attribute, value: None, cells });
        }
    }
    kept
}
