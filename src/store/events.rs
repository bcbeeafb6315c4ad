//! Events: a whole batch in one transaction, with the outcome of each row as if they had come one by one.
//!
//! Only one writer of events is at work at a time (SQLite's one writer; a locked row on PostgreSQL), so what
//! was read at the beginning holds until the commit, and the count of exposed users stays exact.

mod plan;

use std::sync::atomic::Ordering;

use serde::Serialize;

use plan::{Book, StoredRow};

use super::Store;
use super::error::StoreError;
use super::lent::{Lent, both, run};
use super::marks::Late;

pub use super::exposed::ExposedUsersRow;

/// Events of one batch, from any environments, in the order of their arrival.
#[derive(Debug, Clone, Default)]
pub struct EventBatch {
    /// Exposures; they count as there when the steps are resolved.
    pub exposures: Vec<ExposureRow>,
    /// Steps.
    pub steps: Vec<StepRow>,
}

/// An exposure.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ExposureRow {
    /// The environment.
    pub environment: i64,
    /// The unit.
    pub unit: String,
    /// The flag's number.
    pub flag: i64,
    /// The stage.
    pub stage: i64,
    /// The rule.
    pub rule: String,
    /// What kind of unit it is.
    pub unit_attribute: String,
    /// 0 control, 1 treatment, 2 fixed.
    pub arm: i64,
    /// The variant.
    pub variant: String,
    /// The unit's bucket.
    pub bucket: Option<i64>,
    /// When it happened.
    pub at: i64,
    /// Captured attributes as JSON.
    pub captured: Option<String>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    /// The environment.
    pub environment: i64,
    /// The unit.
    pub unit: String,
    /// What kind of unit it is.
    pub unit_attribute: String,
    /// The step's key.
    pub step: String,
    /// The event's id, unique for unit and step.
    pub id: String,
    /// The flag's number, for a funnel stop.
    pub flag: Option<i64>,
    /// The stage, if the sender proved it.
    pub stage: Option<i64>,
    /// The rule, if the sender proved it.
    pub rule: Option<String>,
    /// Find stage and rule: those of the unit's latest exposure of the flag at or before `at`.
    pub resolve: bool,
    /// An amount in the currency's minor unit.
    pub value: Option<i64>,
    /// The currency.
    pub currency: Option<String>,
    /// The order.
    pub order_id: Option<String>,
    /// When it happened.
    pub at: i64,
    /// Attributes that a flag declares, as JSON.
    pub attributes: Option<String>,
}

/// What became of an exposure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExposureOutcome {
    /// The first of its key.
    Added,
    /// Earlier than what was there, which it replaced.
    Moved,
    /// Nothing changed.
    Duplicate,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// A new row.
    Added {
        /// The stage, given or found.
        stage: Option<i64>,
        /// The rule, given or found.
        rule: Option<String>,
        /// The variant of the exposure that was found.
        variant: Option<String>,
        /// The arm of the exposure that was found.
        arm: Option<i64>,
    },
    /// Nothing changed.
    Duplicate,
}

/// What became of a batch, row by row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventOutcome {
    /// One for each exposure, in order.
    pub exposures: Vec<ExposureOutcome>,
    /// One for each step, in order.
    pub steps: Vec<StepOutcome>,
}

/// The key of a step.
type StepKey<'a> = (i64, &'a str, &'a str, &'a str, &'a str);

#[derive(sqlx::FromRow)]
struct AddedStep {
    environment: i64,
    unit: String,
    unit_attribute: String,
    step: String,
    id: String,
}

