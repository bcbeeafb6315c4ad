//! One task commits what waits, from all connections, in one transaction, and answers every waiter after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use moka::sync::Cache;
use tokio::sync::mpsc;

use super::check::Rows;
use super::queue::{Fate, Job, Queue, Waiting};
use crate::clock::{HOUR_MS, SharedClock};
use crate::engine::compile::CompiledFlag;
use crate::engine::decision::Arm;
use crate::engine::flag::State;
use crate::engine::map::{Map, Set};
use crate::live::{Live, Published};
use crate::store::{
    EventBatch, ExposureOutcome, ExposureRow, LATE_AFTER_MS, StepOutcome, StepRow, Store, StoreError,
};
use crate::telemetry::metrics::Metrics;

/// Bytes of exposures that are kept in memory by unit, for attributing metric steps.
const UNITS_CACHED_BYTES: u64 = 64 << 20;
/// How long they are believed: another instance may have stored more meanwhile.
const UNITS_CACHED_FOR: std::time::Duration = std::time::Duration::from_secs(60);

/// Bytes of exposures that are known to be stored: repeating one needs no write.
const STORED_CACHED_BYTES: u64 = 32 << 20;
/// How long they are believed: erasing a unit takes them away.
const STORED_CACHED_FOR: std::time::Duration = std::time::Duration::from_secs(60);

/// A stored exposure: the last erasure that it has seen, environment, unit, flag, stage, rule.
type Stored = (i64, i64, String, i64, i64, String);

/// A stored unit: environment, attribute, unit.
type Unit = (i64, String, String);
/// A unit in the cache, with the last erasure that its exposures have seen.
type CachedUnit = (i64, Unit);

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
    let units = Cache::builder()
        .max_capacity(UNITS_CACHED_BYTES)
        .weigher(weight)
        .time_to_live(UNITS_CACHED_FOR)
        .build();
    let stored = Cache::builder()
        .max_capacity(STORED_CACHED_BYTES)
        .weigher(|key: &Stored, _| {
            u32::try_from(size_of::<Stored>() + key.2.len() + key.5.len() + 100).unwrap_or(u32::MAX)
        })
        .time_to_live(STORED_CACHED_FOR)
        .build();
    let batch_max = limits.batch_max;
    let writer = Writer { store, live, metrics, clock, units, stored, waiting, batch_max };
    (queue, tokio::spawn(writer.run(jobs)))
}

/// Bytes that a unit takes in the cache, about.
fn weight((_, unit): &CachedUnit, exposures: &Arc<Vec<ExposureRow>>) -> u32 {
    let texts = |row: &ExposureRow| {
        row.unit.len()
            + row.rule.len()
            + row.unit_attribute.len()
            + row.variant.len()
            + row.captured.as_deref().map_or(0, str::len)
    };
    let rows: usize = exposures.iter().map(|row| size_of::<ExposureRow>() + texts(row)).sum();
    u32::try_from(size_of::<Unit>() + unit.1.len() + unit.2.len() + 100 + rows).unwrap_or(u32::MAX)
}

