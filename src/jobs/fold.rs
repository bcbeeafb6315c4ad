//! Folds SQLite's log into its file beside the writer, while events come.

use std::time::Duration;

use super::{Jobs, ticks};

/// How often it is done while events come. In a second of full load the log grows by a hundred megabytes, and what was not
/// yet folded in when it is full, the writer folds in itself while events wait.
const FOLD_EVERY: Duration = Duration::from_millis(100);

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
}
