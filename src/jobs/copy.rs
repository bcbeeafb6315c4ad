//! Keeps the last good state on disk: written after what decides, or who may call, changed. Beside everything else: it
//! holds up no decision and no change, many changes make one writing, and a slow disk is left alone in between.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::Jobs;
use crate::access::KeyTable;
use crate::clock::SharedClock;
use crate::live::Live;
use crate::live::disk::{Copy, Gathered, Writer};
use crate::store::Identity;
use crate::telemetry::metrics::Metrics;

/// Shortest pause between two writings; what comes meanwhile is written together.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// How many times as long as the writing itself the pause after it is.
const PAUSE_TIMES: u32 = 9;
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often it is written where nothing changed, since it also says until when the database agreed.
const WRITE_EVERY: Duration = Duration::from_secs(300);
/// How soon a failed writing is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Writes the copy of this instance.
pub struct Keeper {
    writer: Arc<Mutex<Writer>>,
    identity: OnceLock<Identity>,
    live: Arc<Live>,
    keys: Arc<KeyTable>,
    metrics: Metrics,
    clock: SharedClock,
}

impl Keeper {
    /// Writes into a data folder, once it is known of which database.
    #[must_use]
    pub fn new(
        data_dir: &Path,
        live: Arc<Live>,
        keys: Arc<KeyTable>,
        metrics: Metrics,
        clock: SharedClock,
    ) -> Self {
        let writer = Arc::new(Mutex::new(Writer::new(data_dir)));
        Self { writer, identity: OnceLock::new(), live, keys, metrics, clock }
    }

    /// What is written is of this database.
    pub fn belongs_to(&self, identity: &Identity) {
        // Another one is never let in by the same process.
        drop(self.identity.set(identity.clone()));
    }

    /// Decides by a copy that was read: its files need not be written again.
    pub fn knows(&self, copy: &Copy) {
        self.belongs_to(&copy.identity);
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).knows(copy);
    }

    /// Writes the present state; whether it is on disk. Nothing is written before there is something to write: a
    /// good copy is never replaced by nothing.
    pub async fn write(&self) -> bool {
        let Some(gathered) = self.gathered() else { return true };
        let (writer, now_ms) = (self.writer.clone(), self.clock.now_ms());
        let written = tokio::task::spawn_blocking(move || {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.write(&gathered, now_ms).map_err(|error| error.to_string())
        });
        match written.await.map_err(|error| error.to_string()).and_then(|written| written) {
            Ok(()) => {
                if self.live.copy.written(now_ms, &self.metrics) {
                    tracing::info!("the last good state is on disk again");
                }
                true
            }
            Err(why) => {
                if self.live.copy.failed(now_ms, &why, &self.metrics) {
                    tracing::error!(%why, "the last good state cannot be written to disk; it is tried again");
                }
                false
            }
        }
    }

    fn gathered(&self) -> Option<Gathered> {
        let identity = self.identity.get()?.clone();
        let secrets = self.live.secrets();
        let environments: Vec<_> = self.live.environments();
        let environments = environments
            .iter()
            .filter_map(|environment| Some((environment.published()?, self.live.confirmed_at(environment))));
        let environments: Vec<_> = environments.collect();
        let (keys, keys_sequence) = self.keys.held();
        (self.live.is_ready() && !secrets.rows().is_empty() && !environments.is_empty()).then_some(Gathered {
            identity,
            restored_at: self.live.restored_at(),
            keys_sequence,
            keys,
            secrets,
            environments,
        })
    }
}

impl Jobs {
    /// Writes the copy after each change, as long as the service runs.
    pub(super) async fn keep_copy(&self) {
        let (mut swaps, mut keys) = (self.live.swaps(), self.keys.replacements());
        loop {
            swaps.mark_unchanged();
            keys.mark_unchanged();
            let began = tokio::time::Instant::now();
            let written = self.keeper.write().await;
            tokio::time::sleep((began.elapsed() * PAUSE_TIMES).clamp(PAUSE_MIN, PAUSE_MAX)).await;
            let wait = if written { WRITE_EVERY } else { RETRY_AFTER };
            tokio::select! {
                _ = swaps.changed() => {}
                _ = keys.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}
