//! One task commits what waits, from all connections, in one transaction, and answers every waiter after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use foldhash::fast::RandomState;
use moka::sync::Cache;
use tokio::sync::{mpsc, oneshot};

use super::attribution::{self, Stored};
use super::check::Rows;
use super::count::Counter;
use super::queue::{Fate, Job, Queue, Waiting};
use crate::clock::SharedClock;
use crate::engine::decision::Arm;
use crate::live::Live;
use crate::store::{
    EventBatch, EventOutcome, ExposureOutcome, ExposureRow, LATE_AFTER_MS, StepOutcome, Store, StoreError,
};
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
        .build_with_hasher(RandomState::default());
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
    stored: Cache<Exposed, i64, RandomState>,
    waiting: Arc<Waiting>,
    batch_max: usize,
}

/// A call whose rows are gathered, and how many of them are its own.
struct Call {
    answer: oneshot::Sender<Result<Vec<Fate>, Arc<StoreError>>>,
    events: usize,
    exposures: usize,
    steps: usize,
}

/// Variant and arm that a stop's token says.
type Measured = Option<(String, Arm)>;

/// Rows of some calls, and which event each belongs to.
#[derive(Default)]
struct Gathered {
    calls: Vec<Call>,
    batch: EventBatch,
    /// Beside the exposures: the event, and under what it is remembered.
    exposures: Vec<(usize, Exposed)>,
    /// Beside the steps: the event, and what was measured.
    steps: Vec<(usize, Measured)>,
    events: usize,
}

impl Gathered {
    fn add(&mut self, job: Job, writer: &Writer) {
        let (exposures, steps) = (self.exposures.len(), self.steps.len());
        let events = job.events.len();
        let more =
            job.events.iter().map(|rows| if let Rows::Steps(rows) = rows { rows.len() } else { 0 }).sum();
        self.batch.steps.reserve(more);
        self.steps.reserve(more);
        for rows in job.events {
            match rows {
                Rows::Exposure(row) => {
                    if let Some(key) = writer.unknown(&row) {
                        self.batch.exposures.push(row);
                        self.exposures.push((self.events, key));
                    }
                }
                Rows::Steps(rows) => {
                    for step in rows {
                        self.batch.steps.push(step.row);
                        self.steps.push((self.events, step.measured));
                    }
                }
            }
            self.events += 1;
        }
        let (exposures, steps) = (self.exposures.len() - exposures, self.steps.len() - steps);
        self.calls.push(Call { answer: job.answer, events, exposures, steps });
    }

    /// Each call alone.
    fn apart(self) -> Vec<Self> {
        let mut rows = (self.batch.exposures.into_iter(), self.batch.steps.into_iter());
        let mut beside = (self.exposures.into_iter(), self.steps.into_iter());
        let mut before = 0;
        let alone = self.calls.into_iter().map(|call| {
            let first = before;
            before += call.events;
            Self {
                batch: EventBatch {
                    exposures: rows.0.by_ref().take(call.exposures).collect(),
                    steps: rows.1.by_ref().take(call.steps).collect(),
                },
                exposures: beside
                    .0
                    .by_ref()
                    .take(call.exposures)
                    .map(|(at, key)| (at - first, key))
                    .collect(),
                steps: beside.1.by_ref().take(call.steps).map(|(at, told)| (at - first, told)).collect(),
                events: call.events,
                calls: vec![call],
            }
        });
        alone.collect()
    }
}

