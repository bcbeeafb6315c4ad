//! What reports read: exposures and steps of the units of a short span, and what is kept of whole hours.
//!
//! An hour that was counted stays counted until a mark says that its rows changed: see [`super::marks`].

use std::time::Duration;

use tokio::time::Instant;

use super::Store;
use super::error::StoreError;
use super::lent::{Lent, both, run};

/// A flag's exposures from one moment up to before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportSpan {
    /// The environment's number.
    pub environment: i64,
    /// The flag's number.
    pub flag: i64,
    /// The first moment.
    pub from_ms: i64,
    /// The moment after the last.
    pub to_ms: i64,
}

/// An exposure of a unit that was exposed in a span; to whatever flag.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ReportExposure {
    /// The unit.
    pub unit: String,
    /// What kind of unit it is.
    pub unit_attribute: String,
    /// The flag's number.
    pub flag: i64,
    /// The stage.
    pub stage: i64,
    /// The rule.
    pub rule: String,
    /// 0 control, 1 treatment, 2 fixed.
    pub arm: i64,
    /// The variant.
    pub variant: String,
    /// When.
    pub at: i64,
    /// Captured attributes as JSON; only of the flag itself.
    pub captured: Option<String>,
}

/// A step of a unit that was exposed in a span: of no flag, or of the flag itself.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ReportStep {
    /// The unit.
    pub unit: String,
    /// What kind of unit it is.
    pub unit_attribute: String,
    /// The step's key.
    pub step: String,
    /// The flag, for a stop.
    pub flag: Option<i64>,
    /// The stage that it counts for.
    pub stage: Option<i64>,
    /// The rule that it counts for.
    pub rule: Option<String>,
    /// When.
    pub at: i64,
    /// An amount in the currency's minor unit.
    pub value: Option<i64>,
    /// The currency.
    pub currency: Option<String>,
    /// Attributes as JSON.
    pub attributes: Option<String>,
}

/// What is known of a kept hour without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct HourHead {
    /// Hours since 1970.
    pub hour: i64,
    /// What was counted.
    pub form: i64,
    /// How many windows had closed.
    pub level: i64,
    /// The mark that had been seen.
    pub seen: i64,
}

/// A mark of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct HourMark {
    /// Hours since 1970.
    pub hour: i64,
    /// Grows with each batch that changed the hour.
    pub mark: i64,
}

/// An hour, or a day, to be kept.
#[derive(Debug, Clone, Copy)]
pub struct NewHour<'h> {
    /// The environment's number.
    pub environment: i64,
    /// The flag's number.
    pub flag: i64,
    /// Which, what was counted, at which level, after which mark.
    pub head: HourHead,
    /// What it adds up to.
    pub parts: &'h [(HourPart, Vec<u8>)],
}

/// Which part of what is kept of hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HourPart {
    /// Sums of all exposures.
    Cells = 1,
    /// Exposures of units that came before.
    Again = 2,
    /// Sums by captured attribute.
    Segments = 3,
    /// Exposures of units that came before, by captured attribute.
    SegmentsAgain = 4,
    /// Sums by other flag.
    Overlap = 5,
    /// Exposures of units that came before, by other flag.
    OverlapAgain = 6,
    /// Single amounts of units.
    Amounts = 7,
}

/// What is kept of how long a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// An hour.
    Hour,
    /// A day, named by its first hour.
    Day,
}

impl Piece {
    /// As it is stored.
    fn part(self, part: HourPart) -> i64 {
        match self {
            Self::Hour => part as i64,
            Self::Day => 100 + part as i64,
        }
    }
}

/// A part of a kept hour.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct HourBytes {
    /// Hours since 1970.
    pub hour: i64,
    /// As it was kept.
    pub bytes: Vec<u8>,
}

/// Rows of one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct MinuteRows {
    /// Minutes since 1970.
    pub minute: i64,
    /// 0: exposures, 1: stops.
    pub is_stop: i64,
    /// How many.
    pub rows: i64,
    /// The sum of their milliseconds of that minute.
    pub sum: i64,
}

/// For SQLite and for PostgreSQL: `$select` of each row `r` of `$table` that belongs to a unit that was exposed in a span.
macro_rules! of_units {
    (@$hint:literal, $select:literal, $table:literal, $filter:literal) => {
        concat!(
            "SELECT ", $select, " FROM (SELECT DISTINCT unit FROM exposures ", $hint,
            " WHERE environment = $1 AND flag = $2 AND at >= $3 AND at < $4) AS u CROSS JOIN ", $table, " AS r
             WHERE r.environment = $1 AND r.unit = u.unit AND ", $filter
        )
    };
    ($select:literal, $table:literal, $sqlite:literal, $postgres:literal) => {
        (
            // By its statistics it may think that all units in order come cheaper than sorting those of the span.
            of_units!(@"INDEXED BY exposures_by_at", $select, $table, $sqlite),
            of_units!(@"", $select, $table, $postgres),
        )
    };
}

