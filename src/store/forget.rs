//! Deleting events: those of one unit, and those that are older than anybody wants them. Always in pieces, each a
//! short transaction, so that others write in between. The counts of exposed users go along: they count what is
//! stored.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::error::StoreError;
use super::lent::{Lent, both, run};
use super::marks::Late;
use super::write::WriteTx;
use super::{ExposureRow, Store, events};

/// After every unit: units have at most 256 bytes.
const LAST_UNIT_CHARACTERS: usize = 65;

/// A unit as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct StoredUnit<'u> {
    /// The environment's number.
    pub environment: i64,
    /// What kind of unit it is, such as `user.id`.
    pub attribute: &'u str,
    /// The unit, hashed where units are stored so.
    pub unit: &'u str,
}

/// Neighbouring units of one environment: those after `after`, up to and with `last`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitSpan {
    /// The environment's number.
    pub environment: i64,
    /// The last unit before the span; empty at the beginning.
    pub after: String,
    /// The last unit of the span.
    pub last: String,
    /// Whether rows inside it are older than was asked.
    pub has_old: bool,
}

/// Which table of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventTable {
    /// Exposures.
    Exposures,
    /// Steps.
    Steps,
}

impl EventTable {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exposures => "exposures",
            Self::Steps => "steps",
        }
    }
}

/// A stored step of a unit.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredStep {
    /// The step's key.
    pub step: String,
    /// The event's id.
    pub id: String,
    /// The flag's number, for a funnel stop.
    pub flag: Option<i64>,
    /// The stage.
    pub stage: Option<i64>,
    /// The rule.
    pub rule: Option<String>,
    /// An amount in the currency's minor unit.
    pub value: Option<i64>,
    /// The currency.
    pub currency: Option<String>,
    /// The order.
    pub order_id: Option<String>,
    /// When it happened.
    pub at: i64,
    /// Attributes, as JSON.
    pub attributes: Option<String>,
}

/// The key of an exposure inside its environment.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, sqlx::FromRow)]
struct ExposureKey {
    unit: String,
    flag: i64,
    stage: i64,
    rule: String,
}

/// An exposure as far as the counts need it.
#[derive(sqlx::FromRow)]
struct Counted {
    #[sqlx(flatten)]
    key: ExposureKey,
    variant: String,
    arm: i64,
    at: i64,
}

/// A deleted step as far as marks need it.
#[derive(sqlx::FromRow)]
struct DeletedStep {
    unit: String,
    flag: Option<i64>,
    at: i64,
}

