//! Hours summed up to days, so that a report over weeks reads a few sums. A day is kept beside its hours once nothing of
//! it waits for a window; it is used as long as its hours are the ones that it is the sum of.

use std::collections::BTreeMap;

use super::again::{Again, OverlapAgain, SegmentAgain};
use super::hour::{Cells, Hour, Overlap, Segment};
use super::hours::{DAY_HOURS, Kept, Sources};
use super::load::LoadedHour;
use super::plan::Plan;
use crate::clock::HOUR_MS;
use crate::store::HourHead;

/// Which days may stand for their hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Days {
    /// None: each hour is looked at.
    No,
    /// Those that do not hold this moment inside: hours before it are looked at apart.
    Around(i64),
}

/// Every captured value of the day is kept apart.
const ALL_APART: i64 = 1;

/// What the hours of a day add up to.
#[derive(Debug, Default)]
pub(super) struct Sum {
    hour: Hour,
    again: Again,
    segments: BTreeMap<(usize, Option<Box<str>>), Cells>,
    segments_again: BTreeMap<(usize, Option<Box<str>>), SegmentAgain>,
    overlap: BTreeMap<i64, Overlap>,
    overlap_again: BTreeMap<i64, OverlapAgain>,
}

impl Sum {
    /// Takes an hour in.
    pub(super) fn add(&mut self, hour: LoadedHour) {
        let main = &mut self.hour.main;
        main.cells.merge(&hour.main.cells);
        main.switched.extend(hour.main.switched);
        main.claimed.extend(hour.main.claimed);
        main.orphans.extend(hour.main.orphans);
        merge_hours(&mut self.again.whole, hour.again.whole);
        for own in hour.segments {
            self.segments.entry((own.attribute, own.value)).or_default().merge(&own.cells);
        }
        for own in hour.again.segments {
            let key = (own.attribute, own.value);
            let new = || SegmentAgain { attribute: key.0, value: key.1.clone(), hours: BTreeMap::new() };
            merge_hours(&mut self.segments_again.entry(key.clone()).or_insert_with(new).hours, own.hours);
        }
        for own in hour.overlap {
            let sum = self.overlap.entry(own.flag).or_default();
            sum.flag = own.flag;
            sum.seen.merge(&own.seen);
            own.either.iter().for_each(|(key, pair)| sum.either.entry(key).merge(pair));
        }
        for own in hour.again.overlap {
            let sum = self.overlap_again.entry(own.flag).or_default();
            sum.flag = own.flag;
            merge_hours(&mut sum.seen, own.seen);
            merge_hours(&mut sum.either, own.either);
        }
    }

    /// The day, and its level.
    #[must_use]
    pub(super) fn finish(mut self) -> (Hour, Again, i64) {
        let is_apart = self.segments.keys().all(|(_, value)| value.is_some());
        let segment = |((attribute, value), cells)| Segment { attribute, value, cells };
        self.hour.segments = self.segments.into_iter().map(segment).collect();
        self.hour.overlap = self.overlap.into_values().collect();
        self.again.segments = self.segments_again.into_values().collect();
        self.again.overlap = self.overlap_again.into_values().collect();
        (self.hour, self.again, if is_apart { ALL_APART } else { 0 })
    }
}

fn merge_hours(into: &mut BTreeMap<i64, Cells>, from: BTreeMap<i64, Cells>) {
    for (hour, cells) in from {
        match into.entry(hour) {
            std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(cells)),
            std::collections::btree_map::Entry::Occupied(mut known) => known.get_mut().merge(&cells),
        }
    }
}

/// Hours that are kept as they should be, as whole days where these may stand for them, and the others; each ascending.
///
/// `needs_apart`: only days in which every captured value is kept apart.
#[must_use]
pub(super) fn whole_days(
    (plan, kept): (&Plan, &Kept),
    heads: &[HourHead],
    fresh: &[i64],
    days: Days,
    needs_apart: bool,
) -> (Vec<i64>, Vec<i64>) {
    let Days::Around(moment) = days else { return (Vec::new(), fresh.to_vec()) };
    let known: BTreeMap<i64, &HourHead> = heads.iter().map(|head| (head.hour, head)).collect();
    let (mut whole, mut hours) = (Vec::new(), Vec::new());
    for (first, day) in complete(fresh, &mut hours) {
        let holds = (first * HOUR_MS + 1..(first + DAY_HOURS) * HOUR_MS).contains(&moment);
        let is_usable = known.get(&first).is_some_and(|head| {
            head.form == plan.form
                && head.seen == kept.digest(day)
                && (head.level == ALL_APART || !needs_apart)
        });
        if is_usable && !holds { whole.push(first) } else { hours.extend(day) }
    }
    hours.sort_unstable();
    (whole, hours)
}

/// Days that should be summed up and are not: each with its first hour and what it is the sum of.
#[must_use]
pub(super) fn due(
    (plan, kept): (&Plan, &Kept),
    heads: &[HourHead],
    sources: &Sources,
    as_of_ms: i64,
) -> Vec<(i64, i64)> {
    let complete = complete(&sources.fresh, &mut Vec::new());
    let due = complete.into_iter().filter_map(|(first, day)| {
        // While a window closes for one hour of it after the other, it would change each hour.
        let level = |at: i64| plan.level(at, as_of_ms);
        let is_settled = level(first * HOUR_MS) == level((first + DAY_HOURS) * HOUR_MS - 1);
        let seen = kept.digest(day);
        let is_known = heads.iter().any(|head| (head.hour, head.form, head.seen) == (first, plan.form, seen));
        (is_settled && !is_known).then_some((first, seen))
    });
    due.collect()
}

/// The days of which all hours are there, each with its first; those of the others go to `left`.
fn complete<'h>(hours: &'h [i64], left: &mut Vec<i64>) -> Vec<(i64, &'h [i64])> {
    let mut complete = Vec::new();
    for day in hours.chunk_by(|a, b| a.div_euclid(DAY_HOURS) == b.div_euclid(DAY_HOURS)) {
        match day.first() {
            Some(first) if i64::try_from(day.len()) == Ok(DAY_HOURS) => complete.push((*first, day)),
            _ => left.extend(day),
        }
    }
    complete
}
