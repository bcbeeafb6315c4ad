//! What runs beside requests: other instances' changes, ends of tests, gauges, sweeping.

pub mod copy;
pub mod database;
mod expiry;
mod fold;
pub mod lease;
mod nodes;
mod results;
mod retention;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use copy::Keeper;
use database::Admit;
use lease::Leases;

use crate::access::KeyTable;
use crate::engine::decision::Arm;
use crate::live::Live;
use crate::live::node::Node;
use crate::manage::retention::KeptDays;
use crate::manage::{Manage, ManageError};
use crate::report::Reports;
use crate::store::{Reach, Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// How often the database is asked for changes that others made.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How long a question is put off that somebody waits for: the shortest time between two.
const HURRY_PAUSE: Duration = Duration::from_millis(20);
/// How often ends of tests are looked for.
const EXPIRE_EVERY: Duration = Duration::from_millis(200);
/// How often gauges are read from the database.
const GAUGES_EVERY: Duration = Duration::from_secs(15);
/// How often the last use of keys is noted.
const USES_EVERY: Duration = Duration::from_secs(5);
/// How often what nobody refers to is taken away.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// Age from which an unfinished upload counts as abandoned.
const ABANDONED_AFTER_MS: i64 = 3_600_000;

/// What is done beside requests.
pub struct Jobs {
    /// The database.
    pub store: Store,
    /// Whether it answers.
    pub reach: Arc<Reach>,
    /// Lets it in again once it does.
    pub admission: Arc<dyn Admit>,
    /// Writes the last good state to disk.
    pub keeper: Arc<Keeper>,
    /// What decides.
    pub live: Arc<Live>,
    /// Changes and reads configuration.
    pub manage: Arc<Manage>,
    /// Counts hours.
    pub reports: Arc<Reports>,
    /// Who may call.
    pub keys: Arc<KeyTable>,
    /// How long rows are kept.
    pub kept_days: KeptDays,
    /// Taken for what only one instance does.
    pub leases: Leases,
    /// This instance, where others may share its database.
    pub node: Option<Arc<Node>>,
    /// All metrics.
    pub metrics: Metrics,
    /// Time.
    pub clock: crate::clock::SharedClock,
}

/// Running jobs.
pub struct Running(Vec<JoinHandle<()>>);

impl Running {
    /// Ends them, and waits until none runs any more.
    pub async fn stop(self) {
        for job in self.0 {
            job.abort();
            drop(job.await);
        }
    }
}

impl Jobs {
    /// Starts every job.
    #[must_use]
    pub fn start(self) -> Running {
        let jobs = Arc::new(self);
        let (poll, expire, gauges, uses) = (jobs.clone(), jobs.clone(), jobs.clone(), jobs.clone());
        let (close_expired, nodes, retain, sweep) = (jobs.clone(), jobs.clone(), jobs.clone(), jobs.clone());
        let (watch, fold, place, keep) = (jobs.clone(), jobs.clone(), jobs.clone(), jobs.clone());
        let (know, results) = (jobs.clone(), jobs);
        Running(vec![
            tokio::spawn(async move { watch.watch_database().await }),
            tokio::spawn(async move { keep.keep_copy().await }),
            tokio::spawn(async move { fold.fold_log().await }),
            tokio::spawn(async move { place.place_steps().await }),
            tokio::spawn(async move { know.know_steps().await }),
            tokio::spawn(async move { poll.poll().await }),
            tokio::spawn(async move { expire.expire().await }),
            tokio::spawn(async move { close_expired.close_expired().await }),
            tokio::spawn(async move { retain.retain().await }),
            tokio::spawn(async move { gauges.gauges().await }),
            tokio::spawn(async move { uses.uses().await }),
            tokio::spawn(async move { nodes.nodes().await }),
            tokio::spawn(async move { sweep.sweep().await }),
            tokio::spawn(async move { results.keep_hours().await }),
        ])
    }

    /// Changes of other processes: `huidu key create` beside this one, and other instances.
    async fn poll(&self) {
        let mut ticks = ticks(POLL_EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.hurried() => {}
            }
            // Whoever watches it says so, once.
            if self.store.is_away() {
                continue;
            }
            if let Err(error) = self.live.refresh().await {
                tracing::warn!(%error, "the database could not be asked for changes; decisions go on from what is known");
            }
            if let Err(error) = self.live.tend().await {
                tracing::warn!(%error, "audiences could not be moved between memory and database");
            }
            if let Err(error) = self.poll_sequences().await {
                tracing::warn!(%error, "the database could not be asked for keys");
            }
        }
    }

    async fn poll_sequences(&self) -> Result<(), ManageError> {
        let now = self.store.sequences().await?;
        if self.live.restored_at() < now.restored_at {
            self.live.accept_restored(now.restored_at);
            self.manage.accept_restored_keys().await;
        }
        let loaded = if now.keys == self.keys.held().1 { Ok(()) } else { self.manage.reload_keys().await };
        match loaded {
            Err(ManageError::Store(error @ StoreError::SetBack { .. })) => {
                self.live.refuse_keys(Some(&error.to_string()));
                Ok(())
            }
            loaded => {
                self.live.refuse_keys(None);
                loaded
            }
        }
    }

    /// Waits until somebody waits for others' changes, and a little longer, so that many make one question.
    async fn hurried(&self) {
        self.live.hurried().await;
        tokio::time::sleep(HURRY_PAUSE).await;
    }

    async fn expire(&self) {
        let mut ticks = ticks(EXPIRE_EVERY);
        loop {
            ticks.tick().await;
            self.live.expire();
        }
    }

    /// `huidu_exposed_users`: read from the database, so that every instance shows the same.
    async fn gauges(&self) {
        let mut ticks = ticks(GAUGES_EVERY);
        loop {
            ticks.tick().await;
            if self.store.is_away() {
                continue;
            }
            for environment in self.live.environments() {
                let rows = match self.store.exposed_users(environment.number).await {
                    Ok(rows) => rows,
                    Err(error) => {
                        tracing::warn!(%error, "exposed users could not be read");
                        continue;
                    }
                };
                // Taken after the wait: a flag archived meanwhile has no series any more.
                let Some(published) = environment.published() else { continue };
                for row in rows {
                    let (flag, arm) = (published.snapshot.find_number(row.flag), Arm::from_number(row.arm));
                    let (Some(flag), Some(arm)) = (flag, arm) else { continue };
                    if flag.state == crate::engine::flag::State::Archived {
                        continue;
                    }
                    let labels =
                        [environment.key.as_str(), flag.key.as_str(), row.variant.as_str(), arm.as_str()];
                    self.metrics.exposed_users.with_label_values(&labels).set(row.users);
                }
            }
        }
    }

    /// When keys were used last: a hint for people who want to revoke one, so it may be a few seconds late.
    async fn uses(&self) {
        let mut ticks = ticks(USES_EVERY);
        let mut since = self.clock.now_ms();
        loop {
            ticks.tick().await;
            let now = self.clock.now_ms();
            let used = self.keys.used_since(since);
            let used: Vec<(&str, i64)> = used.iter().map(|(id, at)| (&**id, *at)).collect();
            if used.is_empty() || self.store.is_away() {
                continue;
            }
            match self.store.touch_keys(&used).await {
                // A use may be noted a moment after it was.
                Ok(()) => since = now - 1_000,
                Err(error) => tracing::warn!(%error, "the last use of keys could not be noted"),
            }
        }
    }

    async fn sweep(&self) {
        let mut ticks = ticks(SWEEP_EVERY);
        loop {
            ticks.tick().await;
            if self.store.is_away() {
                continue;
            }
            if let Err(error) = self.store.sweep_nodes(self.clock.now_ms()).await {
                tracing::warn!(%error, "instances that are gone could not be taken off the list");
            }
            let before = self.clock.now_ms() - ABANDONED_AFTER_MS;
            let abandoned = match self.store.abandoned_generations(before).await {
                Ok(abandoned) => abandoned,
                Err(error) => {
                    tracing::warn!(%error, "abandoned uploads could not be looked for");
                    continue;
                }
            };
            for row in abandoned {
                if let Err(error) =
                    self.store.sweep_generation(row.environment, &row.audience, row.generation).await
                {
                    tracing::warn!(%error, audience = %row.audience, "an abandoned upload could not be swept");
                }
            }
        }
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
