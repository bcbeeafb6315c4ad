//! How an hour, or a day, is kept: in parts, and inside them in pieces that are skipped where a report does not need
//! them. What depends on where a range begins is kept by the day of an earlier exposure, and inside a day by the hour: of
//! days that lie wholly before or after, the sum is enough.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ReportError;
use super::again::{Again, ByHour, OverlapAgain, SegmentAgain};
use super::hour::{Cells, Hour, Segment};
use super::hours::{DAY_HOURS, hour_of, span_of};
use super::load::LoadedHour;
use crate::store::{HourBytes, HourPart, Piece};

/// Which captured attributes are needed, by their place in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attributes {
    /// None.
    No,
    /// One.
    One(usize),
    /// Each.
    All,
}

/// What is needed of what depends on where a range begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing: nothing lies before the range.
    No,
    /// What a range needs that begins at this moment.
    Range(i64),
    /// All.
    All,
}

/// What is read of kept hours beside the sums of all exposures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needed {
    /// By captured attribute.
    pub(super) attributes: Attributes,
    /// By other flag.
    pub(super) overlap: bool,
    /// Of units that came before.
    pub(super) before: Before,
    /// Single amounts: of hours only, days have none.
    pub(super) amounts: bool,
}

impl Needed {
    /// Nothing beside them.
    pub(super) const SUMS: Self =
        Self { attributes: Attributes::No, overlap: false, before: Before::No, amounts: false };

    /// The parts to be read.
    #[must_use]
    pub(super) fn parts(self) -> Vec<HourPart> {
        let (split, again) = (self.attributes != Attributes::No, self.before != Before::No);
        let parts = [
            (HourPart::Cells, true),
            (HourPart::Again, again),
            (HourPart::Segments, split),
            (HourPart::SegmentsAgain, split && again),
            (HourPart::Overlap, self.overlap),
            (HourPart::OverlapAgain, self.overlap && again),
            (HourPart::Amounts, self.amounts),
        ];
        parts.into_iter().filter(|(_, needed)| *needed).map(|(part, _)| part).collect()
    }

    fn has(self, attribute: usize) -> bool {
        match self.attributes {
            Attributes::No => false,
            Attributes::One(own) => own == attribute,
            Attributes::All => true,
        }
    }
}

/// Cells by the hour of an earlier exposure: of one hour, or summed up over a day whose hours follow. `B` is bytes.
#[derive(Serialize, Deserialize)]
struct StoredCells<B> {
    /// The hour, or the first of the day.
    hour: i64,
    groups: B,
    pairs: B,
    /// Each hour; empty where there is one only.
    hours: B,
}

#[derive(Serialize, Deserialize)]
struct StoredSegment<B> {
    attribute: usize,
    value: Option<Box<str>>,
    /// Cells, or cells by hour.
    cells: B,
}

#[derive(Serialize, Deserialize)]
struct StoredOverlap<B> {
    flag: i64,
    seen: B,
    either: B,
}

fn encoded<T: Serialize + ?Sized>(part: &T) -> Result<Vec<u8>, ReportError> {
    postcard::to_stdvec(part).map_err(|error| ReportError::Kept(error.to_string()))
}

fn decoded<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, ReportError> {
    postcard::from_bytes(bytes).map_err(|error| ReportError::Kept(error.to_string()))
}

fn decoded_if<T: DeserializeOwned + Default>(needed: bool, bytes: &[u8]) -> Result<T, ReportError> {
    if needed { decoded(bytes) } else { Ok(T::default()) }
}

fn pack(hour: i64, cells: &Cells, hours: Vec<u8>) -> Result<StoredCells<Vec<u8>>, ReportError> {
    Ok(StoredCells { hour, groups: encoded(&cells.groups)?, pairs: encoded(&cells.pairs)?, hours })
}

