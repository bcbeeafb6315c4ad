//! From the database to the snapshot that decides: what changed, or everything. What the database holds never takes
//! the place of something better: a state that is older, too large or unreadable is refused, and said to be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::error::LiveError;
use super::holder::{Environment, Live, Published};
use super::load;
use super::members::{Loaded, Loading};
use super::signing::{EnvironmentSettings, Signing};
use crate::engine::compile::StoredFlag;
use crate::engine::flag::Document;
use crate::engine::index::FlagIndex;
use crate::engine::key::{AudienceKey, FlagKey};
use crate::engine::snapshot::Snapshot;
use crate::store::{self, AudienceRow, EnvironmentRow, FlagRow, StoreError};

/// Most flags of an environment, when written and when read.
pub const FLAGS_MAX: usize = 10_000;
/// Why a flag is frozen whose row is not there.
const ROW_GONE: &str = "its row is gone";

impl Live {
    /// Loads environments that are new, and the changes of those that are behind the database. One that fails
    /// does not hold up the others: what is wrong with its state is said once, and stands in `readyz`.
    ///
    /// # Errors
    /// [`LiveError`] if the database does not answer; what decides goes on deciding.
    pub async fn refresh(&self) -> Result<(), LiveError> {
        let (mut outcome, mut all_serve) = (Ok(()), true);
        let rows = self.store.environments().await?;
        for row in &rows {
            match self.refresh_one(row).await {
                Ok(()) => {}
                Err(error) if error.is_away() => outcome = Err(error),
                Err(_) => {
                    all_serve &= self.by_number(row.number).is_some_and(|known| known.published().is_some())
                }
            }
        }
        if outcome.is_ok() && all_serve && !rows.is_empty() {
            self.ready.store(true, Ordering::Relaxed);
        }
        outcome
    }

    async fn refresh_one(&self, row: &EnvironmentRow) -> Result<(), LiveError> {
        let environment = self.add(row.number, &row.key).inspect_err(
            |error| tracing::error!(environment = row.number, %error, "an environment cannot be served"),
        )?;
        let known = environment.published().map(|published| published.snapshot.number());
        if environment.standing.rests(self.clock.now_ms(), row.snapshot) {
            return Ok(());
        }
        let caught_up = match known {
            Some(known) if known > row.snapshot && !environment.standing.starts_over() => {
                Err(StoreError::SetBack { at: row.snapshot, known }.into())
            }
            Some(known) if known == row.snapshot && !environment.standing.wants_all() => Ok(()),
            _ => self.catch_up(&environment).await.map(drop),
        };
        let now_ms = self.clock.now_ms();
        match &caught_up {
            Ok(()) => environment.standing.confirm(now_ms, environment.key.as_str(), &self.metrics),
            Err(error) if error.is_away() => {}
            Err(error) => {
                environment.standing.refuse((now_ms, row.snapshot), environment.key.as_str(), error)
            }
        }
        caught_up
    }

    /// Has everything read once more at the next refresh: what happened while the database was away is not known. With
    /// `start_over`, also what is older than what decides now.
    pub fn doubt(&self, start_over: bool) {
        for environment in self.environments() {
            environment.standing.doubt(start_over);
        }
    }

    /// When an operator last said that the database was restored from a backup on purpose, as far as is known here;
    /// 0: never.
    #[must_use]
    pub fn restored_at(&self) -> i64 {
        self.restored_at.load(Ordering::Acquire)
    }

    /// Knows from now on that an operator said so at `restored_at`: then what the database holds is taken, older or not.
    pub fn accept_restored(&self, restored_at: i64) {
        if self.restored_at.fetch_max(restored_at, Ordering::AcqRel) < restored_at {
            tracing::warn!(
                "an operator said that the database was restored on purpose: its state is taken, older or not"
            );
            self.doubt(true);
        }
    }