impl Store {
    /// The units after `after` that together have about `rows` rows of `table`, and whether some of those are from
    /// before `before_ms`; `None` at the end. Nothing is locked.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn unit_span(
        &self,
        table: EventTable,
        environment: i64,
        after: &str,
        rows: i64,
        before_ms: i64,
    ) -> Result<Option<UnitSpan>, StoreError> {
        if table == EventTable::Steps {
            self.place_steps().await?;
        }
        let mut lent = self.reader("span of units").await?;
        let (boundary, old) = match table {
            EventTable::Exposures => (
                "SELECT unit FROM exposures WHERE environment = $1 AND unit > $2 ORDER BY unit LIMIT 1 OFFSET $3",
                "SELECT count(*) FROM (SELECT 1 FROM exposures
                 WHERE environment = $1 AND unit > $2 AND unit <= $3 AND at < $4 LIMIT 1) AS old",
            ),
            EventTable::Steps => (
                lent.pick(
                    "SELECT unit FROM step_places WHERE environment = $1 AND unit > $2 ORDER BY unit LIMIT 1 OFFSET $3",
                    "SELECT unit FROM steps WHERE environment = $1 AND unit > $2 ORDER BY unit LIMIT 1 OFFSET $3",
                ),
                "SELECT count(*) FROM (SELECT 1 FROM unit_steps
                 WHERE environment = $1 AND unit > $2 AND unit <= $3 AND at < $4 LIMIT 1) AS old",
            ),
        };
        let boundary_at = async |lent: &mut Lent, offset: i64| {
            both!(lent, "span of units", c => sqlx::query_scalar::<_, String>(boundary)
                .bind(environment).bind(after).bind(offset).fetch_optional(c))
        };
        let last = match boundary_at(&mut lent, rows.max(1)).await? {
            Some(last) => last,
            None if boundary_at(&mut lent, 0).await?.is_none() => return Ok(None),
            None => "\u{10FFFF}".repeat(LAST_UNIT_CHARACTERS),
        };
        let old = both!(&mut lent, "span of units", c => sqlx::query_scalar::<_, i64>(old)
            .bind(environment).bind(after).bind(last.as_str()).bind(before_ms).fetch_one(c))?;
        Ok(Some(UnitSpan { environment, after: after.to_owned(), last, has_old: old > 0 }))
    }

    /// Exposures of a unit in order of flag, stage and rule, after one of them.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn exposures_of(
        &self,
        unit: StoredUnit<'_>,
        after: (i64, i64, &str),
        limit: i64,
    ) -> Result<Vec<ExposureRow>, StoreError> {
        let mut lent = self.reader("exposures of a unit").await?;
        both!(&mut lent, "exposures of a unit", c => sqlx::query_as::<_, ExposureRow>(
            "SELECT environment, unit, flag, stage, rule, unit_attribute, arm, variant, bucket, at, captured
             FROM exposures WHERE environment = $1 AND unit = $2 AND unit_attribute = $3
               AND (flag, stage, rule) > ($4, $5, $6) ORDER BY flag, stage, rule LIMIT $7")
            .bind(unit.environment).bind(unit.unit).bind(unit.attribute)
            .bind(after.0).bind(after.1).bind(after.2).bind(limit).fetch_all(c))
    }

    /// Steps of a unit in order of step and id, after one of them.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn steps_of(
        &self,
        unit: StoredUnit<'_>,
        after: (&str, &str),
        limit: i64,
    ) -> Result<Vec<StoredStep>, StoreError> {
        self.place_steps().await?;
        let mut lent = self.reader("steps of a unit").await?;
        both!(&mut lent, "steps of a unit", c => sqlx::query_as::<_, StoredStep>(
            "SELECT step, id, flag, stage, rule, value, currency, order_id, at, attributes
             FROM unit_steps WHERE environment = $1 AND unit = $2 AND unit_attribute = $3
               AND (step, id) > ($4, $5) ORDER BY step, id LIMIT $6")
            .bind(unit.environment).bind(unit.unit).bind(unit.attribute)
            .bind(after.0).bind(after.1).bind(limit).fetch_all(c))
    }
}

impl WriteTx {
    /// Deletes at most `limit` exposures of a unit; how many is answered.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn erase_exposures(&mut self, unit: StoredUnit<'_>, limit: i64) -> Result<u64, StoreError> {
        events::lock(&mut self.lent).await?;
        let doomed = both!(&mut self.lent, "erase exposures", c => sqlx::query_as::<_, ExposureKey>(
            "SELECT unit, flag, stage, rule FROM exposures
             WHERE environment = $1 AND unit = $2 AND unit_attribute = $3 ORDER BY flag, stage, rule LIMIT $4")
            .bind(unit.environment).bind(unit.unit).bind(unit.attribute).bind(limit).fetch_all(c))?;
        self.delete_exposures(unit.environment, &doomed).await
    }

