//! What the end of a test changes in the database.

use serde_json::json;

use super::{Caller, Manage, ManageError, audit};
use crate::clock::rfc3339;
use crate::engine::flag::State;
use crate::engine::key::FlagKey;
use crate::live::Environment;
use crate::live::load::document;
use crate::store::Lease;

/// Who the audit names.
const ACTOR: &str = "huidu (expiry)";
/// Flags of one transaction.
const FLAGS_PER_TRANSACTION: usize = 100;

impl Manage {
    /// Closes the open stages of those of `keys` that are live and whose end has passed, by this instance's clock
    /// and by the database's: no new version, an audit row each, the next snapshot number. What is closed
    /// already, or was moved to a later end, is left alone.
    ///
    /// # Errors
    /// [`ManageError::Store`] with [`crate::store::StoreError::LeaseLost`] if the lease is another's by now, and
    /// any other failure of a write.
    pub async fn close_expired(
        &self,
        lease: &Lease,
        environment: &Environment,
        keys: &[FlagKey],
    ) -> Result<(), ManageError> {
        for keys in keys.chunks(FLAGS_PER_TRANSACTION) {
            self.close_some_expired(lease, environment, keys).await?;
        }
        Ok(())
    }

    async fn close_some_expired(
        &self,
        lease: &Lease,
        environment: &Environment,
        keys: &[FlagKey],
    ) -> Result<(), ManageError> {
        let caller = Caller { name: ACTOR.to_owned(), request_id: None, reason: None };
        let mut change = self.store.begin_write().await?;
        let database_ms = change.hold(lease).await?;
        change.lock_environment(environment.number).await?;
        let now_ms = self.clock.now_ms();
        let mut ended = Vec::new();
        for key in keys {
            let Some(row) = change.flag(key).await? else { continue };
            let Some(stage) = row.stage_open.filter(|_| State::parse(&row.state) == Some(State::Live)) else {
                continue;
            };
            let Ok(document) = document(&row.document, &row.sha256) else { continue };
            let Some(end_ms) = document.expire_at.filter(|end| *end <= now_ms.min(database_ms)) else {
                continue;
            };
            change.end_stage(row.number, stage, end_ms).await?;
            let detail = json!({
                "version": row.version, "state": row.state, "stage": null, "ended_stage": stage,
                "expire_at": rfc3339(end_ms),
            });
            change.audit(audit(&caller, now_ms, "expire", "flag", key.as_str(), &detail.to_string())).await?;
            ended.push(key);
        }
        if ended.is_empty() {
            return Ok(());
        }
        change.commit_change(&json!({"flags": ended}).to_string(), now_ms).await?;
        tracing::info!(environment = %environment.key, flags = ?ended, "tests ended");
        self.live.catch_up(environment).await?;
        Ok(())
    }
}
