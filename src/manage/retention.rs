//! What is kept for as long as the settings say, and not longer: old events, old audit rows, and changes that
//! every instance has long taken in.

use serde_json::json;

use super::pieces::{Pace, Piece};
use super::{Caller, Manage, ManageError, audit};
use crate::clock::DAY_MS;
use crate::store::{EnvironmentRow, EventTable, Lease};

/// Who the audit names.
const ACTOR: &str = "huidu (retention)";
/// Rows of events that are looked at together.
const ROWS_PER_SPAN: i64 = 5_000;
/// Days that changes are kept: nobody is so far behind.
const CHANGES_DAYS: i64 = 31;
/// Changes that are kept whatever their age.
const CHANGES_KEPT: i64 = 1_000;

/// For how many days rows are kept; 0: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeptDays {
    /// Of exposures.
    pub exposures: u32,
    /// Of steps.
    pub steps: u32,
    /// Of the audit.
    pub audit: u32,
}

/// What was deleted, by table: told while it goes on.
pub type Deleted<'d> = &'d (dyn Fn(&'static str, u64) + Sync);

impl Manage {
    /// Deletes what is older than `kept`, by this instance's clock and by the database's: whichever says less. A run
    /// that ends early is begun again by the next.
    ///
    /// # Errors
    /// [`ManageError::Store`] with [`crate::store::StoreError::LeaseLost`] if the lease is another's by now, and
    /// any other failure of a write.
    pub async fn retain(
        &self,
        lease: &Lease,
        kept: KeptDays,
        deleted: Deleted<'_>,
    ) -> Result<(), ManageError> {
        let mut tx = self.store.begin_write().await?;
        let now_ms = tx.hold(lease).await?.min(self.clock.now_ms());
        drop(tx);
        let before = |days: u32| now_ms - i64::from(days) * DAY_MS;
        let mut pace = Pace::default();
        for environment in self.store.environments().await? {
            let mut counts = [0; 3];
            let [exposures, steps, audited] = &mut counts;
            for (table, days, count) in
                [(EventTable::Exposures, kept.exposures, exposures), (EventTable::Steps, kept.steps, steps)]
            {
                if days > 0 {
                    let old = Old { table, environment: environment.number, before_ms: before(days) };
                    *count = self.delete_old_events(lease, old, deleted, &mut pace).await?;
                }
            }
            if kept.audit > 0 {
                let old = Piece::OldAudit(environment.number, before(kept.audit));
                *audited = self.delete_in_pieces(old, Some(lease), &mut pace).await?;
                deleted("audit", *audited);
            }
            self.note_deleted(lease, &environment, kept, counts).await?;
            let old = Piece::OldChanges(environment.number, now_ms - CHANGES_DAYS * DAY_MS, CHANGES_KEPT);
            deleted("changes", self.delete_in_pieces(old, Some(lease), &mut pace).await?);
        }
        if kept.audit > 0 {
            let old = Piece::OldAudit(0, before(kept.audit));
            deleted("audit", self.delete_in_pieces(old, Some(lease), &mut pace).await?);
        }
        let mut tx = self.store.begin_write().await?;
        tx.mark_done(lease).await?;
        Ok(tx.commit().await?)
    }

    /// Goes through a table by its key, unit after unit, reading without a lock; where old rows are, they go.
    async fn delete_old_events(
        &self,
        lease: &Lease,
        old: Old,
        deleted: Deleted<'_>,
        pace: &mut Pace,
    ) -> Result<u64, ManageError> {
        let (mut after, mut sum) = (String::new(), 0);
        loop {
            let span = self
                .store
                .unit_span(old.table, old.environment, &after, ROWS_PER_SPAN, old.before_ms)
                .await?;
            let Some(span) = span else { return Ok(sum) };
            if span.has_old {
                let piece = Piece::OldEvents(old.table, &span, old.before_ms);
                let count = self.delete_in_pieces(piece, Some(lease), pace).await?;
                deleted(old.table.as_str(), count);
                sum += count;
            }
            after = span.last;
        }
    }

    /// Writes down how many rows of an environment went; nothing where none did.
    async fn note_deleted(
        &self,
        lease: &Lease,
        environment: &EnvironmentRow,
        kept: KeptDays,
        [exposures, steps, audited]: [u64; 3],
    ) -> Result<(), ManageError> {
        if exposures + steps + audited == 0 {
            return Ok(());
        }
        let caller = Caller { name: ACTOR.to_owned(), request_id: None, reason: None };
        let detail = json!({
            "exposures": exposures, "steps": steps, "audit": audited,
            "kept_days": {"exposures": kept.exposures, "steps": kept.steps, "audit": kept.audit},
        });
        let now_ms = self.clock.now_ms();
        let mut change = self.store.begin_write().await?;
        change.hold(lease).await?;
        change.lock_environment(environment.number).await?;
        let (kind, key) = ("environment", environment.key.as_str());
        change.audit(audit(&caller, now_ms, "retention", kind, key, &detail.to_string())).await?;
        if exposures + steps > 0 {
            // What instances remember of stored events is forgotten by this number.
            change.take_number(&json!({"erased": true}).to_string(), now_ms).await?;
        }
        change.commit().await?;
        if let Some(environment) = self.live.by_number(environment.number) {
            self.live.catch_up(&environment).await?;
        }
        Ok(())
    }
}

/// Which old rows.
#[derive(Debug, Clone, Copy)]
struct Old {
    table: EventTable,
    environment: i64,
    before_ms: i64,
}
