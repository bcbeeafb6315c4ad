//! Counts metric steps for the flags that their units saw. It asks the database for what units saw, so it goes on beside
//! the writer, who need not wait for it.

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use moka::sync::Cache;
use smallvec::SmallVec;
use smol_str::SmolStr;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::count::Counter;
use crate::clock::HOUR_MS;
use crate::engine::compile::CompiledFlag;
use crate::engine::decision::Arm;
use crate::engine::map::Map;
use crate::store::{ExposureRow, StepRow, Store, StoreError};

/// Bytes of exposures that are kept in memory by unit.
const UNITS_CACHED_BYTES: u64 = 64 << 20;
/// How long they are believed: another instance may have stored more meanwhile.
const UNITS_CACHED_FOR: Duration = Duration::from_secs(60);
/// Most commits that wait to be counted; the writer waits for the next place.
const WAITING_MAX: usize = 64;
/// So many steps are many: where they come, commits are gathered, and the database is asked for all of them at once.
const MANY: usize = 50;
/// How long they are gathered.
const GATHERED_FOR: Duration = Duration::from_millis(50);

/// A stored unit: environment, attribute, unit.
pub(super) type Unit = (i64, SmolStr, SmolStr);
/// A unit in the cache, with the last erasure that its exposures have seen.
type CachedUnit = (i64, Unit);

/// What a unit saw.
type Seen = Arc<Vec<ExposureRow>>;

/// Units, as attribute and unit, and the places of their steps.
type Places = Map<(SmolStr, SmolStr), SmallVec<[usize; 2]>>;

/// What one commit stored.
#[derive(Default)]
pub(super) struct Stored {
    /// Units whose exposures changed.
    pub(super) shown: Vec<Unit>,
    /// Metric steps that were added.
    pub(super) steps: Vec<StepRow>,
}

/// Starts to count; it ends when the other end is dropped and everything is counted.
pub(super) fn start(store: Store, counter: Counter) -> (mpsc::Sender<Stored>, tokio::task::JoinHandle<()>) {
    let units = Cache::builder()
        .max_capacity(UNITS_CACHED_BYTES)
        .weigher(weight)
        .time_to_live(UNITS_CACHED_FOR)
        .build_with_hasher(RandomState::default());
    let (sender, commits) = mpsc::channel(WAITING_MAX);
    (sender, tokio::spawn(Attribution { store, counter, units, nothing: Seen::default() }.run(commits)))
}

/// Bytes that a unit takes in the cache, about.
fn weight((_, unit): &CachedUnit, exposures: &Seen) -> u32 {
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

struct Attribution {
    store: Store,
    counter: Counter,
    units: Cache<CachedUnit, Seen, RandomState>,
    /// Of all that saw nothing.
    nothing: Seen,
}

impl Attribution {
    async fn run(self, mut commits: mpsc::Receiver<Stored>) {
        let mut taken = Vec::new();
        while commits.recv_many(&mut taken, WAITING_MAX).await > 0 {
            let until = Instant::now() + GATHERED_FOR;
            let steps: usize = taken.iter().map(|stored| stored.steps.len()).sum();
            while steps >= MANY && taken.len() < WAITING_MAX {
                let room = WAITING_MAX - taken.len();
                if timeout_at(until, commits.recv_many(&mut taken, room)).await.unwrap_or_default() == 0 {
                    break;
                }
            }
            // All of them are stored: what is read from here on has seen them.
            for (environment, attribute, unit) in taken.iter_mut().flat_map(|stored| stored.shown.drain(..)) {
                let erased_at = self.counter.erased_at(environment);
                self.units.invalidate(&(erased_at, (environment, attribute, unit)));
            }
            let steps: Vec<StepRow> = taken.drain(..).flat_map(|stored| stored.steps).collect();
            self.attribute(steps).await;
        }
    }

    /// Counts metric steps once a flag, with variant and arm of the unit's latest exposure before them within the window.
    async fn attribute(&self, mut steps: Vec<StepRow>) {
        if steps.is_empty() {
            return;
        }
        let exposures = match self.exposures_of(&mut steps).await {
            Ok(exposures) => exposures,
            Err(error) => {
                tracing::warn!(%error, "metric steps are stored, but could not be counted for Prometheus");
                return;
            }
        };
        for (step, exposures) in steps.iter().zip(exposures) {
            if exposures.is_empty() {
                continue;
            }
            let Some(published) = self.counter.published(step.environment) else { continue };
            let Some(used) = published.snapshot.step(&step.step) else { continue };
            for flag in used.flags.iter().filter_map(|index| published.snapshot.flag(*index)) {
                if let Some(exposure) = latest_before(&exposures, flag, step)
                    && let Some(arm) = Arm::from_number(exposure.arm)
                {
                    self.counter.step(step, flag.number, &exposure.variant, arm);
                }
            }
        }
    }

    /// The exposures of each step's unit, which is taken out of it: from the cache, the rest by one query an environment.
    async fn exposures_of(&self, steps: &mut [StepRow]) -> Result<Vec<Seen>, StoreError> {
        let metrics = &self.counter.metrics;
        let hits = metrics.cache_hits.with_label_values(&["exposures_of_unit"]);
        let misses = metrics.cache_misses.with_label_values(&["exposures_of_unit"]);
        let mut found = vec![self.nothing.clone(); steps.len()];
        // By environment and the last erasure.
        let mut missing: Map<(i64, i64), Places> = Map::default();
        for (at, (step, seen)) in steps.iter_mut().zip(&mut found).enumerate() {
            let unit =
                (step.environment, std::mem::take(&mut step.unit_attribute), std::mem::take(&mut step.unit));
            // Read before the exposures are, so that none from before an erasure is found after it.
            let key = (self.counter.erased_at(step.environment), unit);
            if let Some(exposures) = self.units.get(&key) {
                hits.inc();
                *seen = exposures;
            } else {
                misses.inc();
                let (erased_at, (environment, attribute, unit)) = key;
                missing
                    .entry((environment, erased_at))
                    .or_default()
                    .entry((attribute, unit))
                    .or_default()
                    .push(at);
            }
        }
        for ((environment, erased_at), units) in missing {
            let asked: Vec<(&str, &str)> =
                units.keys().map(|(attribute, unit)| (attribute.as_str(), unit.as_str())).collect();
            let mut rows: Map<(SmolStr, SmolStr), Vec<ExposureRow>> = Map::default();
            for row in self.store.unit_exposures(environment, &asked).await? {
                let unit = (row.unit_attribute.as_str().into(), row.unit.as_str().into());
                rows.entry(unit).or_default().push(row);
            }
            for (unit, places) in units {
                // Who saw nothing is asked for again: most who were not invited come once.
                let Some(exposures) = rows.remove(&unit).map(Arc::new) else { continue };
                for at in places {
                    if let Some(seen) = found.get_mut(at) {
                        *seen = exposures.clone();
                    }
                }
                self.units.insert((erased_at, (environment, unit.0, unit.1)), exposures);
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
