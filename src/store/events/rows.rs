//! The statements that carry the rows of a batch.

use std::collections::BTreeSet;

use sqlx::error::BoxDynError;

use super::StepKey;
use super::plan::{ChangedRow, NewStep, StoredRow, Touched};
use crate::store::bulk::{Bulk, Row, Values, column};
use crate::store::error::StoreError;
use crate::store::lent::{Lent, each};

static STORED: Bulk = Bulk::new(
    "SELECT x.environment, x.unit, x.flag, x.stage, x.rule, x.unit_attribute, x.arm, x.variant, x.at FROM (VALUES ",
    3,
    ") AS j CROSS JOIN exposures AS x
       ON x.environment = j.column1 AND x.unit = j.column2 AND x.flag = j.column3",
);

// OR FAIL, here and below: a row that is refused ends the transaction anyway, so nothing need be kept for undoing the
// statement alone.
static UPSERT: Bulk = Bulk::new(
    "INSERT OR FAIL INTO exposures (environment, unit, flag, stage, rule, unit_attribute, arm, variant, bucket, at,
                                    captured, replaced) VALUES ",
    12,
    " ON CONFLICT (environment, unit, flag, stage, rule) DO UPDATE
      SET unit_attribute = excluded.unit_attribute, arm = excluded.arm, variant = excluded.variant,
          bucket = excluded.bucket, at = excluded.at, captured = excluded.captured,
          replaced = exposures.replaced + excluded.replaced
      WHERE excluded.at < exposures.at",
);

/// The key of a stored step.
#[derive(sqlx::FromRow)]
pub(super) struct KeyRow {
    environment: i64,
    unit: String,
    unit_attribute: String,
    step: String,
    id: String,
}

impl KeyRow {
    pub(super) fn key(&self) -> StepKey<'_> {
        (self.environment, &self.unit, &self.unit_attribute, &self.step, &self.id)
    }
}

