//! What is done to audiences beside requests: they move between memory and database as the budget wants it, and
//! what stands over a large base is merged into it.

use std::sync::atomic::Ordering;

use super::budget::Plan;
use super::error::LiveError;
use super::holder::{Environment, Live};
use super::members::Loading;
use crate::engine::snapshot::{Audience, Snapshot};

/// Ids over a base that are not worth merging.
const TURNED_FREE: usize = 1_000;
/// The part of a base that may stand over it: looking up costs little more, copying it for a change does.
const TURNED_PART: usize = 64;

impl Live {
    /// The plan of what is held in memory.
    pub(super) async fn plan(&self) -> Result<Plan, LiveError> {
        Ok(Plan::new(self.store.audience_sizes().await?, self.memory_bytes))
    }

    /// Moves and merges where that is due; does nothing where no snapshot changed since.
    ///
    /// # Errors
    /// [`LiveError`] of the database; what decides goes on, and the next call tries again.
    pub async fn tend(&self) -> Result<(), LiveError> {
        let environments = self.environments();
        let numbers = environments.iter().filter_map(|environment| environment.published());
        let seen: i64 = numbers.map(|published| published.snapshot.number()).sum();
        if self.tended.load(Ordering::Acquire) == seen {
            return Ok(());
        }
        let plan = self.plan().await?;
        // First what leaves memory, then what comes in.
        for leaving in [true, false] {
            for environment in &environments {
                self.move_audiences(environment, &plan, leaving).await?;
            }
        }
        for environment in &environments {
            self.merge_audiences(environment).await?;
        }
        self.tended.store(seen, Ordering::Release);
        Ok(())
    }

    async fn move_audiences(
        &self,
        environment: &Environment,
        plan: &Plan,
        leaving: bool,
    ) -> Result<(), LiveError> {
        let due = |audience: &&Audience| {
            let planned = plan.holds(environment.number, audience.key.as_str());
            if leaving { audience.ids.is_some() && !planned } else { audience.read_through && planned }
        };
        let Some(published) = environment.published() else { return Ok(()) };
        if !published.snapshot.audiences().iter().any(|audience| due(&audience)) {
            return Ok(());
        }
        let _one_at_a_time = environment.applying.lock().await;
        let Some(current) = environment.published() else { return Ok(()) };
        let snapshot = &current.snapshot;
        let mut rows = self.store.audiences(environment.number).await?;
        // One that changed meanwhile is loaded by its change.
        rows.retain(|row| {
            let known = snapshot.audience_index(&row.key).and_then(|index| snapshot.audience(index));
            known.is_some_and(|known| {
                (known.version, known.generation) == (row.version, row.generation) && due(&known)
            })
        });
        let secrets = self.secrets();
        let loading = Loading { store: &self.store, keys: &secrets.audiences, base: snapshot, plan };
        let loaded = loading.audiences(rows).await?;
        for audience in &loaded {
            let held = if audience.audience.ids.is_some() { "memory" } else { "database" };
            tracing::info!(audience = %audience.audience.key, held, "an audience moved");
        }
        self.put_audiences(environment, loaded.into_iter().map(|loaded| loaded.audience).collect());
        Ok(())
    }

    async fn merge_audiences(&self, environment: &Environment) -> Result<(), LiveError> {
        let Some(published) = environment.published() else { return Ok(()) };
        for audience in published.snapshot.audiences() {
            let Some(members) = &audience.ids else { continue };
            if members.turned() <= TURNED_FREE.max(members.base() / TURNED_PART) {
                continue;
            }
            // Meanwhile ids are added and removed over the old base.
            let old = members.clone();
            let merged = tokio::task::spawn_blocking(move || old.merged()).await;
            let merged = merged.map_err(|error| LiveError::Unreadable(error.to_string()))?;
            let _one_at_a_time = environment.applying.lock().await;
            let Some(current) = environment.published() else { return Ok(()) };
            let now = current.snapshot.audience_index(audience.key.as_str());
            let now = now.and_then(|index| current.snapshot.audience(index));
            if let Some((now, ids)) = now.and_then(|now| Some((now, now.ids.as_ref()?)))
                && now.generation == audience.generation
            {
                let ids = Some(std::sync::Arc::new(ids.over(merged, audience.version)));
                self.put_audiences(environment, vec![Audience { ids, ..now.clone() }]);
            }
        }
        Ok(())
    }

    /// Publishes the present snapshot with these audiences held otherwise: it decides the same.
    fn put_audiences(&self, environment: &Environment, audiences: Vec<Audience>) {
        if audiences.is_empty() {
            return;
        }
        let held = |current: &Snapshot| current.next(current.number(), audiences, Vec::new());
        self.publish(environment, |current| {
            current.map(|current| (held(&current.snapshot), current.signing.clone()))
        });
    }
}

/// Where an audience is held, as people are told.
#[must_use]
pub fn held(snapshot: &Snapshot, key: &str) -> &'static str {
    let audience = snapshot.audience_index(key).and_then(|index| snapshot.audience(index));
    match audience {
        Some(audience) if audience.ids.is_some() => "memory",
        Some(audience) if audience.read_through => "database",
        _ => "unreadable",
    }
}
