//! An operator's word that the database was restored from a backup on purpose.

use serde_json::json;

use super::{Caller, ManageError, audit};
use crate::store::Store;

/// What became of an environment's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The environment's key.
    pub environment: String,
    /// Its number before.
    pub from: i64,
    /// Its number now.
    pub to: i64,
}

/// Marks the database as restored at `now_ms`, so that services that know a newer state take this one. Numbers go on
/// above those that were `served` (environment, number).
///
/// # Errors
/// [`ManageError`] of the database: nothing was marked.
pub async fn mark_restored(
    store: &Store,
    now_ms: i64,
    served: &[(i64, i64)],
) -> Result<Vec<Restored>, ManageError> {
    let environments = store.environments().await?;
    let caller = Caller { name: "huidu restored".to_owned(), request_id: None, reason: None };
    let mut change = store.keys_change().await?;
    change.set_restored(now_ms).await?;
    change.audit(audit(&caller, now_ms, "restore", "database", "database", "{}")).await?;
    let mut done = Vec::with_capacity(environments.len());
    for row in environments {
        let from = change.lock_environment(row.number).await?;
        let known = served.iter().find(|(number, _)| *number == row.number).map_or(from, |(_, known)| *known);
        change.raise_snapshot(known).await?;
        let to = change.take_number(&json!({"restored": true}).to_string(), now_ms).await?;
        done.push(Restored { environment: row.key, from, to });
    }
    change.commit_keys().await?;
    Ok(done)
}