struct Writer {
    store: Store,
    live: Arc<Live>,
    metrics: Metrics,
    clock: SharedClock,
    units: Cache<CachedUnit, Arc<Vec<ExposureRow>>>,
    /// The latest time that each is known to be stored with; the row may be of an earlier one.
    stored: Cache<Stored, i64>,
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
            Ok((fates, added)) => {
                let mut fates = fates.into_iter();
                for job in jobs {
                    let own = fates.by_ref().take(job.events.len()).collect();
                    // A caller that went away has its events stored all the same.
                    drop(job.answer.send(Ok(own)));
                }
                self.attribute(added).await;
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

    /// Stores the events of `jobs`; what became of each, and the metric steps that were added.
    async fn commit(&self, jobs: &[Job]) -> Result<(Vec<Fate>, Vec<StepRow>), StoreError> {
        let gathered = Gathered::of(jobs, |row| self.is_stored(row));
        let mut fates = vec![Fate::Duplicate; gathered.events];
        if gathered.batch.exposures.is_empty() && gathered.batch.steps.is_empty() {
            return Ok((fates, Vec::new()));
        }
        let keys: Vec<Stored> = gathered.batch.exposures.iter().map(|row| self.stored_key(row)).collect();
        let began = self.clock.monotonic_ns();
        let outcome = self.store.append_events(&gathered.batch, self.clock.now_ms() - LATE_AFTER_MS).await?;
        let took = std::time::Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(began));
        self.metrics.event_commit.with_label_values(&[] as &[&str]).observe(took.as_secs_f64());
        let mut accept = |event: Option<&usize>| {
            if let Some(fate) = event.and_then(|event| fates.get_mut(*event)) {
                *fate = Fate::Accepted;
            }
        };
        let exposures = gathered.batch.exposures.iter().zip(&outcome.exposures).zip(keys).enumerate();
        for (at, ((row, outcome), key)) in exposures {
            if *outcome != ExposureOutcome::Duplicate {
                accept(gathered.exposure_events.get(at));
                let unit = (row.environment, row.unit_attribute.clone(), row.unit.clone());
                self.units.invalidate(&(self.erased_at(row.environment), unit));
            }
            if *outcome == ExposureOutcome::Added {
                self.count_exposure(row);
            }
            // Whatever became of it: what is stored now is not later than this.
            let at = self.stored.get(&key).map_or(row.at, |known| known.min(row.at));
            self.stored.insert(key, at);
        }
        let mut metric_steps = Vec::new();
        for (at, (row, outcome)) in gathered.batch.steps.iter().zip(&outcome.steps).enumerate() {
            let StepOutcome::Added { variant, arm, .. } = outcome else { continue };
            accept(gathered.step_events.get(at));
            match row.flag {
                Some(flag) => {
                    let of_token =
                        gathered.measured.get(at).and_then(Option::as_ref).map(|(v, arm)| (v.as_str(), *arm));
                    let found = variant.as_deref().zip(arm.and_then(Arm::from_number));
                    if let Some((variant, arm)) = of_token.or(found) {
                        self.count_step(row, flag, variant, arm);
                    }
                }
                None => metric_steps.push(row.clone()),
            }
        }
        Ok((fates, metric_steps))
    }

    fn erased_at(&self, environment: i64) -> i64 {
        self.live.by_number(environment).map_or(0, |environment| environment.erased_at())
    }

    /// Under what an exposure is remembered. Made before it is stored, so that nothing stored before an erasure is
    /// remembered after it.
    fn stored_key(&self, row: &ExposureRow) -> Stored {
        let erased_at = self.erased_at(row.environment);
        (erased_at, row.environment, row.unit.clone(), row.flag, row.stage, row.rule.clone())
    }

    /// Whether the exposure is known to be stored, and with a time that is not later.
    fn is_stored(&self, row: &ExposureRow) -> bool {
        let known = self.stored.get(&self.stored_key(row)).is_some_and(|at| at <= row.at);
        let counter = if known { &self.metrics.cache_hits } else { &self.metrics.cache_misses };
        counter.with_label_values(&["exposures"]).inc();
        known
    }

    fn published(&self, environment: i64) -> Option<Arc<Published>> {
        self.live.by_number(environment)?.published()
    }

    fn count_exposure(&self, row: &ExposureRow) {
        let Some(published) = self.published(row.environment) else { return };
        if let (Some(flag), Some(arm)) = (published.snapshot.find_number(row.flag), Arm::from_number(row.arm))
            && flag.state != State::Archived
        {
            let environment = published.snapshot.environment().as_str();
            let labels = [environment, flag.key.as_str(), &row.variant, arm.as_str()];
            self.metrics.exposures.with_label_values(&labels).inc();
        }
    }

