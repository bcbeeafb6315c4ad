//! What of a kept hour depends on where a range begins: exposures of units that came before, by the hour in which they did.
//!
//! Where a range begins at `from`, an exposure is its unit's first in the range if all earlier ones lie before `from`, and
//! a pair with an earlier one counts if that lies after. So sums by the hour of the latest earlier exposure, and pairs by
//! the hour of the earlier one, answer for every `from` on the hour. Inside an hour, the exposures that follow one of
//! that hour are read from the rows.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::fact::{Earlier, Fact};
use super::hour::{Cells, PairKey, Segment, has_same};
use super::hours::hour_of;
use super::plan::Plan;
use super::tally::Stops;

/// By the hour of an earlier exposure. Of the groups of an hour, `first` alone is used: of those whose latest earlier
/// exposure lies there.
pub type ByHour = BTreeMap<i64, Cells>;

/// Of one value of one captured attribute; `None`: of all that are not kept apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentAgain {
    /// The attribute's place in the plan.
    pub attribute: usize,
    /// The value.
    pub value: Option<Box<str>>,
    /// Sums.
    pub hours: ByHour,
}

/// Of units that saw another flag too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlapAgain {
    /// The other flag's number.
    pub flag: i64,
    /// Sums of the exposures of units that saw it.
    pub seen: ByHour,
    /// Units in two strata that saw it by one of both exposures or by both.
    pub either: ByHour,
}

/// The whole of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Again {
    /// Of all exposures.
    pub whole: ByHour,
    /// By captured attribute and value.
    pub segments: Vec<SegmentAgain>,
    /// By other flag.
    pub overlap: Vec<OverlapAgain>,
}

/// Takes a fact in that has earlier exposures.
fn add(hours: &mut ByHour, plan: &Plan, fact: &Fact, stops: Stops, pairs_with: impl Fn(&Earlier) -> bool) {
    let Some(latest) = fact.earlier.iter().map(|earlier| earlier.at).max() else { return };
    let group = hours.entry(hour_of(latest)).or_default().groups.entry(&fact.key);
    group.first.add(plan, fact, stops);
    for earlier in fact.earlier.iter().filter(|earlier| pairs_with(earlier)) {
        let pairs = &mut hours.entry(hour_of(earlier.at)).or_default().pairs;
        pairs.entry(&PairKey::of(fact, earlier)).add(plan, fact, earlier);
    }
}

impl Again {
    /// Of the facts of an hour that have earlier exposures; `segments` are those that the hour keeps apart.
    #[must_use]
    pub fn of(plan: &Plan, facts: &[Fact], segments: &[Segment]) -> Self {
        let mut whole = ByHour::default();
        let mut by_value: BTreeMap<(usize, Option<Box<str>>), ByHour> = BTreeMap::new();
        let mut by_flag: BTreeMap<i64, OverlapAgain> = BTreeMap::new();
        let apart: BTreeSet<(usize, &str)> =
            segments.iter().filter_map(|own| Some((own.attribute, own.value.as_deref()?))).collect();
        for fact in facts {
            add(&mut whole, plan, fact, Stops::Times, |_| true);
            for (attribute, value) in fact.captured.iter().enumerate() {
                let value = apart.contains(&(attribute, value)).then(|| value.clone());
                let hours = by_value.entry((attribute, value)).or_default();
                add(hours, plan, fact, Stops::Counts, |earlier| has_same(earlier, attribute));
            }
            add_overlap(&mut by_flag, plan, fact);
        }
        let segments = by_value.into_iter();
        Self {
            whole,
            segments: segments
                .map(|((attribute, value), hours)| SegmentAgain { attribute, value, hours })
                .collect(),
            overlap: by_flag.into_values().collect(),
        }
    }
}

/// As [`super::hour`] counts the overlap: before its first window closes, a unit may yet see another flag.
fn add_overlap(by_flag: &mut BTreeMap<i64, OverlapAgain>, plan: &Plan, fact: &Fact) {
    if fact.level == 0 {
        return;
    }
    for flag in fact.saw() {
        let own = by_flag.entry(flag).or_insert_with(|| OverlapAgain { flag, ..OverlapAgain::default() });
        let saw = fact.others.contains(&flag);
        if saw {
            add(&mut own.seen, plan, fact, Stops::No, |earlier| earlier.others.contains(&flag));
        }
        for earlier in fact.earlier.iter().filter(|earlier| saw || earlier.others.contains(&flag)) {
            let cells = own.either.entry(hour_of(earlier.at)).or_default();
            cells.pairs.entry(&PairKey::of(fact, earlier)).add(plan, fact, earlier);
        }
    }
}