fn encoded_by_day(by_hour: &ByHour) -> Result<Vec<u8>, ReportError> {
    let entries: Vec<(i64, &Cells)> = by_hour.iter().map(|(hour, cells)| (*hour, cells)).collect();
    let mut days = Vec::new();
    for day in entries.chunk_by(|(a, _), (b, _)| day_of(*a) == day_of(*b)) {
        match day {
            [] => {}
            [(hour, cells)] => days.push(pack(*hour, cells, Vec::new())?),
            [(first, _), ..] => {
                let mut sum = Cells::default();
                day.iter().for_each(|(_, cells)| sum.merge(cells));
                let hours = day.iter().map(|(hour, cells)| pack(*hour, cells, Vec::new()));
                let hours: Vec<StoredCells<Vec<u8>>> = hours.collect::<Result<_, _>>()?;
                days.push(pack(*first, &sum, encoded(&hours)?)?);
            }
        }
    }
    encoded(&days)
}

fn decoded_by_day(bytes: &[u8], before: Before) -> Result<ByHour, ReportError> {
    let mut by_hour = ByHour::default();
    for day in decoded::<Vec<StoredCells<&[u8]>>>(bytes)? {
        let is_split = match before {
            Before::No => false,
            Before::Range(from_ms) => day_of(day.hour) == day_of(hour_of(from_ms)),
            Before::All => true,
        };
        if is_split && !day.hours.is_empty() {
            for hour in decoded::<Vec<StoredCells<&[u8]>>>(day.hours)? {
                unpack(&hour, before, &mut by_hour)?;
            }
        } else {
            unpack(&day, before, &mut by_hour)?;
        }
    }
    Ok(by_hour)
}

/// Of hours before a range only the groups are needed, of those after its beginning only the pairs.
fn unpack(stored: &StoredCells<&[u8]>, before: Before, into: &mut ByHour) -> Result<(), ReportError> {
    let (groups, pairs) = match before {
        Before::No => (false, false),
        Before::Range(from_ms) => {
            let span = span_of(stored.hour);
            (span.to_ms <= from_ms, span.from_ms >= from_ms)
        }
        Before::All => (true, true),
    };
    if groups || pairs {
        let cells =
            Cells { groups: decoded_if(groups, stored.groups)?, pairs: decoded_if(pairs, stored.pairs)? };
        into.insert(stored.hour, cells);
    }
    Ok(())
}

fn day_of(hour: i64) -> i64 {
    hour.div_euclid(DAY_HOURS)
}

/// All parts of what was counted of an hour, or summed up of a day.
///
/// # Errors
/// [`ReportError::Kept`], which does not happen.
pub(super) fn encode(hour: &Hour, again: &Again) -> Result<Vec<(HourPart, Vec<u8>)>, ReportError> {
    let segments = hour.segments.iter().map(|own| {
        let (attribute, value) = (own.attribute, own.value.clone());
        Ok(StoredSegment { attribute, value, cells: encoded(&own.cells)? })
    });
    let segments: Vec<StoredSegment<Vec<u8>>> = segments.collect::<Result<_, ReportError>>()?;
    let segments_again = again.segments.iter().map(|own| {
        let (attribute, value) = (own.attribute, own.value.clone());
        Ok(StoredSegment { attribute, value, cells: encoded_by_day(&own.hours)? })
    });
    let segments_again: Vec<StoredSegment<Vec<u8>>> = segments_again.collect::<Result<_, ReportError>>()?;
    let overlap_again = again.overlap.iter().map(|own| {
        let (seen, either) = (encoded_by_day(&own.seen)?, encoded_by_day(&own.either)?);
        Ok(StoredOverlap { flag: own.flag, seen, either })
    });
    let overlap_again: Vec<StoredOverlap<Vec<u8>>> = overlap_again.collect::<Result<_, ReportError>>()?;
    Ok(vec![
        (HourPart::Cells, encoded(&hour.main)?),
        (HourPart::Again, encoded_by_day(&again.whole)?),
        (HourPart::Segments, encoded(&segments)?),
        (HourPart::SegmentsAgain, encoded(&segments_again)?),
        (HourPart::Overlap, encoded(&hour.overlap)?),
        (HourPart::OverlapAgain, encoded(&overlap_again)?),
        (HourPart::Amounts, encoded(&hour.amounts)?),
    ])
}

