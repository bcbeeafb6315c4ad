//! What SQLite puts off while events come: folding its log into its file, and bringing steps to their places. And what it
//! does once after a start: reading which steps it holds.

use std::time::Duration;

use tokio::time::Instant;

use super::{Jobs, ticks};

/// How often it is done while many events come. In a second of full load the log grows by a hundred megabytes, and what was
/// not yet folded in when it is full, the writer folds in itself while events wait.
const FOLD_EVERY: Duration = Duration::from_millis(100);
/// So many rows of events are many.
const FOLD_FROM: u64 = 5_000;
/// How often it is done while anything is written: the same pages change many times meanwhile, and are folded in once.
const FOLD_LATEST: Duration = Duration::from_secs(1);
/// How often it is asked whether enough steps wait for their places.
const PLACE_EVERY: Duration = Duration::from_millis(250);
/// How long it rests between two times that it reads the keys of some steps.
const KNOW_PAUSE: Duration = Duration::from_millis(50);
/// How often it is asked whether there are any to read: once all are read, nobody but a failure forgets them.
const KNOW_EVERY: Duration = Duration::from_secs(1);
/// How long it rests after a failure: a full disk stays full for a while, and is said once in that time.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(10);

impl Jobs {
    pub(super) async fn fold_log(&self) {
        let mut ticks = ticks(FOLD_EVERY);
        let (mut rows, mut writes, mut since) =
            (self.store.events_written(), self.store.writes(), Instant::now());
        loop {
            ticks.tick().await;
            let (rows_now, writes_now) = (self.store.events_written(), self.store.writes());
            let is_due =
                rows_now - rows >= FOLD_FROM || writes_now > writes && since.elapsed() >= FOLD_LATEST;
            if !is_due || self.store.is_away() {
                continue;
            }
            (rows, writes, since) = (rows_now, writes_now, Instant::now());
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

    pub(super) async fn know_steps(&self) {
        loop {
            let more = if self.store.is_away() { Ok(false) } else { self.store.know_steps().await };
            let rest = match more {
                Ok(true) => KNOW_PAUSE,
                Ok(false) => KNOW_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "the keys of stored steps could not be read; each step that comes is looked up");
                    REST_AFTER_FAILURE
                }
            };
            tokio::time::sleep(rest).await;
        }
    }
}