type Both = (&'static str, &'static str);

// A `+` keeps a condition from choosing an index: rows are found by their unit. Without statistics SQLite takes flag and
// time for narrower, and reads all earlier rows of the flag for each unit.

const EXPOSURES: Both = of_units!(
    "r.unit, r.unit_attribute, r.flag, r.stage, r.rule, r.arm, r.variant, r.at,
     CASE WHEN r.flag = $2 THEN r.captured END AS captured",
    "exposures",
    "+r.at < $5",
    "+r.at < $5"
);

const OWN_EXPOSURES: Both = of_units!(
    "r.unit, r.unit_attribute, r.flag, r.stage, r.rule, r.arm, r.variant, r.at, r.captured",
    "exposures",
    "+r.flag = $2 AND +r.at < $4",
    "+r.flag = $2 AND +r.at < $4"
);

const EARLY_STOPS: Both = of_units!(
    "r.unit, r.unit_attribute, r.step, r.flag, r.stage, r.rule, r.at, r.value, r.currency, r.attributes",
    "unit_steps",
    "+r.flag = $2 AND +r.at < $5",
    "+r.flag = $2 AND +r.at < $5"
);

const STEPS: Both = of_units!(
    "r.unit, r.unit_attribute, r.step, r.flag, r.stage, r.rule, r.at, r.value, r.currency, r.attributes",
    "unit_steps",
    "+r.at < $5 AND (r.flag = $2 OR (r.flag IS NULL AND r.step IN (SELECT value FROM json_each($6))))",
    "+r.at < $5 AND (r.flag = $2 OR (r.flag IS NULL AND r.step IN (SELECT json_array_elements_text($6::json))))"
);

/// Reads of one report; those of [`Store::report_now`] and [`Store::report_snapshot`] see one state of the database.
pub struct ReportReads {
    lent: Lent,
    within: Duration,
}

impl Store {
    /// Reads that see one state of the database, with all that is stored now. Their deadline is that of a single read, until
    /// it is renewed.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read, or of [`Store::place_steps`].
    pub async fn report_now(&self) -> Result<ReportReads, StoreError> {
        // What is found by time must be found by unit too: what is remembered of a minute depends on both.
        let held = self.hold_placed().await?;
        let mut lent = self.read_transaction("report").await?;
        // SQLite's state is that of the first read.
        run!(&mut lent, "report", sqlx::query("SELECT value FROM meta WHERE key = 'database_id'"))?;
        drop(held);
        Ok(ReportReads { lent, within: self.deadlines.read })
    }

    /// The same for what is settled: steps of the last minute may not be found by unit.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read, or of [`Store::place_steps`].
    pub async fn report_snapshot(&self) -> Result<ReportReads, StoreError> {
        self.place_waiting_steps().await?;
        Ok(ReportReads { lent: self.read_transaction("report").await?, within: self.deadlines.read })
    }

    /// Reads for what is settled, of which each sees the newest state.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read, or of [`Store::place_steps`].
    pub async fn report_reads(&self) -> Result<ReportReads, StoreError> {
        self.place_waiting_steps().await?;
        Ok(ReportReads { lent: self.reader("report").await?, within: self.deadlines.read })
    }

    /// Keeps an hour, unless a newer counting of it is kept already: one that has seen a later mark, or more windows.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn keep_hour(&self, hour: NewHour<'_>) -> Result<(), StoreError> {
        let sql = "INSERT INTO report_hours (environment, flag, hour, form, level, seen) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (environment, flag, hour) DO UPDATE
             SET form = excluded.form, level = excluded.level, seen = excluded.seen
             WHERE report_hours.form <> excluded.form
                OR (report_hours.seen <= excluded.seen AND report_hours.level <= excluded.level)";
        self.keep(Piece::Hour, sql, hour).await
    }

    /// Keeps what the hours of a day add up to.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn keep_day(&self, day: NewHour<'_>) -> Result<(), StoreError> {
        let sql = "INSERT INTO report_days (environment, flag, hour, form, level, seen) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (environment, flag, hour) DO UPDATE
             SET form = excluded.form, level = excluded.level, seen = excluded.seen";
        self.keep(Piece::Day, sql, day).await
    }

    async fn keep(&self, piece: Piece, sql: &'static str, new: NewHour<'_>) -> Result<(), StoreError> {
        let mut lent = self.write_transaction("keep an hour", self.deadlines.write).await?;
        let NewHour { environment, flag, head, parts } = new;
        let kept = run!(
            &mut lent,
            "keep an hour",
            sqlx::query(sql)
                .bind(environment)
                .bind(flag)
                .bind(head.hour)
                .bind(head.form)
                .bind(head.level)
                .bind(head.seen)
        )?;
        if kept == 0 {
            return lent.commit().await;
        }
        for (part, bytes) in parts {
            run!(&mut lent, "keep a part of an hour", sqlx::query(
                "INSERT INTO report_parts (environment, flag, part, hour, bytes) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (environment, flag, part, hour) DO UPDATE SET bytes = excluded.bytes")
                .bind(environment).bind(flag).bind(piece.part(*part)).bind(head.hour).bind(&**bytes))?;
        }
        lent.commit().await
    }
}