    /// Brings `environment` to the newest state in the database: what its own changes and those of others made.
    ///
    /// # Errors
    /// [`LiveError`]; what decides goes on deciding.
    pub async fn catch_up(&self, environment: &Environment) -> Result<Arc<Published>, LiveError> {
        let _one_at_a_time = environment.applying.lock().await;
        let hasher = self.secrets().audiences.newest()?;
        let empty = || Snapshot::empty(environment.key.clone(), environment.number, hasher.clone());
        let Some(current) = environment.published().filter(|_| !environment.standing.starts_over()) else {
            let current = environment.published();
            let reloaded = self.reload(environment, &empty(), current.as_ref()).await;
            // Places and generations of audiences may be others now.
            if current.is_some() {
                self.read_through.forget();
            }
            return reloaded;
        };
        if environment.standing.wants_all() {
            return self.reload(environment, &current.snapshot, Some(&current)).await;
        }
        let changed = match self.store.read_changes(environment.number, current.snapshot.number()).await {
            Ok(Some(changed)) => changed,
            Ok(None) => return Ok(current),
            Err(StoreError::Swept { .. }) => {
                return self.reload(environment, &current.snapshot, Some(&current)).await;
            }
            // One line that cannot be read must not freeze the whole environment.
            Err(StoreError::Corrupt { what }) => {
                tracing::error!(environment = %environment.key, %what, "changes cannot be read; everything is loaded again");
                return self.reload(environment, &current.snapshot, Some(&current)).await;
            }
            Err(error) => return Err(error.into()),
        };
        if changed.erased {
            environment.erased_at.fetch_max(changed.environment.snapshot, Ordering::AcqRel);
        }
        let mut base = current.snapshot.clone();
        for key in &changed.deleted_audiences {
            base = base.without_audience(key);
        }
        let flags = self.flags_of(changed.flags);
        let snapshot = self.compile(&base, changed.environment.snapshot, changed.audiences, flags).await?;
        let signing = signing_of(&changed.environment, Some(&current));
        let published = self.publish(environment, |_| Some((snapshot, signing)));
        if let Some(change) = changed.changes.last() {
            self.propagated(change.at);
        }
        published.ok_or_else(|| LiveError::Unreadable("no snapshot was made".into()))
    }

    /// The number that `environment` decides by, and the row that a flag's form is of; `None` where what decides may not be
    /// what is stored.
    #[must_use]
    pub fn served(&self, environment: &Environment, key: &FlagKey) -> Option<(i64, FlagRow)> {
        let published = certain(environment)?;
        let row = load::row(published.snapshot.find(key.as_str())?)?;
        Some((published.snapshot.number(), row))
    }

    /// Whether there is one for [`Live::served`].
    #[must_use]
    pub fn serves_its_row(&self, environment: &Environment, key: &FlagKey) -> bool {
        certain(environment).is_some_and(|published| {
            published.snapshot.find(key.as_str()).is_some_and(|flag| load::shows_its_row(flag))
        })
    }

    /// Decides by a change of one flag that was stored here as `row`, whose `document` it is if it can be read, with `number`,
    /// at `at`. Nothing is read where this instance decides by the number before: nobody else changed anything in between.
    ///
    /// # Errors
    /// As [`Live::catch_up`].
    pub async fn follow(
        &self,
        environment: &Environment,
        number: i64,
        (row, document): (FlagRow, Option<Arc<Document>>),
        at: i64,
    ) -> Result<Arc<Published>, LiveError> {
        let one_at_a_time = environment.applying.lock().await;
        let is_before = |current: &Arc<Published>| current.snapshot.number() + 1 == number;
        let known = !environment.standing.starts_over() && !environment.standing.wants_all();
        let Some(current) = environment.published().filter(is_before).filter(|_| known) else {
            drop(one_at_a_time);
            return self.catch_up(environment).await;
        };
        let flag = load::flag(row, document, self.clock.now_ms());
        let snapshot =
            self.compile(&current.snapshot, number, Vec::new(), flag.into_iter().collect()).await?;
        let published = self.publish(environment, |_| Some((snapshot, current.signing.clone())));
        self.propagated(at);
        published.ok_or_else(|| LiveError::Unreadable("no snapshot was made".into()))
    }

    /// Notes how long a change of `at` took until it decides here.
    fn propagated(&self, at: i64) {
        let ms = u64::try_from(self.clock.now_ms() - at).unwrap_or_default();
        self.metrics.propagation.only().observe(Duration::from_millis(ms).as_secs_f64());
    }

