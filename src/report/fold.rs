//! Loaded hours added up: as a whole, by value of an attribute, by other flag, by time.

use std::collections::BTreeMap;

use super::fact::Fact;
use super::hour::has_same;
use super::load::{Loaded, LoadedHour};
use super::plan::Plan;
use super::tally::Stops;
use super::totals::{Cut, Seen, Sums, Totals};

/// The whole. Growth is measured from `early_ms`: hours that ended before count as early.
pub(super) fn totals(plan: &Plan, loaded: &Loaded, early_ms: i64) -> Totals {
    let mut totals = Totals::default();
    for hour in &loaded.hours {
        totals.add(plan, &hour.main, loaded.range, hour.ends_ms() <= early_ms);
        if loaded.range.is_cut {
            totals.sums.add_by_hour(&hour.again.whole, loaded.range.from_ms);
        }
    }
    for (_, fact, cut) in returned(loaded) {
        totals.sums.add_again(plan, fact, cut, Stops::Times, |_| true);
    }
    totals
}

/// By value of the captured attribute at this place of the plan; `None`: values that some hour did not keep apart.
pub(super) fn segments(plan: &Plan, loaded: &Loaded, attribute: usize) -> BTreeMap<Option<Box<str>>, Sums> {
    let mut segments: BTreeMap<Option<Box<str>>, Sums> = BTreeMap::new();
    for hour in &loaded.hours {
        for own in hour.segments.iter().filter(|own| own.attribute == attribute) {
            segments.entry(own.value.clone()).or_default().add(&own.cells, loaded.range);
        }
        let again = hour.again.segments.iter().filter(|own| own.attribute == attribute);
        for own in again.filter(|_| loaded.range.is_cut) {
            segments.entry(own.value.clone()).or_default().add_by_hour(&own.hours, loaded.range.from_ms);
        }
    }
    for (hour, fact, cut) in returned(loaded) {
        let value = fact.captured.get(attribute).cloned();
        let is_apart = hour.segments.iter().any(|own| own.attribute == attribute && own.value == value);
        let sums = segments.entry(value.filter(|_| is_apart)).or_default();
        sums.add_again(plan, fact, cut, Stops::Counts, |earlier| has_same(earlier, attribute));
    }
    segments
}

/// Single exposures of units that came before, with where they stand, if the range is cut.
fn returned(loaded: &Loaded) -> impl Iterator<Item = (&LoadedHour, &Fact, Cut)> {
    let range = loaded.range;
    let hours = loaded.hours.iter().filter(move |_| range.is_cut);
    let just_counted =
        hours.flat_map(move |hour| hour.facts.iter().map(move |fact| (&**hour, fact, Cut::at(range))));
    let followers = loaded.followers.iter().filter_map(move |fact| {
        let place = loaded.hours.partition_point(|hour| hour.span.from_ms <= fact.at).checked_sub(1)?;
        let hour = loaded.hours.get(place).filter(|hour| hour.is_kept && hour.span.holds(fact.at))?;
        Some((&**hour, fact, Cut::inside(range)))
    });
    just_counted.chain(followers)
}

/// By other flag that units saw.
pub(super) fn overlap(plan: &Plan, loaded: &Loaded) -> BTreeMap<i64, Seen> {
    let mut overlap: BTreeMap<i64, Seen> = BTreeMap::new();
    for hour in &loaded.hours {
        for one in &hour.overlap {
            overlap.entry(one.flag).or_default().add(one, loaded.range);
        }
        for own in hour.again.overlap.iter().filter(|_| loaded.range.is_cut) {
            overlap.entry(own.flag).or_default().add_by_hour(own, loaded.range.from_ms);
        }
    }
    // As where they are counted: before its first window closes, a unit may yet see another.
    for (_, fact, cut) in returned(loaded).filter(|(_, fact, _)| fact.level > 0) {
        for flag in fact.saw() {
            overlap.entry(flag).or_default().add_again(plan, fact, cut, flag);
        }
    }
    overlap
}

/// By bucket of time: each hour belongs to one.
pub(super) fn buckets<B: Ord>(plan: &Plan, loaded: &Loaded, bucket: impl Fn(i64) -> B) -> BTreeMap<B, Sums> {
    let mut buckets: BTreeMap<B, Sums> = BTreeMap::new();
    for hour in &loaded.hours {
        let sums = buckets.entry(bucket(hour.hour_ms())).or_default();
        sums.add(&hour.main.cells, loaded.range);
        if loaded.range.is_cut {
            sums.add_by_hour(&hour.again.whole, loaded.range.from_ms);
        }
    }
    for (hour, fact, cut) in returned(loaded) {
        let sums = buckets.entry(bucket(hour.hour_ms())).or_default();
        sums.add_again(plan, fact, cut, Stops::Times, |_| true);
    }
    buckets
}