impl Writer {
    async fn run(self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        while let Some(first) = jobs.recv().await {
            let mut gathered = Gathered::default();
            let mut bytes = first.bytes;
            gathered.add(first, &self);
            while gathered.events < self.batch_max {
                let Ok(job) = jobs.try_recv() else { break };
                bytes += job.bytes;
                gathered.add(job, &self);
            }
            let count = gathered.events;
            self.write(gathered).await;
            self.waiting.events.fetch_sub(count, Ordering::AcqRel);
            self.waiting.bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    async fn write(&self, gathered: Gathered) {
        match self.append(&gathered.batch).await {
            Ok(outcome) => {
                let stored = self.answer(gathered, &outcome);
                if !stored.shown.is_empty() || !stored.steps.is_empty() {
                    // It ends after the writer only.
                    drop(self.commits.send(stored).await);
                }
            }
            // What the database refuses as such must not cost the other calls of the batch their events.
            Err(StoreError::Statement(_) | StoreError::Corrupt { .. }) if gathered.calls.len() > 1 => {
                for alone in gathered.apart() {
                    Box::pin(self.write(alone)).await;
                }
            }
            Err(error) => {
                // An outage is said once by whoever watches the database, not with each call.
                if error != StoreError::Away {
                    tracing::error!(%error, "events could not be stored; their senders were told");
                }
                let error = Arc::new(error);
                for call in gathered.calls {
                    drop(call.answer.send(Err(error.clone())));
                }
            }
        }
    }

    async fn append(&self, batch: &EventBatch) -> Result<EventOutcome, StoreError> {
        if batch.exposures.is_empty() && batch.steps.is_empty() {
            return Ok(EventOutcome::default());
        }
        let began = self.clock.monotonic_ns();
        let outcome = self.store.append_events(batch, self.clock.now_ms() - LATE_AFTER_MS).await?;
        let took = std::time::Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(began));
        self.counter.metrics.event_commit.only().observe(took.as_secs_f64());
        Ok(outcome)
    }

    /// Tells every call what became of its events, and counts them; what is to be counted later is handed back.
    fn answer(&self, gathered: Gathered, outcome: &EventOutcome) -> Stored {
        let mut fates = vec![Fate::Duplicate; gathered.events];
        let mut accept = |event: usize| {
            if let Some(fate) = fates.get_mut(event) {
                *fate = Fate::Accepted;
            }
        };
        let mut stored = Stored::default();
        let exposures = gathered.batch.exposures.into_iter().zip(gathered.exposures);
        for ((row, (event, key)), outcome) in exposures.zip(&outcome.exposures) {
            // Whatever became of it: what is stored now is not later than this.
            let at = self.stored.get(&key).map_or(row.at, |known| known.min(row.at));
            self.stored.insert(key, at);
            if *outcome == ExposureOutcome::Added {
                self.counter.exposure(&row);
            }
            if *outcome != ExposureOutcome::Duplicate {
                accept(event);
                stored.shown.push((row.environment, row.unit_attribute.into(), row.unit.into()));
            }
        }
        stored.steps.reserve(gathered.steps.len());
        let steps = gathered.batch.steps.into_iter().zip(gathered.steps);
        for ((row, (event, of_token)), outcome) in steps.zip(&outcome.steps) {
            let StepOutcome::Added { variant, arm, .. } = outcome else { continue };
            accept(event);
            let Some(flag) = row.flag else {
                stored.steps.push(row);
                continue;
            };
            let of_token = of_token.as_ref().map(|(variant, arm)| (variant.as_str(), *arm));
            let found = variant.as_deref().zip(arm.and_then(Arm::from_number));
            if let Some((variant, arm)) = of_token.or(found) {
                self.counter.step(&row, flag, variant, arm);
            }
        }
        let mut fates = fates.into_iter();
        for call in gathered.calls {
            let own = fates.by_ref().take(call.events).collect();
            // A caller that went away has its events stored all the same.
            drop(call.answer.send(Ok(own)));
        }
        stored
    }

    /// Under what an exposure is to be remembered; `None` if it is known to be stored, with a time that is not later.
    /// Made before it is stored, so that nothing stored before an erasure is remembered after it.
    fn unknown(&self, row: &ExposureRow) -> Option<Exposed> {
        let erased_at = self.counter.erased_at(row.environment);
        let key = (erased_at, row.environment, row.unit.clone(), row.flag, row.stage, row.rule.clone());
        let known = self.stored.get(&key).is_some_and(|at| at <= row.at);
        let counter =
            if known { &self.counter.metrics.cache_hits } else { &self.counter.metrics.cache_misses };
        counter.with_label_values(&["exposures"]).inc();
        (!known).then_some(key)
    }
}