impl ReportReads {
    /// Gives the next reads as long as the first had.
    pub fn renew(&mut self) {
        self.lent.until = Instant::now() + self.within;
    }

    /// When the first and the last exposure or stop of a flag was; `None` without any.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn bounds(&mut self, environment: i64, flag: i64) -> Result<Option<(i64, i64)>, StoreError> {
        type Ends = (Option<i64>, Option<i64>, Option<i64>, Option<i64>);
        let (a, b, c, d) = both!(&mut self.lent, "bounds of a report", c => sqlx::query_as::<_, Ends>(
            "SELECT (SELECT at FROM exposures WHERE environment = $1 AND flag = $2 ORDER BY at LIMIT 1),
                    (SELECT at FROM steps WHERE environment = $1 AND COALESCE(flag, 0) = $2 ORDER BY at LIMIT 1),
                    (SELECT at FROM exposures WHERE environment = $1 AND flag = $2 ORDER BY at DESC LIMIT 1),
                    (SELECT at FROM steps WHERE environment = $1 AND COALESCE(flag, 0) = $2 ORDER BY at DESC LIMIT 1)")
            .bind(environment).bind(flag).fetch_one(c))?;
        let first = [a, b].into_iter().flatten().min();
        Ok(first.zip([c, d].into_iter().flatten().max()))
    }

