//! Watches whether the database answers, and lets it in again. The only one that asks while it is away: a database that
//! comes back is not met by everybody at once.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use futures_util::future::BoxFuture;

use super::{Jobs, ticks};
use crate::telemetry::metrics::Metrics;

/// How often the database is asked for a sign of life.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The first wait between two attempts to reach it; each is twice the one before, plus as much at random.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest of them, so that it is found within a few seconds.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Why a database is not used.
#[derive(Debug)]
pub struct Refusal {
    /// In words for operators, without secrets.
    pub why: String,
    /// Whether it answers, but is not the one that is wanted.
    pub wrong: bool,
}

/// Lets a database in: if it answers, and is the one that is wanted. From then on it is used.
pub trait Admit: Send + Sync {
    /// Tries it once.
    fn admit(&self) -> BoxFuture<'_, Result<(), Refusal>>;
}

impl Jobs {
    /// Watches, as long as the service runs.
    pub(super) async fn watch_database(&self) {
        let mut ticks = ticks(PROBE_EVERY);
        loop {
            if self.store.is_away() {
                self.reconnect().await;
            }
            ticks.tick().await;
            if let Err(error) = self.store.sequences().await
                && error.is_away()
            {
                self.lost(&Refusal { why: error.to_string(), wrong: false });
            }
        }
    }

    fn lost(&self, refusal: &Refusal) {
        if self.reach.lost(self.clock.now_ms(), &refusal.why, refusal.wrong) {
            tracing::error!(why = %refusal.why, "the database is not used; decisions go on from what is known, changes and events are refused");
        }
        show_reachable(&self.metrics, false);
    }

    async fn reconnect(&self) {
        let since = self.reach.outage().map_or(0, |outage| outage.since);
        let waits = ExponentialBuilder::default()
            .with_min_delay(RETRY_MIN)
            .with_max_delay(RETRY_MAX)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times();
        let attempt = || async { self.admission.admit().await.inspect_err(|refusal| self.lost(refusal)) };
        if attempt.retry(waits).await.is_ok() {
            show_reachable(&self.metrics, true);
            let away_ms = self.clock.now_ms() - since;
            tracing::info!(away_ms, "the database is used again");
        }
    }
}

/// Sets the gauge of whether the database answers.
pub fn show_reachable(metrics: &Metrics, reachable: bool) {
    metrics.database_reachable.only().set(reachable.into());
}
