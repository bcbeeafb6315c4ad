//! Memberships of audiences that are not in memory: from a cache or, once for each id, from the database.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use moka::sync::Cache;
use prometheus::IntCounter;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::engine::asks::{Fetched, Wanted};
use crate::engine::index::AudienceIndex;
use crate::engine::key::AudienceKey;
use crate::engine::membership::Membership;
use crate::engine::snapshot::Snapshot;
use crate::store::{Place, Store};
use crate::telemetry::metrics::Metrics;

/// Bytes that one cached membership takes, about.
const ENTRY_BYTES: u32 = 160;
/// Longest id that can be stored.
const ID_BYTES_MAX: usize = 256;

/// How reading through is bounded.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of cached memberships, about.
    pub cache_bytes: u64,
    /// How long a decision waits for the database.
    pub within: Duration,
    /// Questions to the database at a time: management must not wait behind them.
    pub at_a_time: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, within: Duration::from_millis(200), at_a_time: 2 }
    }
}

/// An id in a generation of an audience. A replaced audience has another generation, and so other keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    environment: i64,
    audience: AudienceIndex,
    generation: i64,
    hash: u64,
}

/// What of an audience is newest here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Newest {
    generation: i64,
    version: i64,
}

/// An audience to be asked, as a snapshot has it.
#[derive(Debug, Clone)]
struct Asked {
    environment: i64,
    audience: AudienceIndex,
    key: AudienceKey,
    newest: Newest,
}

/// Reads memberships through a cache.
pub struct ReadThrough {
    store: Store,
    cache: Cache<Key, bool>,
    newest: RwLock<HashMap<(i64, AudienceIndex), Newest>>,
    places: Semaphore,
    within: Duration,
    hits: IntCounter,
    misses: IntCounter,
}

impl std::fmt::Debug for ReadThrough {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReadThrough({} entries)", self.cache.entry_count())
    }
}

impl ReadThrough {
    /// Reads from `store` within `bounds`.
    #[must_use]
    pub fn new(store: Store, metrics: &Metrics, bounds: Bounds) -> Self {
        Self {
            store,
            cache: Cache::builder().max_capacity(bounds.cache_bytes).weigher(|_, _| ENTRY_BYTES).build(),
            newest: RwLock::default(),
            places: Semaphore::new(bounds.at_a_time.max(1)),
            within: bounds.within,
            hits: metrics.cache_hits.with_label_values(&["audience"]),
            misses: metrics.cache_misses.with_label_values(&["audience"]),
        }
    }

    /// Notes that an audience is at `version` of `generation` from now on, and forgets the ids that this turned over.
    /// To be called before the snapshot with it is published.
    pub fn turned(
        &self,
        environment: i64,
        audience: AudienceIndex,
        (generation, version): (i64, i64),
        hashes: impl IntoIterator<Item = u64>,
    ) {
        // Whoever read the state before cannot keep it once this lock is free.
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        newest.insert((environment, audience), Newest { generation, version });
        for hash in hashes {
            self.cache.invalidate(&Key { environment, audience, generation, hash });
        }
    }

    /// Forgets everything: another database counts from now on, in which a generation may be other ids.
    pub fn forget(&self) {
        self.newest.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.cache.invalidate_all();
    }

    /// What is wanted, as the cache or the database has it. What the database does not tell in time is unreadable.
    pub async fn fetch(self: &Arc<Self>, snapshot: &Snapshot, wanted: Wanted) -> Fetched {
        let mut fetched = Vec::new();
        let mut missing: Vec<(Asked, Vec<String>)> = Vec::new();
        for (audience, id) in wanted.sorted() {
            let Some(known) = snapshot.audience(audience) else { continue };
            let environment = snapshot.environment_number();
            let hash = snapshot.hasher().hash(&id);
            let key = Key { environment, audience, generation: known.generation, hash };
            if id.len() > ID_BYTES_MAX {
                fetched.push((audience, id, Membership::Stranger));
            } else if let Some(member) = self.cache.get(&key) {
                self.hits.inc();
                fetched.push((audience, id, membership(member)));
            } else {
                self.misses.inc();
                match missing.last_mut() {
                    Some((asked, ids)) if asked.audience == audience => ids.push(id),
                    _ => {
                        let newest = Newest { generation: known.generation, version: known.version };
                        let asked = Asked { environment, audience, key: known.key.clone(), newest };
                        missing.push((asked, vec![id]));
                    }
                }
            }
        }
        if !missing.is_empty() {
            self.ask(snapshot, missing, &mut fetched).await;
        }
        Fetched::new(fetched)
    }

    /// Asks the database for every audience at once. Each question runs on if its asker goes away or gives up: its
    /// answer is kept for the next, and its connection stays whole.
    async fn ask(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        missing: Vec<(Asked, Vec<String>)>,
        fetched: &mut Vec<(AudienceIndex, String, Membership)>,
    ) {
        let until = Instant::now() + self.within;
        let questions: Vec<_> = missing
            .into_iter()
            .map(|(asked, ids)| {
                let (own, audience, hasher) = (self.clone(), asked.audience, snapshot.hasher().clone());
                let hashes: Vec<u64> = ids.iter().map(|id| hasher.hash(id)).collect();
                let sent = ids.clone();
                (audience, ids, tokio::spawn(async move { own.question(asked, sent, hashes, until).await }))
            })
            .collect();
        for (audience, ids, question) in questions {
            let members = match timeout_at(until, question).await {
                Ok(Ok(Some(members))) => members.into_iter().map(membership).collect(),
                _ => vec![Membership::Unreadable; ids.len()],
            };
            fetched.extend(ids.into_iter().zip(members).map(|(id, member)| (audience, id, member)));
        }
    }

    async fn question(
        &self,
        asked: Asked,
        ids: Vec<String>,
        hashes: Vec<u64>,
        until: Instant,
    ) -> Option<Vec<bool>> {
        let _place = timeout_at(until, self.places.acquire()).await.ok()?.ok()?;
        let Asked { environment, audience, key, newest } = asked;
        let place = Place { environment, audience: &key, generation: newest.generation };
        let texts: Vec<&str> = ids.iter().map(String::as_str).collect();
        let left = until.saturating_duration_since(Instant::now());
        let members = match self.store.members(place, &texts, Some(left)).await {
            Ok(members) => members?,
            Err(error) => {
                tracing::debug!(%error, audience = %key, "an audience could not be asked");
                return None;
            }
        };
        // Held while they are kept: what is turned over in this moment is forgotten after it.
        let known = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        if known.get(&(environment, audience)) == Some(&newest) {
            for (hash, member) in hashes.into_iter().zip(&members) {
                let key = Key { environment, audience, generation: newest.generation, hash };
                self.cache.insert(key, *member);
            }
        }
        Some(members)
    }
}

fn membership(member: bool) -> Membership {
    if member { Membership::Member } else { Membership::Stranger }
}
