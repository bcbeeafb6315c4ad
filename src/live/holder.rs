//! Holds each environment's snapshot behind one pointer: readers take it and never wait.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use tokio::sync::{Notify, watch};

use super::beside::Beside;
use super::error::LiveError;
use super::feed::{Feed, Swap};
use super::health::{CopyStatus, Faults, Standing};
use super::load;
use super::secrets::Secrets;
use super::signing::Signing;
use crate::audiences::ReadThrough;
use crate::audiences::readthrough::Bounds;
use crate::clock::SharedClock;
use crate::engine::compile::CompiledFlag;
use crate::engine::decision::Decision;
use crate::engine::key::EnvironmentKey;
use crate::engine::map::Map;
use crate::engine::snapshot::Snapshot;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// Bytes that audiences in memory may take where nobody says how many.
const MEMORY_BYTES: u64 = 512 << 20;

/// A snapshot with what stands beside it.
#[derive(Debug)]
pub struct Published {
    /// What decides.
    pub snapshot: Snapshot,
    /// How many flags this instance has shut by itself at their end: part of what answers depend on.
    pub expired: i64,
    /// What clients' units must be.
    pub signing: Arc<Signing>,
    /// What of it cannot be read as it is stored.
    pub faults: Faults,
    beside: Vec<Arc<Beside>>,
}

impl Published {
    /// Counts a decision.
    #[inline]
    pub fn count(&self, decision: &Decision<'_>) {
        if let Some(beside) = self.beside(decision.flag) {
            beside.meters.count(decision);
        }
    }

    /// What a token says of `decision`, but for its unit; `None` where nothing is measured.
    #[must_use]
    #[inline]
    pub fn decided(&self, decision: &Decision<'_>) -> Option<&[u8]> {
        self.beside(decision.flag)?.decided(decision)
    }

    /// What stands beside `flag`.
    #[must_use]
    #[inline]
    pub fn beside(&self, flag: &CompiledFlag) -> Option<&Beside> {
        self.beside.get(flag.index.at()).map(|beside| &**beside)
    }
}

/// One environment.
#[derive(Debug)]
pub struct Environment {
    /// Its key.
    pub key: EnvironmentKey,
    /// Its number, for tokens and tables.
    pub number: i64,
    /// Who hears of its changes.
    pub feed: Arc<Feed>,
    current: ArcSwapOption<Published>,
    /// One at a time makes the next snapshot, in the order of numbers.
    pub(super) applying: tokio::sync::Mutex<()>,
    /// The number at which stored events were last erased, as far as this instance knows.
    pub(super) erased_at: AtomicI64,
    /// How it stands with the database.
    pub(super) standing: Standing,
    /// Taken for a swap: shutting a flag at its end does not wait for a load.
    swapping: Mutex<()>,
}

impl Environment {
    /// What decides now; `None` before the first load.
    #[must_use]
    #[inline]
    pub fn published(&self) -> Option<Arc<Published>> {
        self.current.load_full()
    }

    /// The snapshot number at which stored events were erased last: what is remembered of events from before a
    /// change of this may be wrong.
    #[must_use]
    pub fn erased_at(&self) -> i64 {
        self.erased_at.load(Ordering::Acquire)
    }
}

#[derive(Debug, Default)]
struct Table {
    by_key: Map<EnvironmentKey, Arc<Environment>>,
    by_number: Map<i64, Arc<Environment>>,
}

/// The live state of all environments.
pub struct Live {
    table: ArcSwap<Table>,
    /// Taken while an environment is added: two of one number would decide apart.
    adding: Mutex<()>,
    /// Once ready it stays so: an environment made later, and not loaded yet, holds up nothing but itself.
    pub(super) ready: AtomicBool,
    pub(super) store: Store,
    pub(super) metrics: Metrics,
    pub(super) clock: SharedClock,
    pub(super) secrets: ArcSwap<Secrets>,
    /// When an operator last said that the database was restored on purpose, as far as is known here.
    pub(super) restored_at: AtomicI64,
    /// How it stands with the copy on disk.
    pub copy: CopyStatus,
    /// Since when the database's keys are older than those known, and why.
    pub(super) keys_refused: Mutex<Option<(i64, String)>>,
    /// Bytes that all audiences in memory may take.
    pub(super) memory_bytes: u64,
    pub(super) read_through: Arc<ReadThrough>,
    /// The sum of the snapshots' numbers when audiences were tended last.
    pub(super) tended: AtomicI64,
    /// Somebody waits for what others changed.
    hurry: Notify,
    swapped: watch::Sender<()>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Live({} environments)", self.table.load().by_number.len())
    }
}