impl Store {
    /// Writes a batch in one transaction. All of it is durable when this returns, or none. Rows from before
    /// `late_before_ms` may come after their hour was counted: see [`super::LATE_AFTER_MS`].
    ///
    /// # Errors
    /// Any [`StoreError`] of a write; repeating the batch then is safe.
    pub async fn append_events(
        &self,
        batch: &EventBatch,
        late_before_ms: i64,
    ) -> Result<EventOutcome, StoreError> {
        let mut lent = self.write_transaction("append events", self.deadlines.write).await?;
        lock(&mut lent).await?;
        let touched = json(&plan::touched(batch))?;
        let stored = stored(&mut lent, &touched).await?;
        let mut book = Book::new(&stored);
        let exposures = batch.exposures.iter().map(|row| book.enter(row)).collect();
        upsert(&mut lent, &json(&book.changed())?).await?;
        count(&mut lent, &json(&book.differences())?).await?;
        let mut late = Late::default();
        book.late(late_before_ms, &mut late);
        let steps = append_steps(&mut lent, batch, &book).await?;
        for (row, outcome) in batch.steps.iter().zip(&steps) {
            if row.at < late_before_ms && *outcome != StepOutcome::Duplicate {
                late.step(row.environment, &row.unit, row.flag, row.at);
            }
        }
        late.mark(&mut lent).await?;
        lent.commit().await?;
        self.events_written.fetch_add(1, Ordering::Release);
        Ok(EventOutcome { exposures, steps })
    }
}

/// Waits until no other writer of events is at work, and keeps others waiting until the commit.
pub(super) async fn lock(lent: &mut Lent) -> Result<(), StoreError> {
    let lock = lent.pick("SELECT 1", "SELECT value FROM meta WHERE key = 'events_lock' FOR UPDATE");
    run!(lent, "lock events", sqlx::query(lock)).map(drop)
}

/// The rows as one JSON parameter; `None` for no rows.
fn json<T: Serialize>(rows: &[T]) -> Result<Option<String>, StoreError> {
    if rows.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(rows).map(Some).map_err(|e| StoreError::Statement(e.to_string()))
}

async fn stored(lent: &mut Lent, touched: &Option<String>) -> Result<Vec<StoredRow>, StoreError> {
    let Some(touched) = touched else { return Ok(Vec::new()) };
    let sql = lent.pick(
        "SELECT x.environment, x.unit, x.flag, x.stage, x.rule, x.unit_attribute, x.arm, x.variant, x.at
         FROM json_each($1) AS j CROSS JOIN exposures AS x
           ON x.environment = j.value ->> 'e' AND x.unit = j.value ->> 'u' AND x.flag = j.value ->> 'f'",
        "SELECT x.environment, x.unit, x.flag, x.stage, x.rule, x.unit_attribute, x.arm, x.variant, x.at
         FROM json_to_recordset($1::json) AS j(e bigint, u text, f bigint)
         JOIN exposures AS x ON x.environment = j.e AND x.unit = j.u AND x.flag = j.f",
    );
    both!(lent, "stored exposures", c => sqlx::query_as::<_, StoredRow>(sql).bind(touched.as_str()).fetch_all(c))
}

async fn upsert(lent: &mut Lent, rows: &Option<String>) -> Result<(), StoreError> {
    let Some(rows) = rows else { return Ok(()) };
    let sql = lent.pick(
        "INSERT INTO exposures (environment, unit, flag, stage, rule, unit_attribute, arm, variant, bucket, at,
                                captured, replaced)
         SELECT value ->> 'e', value ->> 'u', value ->> 'f', value ->> 's', value ->> 'r', value ->> 'k',
                value ->> 'a', value ->> 'v', value ->> 'b', value ->> 't', value ->> 'c', value ->> 'n'
         FROM json_each($1) WHERE true
         ON CONFLICT (environment, unit, flag, stage, rule) DO UPDATE
         SET unit_attribute = excluded.unit_attribute, arm = excluded.arm, variant = excluded.variant,
             bucket = excluded.bucket, at = excluded.at, captured = excluded.captured,
             replaced = exposures.replaced + excluded.replaced
         WHERE excluded.at < exposures.at",
        "INSERT INTO exposures (environment, unit, flag, stage, rule, unit_attribute, arm, variant, bucket, at,
                                captured, replaced)
         SELECT e, u, f, s, r, k, a, v, b, t, c, n
         FROM json_to_recordset($1::json) AS j(e bigint, u text, f bigint, s bigint, r text, k text, a bigint,
                                               v text, b bigint, t bigint, c text, n bigint)
         ON CONFLICT (environment, unit, flag, stage, rule) DO UPDATE
         SET unit_attribute = excluded.unit_attribute, arm = excluded.arm, variant = excluded.variant,
             bucket = excluded.bucket, at = excluded.at, captured = excluded.captured,
             replaced = exposures.replaced + excluded.replaced
         WHERE excluded.at < exposures.at",
    );
    run!(lent, "upsert exposures", sqlx::query(sql).bind(rows.as_str())).map(drop)
}

