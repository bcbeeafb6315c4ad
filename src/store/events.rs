//! Events: a whole batch in one transaction, with the outcome of each row as if they had come one by one.
//!
//! Only one writer of events is at work at a time (SQLite's one writer; a locked row on PostgreSQL), so what
//! was read at the beginning holds until the commit, and the count of exposed users stays exact.

mod known;
mod places;
mod plan;
mod rows;

use std::sync::atomic::Ordering;

use serde::Serialize;
use smol_str::SmolStr;

use plan::Book;

use super::error::StoreError;
use super::lent::{Lent, run};
use super::marks::Late;
use super::{Db, Store};

pub use super::exposed::ExposedUsersRow;
pub(super) use places::Places;

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

/// A step. Its texts are nearly always short: such stand in the row itself, which goes through several threads' hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRow {
    /// The environment.
    pub environment: i64,
    /// The unit.
    pub unit: SmolStr,
    /// What kind of unit it is.
    pub unit_attribute: SmolStr,
    /// The step's key.
    pub step: SmolStr,
    /// The event's id, unique for unit and step.
    pub id: SmolStr,
    /// The flag's number, for a funnel stop.
    pub flag: Option<i64>,
    /// The stage, if the sender proved it.
    pub stage: Option<i64>,
    /// The rule, if the sender proved it.
    pub rule: Option<SmolStr>,
    /// Find stage and rule: those of the unit's latest exposure of the flag at or before `at`.
    pub resolve: bool,
    /// An amount in the currency's minor unit.
    pub value: Option<i64>,
    /// The currency.
    pub currency: Option<SmolStr>,
    /// The order.
    pub order_id: Option<SmolStr>,
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
        let mut taken = match self.db {
            Db::Sqlite { .. } if !batch.steps.is_empty() => Some(self.tail_to_append().await?),
            _ => None,
        };
        let mut lent = self.write_transaction("append events", self.deadlines.write).await?;
        lock(&mut lent).await?;
        let stored = rows::stored(&mut lent, &plan::touched(batch)).await?;
        let mut book = Book::new(&stored);
        let exposures = batch.exposures.iter().map(|row| book.enter(row)).collect();
        rows::upsert(&mut lent, &book.changed()).await?;
        count(&mut lent, &json(&book.differences())?).await?;
        let mut late = Late::default();
        book.late(late_before_ms, &mut late);
        let plan = plan::steps(&batch.steps, &book);
        let mut appended = None;
        let steps = match &mut taken {
            Some((_, tail)) => {
                let new = tail.append(&mut lent, &plan.rows, late_before_ms, late.is_empty()).await?;
                plan.outcome(&appended.insert(new).added)
            }
            None => plan.outcome(&rows::insert(&mut lent, &plan.rows).await?),
        };
        for (row, outcome) in batch.steps.iter().zip(&steps) {
            if row.at < late_before_ms && *outcome != StepOutcome::Duplicate {
                late.step(row.environment, &row.unit, row.flag, row.at);
            }
        }
        late.mark(&mut lent).await?;
        lent.commit().await?;
        if let (Some((mut place, mut tail)), Some(appended)) = (taken, appended) {
            tail.commit(appended, &lent);
            *place = Some(tail);
        }
        let rows = batch.exposures.len() + batch.steps.len();
        self.events_written.fetch_add(rows as u64, Ordering::Release);
        Ok(EventOutcome { exposures, steps })
    }
}

/// Waits until no other writer of events is at work, and keeps others waiting until the commit.
pub(super) async fn lock(lent: &mut Lent) -> Result<(), StoreError> {
    if lent.is_sqlite() {
        // Begun is locked: nothing need be sent for it.
        return Ok(());
    }
    let lock = "SELECT value FROM meta WHERE key = 'events_lock' FOR UPDATE";
    run!(lent, "lock events", sqlx::query(lock)).map(drop)
}

/// The rows as one JSON parameter; `None` for no rows.
fn json<T: Serialize>(rows: &[T]) -> Result<Option<String>, StoreError> {
    if rows.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(rows).map(Some).map_err(|e| StoreError::Statement(e.to_string()))
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