    fn count_step(&self, row: &StepRow, flag: i64, variant: &str, arm: Arm) {
        let Some(published) = self.published(row.environment) else { return };
        let Some(flag) = published.snapshot.find_number(flag) else { return };
        // Stored all the same; an archived flag has no series.
        if flag.state == State::Archived {
            return;
        }
        let environment = published.snapshot.environment().as_str();
        let labels = [environment, flag.key.as_str(), variant, arm.as_str(), row.step.as_str()];
        self.metrics.steps.with_label_values(&labels).inc();
        if let (Some(value), Some(currency)) = (row.value, row.currency.as_deref()) {
            let [environment, flag, variant, arm, step] = labels;
            let counter =
                self.metrics.step_value.with_label_values(&[environment, flag, variant, arm, step, currency]);
            counter.inc_by(u64::try_from(value).unwrap_or_default());
        }
    }

    /// Counts metric steps once a flag, with variant and arm of the unit's latest exposure before them within the window.
    async fn attribute(&self, steps: Vec<StepRow>) {
        if steps.is_empty() {
            return;
        }
        let exposures = match self.exposures_of(&steps).await {
            Ok(exposures) => exposures,
            Err(error) => {
                tracing::warn!(%error, "metric steps are stored, but could not be counted for Prometheus");
                return;
            }
        };
        for step in &steps {
            let Some(published) = self.published(step.environment) else { continue };
            let Some(used) = published.snapshot.step(&step.step) else { continue };
            let key = (step.environment, step.unit_attribute.clone(), step.unit.clone());
            let Some(exposures) = exposures.get(&key) else { continue };
            for flag in used.flags.iter().filter_map(|index| published.snapshot.flag(*index)) {
                if let Some(exposure) = latest_before(exposures, flag, step)
                    && let Some(arm) = Arm::from_number(exposure.arm)
                {
                    self.count_step(step, flag.number, &exposure.variant, arm);
                }
            }
        }
    }

    /// The exposures of the steps' units: from the cache, the rest by one query an environment.
    async fn exposures_of(&self, steps: &[StepRow]) -> Result<Map<Unit, Arc<Vec<ExposureRow>>>, StoreError> {
        let (hits, misses) = ("exposures_of_unit", "exposures_of_unit");
        let mut found = Map::default();
        let mut missing: Map<(i64, i64), Set<(String, String)>> = Map::default();
        for step in steps {
            let key = (step.environment, step.unit_attribute.clone(), step.unit.clone());
            // Read before the exposures are, so that none from before an erasure is found after it.
            let cached = (self.erased_at(step.environment), key);
            if let Some(exposures) = self.units.get(&cached) {
                self.metrics.cache_hits.with_label_values(&[hits]).inc();
                found.insert(cached.1, exposures);
            } else {
                self.metrics.cache_misses.with_label_values(&[misses]).inc();
                let (erased_at, (environment, attribute, unit)) = cached;
                missing.entry((environment, erased_at)).or_default().insert((attribute, unit));
            }
        }
        for ((environment, erased_at), units) in missing {
            let asked: Vec<(&str, &str)> =
                units.iter().map(|(attribute, unit)| (attribute.as_str(), unit.as_str())).collect();
            let mut rows: Map<(String, String), Vec<ExposureRow>> = Map::default();
            for row in self.store.unit_exposures(environment, &asked).await? {
                rows.entry((row.unit_attribute.clone(), row.unit.clone())).or_default().push(row);
            }
            for unit in units {
                let exposures = Arc::new(rows.remove(&unit).unwrap_or_default());
                let key = (environment, unit.0, unit.1);
                self.units.insert((erased_at, key.clone()), exposures.clone());
                found.insert(key, exposures);
            }
        }
        Ok(found)
    }
}

/// The unit's latest exposure to `flag` that `step` counts for.
fn latest_before<'e>(
    exposures: &'e [ExposureRow],
    flag: &CompiledFlag,
    step: &StepRow,
) -> Option<&'e ExposureRow> {
    let document = flag.document.as_ref()?;
    let window_ms = document.window_hours(document.metric(&step.step)?) * HOUR_MS;
    let inside =
        |row: &&ExposureRow| row.flag == flag.number && row.at <= step.at && step.at < row.at + window_ms;
    exposures.iter().filter(inside).max_by_key(|row| row.at)
}
