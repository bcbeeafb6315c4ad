//! Reasons beside versions: people write names into them, and names must be able to go.

use super::Store;
use super::error::StoreError;
use super::lent::{both, run};
use super::write::WriteTx;

/// Flags whose versions are looked through at a time.
const FLAGS_PER_READ: i64 = 100;

/// A version whose reason holds a text that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ReasonRow {
    /// The flag's number, for a version of a flag.
    pub flag: Option<i64>,
    /// The audience's key, for a version of an audience.
    pub audience: Option<String>,
    /// The version.
    pub version: i64,
    /// Why it was made.
    pub reason: String,
}

impl Store {
    /// The versions of an environment's flags and audiences whose reason holds `text`.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn reasons_with_text(
        &self,
        environment: i64,
        text: &str,
    ) -> Result<Vec<ReasonRow>, StoreError> {
        let mut lent = self.reader("reasons").await?;
        let flags = both!(&mut lent, "reasons", c => sqlx::query_scalar::<_, i64>(
            "SELECT COALESCE(MAX(number), 0) FROM flags WHERE environment = $1").bind(environment).fetch_one(c))?;
        let audiences = lent.pick(
            "SELECT NULL AS flag, audience, version, reason FROM audience_versions
             WHERE environment = $1 AND instr(reason, $2) > 0 ORDER BY audience, version",
            "SELECT NULL::bigint AS flag, audience, version, reason FROM audience_versions
             WHERE environment = $1 AND strpos(reason, $2) > 0 ORDER BY audience, version",
        );
        let mut found = both!(&mut lent, "reasons", c => sqlx::query_as::<_, ReasonRow>(audiences)
            .bind(environment).bind(text).fetch_all(c))?;
        drop(lent);
        for from in (1..=flags).step_by(usize::try_from(FLAGS_PER_READ).unwrap_or(1)) {
            let mut lent = self.reader("reasons").await?;
            let versions = lent.pick(
                "SELECT flag, NULL AS audience, version, reason FROM flag_versions
                 WHERE environment = $1 AND flag >= $2 AND flag < $3 AND instr(reason, $4) > 0
                 ORDER BY flag, version",
                "SELECT flag, NULL::text AS audience, version, reason FROM flag_versions
                 WHERE environment = $1 AND flag >= $2 AND flag < $3 AND strpos(reason, $4) > 0
                 ORDER BY flag, version",
            );
            found.extend(both!(&mut lent, "reasons", c => sqlx::query_as::<_, ReasonRow>(versions)
                .bind(environment).bind(from).bind(from + FLAGS_PER_READ).bind(text).fetch_all(c))?);
        }
        Ok(found)
    }
}

impl WriteTx {
    /// Puts `instead` in the place of the reason of a version, if that is still as `row` has it; whether it was is
    /// answered.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn rewrite_reason(&mut self, row: &ReasonRow, instead: &str) -> Result<bool, StoreError> {
        let environment = self.locked()?;
        let rewritten = match (row.flag, row.audience.as_deref()) {
            (Some(flag), _) => run!(
                &mut self.lent,
                "rewrite a reason",
                sqlx::query(
                    "UPDATE flag_versions SET reason = $5
                     WHERE environment = $1 AND flag = $2 AND version = $3 AND reason = $4"
                )
                .bind(environment)
                .bind(flag)
                .bind(row.version)
                .bind(row.reason.as_str())
                .bind(instead)
            )?,
            (None, audience) => run!(
                &mut self.lent,
                "rewrite a reason",
                sqlx::query(
                    "UPDATE audience_versions SET reason = $5
                     WHERE environment = $1 AND audience = $2 AND version = $3 AND reason = $4"
                )
                .bind(environment)
                .bind(audience.unwrap_or_default())
                .bind(row.version)
                .bind(row.reason.as_str())
                .bind(instead)
            )?,
        };
        Ok(rewritten > 0)
    }
}
