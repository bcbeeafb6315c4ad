//! Loaded hours added up: as a whole, by value of an attribute, by other flag, by time.

use std::collections::BTreeMap;

use super::hour::has_same;
use super::load::Loaded;
use super::plan::Plan;
use super::tally::Stops;
use super::totals::{Seen, Sums, Totals};
use crate::clock::HOUR_MS;

/// The whole. Growth is measured from `early_ms`: hours that ended before count as early.
pub(super) fn totals(plan: &Plan, loaded: &Loaded, early_ms: i64) -> Totals {
    let mut totals = Totals::default();
    for hour in &loaded.hours {
        totals.add(plan, &hour.main, loaded.range, hour.from_ms + HOUR_MS <= early_ms);
        if loaded.range.is_cut {
            for fact in &hour.again {
                totals.sums.add_again(plan, fact, loaded.range, Stops::Times, |_| true);
            }
        }
    }
    totals
}

/// By value of the captured attribute at this place of the plan; `None`: values that some hour did not keep apart.
pub(super) fn segments(plan: &Plan, loaded: &Loaded, attribute: usize) -> BTreeMap<Option<Box<str>>, Sums> {
    let mut segments: BTreeMap<Option<Box<str>>, Sums> = BTreeMap::new();
    for hour in &loaded.hours {
        let own = hour.segments.iter().filter(|segment| segment.attribute == attribute);
        let mut kept = std::collections::BTreeSet::new();
        for segment in own {
            kept.insert(segment.value.clone());
            segments.entry(segment.value.clone()).or_default().add(&segment.cells, loaded.range);
        }
        if loaded.range.is_cut {
            for fact in &hour.again {
                let value = fact.captured.get(attribute).cloned();
                let value = if kept.contains(&value) { value } else { None };
                let same = |earlier: &_| has_same(earlier, attribute);
                segments.entry(value).or_default().add_again(plan, fact, loaded.range, Stops::Counts, same);
            }
        }
    }
    segments
}

/// By other flag that units saw.
pub(super) fn overlap(plan: &Plan, loaded: &Loaded) -> BTreeMap<i64, Seen> {
    let mut overlap: BTreeMap<i64, Seen> = BTreeMap::new();
    for hour in &loaded.hours {
        for one in &hour.overlap {
            overlap.entry(one.flag).or_default().add(one, loaded.range);
        }
        // As where they are counted: before its first window closes, a unit may yet see another.
        let closed = hour.again.iter().filter(|fact| fact.level > 0);
        for fact in closed.filter(|_| loaded.range.is_cut) {
            let mut flags: Vec<i64> = fact.others.clone();
            flags.extend(fact.earlier.iter().flat_map(|earlier| &earlier.others));
            flags.sort_unstable();
            flags.dedup();
            for flag in flags {
                overlap.entry(flag).or_default().add_again(plan, fact, loaded.range, flag);
            }
        }
    }
    overlap
}

/// By bucket of time: each hour belongs to one.
pub(super) fn buckets<B: Ord>(plan: &Plan, loaded: &Loaded, bucket: impl Fn(i64) -> B) -> BTreeMap<B, Sums> {
    let mut buckets: BTreeMap<B, Sums> = BTreeMap::new();
    for hour in &loaded.hours {
        let sums = buckets.entry(bucket(hour.from_ms)).or_default();
        sums.add(&hour.main.cells, loaded.range);
        for fact in hour.again.iter().filter(|_| loaded.range.is_cut) {
            sums.add_again(plan, fact, loaded.range, Stops::Times, |_| true);
        }
    }
    buckets
}