    /// What is kept of a flag's hours, from one up to and with another, in order.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn heads(
        &mut self,
        environment: i64,
        flag: i64,
        hours: (i64, i64),
    ) -> Result<Vec<HourHead>, StoreError> {
        both!(&mut self.lent, "kept hours", c => sqlx::query_as::<_, HourHead>(
            "SELECT hour, form, level, seen FROM report_hours
             WHERE environment = $1 AND flag = $2 AND hour BETWEEN $3 AND $4 ORDER BY hour")
            .bind(environment).bind(flag).bind(hours.0).bind(hours.1).fetch_all(c))
    }

    /// Marks of a flag's hours, from one up to and with another, in order.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn marks(
        &mut self,
        environment: i64,
        flag: i64,
        hours: (i64, i64),
    ) -> Result<Vec<HourMark>, StoreError> {
        both!(&mut self.lent, "marks of hours", c => sqlx::query_as::<_, HourMark>(
            "SELECT hour, mark FROM report_marks
             WHERE environment = $1 AND flag = $2 AND hour BETWEEN $3 AND $4 ORDER BY hour")
            .bind(environment).bind(flag).bind(hours.0).bind(hours.1).fetch_all(c))
    }

    /// Flags of an environment whose hours were ever marked, each with a number that grows with each mark.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn marks_made(&mut self, environment: i64) -> Result<Vec<(i64, i64)>, StoreError> {
        both!(&mut self.lent, "marks made", c => sqlx::query_as::<_, (i64, i64)>(
            "SELECT flag, CAST(sum(mark) AS BIGINT) FROM report_marks WHERE environment = $1 GROUP BY flag")
            .bind(environment).fetch_all(c))
    }

    /// The days of a flag that are summed up, of those that begin from one hour up to and with another, in order.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn day_heads(
        &mut self,
        environment: i64,
        flag: i64,
        hours: (i64, i64),
    ) -> Result<Vec<HourHead>, StoreError> {
        both!(&mut self.lent, "kept days", c => sqlx::query_as::<_, HourHead>(
            "SELECT hour, form, level, seen FROM report_days
             WHERE environment = $1 AND flag = $2 AND hour BETWEEN $3 AND $4 ORDER BY hour")
            .bind(environment).bind(flag).bind(hours.0).bind(hours.1).fetch_all(c))
    }

    /// One part of the kept hours or days, from one hour up to and with another, in order.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn hours(
        &mut self,
        (environment, flag): (i64, i64),
        hours: (i64, i64),
        piece: Piece,
        part: HourPart,
    ) -> Result<Vec<HourBytes>, StoreError> {
        both!(&mut self.lent, "parts of kept hours", c => sqlx::query_as::<_, HourBytes>(
            "SELECT hour, bytes FROM report_parts
             WHERE environment = $1 AND flag = $2 AND part = $3 AND hour BETWEEN $4 AND $5 ORDER BY hour")
            .bind(environment).bind(flag).bind(piece.part(part)).bind(hours.0).bind(hours.1).fetch_all(c))
    }

    /// How many exposures and stops of a flag each minute of a span has, in order; minutes without any are left out.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn filled(&mut self, span: ReportSpan) -> Result<Vec<MinuteRows>, StoreError> {
        both!(&mut self.lent, "rows of minutes", c => sqlx::query_as::<_, MinuteRows>(
            "SELECT at / 60000 AS minute, CAST(0 AS BIGINT) AS is_stop, count(*) AS rows,
                    CAST(sum(at % 60000) AS BIGINT) AS sum
             FROM exposures WHERE environment = $1 AND flag = $2 AND at >= $3 AND at < $4 GROUP BY at / 60000
             UNION ALL
             SELECT at / 60000, CAST(1 AS BIGINT), count(*), CAST(sum(at % 60000) AS BIGINT)
             FROM steps WHERE environment = $1 AND COALESCE(flag, 0) = $2 AND at >= $3 AND at < $4 GROUP BY at / 60000
             ORDER BY 1, 2")
            .bind(span.environment).bind(span.flag).bind(span.from_ms).bind(span.to_ms).fetch_all(c))
    }

    /// When the exposure is that `rows` others of the span come before; `None` if there are not so many.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn cut(&mut self, span: ReportSpan, rows: i64) -> Result<Option<i64>, StoreError> {
        both!(&mut self.lent, "cut of a span", c => sqlx::query_scalar::<_, i64>(
            "SELECT at FROM exposures WHERE environment = $1 AND flag = $2 AND at >= $3 AND at < $4
             ORDER BY at LIMIT 1 OFFSET $5")
            .bind(span.environment).bind(span.flag).bind(span.from_ms).bind(span.to_ms).bind(rows)
            .fetch_optional(c))
    }

    /// All exposures, before `before_ms`, of the units that were exposed in the span.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn exposures(
        &mut self,
        span: ReportSpan,
        before_ms: i64,
    ) -> Result<Vec<ReportExposure>, StoreError> {
        let sql = self.lent.pick(EXPOSURES.0, EXPOSURES.1);
        both!(&mut self.lent, "exposures of a report", c => sqlx::query_as::<_, ReportExposure>(sql)
            .bind(span.environment).bind(span.flag).bind(span.from_ms).bind(span.to_ms).bind(before_ms)
            .fetch_all(c))
    }

    /// The flag's own exposures, before the end of the span, of the units that were exposed to it in the span.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn own_exposures(&mut self, span: ReportSpan) -> Result<Vec<ReportExposure>, StoreError> {
        let sql = self.lent.pick(OWN_EXPOSURES.0, OWN_EXPOSURES.1);
        both!(&mut self.lent, "exposures of a report", c => sqlx::query_as::<_, ReportExposure>(sql)
            .bind(span.environment).bind(span.flag).bind(span.from_ms).bind(span.to_ms).fetch_all(c))
    }

    /// The flag's stops before `before_ms` of the units that were exposed to it in the span.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn early_stops(
        &mut self,
        span: ReportSpan,
        before_ms: i64,
    ) -> Result<Vec<ReportStep>, StoreError> {
        let sql = self.lent.pick(EARLY_STOPS.0, EARLY_STOPS.1);
        both!(&mut self.lent, "early stops of a report", c => sqlx::query_as::<_, ReportStep>(sql)
            .bind(span.environment).bind(span.flag).bind(span.from_ms).bind(span.to_ms).bind(before_ms)
            .fetch_all(c))
    }

    /// The steps named in `steps` (a JSON list of keys), before `before_ms`, of the units that were exposed in the
    /// span: those of no flag, and those of the flag itself.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn steps(
        &mut self,
        span: ReportSpan,
        before_ms: i64,
        steps: &str,
    ) -> Result<Vec<ReportStep>, StoreError> {
        let sql = self.lent.pick(STEPS.0, STEPS.1);
        both!(&mut self.lent, "steps of a report", c => sqlx::query_as::<_, ReportStep>(sql)
            .bind(span.environment).bind(span.flag).bind(span.from_ms).bind(span.to_ms).bind(before_ms)
            .bind(steps).fetch_all(c))
    }

    /// Times of the flag's stops in the span whose unit has no exposure of their stage and rule before its end.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn orphans(&mut self, span: ReportSpan) -> Result<Vec<i64>, StoreError> {
        both!(&mut self.lent, "stops without exposure", c => sqlx::query_scalar::<_, i64>(
            "SELECT s.at FROM steps AS s
             WHERE s.environment = $1 AND COALESCE(s.flag, 0) = $2 AND s.at >= $3 AND s.at < $4 AND NOT EXISTS (
                SELECT 1 FROM exposures AS x
                WHERE x.environment = $1 AND x.unit = s.unit AND x.flag = $2 AND x.stage = s.stage
                  AND x.rule = s.rule AND x.unit_attribute = s.unit_attribute AND x.at < $4)
             ORDER BY s.at")
            .bind(span.environment).bind(span.flag).bind(span.from_ms).bind(span.to_ms).fetch_all(c))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{Connection as _, Row as _};

    const TABLES: &str = "
        CREATE TABLE exposures (environment, unit, unit_attribute, flag, stage, rule, arm, variant, at, captured,
            PRIMARY KEY (environment, unit, flag, stage, rule)) WITHOUT ROWID;
        CREATE INDEX exposures_by_at ON exposures (environment, flag, at);
        CREATE TABLE steps (number INTEGER PRIMARY KEY, environment, unit, unit_attribute, step, id, flag, stage, rule,
            value, currency, at, attributes);
        CREATE INDEX steps_by_time ON steps (environment, COALESCE(flag, 0), at);
        CREATE TABLE step_places (environment, unit, unit_attribute, step, id, number,
            PRIMARY KEY (environment, unit, unit_attribute, step, id)) WITHOUT ROWID;
        CREATE VIEW unit_steps AS
        SELECT p.environment, p.unit, p.unit_attribute, p.step, s.flag, s.stage, s.rule, s.value, s.currency, s.at,
               s.attributes
        FROM step_places AS p CROSS JOIN steps AS s ON s.number = p.number;";
    /// By which a walk over all units looks cheap.
    const MISLEADING: &str = "
        ANALYZE;
        INSERT INTO sqlite_stat1 VALUES ('exposures', 'exposures', '1000 10 1 1 1 1'),
            ('exposures', 'exposures_by_at', '1000 1000 1000 1000');
        ANALYZE sqlite_schema;";
    const BY_TIME: &str = "SEARCH exposures USING COVERING INDEX exposures_by_at";
    /// Exposures by themselves, steps by their places.
    const BY_UNIT: [&str; 2] = [
        "SEARCH r USING PRIMARY KEY (environment=? AND unit=?",
        "SEARCH p USING PRIMARY KEY (environment=? AND unit=?",
    ];

    async fn database(statements: &[&'static str]) -> sqlx::SqliteConnection {
        let mut db = sqlx::SqliteConnection::connect("sqlite::memory:").await.unwrap();
        for statement in statements {
            sqlx::raw_sql(*statement).execute(&mut db).await.unwrap();
        }
        db
    }

    async fn plan(db: &mut sqlx::SqliteConnection, sql: &str) -> String {
        let sql = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows = sqlx::query(sql).fetch_all(db).await.unwrap();
        rows.iter().map(|row| row.get::<String, _>("detail")).collect::<Vec<_>>().join("\n")
    }

    #[tokio::test]
    async fn units_of_a_span_are_found_by_time_and_rows_by_unit_whatever_the_statistics_say() {
        let mut unknown = database(&[TABLES]).await;
        let mut misled = database(&[TABLES, MISLEADING]).await;
        for (sqlite, postgres) in [EXPOSURES, OWN_EXPOSURES, EARLY_STOPS, STEPS] {
            for db in [&mut unknown, &mut misled] {
                let plan = plan(db, sqlite).await;
                let by_unit = BY_UNIT.iter().any(|by_unit| plan.contains(by_unit));
                assert!(plan.contains(BY_TIME) && by_unit, "{sqlite}\n{plan}");
            }
            // Without the hint it would be misled, or this test could not fail.
            let bare = plan(&mut misled, &sqlite.replace("INDEXED BY exposures_by_at", "")).await;
            assert!(!bare.contains(BY_TIME), "{sqlite}\n{bare}");
            assert!(!postgres.contains("INDEXED"));
        }
        let bare = plan(&mut unknown, &OWN_EXPOSURES.0.replace('+', "")).await;
        assert!(!bare.contains(BY_UNIT[0]), "{bare}");
    }
}
