//! One task commits what waits, from all connections, in one transaction, and answers every waiter after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use moka::sync::Cache;
use tokio::sync::mpsc;

use super::attribution::{self, Stored};
use super::check::Rows;
use super::count::Counter;
use super::queue::{Fate, Job, Queue, Waiting};
use crate::clock::SharedClock;
use crate::engine::decision::Arm;
use crate::live::Live;
use crate::store::{EventBatch, ExposureOutcome, ExposureRow, LATE_AFTER_MS, StepOutcome, Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// Bytes of exposures that are known to be stored: repeating one needs no write.
const STORED_CACHED_BYTES: u64 = 32 << 20;
/// How long they are believed: erasing a unit takes them away.
const STORED_CACHED_FOR: std::time::Duration = std::time::Duration::from_secs(60);

/// A stored exposure: the last erasure that it has seen, environment, unit, flag, stage, rule.
type Exposed = (i64, i64, String, i64, i64, String);

/// The writer's settings.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most events that wait.
    pub events_max: usize,
    /// Most bytes that wait.
    pub bytes_max: usize,
    /// Most events of one transaction.
    pub batch_max: usize,
}

/// Starts the writer; returns its queue, and its task, which ends when every queue is dropped and nothing waits.
#[must_use]
pub fn start(
    store: Store,
    live: Arc<Live>,
    metrics: Metrics,
    clock: SharedClock,
    limits: Limits,
) -> (Queue, tokio::task::JoinHandle<()>) {
    let (queue, jobs, waiting) = Queue::new(limits.events_max, limits.bytes_max);
    let counter = Counter { live, metrics };
    let (commits, counted) = attribution::start(store.clone(), counter.clone());
    let stored = Cache::builder()
        .max_capacity(STORED_CACHED_BYTES)
        .weigher(|key: &Exposed, _| {
            u32::try_from(size_of::<Exposed>() + key.2.len() + key.5.len() + 100).unwrap_or(u32::MAX)
        })
        .time_to_live(STORED_CACHED_FOR)
        .build();
    let batch_max = limits.batch_max;
    let writer = Writer { store, counter, clock, commits, stored, waiting, batch_max };
    let ended = tokio::spawn(async move {
        writer.run(jobs).await;
        // The writer is gone, and with it the last commit: what it stored is counted before all ends.
        drop(counted.await);
    });
    (queue, ended)
}

struct Writer {
    store: Store,
    counter: Counter,
    clock: SharedClock,
    commits: mpsc::Sender<Stored>,
    /// The latest time that each is known to be stored with; the row may be of an earlier one.
    stored: Cache<Exposed, i64>,
    waiting: Arc<Waiting>,
    batch_max: usize,
}

/// Rows of some calls, and which event each belongs to.
#[derive(Default)]
struct Gathered {
    batch: EventBatch,
    exposure_events: Vec<usize>,
    step_events: Vec<usize>,
    measured: Vec<Option<(String, Arm)>>,
    events: usize,
}

impl Gathered {
    /// The rows of `jobs`, without the exposures of which `is_stored` knows that they would change nothing.
    fn of<'j>(jobs: impl IntoIterator<Item = &'j Job>, is_stored: impl Fn(&ExposureRow) -> bool) -> Self {
        let mut gathered = Self::default();
        for rows in jobs.into_iter().flat_map(|job| &job.events) {
            match rows {
                Rows::Exposure(row) if is_stored(row) => {}
                Rows::Exposure(row) => {
                    gathered.batch.exposures.push(row.clone());
                    gathered.exposure_events.push(gathered.events);
                }
                Rows::Steps(rows) => {
                    gathered.batch.steps.extend(rows.iter().map(|step| step.row.clone()));
                    gathered.measured.extend(rows.iter().map(|step| step.measured.clone()));
                    gathered.step_events.extend(rows.iter().map(|_| gathered.events));
                }
            }
            gathered.events += 1;
        }
        gathered
    }
}

