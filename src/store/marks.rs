//! Marks of hours whose rows changed after they may have been counted for reports.
//!
//! An hour is counted ten minutes after its end, and a window ten minutes after its own, so a row that comes within
//! eight minutes of its time is in every counting: it costs no mark. What comes later, moves, or is deleted marks the
//! hours that it may change, in its own transaction:
//! - those of its unit's exposures, to any flag, from the longest window before it on: outcomes, earlier exposures and
//!   other flags seen are counted there;
//! - of an exposure that moved or went: the hour where it was; of an exposure: those of the unit's stops of its flag;
//! - of a stop: its own hour, where stops without an exposure are counted.
//!
//! SQLite's steps are looked for where they have their places, which those that came late have at once. The others get
//! theirs within a minute, while their hours are not counted yet: they need no mark.

use std::collections::BTreeSet;

use serde::Serialize;

use super::error::StoreError;
use super::lent::{Lent, both, run};
use crate::clock::{HOUR_MS, MINUTE_MS};
use crate::engine::flag::ATTRIBUTION_HOURS_MAX;

/// A row that is stored later than this after its time marks hours. Two minutes less than what reports wait, for the
/// commit itself and for clocks that differ.
pub const LATE_AFTER_MS: i64 = 8 * MINUTE_MS;

/// Rows that changed late.
#[derive(Debug, Default)]
pub(super) struct Late<'r> {
    /// Environment, unit, time.
    changed: BTreeSet<(i64, &'r str, i64)>,
    /// Environment, unit, flag: of late exposures.
    exposed: BTreeSet<(i64, &'r str, i64)>,
    /// Environment, flag, hour: known already.
    hours: BTreeSet<(i64, i64, i64)>,
}

/// A unit and the first moment from which its exposures' hours are marked.
#[derive(Serialize)]
struct Changed<'r> {
    e: i64,
    u: &'r str,
    t: i64,
}

#[derive(Serialize)]
struct Exposed<'r> {
    e: i64,
    u: &'r str,
    f: i64,
}

#[derive(Serialize)]
struct Marked {
    e: i64,
    f: i64,
    h: i64,
}

impl<'r> Late<'r> {
    /// An exposure that came, moved or went; `at` holds every time that it has or had.
    pub(super) fn exposure(&mut self, environment: i64, unit: &'r str, flag: i64, at: &[i64]) {
        for at in at {
            self.changed.insert((environment, unit, *at));
            self.hours.insert((environment, flag, at.div_euclid(HOUR_MS)));
        }
        self.exposed.insert((environment, unit, flag));
    }

    /// A step that came or went; `flag` of a stop.
    pub(super) fn step(&mut self, environment: i64, unit: &'r str, flag: Option<i64>, at: i64) {
        self.changed.insert((environment, unit, at));
        if let Some(flag) = flag {
            self.hours.insert((environment, flag, at.div_euclid(HOUR_MS)));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.hours.is_empty()
    }

    /// Marks what they may change. What was read of the database before holds no longer after this.
    pub(super) async fn mark(mut self, lent: &mut Lent) -> Result<(), StoreError> {
        if self.is_empty() {
            return Ok(());
        }
        let mut earliest: std::collections::BTreeMap<(i64, &str), i64> = std::collections::BTreeMap::new();
        for (environment, unit, at) in &self.changed {
            let since = at - ATTRIBUTION_HOURS_MAX * HOUR_MS;
            earliest.entry((*environment, unit)).and_modify(|t| *t = (*t).min(since)).or_insert(since);
        }
        let changed: Vec<_> = earliest.into_iter().map(|((e, u), t)| Changed { e, u, t }).collect();
        let exposed: Vec<_> = self.exposed.iter().map(|(e, u, f)| Exposed { e: *e, u, f: *f }).collect();
        self.hours.extend(exposures_of(lent, &json(&changed)?).await?);
        self.hours.extend(stops_of(lent, &json(&exposed)?).await?);
        let marked: Vec<_> = self.hours.into_iter().map(|(e, f, h)| Marked { e, f, h }).collect();
        write(lent, &json(&marked)?).await
    }
}

fn json<T: Serialize>(rows: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|e| StoreError::Statement(e.to_string()))
}

type Hour = (i64, i64, i64);

async fn exposures_of(lent: &mut Lent, changed: &str) -> Result<Vec<Hour>, StoreError> {
    let sql = lent.pick(
        "SELECT DISTINCT x.environment, x.flag, x.at / 3600000
         FROM json_each($1) AS j CROSS JOIN exposures AS x
           ON x.environment = j.value ->> 'e' AND x.unit = j.value ->> 'u' AND x.at > j.value ->> 't'",
        "SELECT DISTINCT x.environment, x.flag, x.at / 3600000
         FROM json_to_recordset($1::json) AS j(e bigint, u text, t bigint)
         JOIN exposures AS x ON x.environment = j.e AND x.unit = j.u AND x.at > j.t",
    );
    both!(lent, "hours of exposures", c => sqlx::query_as::<_, Hour>(sql).bind(changed).fetch_all(c))
}

async fn stops_of(lent: &mut Lent, exposed: &str) -> Result<Vec<Hour>, StoreError> {
    let sql = lent.pick(
        "SELECT DISTINCT s.environment, s.flag, s.at / 3600000
         FROM json_each($1) AS j CROSS JOIN unit_steps AS s
           ON s.environment = j.value ->> 'e' AND s.unit = j.value ->> 'u' AND s.flag = j.value ->> 'f'",
        "SELECT DISTINCT s.environment, s.flag, s.at / 3600000
         FROM json_to_recordset($1::json) AS j(e bigint, u text, f bigint)
         JOIN steps AS s ON s.environment = j.e AND s.unit = j.u AND s.flag = j.f",
    );
    both!(lent, "hours of stops", c => sqlx::query_as::<_, Hour>(sql).bind(exposed).fetch_all(c))
}

async fn write(lent: &mut Lent, marked: &str) -> Result<(), StoreError> {
    let sql = lent.pick(
        "INSERT INTO report_marks (environment, flag, hour, mark)
         SELECT value ->> 'e', value ->> 'f', value ->> 'h', 1 FROM json_each($1) WHERE true
         ON CONFLICT (environment, flag, hour) DO UPDATE SET mark = report_marks.mark + 1",
        "INSERT INTO report_marks (environment, flag, hour, mark)
         SELECT e, f, h, 1 FROM json_to_recordset($1::json) AS j(e bigint, f bigint, h bigint)
         ON CONFLICT (environment, flag, hour) DO UPDATE SET mark = report_marks.mark + 1",
    );
    run!(lent, "mark hours", sqlx::query(sql).bind(marked)).map(drop)
}