    /// Loads everything of `environment` over `base`, of which what did not change stays.
    async fn reload(
        &self,
        environment: &Environment,
        base: &Snapshot,
        current: Option<&Arc<Published>>,
    ) -> Result<Arc<Published>, LiveError> {
        let mut loaded = self.store.read_snapshot(environment.number).await?;
        let (number, known) = (loaded.environment.snapshot, base.number());
        if number < known {
            return Err(StoreError::SetBack { at: number, known }.into());
        }
        if loaded.flags.len() > FLAGS_MAX {
            return Err(LiveError::TooManyFlags);
        }
        let base = only_known(base, &loaded);
        loaded.flags.retain(|row| base.find(&row.key).is_none_or(|known| !load::is_same(row, known)));
        loaded.audiences.retain(|row| !is_same(row, &base));
        let signing = signing_of(&loaded.environment, current.map(|current| &**current));
        let same_settings = current.is_some_and(|current| current.signing.is_like(&signing));
        if let Some(current) = current
            && current.snapshot.number() == number
            && same_settings
            && loaded.flags.is_empty()
            && loaded.audiences.is_empty()
            && base.is_like(&current.snapshot)
        {
            environment.standing.know_all();
            return Ok(current.clone());
        }
        // What happened in between is not known.
        environment.erased_at.fetch_max(number, Ordering::AcqRel);
        let flags = self.flags_of(loaded.flags);
        let snapshot = self.compile(&base, number, loaded.audiences, flags).await?;
        let published = self.publish(environment, |_| Some((snapshot, signing)));
        environment.standing.know_all();
        published.ok_or_else(|| LiveError::Unreadable("no snapshot was made".into()))
    }

    fn flags_of(&self, rows: Vec<FlagRow>) -> Vec<StoredFlag> {
        let now_ms = self.clock.now_ms();
        rows.into_iter().filter_map(|row| load::flag(row, None, now_ms)).collect()
    }

    /// The snapshot after `base`, with these in it.
    pub(super) async fn compile(
        &self,
        base: &Snapshot,
        number: i64,
        audiences: Vec<AudienceRow>,
        flags: Vec<StoredFlag>,
    ) -> Result<Snapshot, LiveError> {
        let loaded = if audiences.is_empty() {
            Vec::new()
        } else {
            let plan = self.plan().await?;
            let secrets = self.secrets();
            let loading = Loading { store: &self.store, keys: &secrets.audiences, base, plan: &plan };
            loading.audiences(audiences).await?
        };
        let next = base.next(number, loaded.iter().map(|loaded| loaded.audience.clone()).collect(), flags);
        if next.flags().len() > FLAGS_MAX {
            return Err(LiveError::TooManyFlags);
        }
        // Before it serves, the cache forgets what is not so any more.
        for Loaded { audience, turned } in loaded {
            if let Some(index) = next.audience_index(audience.key.as_str()) {
                let newest = (audience.generation, audience.version);
                self.read_through.turned(next.environment_number(), index, newest, turned);
            }
        }
        Ok(next)
    }
}

/// `base` without the audiences that are not stored any more, and with the flags frozen that are not: nobody deletes a
/// flag, so its row is lost.
fn only_known(base: &Snapshot, loaded: &store::Loaded) -> Snapshot {
    let there = |key: &AudienceKey| loaded.audiences.iter().any(|row| row.key == key.as_str());
    let mut known = base.clone();
    for gone in base.audiences().iter().filter(|audience| !there(&audience.key)) {
        known = known.without_audience(gone.key.as_str());
    }
    let numbers: std::collections::BTreeSet<&str> = loaded.flags.iter().map(|row| row.key.as_str()).collect();
    let lost = base
        .flags()
        .iter()
        .filter(|flag| !numbers.contains(flag.key.as_str()) && flag.frozen.as_deref() != Some(ROW_GONE));
    let lost: Vec<FlagIndex> = lost.map(|flag| flag.index).collect();
    if lost.is_empty() { known } else { known.freeze(&lost, ROW_GONE) }
}

/// Whether an audience is held as it is stored.
fn is_same(row: &AudienceRow, base: &Snapshot) -> bool {
    let known = base.audience_index(&row.key).and_then(|index| base.audience(index));
    known.is_some_and(|known| {
        (known.version, known.generation, known.size) == (row.version, row.generation, row.size)
            && (known.ids.is_some() || known.read_through)
    })
}

/// What decides, where it is no other than what was stored when it was read.
fn certain(environment: &Environment) -> Option<Arc<Published>> {
    let in_doubt = environment.standing.starts_over() || environment.standing.wants_all();
    environment.published().filter(|_| !in_doubt)
}

/// What `row` demands of clients' units; what `current` does where that cannot be read.
fn signing_of(row: &EnvironmentRow, current: Option<&Published>) -> Arc<Signing> {
    match EnvironmentSettings::parse(&row.settings) {
        Ok(settings) => Arc::new(Signing::of(&settings)),
        Err(why) => {
            tracing::error!(environment = %row.key, %why, "an environment's settings cannot be read; the last good ones hold, or else no client's unit counts");
            current.map_or_else(|| Arc::new(Signing::closed()), |current| current.signing.clone())
        }
    }
}
