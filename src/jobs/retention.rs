//! Once a day, over all instances: what is older than the settings say goes.

use std::time::Duration;

use super::{Jobs, ticks};
use crate::clock::DAY_MS;
use crate::manage::ManageError;

/// How often it is looked whether a day has passed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The lease of this work.
const LEASE: &str = "retention";

impl Jobs {
    /// Looks every few seconds whether the last run is a day ago, as long as the service runs.
    pub(super) async fn retain(&self) {
        let mut ticks = ticks(LOOK_EVERY);
        loop {
            ticks.tick().await;
            if self.store.is_away() {
                continue;
            }
            if let Err(error) = self.retain_if_due().await {
                tracing::warn!(%error, "old rows could not all be deleted yet; it is tried again");
            }
        }
    }

    async fn retain_if_due(&self) -> Result<(), ManageError> {
        let due = match self.store.lease(LEASE).await? {
            None => true,
            Some(row) => {
                self.show_last_run(row.done_at);
                row.now - row.done_at >= DAY_MS
            }
        };
        if !due {
            return Ok(());
        }
        let count = |table: &'static str, rows| {
            self.metrics.retention_deleted.with_label_values(&[table]).inc_by(rows);
        };
        let run = self
            .leases
            .under(LEASE, |lease| async move { self.manage.retain(&lease, self.kept_days, &count).await });
        run.await?.unwrap_or(Ok(()))?;
        if let Some(row) = self.store.lease(LEASE).await? {
            self.show_last_run(row.done_at);
        }
        Ok(())
    }

    /// The same on every instance, since it is the database's.
    fn show_last_run(&self, done_at_ms: i64) {
        let seconds = Duration::from_millis(u64::try_from(done_at_ms).unwrap_or_default()).as_secs_f64();
        self.metrics.retention_last_run.only().set(seconds);
    }
}
