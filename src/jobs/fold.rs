//! What SQLite puts off while events come: folding its log into its file, and bringing steps to their places.

use std::time::Duration;

use super::{Jobs, ticks};

/// How often it is done while events come. In a second of full load the log grows by a hundred megabytes, and what was not
/// yet folded in when it is full, the writer folds in itself while events wait.
const FOLD_EVERY: Duration = Duration::from_millis(100);
/// How often it is asked whether enough steps wait for their places.
const PLACE_EVERY: Duration = Duration::from_millis(250);
/// How long it rests after a failure: a full disk stays full for a while, and is said once in that time.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(10);

impl Jobs {
    pub(super) async fn fold_log(&self) {
        let (mut ticks, mut folded) = (ticks(FOLD_EVERY), self.store.events_written());
        loop {
            ticks.tick().await;
            let written = self.store.events_written();
            if written == folded || self.store.is_away() {
                continue;
            }
            folded = written;
            if let Err(error) = self.store.fold_log().await {
                tracing::warn!(%error, "the database's log could not be folded in; the writer does it");
            }
        }
    }

    pub(super) async fn place_steps(&self) {
        let mut ticks = ticks(PLACE_EVERY);
        loop {
            ticks.tick().await;
            if self.store.is_away() {
                continue;
            }
            if let Err(error) = self.store.place_waiting_steps().await {
                tracing::warn!(%error, "steps could not be brought to their places; reports do it, or the next try");
                tokio::time::sleep(REST_AFTER_FAILURE).await;
            }
        }
    }
}