/// The exposures that stand under these units and flags.
pub(super) async fn stored(lent: &mut Lent, touched: &[Touched<'_>]) -> Result<Vec<StoredRow>, StoreError> {
    if touched.is_empty() {
        return Ok(Vec::new());
    }
    each!(lent, "stored exposures",
        sqlite c => async {
            let mut found = Vec::new();
            for (sql, part) in STORED.parts(touched) {
                let query = sqlx::query_as_with::<_, StoredRow, _>(sql, STORED.arguments(part)?);
                found.extend(query.fetch_all(&mut *c).await?);
            }
            Ok(found)
        },
        postgres c => sqlx::query_as::<_, StoredRow>(
            "SELECT x.environment, x.unit, x.flag, x.stage, x.rule, x.unit_attribute, x.arm, x.variant, x.at
             FROM UNNEST($1::bigint[], $2::text[], $3::bigint[]) AS j(e, u, f)
             JOIN exposures AS x ON x.environment = j.e AND x.unit = j.u AND x.flag = j.f")
            .bind(column(touched, |t| t.e))
            .bind(column(touched, |t| t.u))
            .bind(column(touched, |t| t.f))
            .fetch_all(c))
}

/// Adds exposures, or moves those that are there to an earlier time.
pub(super) async fn upsert(lent: &mut Lent, rows: &[ChangedRow<'_>]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    each!(lent, "upsert exposures",
    sqlite c => async {
        for (sql, part) in UPSERT.parts(rows) {
            sqlx::query_with(sql, UPSERT.arguments(part)?).execute(&mut *c).await?;
        }
        Ok(())
    },
    postgres c => async {
        // Columns of their own: a set in FROM is stored once more before it is read.
        sqlx::query(
            "INSERT INTO exposures (environment, unit, flag, stage, rule, unit_attribute, arm, variant, bucket,
                                        at, captured, replaced)
                 SELECT UNNEST($1::bigint[]), UNNEST($2::text[]), UNNEST($3::bigint[]), UNNEST($4::bigint[]),
                        UNNEST($5::text[]), UNNEST($6::text[]), UNNEST($7::bigint[]), UNNEST($8::text[]),
                        UNNEST($9::bigint[]), UNNEST($10::bigint[]), UNNEST($11::text[]), UNNEST($12::bigint[])
                 ON CONFLICT (environment, unit, flag, stage, rule) DO UPDATE
                 SET unit_attribute = excluded.unit_attribute, arm = excluded.arm, variant = excluded.variant,
                     bucket = excluded.bucket, at = excluded.at, captured = excluded.captured,
                     replaced = exposures.replaced + excluded.replaced
                 WHERE excluded.at < exposures.at")
            .bind(column(rows, |r| r.e))
            .bind(column(rows, |r| r.u))
            .bind(column(rows, |r| r.f))
            .bind(column(rows, |r| r.s))
            .bind(column(rows, |r| r.r))
            .bind(column(rows, |r| r.k))
            .bind(column(rows, |r| r.a))
            .bind(column(rows, |r| r.v))
            .bind(column(rows, |r| r.b))
            .bind(column(rows, |r| r.t))
            .bind(column(rows, |r| r.c))
            .bind(column(rows, |r| r.n))
            .execute(c).await.map(drop)
    })
}

/// Adds steps of different keys to PostgreSQL; tells of each whether it was.
pub(super) async fn insert(lent: &mut Lent, rows: &[NewStep<'_>]) -> Result<Vec<bool>, StoreError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let added = each!(lent, "insert steps",
    sqlite _c => std::future::ready(Ok(0)),
    postgres c => async {
        // Without RETURNING: nearly always all are new, and five texts a row would be sent and read to say so.
        sqlx::query(
            "INSERT INTO steps (environment, unit, unit_attribute, step, id, flag, stage, rule, value, currency,
                                    order_id, at, attributes)
                 SELECT UNNEST($1::bigint[]), UNNEST($2::text[]), UNNEST($3::text[]), UNNEST($4::text[]),
                        UNNEST($5::text[]), UNNEST($6::bigint[]), UNNEST($7::bigint[]), UNNEST($8::text[]),
                        UNNEST($9::bigint[]), UNNEST($10::text[]), UNNEST($11::text[]), UNNEST($12::bigint[]),
                        UNNEST($13::text[])
                 ON CONFLICT DO NOTHING")
            .bind(column(rows, |r| r.e))
            .bind(column(rows, |r| r.u))
            .bind(column(rows, |r| r.k))
            .bind(column(rows, |r| r.p))
            .bind(column(rows, |r| r.i))
            .bind(column(rows, |r| r.f))
            .bind(column(rows, |r| r.s))
            .bind(column(rows, |r| r.r))
            .bind(column(rows, |r| r.v))
            .bind(column(rows, |r| r.c))
            .bind(column(rows, |r| r.o))
            .bind(column(rows, |r| r.t))
            .bind(column(rows, |r| r.a))
            .execute(c).await.map(|done| done.rows_affected())
    })?;
    if added == rows.len() as u64 {
        return Ok(vec![true; rows.len()]);
    }
    let added = added_here(lent, rows).await?;
    let added: BTreeSet<StepKey<'_>> = added.iter().map(KeyRow::key).collect();
    Ok(rows.iter().map(|row| added.contains(&row.key())).collect())
}

/// Those of `rows` that this very transaction added to PostgreSQL.
async fn added_here(lent: &mut Lent, rows: &[NewStep<'_>]) -> Result<Vec<KeyRow>, StoreError> {
    each!(lent, "steps added here",
    sqlite _c => std::future::ready(Ok(Vec::new())),
    postgres c => sqlx::query_as::<_, KeyRow>(
            "SELECT s.environment, s.unit, s.unit_attribute, s.step, s.id
             FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[]) AS j(e, u, k, p, i)
             JOIN steps AS s ON s.environment = j.e AND s.unit = j.u AND s.unit_attribute = j.k AND s.step = j.p
                            AND s.id = j.i
             WHERE s.xmin = pg_current_xact_id()::xid")
            .bind(column(rows, |r| r.e))
            .bind(column(rows, |r| r.u))
            .bind(column(rows, |r| r.k))
            .bind(column(rows, |r| r.p))
            .bind(column(rows, |r| r.i))
            .fetch_all(c))
}

impl Row for Touched<'_> {
    fn add(&self, to: &mut Values) -> Result<(), BoxDynError> {
        to.add(self.e)?;
        to.add(self.u)?;
        to.add(self.f)
    }
}

impl Row for ChangedRow<'_> {
    fn add(&self, to: &mut Values) -> Result<(), BoxDynError> {
        to.add(self.e)?;
        to.add(self.u)?;
        to.add(self.f)?;
        to.add(self.s)?;
        to.add(self.r)?;
        to.add(self.k)?;
        to.add(self.a)?;
        to.add(self.v)?;
        to.add(self.b)?;
        to.add(self.t)?;
        to.add(self.c)?;
        to.add(self.n)
    }
}

impl Row for NewStep<'_> {
    fn add(&self, to: &mut Values) -> Result<(), BoxDynError> {
        to.add(self.e)?;
        to.add(self.u)?;
        to.add(self.k)?;
        to.add(self.p)?;
        to.add(self.i)?;
        to.add(self.f)?;
        to.add(self.s)?;
        to.add(self.r)?;
        to.add(self.v)?;
        to.add(self.c)?;
        to.add(self.o)?;
        to.add(self.t)?;
        to.add(self.a)
    }
}
