//! Which hours of a range can be taken as they are kept, which must be counted anew, and which are too young to be kept.

use std::collections::BTreeMap;

use super::fact::Span;
use super::plan::{GRACE_MS, Plan};
use super::totals::Range;
use crate::clock::HOUR_MS;
use crate::store::{HourHead, HourMark};

/// Hours of a day.
pub const DAY_HOURS: i64 = 24;

/// The first and the last moment of the hour numbered `hour`, as a span.
#[must_use]
pub fn span_of(hour: i64) -> Span {
    Span { from_ms: hour * HOUR_MS, to_ms: (hour + 1) * HOUR_MS }
}

/// The number of the hour that a moment lies in.
#[must_use]
pub fn hour_of(at: i64) -> i64 {
    at.div_euclid(HOUR_MS)
}

/// How many windows have closed for all exposures of an hour that can be kept at `as_of_ms`; `None`: it is too young, or
/// a window has closed for a part of it only.
#[must_use]
pub fn level(plan: &Plan, hour: i64, as_of_ms: i64) -> Option<usize> {
    let span = span_of(hour);
    let closed = span.to_ms + GRACE_MS <= as_of_ms;
    let least = plan.level(span.to_ms - 1, as_of_ms);
    (closed && least == plan.level(span.from_ms, as_of_ms)).then_some(least)
}

/// A number that others hardly have.
pub(super) fn hashed(rows: impl Iterator<Item = [i64; 4]>) -> i64 {
    let mut hash = blake3::Hasher::new();
    for part in rows.flatten() {
        hash.update(&part.to_be_bytes());
    }
    hash.finalize().as_bytes().first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// How a kept hour stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As it should be.
    Fresh,
    /// Of what is counted, but before later rows came, or windows closed.
    Stale,
    /// Not kept, or something else was counted.
    Missing,
}

/// What is kept of a flag's hours.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    heads: BTreeMap<i64, HourHead>,
    marks: BTreeMap<i64, i64>,
}

impl Kept {
    /// What was read.
    #[must_use]
    pub fn new(heads: &[HourHead], marks: &[HourMark]) -> Self {
        Self {
            heads: heads.iter().map(|head| (head.hour, *head)).collect(),
            marks: marks.iter().map(|mark| (mark.hour, mark.mark)).collect(),
        }
    }

    /// The mark of an hour.
    #[must_use]
    pub fn mark(&self, hour: i64) -> i64 {
        self.marks.get(&hour).copied().unwrap_or_default()
    }

    /// Of which countings some hours are kept: others have another.
    #[must_use]
    pub fn digest(&self, hours: &[i64]) -> i64 {
        let heads = hours.iter().filter_map(|hour| self.heads.get(hour));
        hashed(heads.map(|head| [head.hour, head.form, head.level, head.seen]))
    }

    /// Of which countings hours are kept, from one up to and with another, and what marked them.
    #[must_use]
    pub fn state(&self, (first, last): (i64, i64)) -> i64 {
        let marks = self.marks.range(first..=last).map(|(hour, mark)| [*hour, *mark, 0, 0]);
        let heads =
            self.heads.range(first..=last).map(|(_, head)| [head.hour, head.form, head.level, head.seen]);
        hashed(heads.chain(marks))
    }

    /// How an hour stands of which so many windows have closed.
    #[must_use]
    pub fn standing(&self, plan: &Plan, hour: i64, level: usize) -> Standing {
        match self.heads.get(&hour) {
            None => Standing::Missing,
            Some(head) if head.form != plan.form => Standing::Missing,
            Some(head) if head.seen < self.mark(hour) => Standing::Stale,
            Some(head) if usize::try_from(head.level).is_ok_and(|kept| kept < level) => Standing::Stale,
            Some(_) => Standing::Fresh,
        }
    }
}

/// Where the numbers of a range come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Hours that are kept as they should be.
    pub fresh: Vec<i64>,
    /// Hours that are kept as they were, with the level that they should have.
    pub stale: Vec<(i64, usize)>,
    /// Hours that are not kept, with the level that they should have.
    pub missing: Vec<(i64, usize)>,
    /// Spans that must be counted each time.
    pub young: Vec<Span>,
}

impl Sources {
    /// Of all exposures between `bounds` (first and last) inside `range`.
    #[must_use]
    pub fn of(plan: &Plan, kept: &Kept, bounds: (i64, i64), range: Range, as_of_ms: i64) -> Self {
        let mut sources = Self::default();
        let (first, last) = (bounds.0.max(range.from_ms), bounds.1.min(range.to_ms - 1));
        if first > last {
            return sources;
        }
        for hour in hour_of(first)..=hour_of(last) {
            let span = span_of(hour);
            let inside =
                Span { from_ms: span.from_ms.max(range.from_ms), to_ms: span.to_ms.min(range.to_ms) };
            match level(plan, hour, as_of_ms).filter(|_| inside == span) {
                None => sources.young.push(inside),
                Some(level) => match kept.standing(plan, hour, level) {
                    Standing::Fresh => sources.fresh.push(hour),
                    Standing::Stale => sources.stale.push((hour, level)),
                    Standing::Missing => sources.missing.push((hour, level)),
                },
            }
        }
        sources
    }
}
