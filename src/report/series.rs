//! The report over time: the same numbers by the hour or the day of a unit's first exposure, so that the points add up
//! to the report.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::about::{About, RowKey};
use super::fold;
use super::load::Loaded;
use super::notes::{Notes, Told};
use super::tally::Tally;
use super::variants;
use crate::clock::{HOUR_MS, rfc3339};

/// The points of a series.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// One an hour.
    Hour,
    /// One a day of the time zone of this name.
    Day(String),
}

/// The series of loaded hours. Points without exposures are left out.
#[must_use]
pub(super) fn series(about: &About, loaded: &Loaded, bucket: &Bucket) -> Value {
    let plan = about.plan();
    let mut notes = Notes::default();
    let points = match bucket {
        Bucket::Hour => {
            let points = fold::buckets(plan, loaded, |from_ms| from_ms.div_euclid(HOUR_MS) * HOUR_MS);
            let points = points.into_iter().filter(|(_, sums)| sums.units() > 0);
            points
                .map(|(from_ms, sums)| json!({
                    "from": rfc3339(from_ms), "to": rfc3339(from_ms + HOUR_MS), "variants": rows(about, &sums),
                }))
                .collect()
        }
        Bucket::Day(name) => days(about, loaded, name, &mut notes),
    };
    let detail = "a rate is null where nobody's window has closed yet";
    notes.add("/points", Told::NullRates, detail);
    if loaded.waiting > 0 {
        let detail = format!("{} hours have late events that are not counted yet", loaded.waiting);
        notes.add("", Told::HoursWaiting, &detail);
    }
    let (by, tz) = match bucket {
        Bucket::Hour => ("hour", "UTC"),
        Bucket::Day(name) => ("day", name.as_str()),
    };
    json!({
        "flag": about.key, "environment": about.environment, "by": by, "tz": tz,
        "goal": about.document.goal.as_ref().map(|goal| goal.as_str()),
        "from": rfc3339(loaded.range.from_ms), "to": rfc3339(loaded.range.to_ms),
        "computed_at": rfc3339(loaded.as_of_ms), "points": Value::Array(points), "notes": notes.json(),
    })
}

fn days(about: &About, loaded: &Loaded, name: &str, notes: &mut Notes) -> Vec<Value> {
    let zone = TimeZone::get(name).unwrap_or(TimeZone::UTC);
    let day = |at: i64| Timestamp::from_millisecond(at).map_or(Date::MIN, |at| zone.to_datetime(at).date());
    let begins = |date: Date| {
        let at = date.to_zoned_datetime(zone.clone());
        at.map_or(i64::MIN, |at| at.timestamp().as_millisecond())
    };
    let mut points = Vec::new();
    let mut uneven = false;
    for (date, sums) in fold::buckets(about.plan(), loaded, day) {
        if sums.units() == 0 {
            continue;
        }
        let (from_ms, to_ms) = (begins(date), date.tomorrow().map_or(i64::MAX, begins));
        uneven |= from_ms.rem_euclid(HOUR_MS) != 0;
        points.push(json!({
            "day": date.to_string(), "from": rfc3339(from_ms), "to": rfc3339(to_ms), "variants": rows(about, &sums),
        }));
    }
    if uneven {
        let detail = "days of this zone do not begin on a whole hour of UTC: each hour counts for the day in which it begins";
        notes.add("/points", Told::DayNotOnTheHour, detail);
    }
    points
}

/// The rows of one point: those with exposures.
fn rows(about: &About, sums: &super::totals::Sums) -> Value {
    let mut rows: BTreeMap<RowKey, Tally> = BTreeMap::new();
    for (key, row) in sums.rows.iter().filter(|(_, row)| row.first.units > 0) {
        rows.entry(key.into()).or_default().merge(&row.first);
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_cached_key(|(row, _)| about.order(row));
    let json = rows.iter().map(|(row, tally)| {
        let mut json =
            json!({"rule": &*row.rule, "variant": &*row.variant, "arm": variants::arm_word(row.arm)});
        if let Value::Object(json) = &mut json {
            // One note for the whole series says why rates are missing.
            variants::fill(about.plan(), tally, json, "", &mut Notes::default());
        }
        json
    });
    json.collect()
}