impl Live {
    /// A live state without environments and secrets.
    #[must_use]
    pub fn new(store: Store, metrics: Metrics, clock: SharedClock) -> Self {
        let (table, adding, ready) = (ArcSwap::default(), Mutex::default(), AtomicBool::default());
        let (hurry, swapped) = (Notify::new(), watch::Sender::new(()));
        let read_through = Arc::new(ReadThrough::new(store.clone(), &metrics, Bounds::default()));
        Self {
            table,
            adding,
            ready,
            store,
            metrics,
            clock,
            secrets: ArcSwap::from_pointee(Secrets::none()),
            restored_at: AtomicI64::new(0),
            copy: CopyStatus::default(),
            keys_refused: Mutex::default(),
            memory_bytes: MEMORY_BYTES,
            read_through,
            tended: AtomicI64::new(-1),
            hurry,
            swapped,
        }
    }

    /// Sets how many bytes audiences in memory may take, and how the others are read.
    #[must_use]
    pub fn with_audiences(mut self, memory_bytes: u64, read_through: Bounds) -> Self {
        self.memory_bytes = memory_bytes;
        self.read_through = Arc::new(ReadThrough::new(self.store.clone(), &self.metrics, read_through));
        self
    }

    /// Reads the audiences that are not in memory.
    #[must_use]
    pub fn read_through(&self) -> &Arc<ReadThrough> {
        &self.read_through
    }

    /// The environment named `key`.
    #[must_use]
    pub fn environment(&self, key: &str) -> Option<Arc<Environment>> {
        self.table.load().by_key.get(key).cloned()
    }

    /// The environment numbered `number`.
    #[must_use]
    pub fn by_number(&self, number: i64) -> Option<Arc<Environment>> {
        self.table.load().by_number.get(&number).cloned()
    }

    /// All environments, by number.
    #[must_use]
    pub fn environments(&self) -> Vec<Arc<Environment>> {
        let mut all: Vec<_> = self.table.load().by_number.values().cloned().collect();
        all.sort_by_key(|environment| environment.number);
        all
    }

    /// The database's secrets; none before it, or the copy on disk, was read.
    #[must_use]
    pub fn secrets(&self) -> Arc<Secrets> {
        self.secrets.load_full()
    }

    /// The same for a moment, without counting a holder: for what is done at every decision.
    #[must_use]
    #[inline]
    pub fn secrets_now(&self) -> Guard<Arc<Secrets>> {
        self.secrets.load()
    }

    /// Takes the place of the secrets that were known.
    pub fn set_secrets(&self, secrets: Secrets) {
        self.secrets.store(Arc::new(secrets));
    }

    /// Whether every environment that the start found serves a snapshot.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Waits, for `within` at most, until `environment` decides by `number` or a later one, which another process made.
    /// The database is asked by the one job that always asks, sooner than it would have: however many wait, it is asked
    /// no more often for them.
    pub async fn reach(&self, environment: &Environment, number: i64, within: Duration) {
        self.hurry.notify_one();
        drop(tokio::time::timeout(within, environment.feed.reaches(number)).await);
    }

    /// Waits until somebody waits for what others changed.
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// Tells whenever an environment decides by another state.
    #[must_use]
    pub fn swaps(&self) -> watch::Receiver<()> {
        self.swapped.subscribe()
    }