impl Writer {
    async fn run(self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(first) = jobs.recv().await {
            let mut count = first.events.len();
            let mut taken = vec![first];
            while count < self.batch_max {
                let Ok(job) = jobs.try_recv() else { break };
                count += job.events.len();
                taken.push(job);
            }
            let bytes = taken.iter().map(|job| job.bytes).sum();
            self.write(taken).await;
            self.waiting.events.fetch_sub(count, Ordering::AcqRel);
            self.waiting.bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    async fn write(&self, jobs: Vec<Job>) {
        match self.commit(&jobs).await {
            Ok((fates, stored)) => {
                let mut fates = fates.into_iter();
                for job in jobs {
                    let own = fates.by_ref().take(job.events.len()).collect();
                    // A caller that went away has its events stored all the same.
                    drop(job.answer.send(Ok(own)));
                }
                if !stored.shown.is_empty() || !stored.steps.is_empty() {
                    // It ends after the writer only.
                    drop(self.commits.send(stored).await);
                }
            }
            // What the database refuses as such must not cost the other calls of the batch their events.
            Err(StoreError::Statement(_) | StoreError::Corrupt { .. }) if jobs.len() > 1 => {
                for job in jobs {
                    Box::pin(self.write(vec![job])).await;
                }
            }
            Err(error) => {
                // An outage is said once by whoever watches the database, not with each call.
                if error != StoreError::Away {
                    tracing::error!(%error, "events could not be stored; their senders were told");
                }
                let error = Arc::new(error);
                for job in jobs {
                    drop(job.answer.send(Err(error.clone())));
                }
            }
        }
    }

    /// Stores the events of `jobs`; what became of each, and what is to be counted later.
    async fn commit(&self, jobs: &[Job]) -> Result<(Vec<Fate>, Stored), StoreError> {
        let gathered = Gathered::of(jobs, |row| self.is_stored(row));
        let mut fates = vec![Fate::Duplicate; gathered.events];
        if gathered.batch.exposures.is_empty() && gathered.batch.steps.is_empty() {
            return Ok((fates, Stored::default()));
        }
        let keys: Vec<Exposed> = gathered.batch.exposures.iter().map(|row| self.stored_key(row)).collect();
        let began = self.clock.monotonic_ns();
        let outcome = self.store.append_events(&gathered.batch, self.clock.now_ms() - LATE_AFTER_MS).await?;
        let took = std::time::Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(began));
        self.counter.metrics.event_commit.with_label_values(&[] as &[&str]).observe(took.as_secs_f64());
        let mut accept = |event: Option<&usize>| {
            if let Some(fate) = event.and_then(|event| fates.get_mut(*event)) {
                *fate = Fate::Accepted;
            }
        };
        let mut stored = Stored::default();
        let exposures = gathered.batch.exposures.iter().zip(&outcome.exposures).zip(keys).enumerate();
        for (at, ((row, outcome), key)) in exposures {
            if *outcome != ExposureOutcome::Duplicate {
                accept(gathered.exposure_events.get(at));
                stored.shown.push((row.environment, row.unit_attribute.clone(), row.unit.clone()));
            }
            if *outcome == ExposureOutcome::Added {
                self.counter.exposure(row);
            }
            // Whatever became of it: what is stored now is not later than this.
            let at = self.stored.get(&key).map_or(row.at, |known| known.min(row.at));
            self.stored.insert(key, at);
        }
        for (at, (row, outcome)) in gathered.batch.steps.iter().zip(&outcome.steps).enumerate() {
            let StepOutcome::Added { variant, arm, .. } = outcome else { continue };
            accept(gathered.step_events.get(at));
            match row.flag {
                Some(flag) => {
                    let of_token =
                        gathered.measured.get(at).and_then(Option::as_ref).map(|(v, arm)| (v.as_str(), *arm));
                    let found = variant.as_deref().zip(arm.and_then(Arm::from_number));
                    if let Some((variant, arm)) = of_token.or(found) {
                        self.counter.step(row, flag, variant, arm);
                    }
                }
                None => stored.steps.push(row.clone()),
            }
        }
        Ok((fates, stored))
    }

    /// Under what an exposure is remembered. Made before it is stored, so that nothing stored before an erasure is
    /// remembered after it.
    fn stored_key(&self, row: &ExposureRow) -> Exposed {
        let erased_at = self.counter.erased_at(row.environment);
        (erased_at, row.environment, row.unit.clone(), row.flag, row.stage, row.rule.clone())
    }

    /// Whether the exposure is known to be stored, and with a time that is not later.
    fn is_stored(&self, row: &ExposureRow) -> bool {
        let known = self.stored.get(&self.stored_key(row)).is_some_and(|at| at <= row.at);
        let counter =
            if known { &self.counter.metrics.cache_hits } else { &self.counter.metrics.cache_misses };
        counter.with_label_values(&["exposures"]).inc();
        known
    }
}
