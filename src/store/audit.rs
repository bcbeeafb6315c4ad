//! The audit trail: one row a change, numbered by environment.

use super::Store;
use super::error::StoreError;
use super::lent::{both, run};
use super::together::Must;
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

/// Audit rows of one read.
#[derive(Debug, Clone, Default)]
pub struct AuditSpan {
    /// Those that may hold the text, newest first.
    pub rows: Vec<AuditRow>,
    /// The number before which to go on; `None` at the end.
    pub next: Option<i64>,
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

    /// Looks through the newest `span` audit rows before a number (`None`: from the newest) for a text, in the
    /// details written as JSON.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn audit_with_text(
        &self,
        environment: i64,
        text: &str,
        before_id: Option<i64>,
        span: i64,
    ) -> Result<AuditSpan, StoreError> {
        let mut lent = self.reader("audit").await?;
        let before = match before_id {
            Some(before) => before,
            None => both!(&mut lent, "audit", c => sqlx::query_scalar::<_, i64>(
                "SELECT COALESCE(MAX(id), 0) + 1 FROM audit WHERE environment = $1").bind(environment).fetch_one(c))?,
        };
        let json = serde_json::Value::from(text).to_string();
        let sql = lent.pick(
            "SELECT id, at, actor, action, subject_kind, subject, reason, request_id, detail FROM audit
             WHERE environment = $1 AND id < $2 AND id >= $3
               AND (instr(detail, $4) > 0 OR instr(subject, $5) > 0 OR instr(COALESCE(reason, ''), $5) > 0)
             ORDER BY id DESC",
            "SELECT id, at, actor, action, subject_kind, subject, reason, request_id, detail FROM audit
             WHERE environment = $1 AND id < $2 AND id >= $3
               AND (strpos(detail, $4) > 0 OR strpos(subject, $5) > 0 OR strpos(COALESCE(reason, ''), $5) > 0)
             ORDER BY id DESC",
        );
        let from = before.saturating_sub(span);
        let rows = both!(&mut lent, "audit", c => sqlx::query_as::<_, AuditRow>(sql)
            .bind(environment).bind(before).bind(from).bind(json.as_str()).bind(text).fetch_all(c))?;
        Ok(AuditSpan { rows, next: (from > 1).then_some(from) })
    }
}

impl WriteTx {
    /// Writes an audit row of the locked environment, or of none.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write, at the latest from the commit.
    pub async fn audit(&mut self, new: NewAudit<'_>) -> Result<(), StoreError> {
        let environment = self.environment;
        if environment == 0 {
            self.lock_keys().await?;
        }
        let sql = "INSERT INTO audit (environment, id, at, actor, action, subject_kind, subject, reason, request_id, detail)
             SELECT $1, COALESCE(MAX(id), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9 FROM audit WHERE environment = $1";
        let values = [
            environment.into(),
            new.at.into(),
            new.actor.into(),
            new.action.into(),
            new.subject_kind.into(),
            new.subject.into(),
            new.reason.into(),
            new.request_id.into(),
            new.detail.into(),
        ];
        self.lent.write("audit", Must::Run, sql, &values).await
    }

    /// An audit row of the locked environment.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn audit_row(&mut self, id: i64) -> Result<Option<AuditRow>, StoreError> {
        let environment = self.locked()?;
        both!(&mut self.lent, "audit row", c => sqlx::query_as::<_, AuditRow>(
            "SELECT id, at, actor, action, subject_kind, subject, reason, request_id, detail FROM audit
             WHERE environment = $1 AND id = $2")
            .bind(environment).bind(id).fetch_optional(c))
    }

    /// Writes subject, reason and detail of an audit row anew: to hide a name in it, and for nothing else.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn rewrite_audit(&mut self, row: &AuditRow) -> Result<(), StoreError> {
        let environment = self.locked()?;
        run!(
            &mut self.lent,
            "rewrite an audit row",
            sqlx::query(
                "UPDATE audit SET subject = $3, reason = $4, detail = $5 WHERE environment = $1 AND id = $2"
            )
            .bind(environment)
            .bind(row.id)
            .bind(row.subject.as_str())
            .bind(row.reason.as_deref())
            .bind(row.detail.as_str())
        )
        .map(drop)
    }
}