    /// Deletes at most `limit` steps of a unit; how many is answered. They must have their places: see
    /// [`Store::place_steps`].
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn erase_steps(&mut self, unit: StoredUnit<'_>, limit: i64) -> Result<u64, StoreError> {
        events::lock(&mut self.lent).await?;
        let sql = self.lent.pick(
            "DELETE FROM steps WHERE number IN (
                 SELECT number FROM step_places WHERE environment = $1 AND unit = $2 AND unit_attribute = $3
                 ORDER BY step, id LIMIT $4)
             RETURNING unit, flag, at",
            "DELETE FROM steps WHERE environment = $1 AND unit = $2 AND unit_attribute = $3 AND (step, id) IN (
                 SELECT step, id FROM steps WHERE environment = $1 AND unit = $2 AND unit_attribute = $3
                 ORDER BY step, id LIMIT $4)
             RETURNING unit, flag, at",
        );
        let deleted = both!(&mut self.lent, "erase steps", c => sqlx::query_as::<_, DeletedStep>(sql)
            .bind(unit.environment).bind(unit.unit).bind(unit.attribute).bind(limit).fetch_all(c))?;
        self.mark_steps(unit.environment, &deleted).await
    }

    /// Deletes at most `limit` rows of `table` in a span from before `before_ms`; how many is answered. Steps must have
    /// their places, as they have after [`Store::unit_span`].
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn delete_old_events(
        &mut self,
        table: EventTable,
        span: &UnitSpan,
        before_ms: i64,
        limit: i64,
    ) -> Result<u64, StoreError> {
        events::lock(&mut self.lent).await?;
        match table {
            EventTable::Exposures => {
                let doomed = both!(&mut self.lent, "old exposures", c => sqlx::query_as::<_, ExposureKey>(
                    "SELECT unit, flag, stage, rule FROM exposures
                     WHERE environment = $1 AND unit > $2 AND unit <= $3 AND at < $4
                     ORDER BY unit, flag, stage, rule LIMIT $5")
                    .bind(span.environment).bind(span.after.as_str()).bind(span.last.as_str()).bind(before_ms)
                    .bind(limit).fetch_all(c))?;
                self.delete_exposures(span.environment, &doomed).await
            }
            EventTable::Steps => {
                let sql = self.lent.pick(
                    "DELETE FROM steps WHERE number IN (
                     SELECT number FROM unit_steps
                     WHERE environment = $1 AND unit > $2 AND unit <= $3 AND at < $4
                     ORDER BY unit, unit_attribute, step, id LIMIT $5)
                     RETURNING unit, flag, at",
                    "DELETE FROM steps WHERE environment = $1 AND (unit, unit_attribute, step, id) IN (
                     SELECT unit, unit_attribute, step, id FROM steps
                     WHERE environment = $1 AND unit > $2 AND unit <= $3 AND at < $4
                     ORDER BY unit, unit_attribute, step, id LIMIT $5)
                     RETURNING unit, flag, at",
                );
                let deleted = both!(&mut self.lent, "delete old steps", c => sqlx::query_as::<_, DeletedStep>(sql)
                    .bind(span.environment).bind(span.after.as_str()).bind(span.last.as_str()).bind(before_ms)
                    .bind(limit).fetch_all(c))?;
                self.mark_steps(span.environment, &deleted).await
            }
        }
    }

    /// Deletes at most `limit` audit rows of an environment (0 = of none) from before `before_ms`, the newest row
    /// never, since numbers count on from it; how many is answered.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn delete_old_audit(
        &mut self,
        environment: i64,
        before_ms: i64,
        limit: i64,
    ) -> Result<u64, StoreError> {
        run!(
            &mut self.lent,
            "delete old audit rows",
            sqlx::query(
                "DELETE FROM audit WHERE environment = $1 AND id IN (
                 SELECT id FROM audit WHERE environment = $1 AND at < $2
                   AND id < (SELECT MAX(id) FROM audit WHERE environment = $1) ORDER BY id LIMIT $3)"
            )
            .bind(environment)
            .bind(before_ms)
            .bind(limit)
        )
    }

    /// Deletes at most `limit` changes of an environment from before `before_ms`, the newest `kept` never; how many
    /// is answered. An instance that is so far behind loads everything anew.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn delete_old_changes(
        &mut self,
        environment: i64,
        before_ms: i64,
        kept: i64,
        limit: i64,
    ) -> Result<u64, StoreError> {
        run!(
            &mut self.lent,
            "delete old changes",
            sqlx::query(
                "DELETE FROM changes WHERE environment = $1 AND number IN (
                 SELECT number FROM changes WHERE environment = $1 AND at < $2
                   AND number <= (SELECT snapshot FROM environments WHERE number = $1) - $3
                 ORDER BY number LIMIT $4)"
            )
            .bind(environment)
            .bind(before_ms)
            .bind(kept)
            .bind(limit)
        )
    }

    /// Marks the hours that deleted steps counted in; how many steps there were is answered.
    async fn mark_steps(&mut self, environment: i64, deleted: &[DeletedStep]) -> Result<u64, StoreError> {
        let mut late = Late::default();
        for step in deleted {
            late.step(environment, &step.unit, step.flag, step.at);
        }
        late.mark(&mut self.lent).await?;
        Ok(deleted.len() as u64)
    }

    /// Deletes exposures, and takes them out of the counts: a unit counts for a variant as long as one of its
    /// exposures to it is stored.
    async fn delete_exposures(
        &mut self,
        environment: i64,
        doomed: &[ExposureKey],
    ) -> Result<u64, StoreError> {
        if doomed.is_empty() {
            return Ok(0);
        }
        let touched: BTreeSet<(&str, i64)> = doomed.iter().map(|key| (key.unit.as_str(), key.flag)).collect();
        let touched: Vec<Value> = touched.iter().map(|(u, f)| json!({"u": u, "f": f})).collect();
        let stored = stored(&mut self.lent, environment, &Value::from(touched).to_string()).await?;
        let keys: Vec<Value> = doomed
            .iter()
            .map(|key| json!({"u": key.unit, "f": key.flag, "s": key.stage, "r": key.rule}))
            .collect();
        let keys = Value::from(keys).to_string();
        let sql = self.lent.pick(
            "DELETE FROM exposures WHERE environment = $1 AND (unit, flag, stage, rule) IN (
                 SELECT value ->> 'u', value ->> 'f', value ->> 's', value ->> 'r' FROM json_each($2))",
            "DELETE FROM exposures WHERE environment = $1 AND (unit, flag, stage, rule) IN (
                 SELECT u, f, s, r FROM json_to_recordset($2::json) AS j(u text, f bigint, s bigint, r text))",
        );
        let deleted =
            run!(&mut self.lent, "delete exposures", sqlx::query(sql).bind(environment).bind(keys.as_str()))?;
        let mut late = Late::default();
        let keys: BTreeSet<&ExposureKey> = doomed.iter().collect();
        for row in stored.iter().filter(|row| keys.contains(&row.key)) {
            late.exposure(environment, &row.key.unit, row.key.flag, &[row.at]);
        }
        late.mark(&mut self.lent).await?;
        let differences = differences(environment, &stored, doomed);
        if !differences.is_empty() {
            events::count(&mut self.lent, &Some(Value::from(differences).to_string())).await?;
        }
        Ok(deleted)
    }
}

