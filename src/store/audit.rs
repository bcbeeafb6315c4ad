//! The audit trail: one row a change, numbered by environment.

use super::Store;
use super::error::StoreError;
use super::lent::both;
use super::write::WriteTx;

/// A stored audit row.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AuditRow {
    /// Its number in its environment.
    pub id: i64,
    /// When.
    pub at: i64,
    /// Who.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To what kind of thing: `flag`, `audience`, `key`, ...
    pub subject_kind: String,
    /// To which.
    pub subject: String,
    /// Why.
    pub reason: Option<String>,
    /// The request that did it.
    pub request_id: Option<String>,
    /// More, as JSON.
    pub detail: String,
}

/// An audit row to be written.
#[derive(Debug, Clone, Copy)]
pub struct NewAudit<'a> {
    /// When.
    pub at: i64,
    /// Who.
    pub actor: &'a str,
    /// What was done.
    pub action: &'a str,
    /// To what kind of thing: `flag`, `audience`, `key`, ...
    pub subject_kind: &'a str,
    /// To which.
    pub subject: &'a str,
    /// Why.
    pub reason: Option<&'a str>,
    /// The request that did it.
    pub request_id: Option<&'a str>,
    /// More, as JSON.
    pub detail: &'a str,
}

/// Which audit rows are wanted; `None` = any.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditFilter<'a> {
    /// Of this kind of thing.
    pub subject_kind: Option<&'a str>,
    /// Of this thing.
    pub subject: Option<&'a str>,
    /// By this actor.
    pub actor: Option<&'a str>,
    /// Not before this time.
    pub from: Option<i64>,
    /// Before this time.
    pub to: Option<i64>,
}

impl Store {
    /// Audit rows of an environment (0 = of none), newest first, before a number.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn audit_page(
        &self,
        environment: i64,
        filter: AuditFilter<'_>,
        before_id: Option<i64>,
        limit: i64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let mut lent = self.reader("audit").await?;
        both!(&mut lent, "audit", c => sqlx::query_as::<_, AuditRow>(
            "SELECT id, at, actor, action, subject_kind, subject, reason, request_id, detail FROM audit
             WHERE environment = $1 AND id < $2 AND at >= $3 AND at < $4
               AND ($5 IS NULL OR subject_kind = $5) AND ($6 IS NULL OR subject = $6) AND ($7 IS NULL OR actor = $7)
             ORDER BY id DESC LIMIT $8")
            .bind(environment).bind(before_id.unwrap_or(i64::MAX)).bind(filter.from.unwrap_or(i64::MIN))
            .bind(filter.to.unwrap_or(i64::MAX)).bind(filter.subject_kind).bind(filter.subject)
            .bind(filter.actor).bind(limit).fetch_all(c))
    }
}

impl WriteTx {
    /// Writes an audit row of the locked environment, or of none; its number is answered.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn audit(&mut self, new: NewAudit<'_>) -> Result<i64, StoreError> {
        let environment = self.environment;
        if environment == 0 {
            self.lock_keys().await?;
        }
        both!(&mut self.lent, "audit", c => sqlx::query_scalar::<_, i64>(
            "INSERT INTO audit (environment, id, at, actor, action, subject_kind, subject, reason, request_id, detail)
             SELECT $1, COALESCE(MAX(id), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9 FROM audit WHERE environment = $1
             RETURNING id")
            .bind(environment).bind(new.at).bind(new.actor).bind(new.action).bind(new.subject_kind)
            .bind(new.subject).bind(new.reason).bind(new.request_id).bind(new.detail).fetch_one(c))
    }
}
