//! What is not as it should be, since when, and in which words: for `readyz`, the log and the metrics. All of it is
//! known in memory, so that saying it never waits for what is broken.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::error::LiveError;
use super::holder::Live;
use crate::clock::rfc3339;
use crate::engine::snapshot::Snapshot;
use crate::telemetry::metrics::Metrics;

/// How long a state that was refused is not read again, unless its number changes: it may be large.
const REFUSED_REST_MS: i64 = 3_000;
/// Names that one reason lists at most.
const NAMES_MAX: usize = 10;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Degraded {
    /// Its stable name.
    pub code: &'static str,
    /// Since when, milliseconds since 1970.
    pub since: i64,
    /// The environment that it concerns: number and key; `None`: all.
    pub environment: Option<(i64, String)>,
    /// In words for operators.
    pub detail: String,
}

/// Things of one kind that cannot be read, and since when there are any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Their keys.
    pub keys: Box<[Box<str>]>,
    since: i64,
}

impl Named {
    fn of(keys: impl Iterator<Item = String>, old: Option<&Self>, now_ms: i64) -> Self {
        let keys: Box<[Box<str>]> = keys.map(String::into_boxed_str).collect();
        let old = old.filter(|old| !old.keys.is_empty());
        Self { keys, since: old.map_or(now_ms, |old| old.since) }
    }

    fn listed(&self) -> String {
        let shown: Vec<&str> = self.keys.iter().take(NAMES_MAX).map(|key| &**key).collect();
        let more = self.keys.len().saturating_sub(NAMES_MAX);
        if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
    }
}

/// What of a snapshot cannot be read as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Flags that decide by an older form.
    pub frozen: Named,
    /// Flags that answer an error.
    pub unreadable: Named,
    /// Audiences whose flags answer an error.
    pub audiences: Named,
}

impl Faults {
    pub(super) fn of(snapshot: &Snapshot, old: Option<&Self>, now_ms: i64) -> Self {
        let flags = snapshot.flags();
        let frozen = flags.iter().filter(|flag| flag.frozen.is_some()).map(|flag| flag.key.to_string());
        let unreadable = flags.iter().filter(|flag| flag.broken.is_some()).map(|flag| flag.key.to_string());
        // One that was deleted keeps its place, but has no key any more.
        let audiences = snapshot.audiences().iter().filter(|audience| {
            audience.ids.is_none()
                && !audience.read_through
                && snapshot.audience_index(audience.key.as_str()).is_some()
        });
        Self {
            frozen: Named::of(frozen, old.map(|old| &old.frozen), now_ms),
            unreadable: Named::of(unreadable, old.map(|old| &old.unreadable), now_ms),
            audiences: Named::of(
                audiences.map(|audience| audience.key.to_string()),
                old.map(|old| &old.audiences),
                now_ms,
            ),
        }
    }

    pub(super) fn show(&self, environment: &str, metrics: &Metrics) {
        let count = |named: &Named| i64::try_from(named.keys.len()).unwrap_or(i64::MAX);
        metrics.frozen_flags.with_label_values(&[environment]).set(count(&self.frozen));
        metrics.flags_unreadable.with_label_values(&[environment]).set(count(&self.unreadable));
    }
}

/// Why the database's state of an environment is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    since: i64,
    code: &'static str,
    why: String,
    /// When it was last tried, and which number the database had then.
    tried: (i64, i64),
}

/// How an environment stands with the database.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// When the database last agreed with what decides, milliseconds since 1970; 0: never.
    confirmed_at: AtomicI64,
    /// Everything is to be read once more.
    wants_all: AtomicBool,
    /// What the database holds is to be taken, older or not.
    starts_over: AtomicBool,
    refused: Mutex<Option<Refused>>,
}

impl Standing {
    pub(super) fn confirmed_at(&self) -> i64 {
        self.confirmed_at.load(Ordering::Acquire)
    }

    pub(super) fn wants_all(&self) -> bool {
        self.wants_all.load(Ordering::Acquire)
    }

    pub(super) fn starts_over(&self) -> bool {
        self.starts_over.load(Ordering::Acquire)
    }

    pub(super) fn doubt(&self, start_over: bool) {
        self.wants_all.store(true, Ordering::Release);
        if start_over {
            self.starts_over.store(true, Ordering::Release);
        }
    }

    pub(super) fn know_all(&self) {
        self.wants_all.store(false, Ordering::Release);
        self.starts_over.store(false, Ordering::Release);
    }

    /// The database agreed at `at`.
    pub(super) fn confirm(&self, at: i64, environment: &str, metrics: &Metrics) {
        self.confirmed_at.store(at, Ordering::Release);
        show_time(&metrics.state_confirmed.with_label_values(&[environment]), at);
        if self.refused.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!(environment, "the state of the database serves again");
        }
    }

    /// Whether what was refused is not read again yet, at `now_ms` and with the database at `number`.
    pub(super) fn rests(&self, now_ms: i64, number: i64) -> bool {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().is_some_and(|refused| {
            let (tried_at, tried) = refused.tried;
            tried == number && (0..REFUSED_REST_MS).contains(&(now_ms - tried_at)) && !self.starts_over()
        })
    }

    /// What the database holds, `tried` at a time and with a number, is not taken; said once.
    pub(super) fn refuse(&self, tried: (i64, i64), environment: &str, error: &LiveError) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let why = error.to_string();
        if refused.as_ref().is_none_or(|known| known.why != why) {
            tracing::error!(environment, %error, "the state of the database is refused; decisions go on from the last good one");
        }
        let since = refused.as_ref().map_or(tried.0, |known| known.since);
        *refused = Some(Refused { since, code: error.code(), why, tried });
        // Once it is taken again, what was missed is not known.
        self.wants_all.store(true, Ordering::Release);
    }
}