/// Changes the counts of exposed users by these differences, as JSON.
pub(super) async fn count(lent: &mut Lent, differences: &Option<String>) -> Result<(), StoreError> {
    let Some(differences) = differences else { return Ok(()) };
    let sql = lent.pick(
        "INSERT INTO exposed_users (environment, flag, variant, arm, users)
         SELECT value ->> 'e', value ->> 'f', value ->> 'v', value ->> 'a', value ->> 'd'
         FROM json_each($1) WHERE true
         ON CONFLICT (environment, flag, variant, arm) DO UPDATE SET users = exposed_users.users + excluded.users",
        "INSERT INTO exposed_users (environment, flag, variant, arm, users)
         SELECT e, f, v, a, d
         FROM json_to_recordset($1::json) AS j(e bigint, f bigint, v text, a bigint, d bigint)
         ON CONFLICT (environment, flag, variant, arm) DO UPDATE SET users = exposed_users.users + excluded.users",
    );
    run!(lent, "count exposed users", sqlx::query(sql).bind(differences.as_str())).map(drop)
}

async fn append_steps(
    lent: &mut Lent,
    batch: &EventBatch,
    book: &Book<'_>,
) -> Result<Vec<StepOutcome>, StoreError> {
    let plan = plan::steps(&batch.steps, book);
    let rows: Vec<_> = plan.first.values().map(|step| &step.row).collect();
    let added = insert_steps(lent, &json(&rows)?).await?;
    let mut added: std::collections::BTreeSet<StepKey<'_>> = added
        .iter()
        .map(|s| (s.environment, s.unit.as_str(), s.unit_attribute.as_str(), s.step.as_str(), s.id.as_str()))
        .collect();
    // The first of its key takes the row; whatever comes after it finds the key gone.
    let outcome = batch.steps.iter().map(|step| {
        let key = plan::step_key(step);
        match plan.first.get(&key) {
            Some(first) if added.remove(&key) => first.outcome(),
            _ => StepOutcome::Duplicate,
        }
    });
    Ok(outcome.collect())
}

async fn insert_steps(lent: &mut Lent, rows: &Option<String>) -> Result<Vec<AddedStep>, StoreError> {
    let Some(rows) = rows else { return Ok(Vec::new()) };
    let sql = lent.pick(
        "INSERT INTO steps (environment, unit, unit_attribute, step, id, flag, stage, rule, value, currency,
                            order_id, at, attributes)
         SELECT value ->> 'e', value ->> 'u', value ->> 'k', value ->> 'p', value ->> 'i', value ->> 'f',
                value ->> 's', value ->> 'r', value ->> 'v', value ->> 'c', value ->> 'o', value ->> 't', value ->> 'a'
         FROM json_each($1) WHERE true
         ON CONFLICT DO NOTHING RETURNING environment, unit, unit_attribute, step, id",
        "INSERT INTO steps (environment, unit, unit_attribute, step, id, flag, stage, rule, value, currency,
                            order_id, at, attributes)
         SELECT e, u, k, p, i, f, s, r, v, c, o, t, a
         FROM json_to_recordset($1::json) AS j(e bigint, u text, k text, p text, i text, f bigint, s bigint,
                                               r text, v bigint, c text, o text, t bigint, a text)
         ON CONFLICT DO NOTHING RETURNING environment, unit, unit_attribute, step, id",
    );
    both!(lent, "insert steps", c => sqlx::query_as::<_, AddedStep>(sql).bind(rows.as_str()).fetch_all(c))
}