async fn stored(lent: &mut Lent, environment: i64, touched: &str) -> Result<Vec<Counted>, StoreError> {
    let sql = lent.pick(
        "SELECT x.unit, x.flag, x.stage, x.rule, x.variant, x.arm, x.at
         FROM json_each($2) AS j CROSS JOIN exposures AS x
           ON x.environment = $1 AND x.unit = j.value ->> 'u' AND x.flag = j.value ->> 'f'",
        "SELECT x.unit, x.flag, x.stage, x.rule, x.variant, x.arm, x.at
         FROM json_to_recordset($2::json) AS j(u text, f bigint)
         JOIN exposures AS x ON x.environment = $1 AND x.unit = j.u AND x.flag = j.f",
    );
    both!(lent, "stored exposures", c => sqlx::query_as::<_, Counted>(sql)
        .bind(environment).bind(touched).fetch_all(c))
}

/// By how much the counts fall: a variant and arm of which a unit has no exposure left loses that unit.
fn differences(environment: i64, stored: &[Counted], doomed: &[ExposureKey]) -> Vec<Value> {
    type Pair<'r> = (&'r str, i64, &'r str, i64);
    let doomed: BTreeSet<&ExposureKey> = doomed.iter().collect();
    let (mut gone, mut left) = (BTreeSet::<Pair<'_>>::new(), BTreeSet::<Pair<'_>>::new());
    for row in stored {
        let place = if doomed.contains(&row.key) { &mut gone } else { &mut left };
        place.insert((&row.key.unit, row.key.flag, &row.variant, row.arm));
    }
    let mut sums: BTreeMap<(i64, &str, i64), i64> = BTreeMap::new();
    for (_, flag, variant, arm) in gone.difference(&left) {
        *sums.entry((*flag, variant, *arm)).or_default() -= 1;
    }
    let rows = sums.into_iter();
    rows.map(|((f, v, a), d)| json!({"e": environment, "f": f, "v": v, "a": a, "d": d})).collect()
}