/// How it stands with the copy on disk.
#[derive(Debug, Default)]
pub struct CopyStatus {
    /// Since when a copy that was found is ignored, and why.
    ignored: Mutex<Option<(i64, String)>>,
    /// Since when it cannot be written, and why.
    failing: Mutex<Option<(i64, String)>>,
    /// Since when it is what decides, and how old it was; 0: it is not.
    served_since: AtomicI64,
}

fn locked(place: &Mutex<Option<(i64, String)>>) -> std::sync::MutexGuard<'_, Option<(i64, String)>> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CopyStatus {
    /// One that was found is not used.
    pub fn ignore(&self, now_ms: i64, why: &str) {
        *locked(&self.ignored) = Some((now_ms, why.to_owned()));
    }

    /// It decides, since there is no database yet.
    pub fn serve(&self, now_ms: i64) {
        self.served_since.store(now_ms, Ordering::Release);
    }

    /// The database decides.
    pub fn served(&self) {
        self.served_since.store(0, Ordering::Release);
    }

    /// It was written: the outage of the disk that ended with this, if there was one.
    pub fn written(&self, at: i64, metrics: &Metrics) -> bool {
        show_time(&metrics.copy_written.only(), at);
        *locked(&self.ignored) = None;
        locked(&self.failing).take().is_some()
    }

    /// It could not be written; whether that is news.
    pub fn failed(&self, now_ms: i64, why: &str, metrics: &Metrics) -> bool {
        metrics.copy_failures.only().inc();
        let mut failing = locked(&self.failing);
        let news = failing.as_ref().is_none_or(|(_, known)| known != why);
        let since = failing.as_ref().map_or(now_ms, |(since, _)| *since);
        *failing = Some((since, why.to_owned()));
        news
    }
}

impl Live {
    /// The database's keys are older than those known here, and why that is; `None`: they are not. Said once.
    pub fn refuse_keys(&self, why: Option<&str>) {
        let mut refused = locked(&self.keys_refused);
        if let (Some(why), None) = (why, &*refused) {
            tracing::error!(%why, "the keys of the database are refused; those known go on, and what is revoked in either is refused");
        }
        let since = refused.as_ref().map_or_else(|| self.clock.now_ms(), |(since, _)| *since);
        *refused = why.map(|why| (since, why.to_owned()));
    }

    /// Everything that is not as it should be. Nothing is asked for it.
    #[must_use]
    pub fn degraded(&self) -> Vec<Degraded> {
        let mut found = Vec::new();
        let mut add = |code, since, environment: Option<&(i64, String)>, detail: String| {
            found.push(Degraded { code, since, environment: environment.cloned(), detail });
        };
        if let Some(outage) = self.store.outage() {
            let code = if outage.wrong { "database_wrong" } else { "database_away" };
            add(code, outage.since, None, outage.why);
        }
        let from_copy = self.copy.served_since.load(Ordering::Acquire);
        for environment in self.environments() {
            let named = (environment.number, environment.key.to_string());
            if let Some(refused) =
                environment.standing.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
            {
                add(refused.code, refused.since, Some(&named), refused.why);
            }
            let Some(published) = environment.published() else { continue };
            if from_copy > 0 {
                let at = rfc3339(environment.standing.confirmed_at());
                let number = published.snapshot.number();
                let detail = format!("snapshot {number} of the copy on disk decides, confirmed last at {at}");
                add("state_from_copy", from_copy, Some(&named), detail);
            }
            let faults = &published.faults;
            for (code, faulty, what) in [
                ("flags_frozen", &faults.frozen, "flags decide by an older form"),
                ("flags_unreadable", &faults.unreadable, "flags answer an error"),
                ("audiences_unreadable", &faults.audiences, "audiences cannot be read"),
            ] {
                if !faulty.keys.is_empty() {
                    let detail = format!("{} {what}: {}", faulty.keys.len(), faulty.listed());
                    add(code, faulty.since, Some(&named), detail);
                }
            }
        }
        for (code, place) in [
            ("keys_older", &self.keys_refused),
            ("copy_ignored", &self.copy.ignored),
            ("copy_not_written", &self.copy.failing),
        ] {
            if let Some((since, why)) = locked(place).clone() {
                add(code, since, None, why);
            }
        }
        found
    }

    /// When the database last agreed with what `environment` decides by, milliseconds since 1970; 0: never.
    #[must_use]
    pub fn confirmed_at(&self, environment: &super::Environment) -> i64 {
        environment.standing.confirmed_at()
    }
}

/// Sets a gauge of seconds to a time in milliseconds.
fn show_time(gauge: &prometheus::Gauge, at: i64) {
    gauge.set(Duration::from_millis(u64::try_from(at).unwrap_or_default()).as_secs_f64());
}