fn take(hour: &mut LoadedHour, needed: Needed, (part, bytes): (HourPart, &[u8])) -> Result<(), ReportError> {
    match part {
        HourPart::Cells => hour.main = decoded(bytes)?,
        HourPart::Again => hour.again.whole = decoded_by_day(bytes, needed.before)?,
        HourPart::Segments => {
            for own in decoded::<Vec<StoredSegment<&[u8]>>>(bytes)? {
                if needed.has(own.attribute) {
                    let (attribute, value, cells) = (own.attribute, own.value, decoded(own.cells)?);
                    hour.segments.push(Segment { attribute, value, cells });
                }
            }
        }
        HourPart::SegmentsAgain => {
            for own in decoded::<Vec<StoredSegment<&[u8]>>>(bytes)? {
                if needed.has(own.attribute) {
                    let hours = decoded_by_day(own.cells, needed.before)?;
                    let (attribute, value) = (own.attribute, own.value);
                    hour.again.segments.push(SegmentAgain { attribute, value, hours });
                }
            }
        }
        HourPart::Overlap => hour.overlap = decoded(bytes)?,
        HourPart::OverlapAgain => {
            for own in decoded::<Vec<StoredOverlap<&[u8]>>>(bytes)? {
                let seen = decoded_by_day(own.seen, needed.before)?;
                let either = decoded_by_day(own.either, needed.before)?;
                hour.again.overlap.push(OverlapAgain { flag: own.flag, seen, either });
            }
        }
        HourPart::Amounts => hour.amounts = decoded(bytes)?,
    }
    Ok(())
}

/// Kept hours or days from their parts, in order.
///
/// # Errors
/// [`ReportError::Kept`] if they cannot be read.
pub(super) fn decode(
    piece: Piece,
    numbers: &[i64],
    parts: &[(HourPart, Vec<HourBytes>)],
    needed: Needed,
) -> Result<Vec<LoadedHour>, ReportError> {
    let last = match piece {
        Piece::Hour => 0,
        Piece::Day => DAY_HOURS - 1,
    };
    let empty = |hour: &i64| {
        let mut span = span_of(*hour);
        span.to_ms = span_of(*hour + last).to_ms;
        (*hour, LoadedHour { is_kept: true, ..LoadedHour::empty(span) })
    };
    let mut hours: BTreeMap<i64, LoadedHour> = numbers.iter().map(empty).collect();
    for (part, rows) in parts {
        for row in rows {
            if let Some(hour) = hours.get_mut(&row.hour) {
                take(hour, needed, (*part, &row.bytes))?;
            }
        }
    }
    Ok(hours.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::HOUR_MS;
    use crate::report::fact::Key;
    use crate::report::hour::PairKey;

    /// One unit, in one stratum and in two.
    fn cells() -> Cells {
        let mut cells = Cells::default();
        let (rule, variant): (Box<str>, Box<str>) = ("ramp".into(), "on".into());
        let key = Key { rule: rule.clone(), arm: 1, variant: variant.clone(), stage: 2 };
        cells.groups.entry(&key).first.units = 1;
        cells.pairs.entry(&PairKey { rule, arm: 1, variant, lower: 1, higher: 2 }).matured = vec![1];
        cells
    }

    /// Hour, units before, units in two strata.
    fn told(by_hour: &ByHour) -> Vec<(i64, u64, u64)> {
        let pairs = |cells: &Cells| cells.pairs.values().flat_map(|pair| &pair.matured).sum();
        by_hour.iter().map(|(hour, cells)| (*hour, cells.units(), pairs(cells))).collect()
    }

    #[test]
    fn of_days_apart_from_a_range_the_sum_is_read_and_of_its_own_day_each_hour() {
        let by_hour: ByHour = [1, 2, 30, 31, 32, 60, 61].map(|hour| (hour, cells())).into();
        let bytes = encoded_by_day(&by_hour).unwrap();
        assert_eq!(decoded_by_day(&bytes, Before::All).unwrap(), by_hour);
        let read = |from_ms| told(&decoded_by_day(&bytes, Before::Range(from_ms)).unwrap());
        assert_eq!(read(31 * HOUR_MS), [(1, 2, 0), (30, 1, 0), (31, 0, 1), (32, 0, 1), (60, 0, 2)]);
        // What an exposure of the very hour decides is read from rows.
        assert_eq!(read(31 * HOUR_MS + 1), [(1, 2, 0), (30, 1, 0), (32, 0, 1), (60, 0, 2)]);
        assert_eq!(told(&decoded_by_day(&bytes, Before::No).unwrap()), []);
    }
}