    pub(super) fn add(&self, number: i64, key: &str) -> Result<Arc<Environment>, LiveError> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.by_number(number) {
            return Ok(known);
        }
        let unreadable =
            |_| LiveError::Unreadable(format!("environment {number} has the unreadable key {key:?}"));
        let environment = Arc::new(Environment {
            key: EnvironmentKey::parse(key).map_err(unreadable)?,
            number,
            feed: Feed::new(key, &self.metrics),
            current: ArcSwapOption::empty(),
            applying: tokio::sync::Mutex::default(),
            erased_at: AtomicI64::new(0),
            standing: Standing::default(),
            swapping: Mutex::default(),
        });
        let old = self.table.load();
        let mut table = Table { by_key: old.by_key.clone(), by_number: old.by_number.clone() };
        table.by_key.insert(environment.key.clone(), environment.clone());
        table.by_number.insert(environment.number, environment.clone());
        self.table.store(Arc::new(table));
        Ok(environment)
    }

    /// Shuts the flags whose end has passed, database or not: it never waits for a load.
    pub fn expire(&self) {
        let now_ms = self.clock.now_ms();
        for environment in self.environments() {
            let due =
                environment.published().is_some_and(|published| published.snapshot.expire(now_ms).is_some());
            let shut = |current: Option<&Published>| {
                current.and_then(|current| Some((current.snapshot.expire(now_ms)?, current.signing.clone())))
            };
            if due && self.publish(&environment, shut).is_some() {
                tracing::info!(environment = %environment.key, "flags were shut at their end");
            }
        }
    }

    /// Swaps in the snapshot that `make` gives for the present one; flags whose end passed meanwhile stay shut.
    pub(super) fn publish(
        &self,
        environment: &Environment,
        make: impl FnOnce(Option<&Published>) -> Option<(Snapshot, Arc<Signing>)>,
    ) -> Option<Arc<Published>> {
        // Held for the swap alone: a panic inside leaves the old snapshot whole.
        let _swapping = environment.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let old = environment.published();
        let old = old.as_deref();
        let (made, signing) = make(old)?;
        let snapshot = made.expire(self.clock.now_ms()).unwrap_or(made);
        let key = environment.key.as_str();
        let beside = snapshot.flags().iter().enumerate().map(|(at, flag)| {
            // A flag that did not change keeps what stands beside it.
            let same = old.and_then(|old| Some((old.snapshot.flags().get(at)?, old.beside.get(at)?)));
            match same {
                Some((known, beside)) if Arc::ptr_eq(known, flag) => beside.clone(),
                known => Arc::new(Beside::new(&self.metrics, key, flag, known.map(|(known, _)| &**known))),
            }
        });
        let beside = beside.collect();
        let expired = snapshot.flags().iter().filter(|flag| flag.expired).count();
        load::tell_of_frozen(key, old.map(|old| &old.snapshot), &snapshot);
        let faults = Faults::of(&snapshot, old.map(|old| &old.faults), self.clock.now_ms());
        faults.show(key, &self.metrics);
        let held = snapshot.audiences().iter().filter_map(|audience| audience.ids.as_ref());
        let held: usize = held.map(|ids| ids.bytes()).sum();
        let held = i64::try_from(held).unwrap_or(i64::MAX);
        self.metrics.audience_bytes.with_label_values(&[key]).set(held);
        self.metrics.begin_environment(key);
        self.metrics.snapshot_number.with_label_values(&[key]).set(snapshot.number());
        let now_ms = self.clock.now_ms();
        let seconds = Duration::from_millis(u64::try_from(now_ms).unwrap_or_default());
        self.metrics.snapshot_timestamp.with_label_values(&[key]).set(seconds.as_secs_f64());
        let expired = i64::try_from(expired).unwrap_or(i64::MAX);
        let published = Arc::new(Published { snapshot, expired, signing, faults, beside });
        environment.current.store(Some(published.clone()));
        environment.feed.tell(&Swap {
            old: old.map(|old| &old.snapshot),
            new: &published.snapshot,
            same_settings: old.is_some_and(|old| old.signing.is_like(&published.signing)),
            at: now_ms,
        });
        self.swapped.send_replace(());
        Some(published)
    }
}
