//! Audiences: an upload is loaded beside what serves, in a generation of its own that one short transaction
//! switches to; add, remove and rollback turn single ids over.

mod edit;
mod erase;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use edit::Edit;

use super::{Caller, Manage, ManageError, Page, Precondition, audit};
use crate::audiences::blocks::{cut, full_part, parts};
use crate::audiences::intake::Shape;
use crate::audiences::{Format, Intake, Sorted};
use crate::engine::flag::AudienceKind;
use crate::engine::key::AudienceKey;
use crate::engine::snapshot::Snapshot;
use crate::live::Environment;
use crate::live::load::part_checksum;
use crate::store::{AudienceChange, AudienceRow, NewPart, Place, Store, StoreError};

/// Most ids of an audience where nobody says how many.
pub const IDS_MAX: i64 = 100_000_000;
/// Most audiences of an environment.
pub(super) const AUDIENCES_MAX: usize = 1_000;
/// Uploads under way at a time: each takes up to 48 MiB.
const UPLOADS_MAX: usize = 4;

/// What uploads are given.
#[derive(Debug, Clone)]
pub struct Uploads {
    folder: PathBuf,
    ids_max: i64,
    places: Arc<Semaphore>,
}

impl Uploads {
    /// Uploads of at most `ids_max` ids, with what does not fit into memory in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf, ids_max: i64) -> Self {
        Self { folder, ids_max, places: Arc::new(Semaphore::new(UPLOADS_MAX)) }
    }
}

impl Default for Uploads {
    fn default() -> Self {
        Self::new(PathBuf::from("."), IDS_MAX)
    }
}

/// How an upload is sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// What it holds ids of; `None`: as it is, or users for a new one.
    pub kind: Option<AudienceKind>,
    /// How ids are written.
    pub format: Format,
    /// Whether they are compressed.
    pub gzip: bool,
}

/// An upload that was admitted.
pub struct Upload {
    /// Takes the chunks.
    pub intake: Intake,
    kind: Option<AudienceKind>,
    _place: OwnedSemaphorePermit,
}

/// An audience after a change.
#[derive(Debug, Clone)]
pub struct ChangedAudience {
    /// As it now is.
    pub row: AudienceRow,
    /// Whether it is new.
    pub created: bool,
    /// How many ids became members, and how many strangers, where single ones were named.
    pub turned: u64,
}

/// A generation that nothing refers to yet: dropped before its time, it is swept.
struct Unfinished {
    store: Store,
    environment: i64,
    key: AudienceKey,
    generation: i64,
}

impl Unfinished {
    fn place(&self) -> Place<'_> {
        Place { environment: self.environment, audience: &self.key, generation: self.generation }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and the next one sweeps.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (store, key, environment, generation) =
            (self.store.clone(), self.key.clone(), self.environment, self.generation);
        // Of one that was switched to meanwhile nothing is taken.
        runtime.spawn(async move { sweep(&store, environment, &key, &[generation]).await });
    }
}

async fn sweep(store: &Store, environment: i64, key: &AudienceKey, generations: &[i64]) {
    for generation in generations {
        // What is left over is swept by the job.
        if let Err(error) = store.sweep_generation(environment, key.as_str(), *generation).await {
            tracing::warn!(%error, audience = %key, "old contents of an audience are still there");
        }
    }
}

impl Manage {
    /// Sets what uploads are given.
    #[must_use]
    pub fn with_uploads(mut self, uploads: Uploads) -> Self {
        self.uploads = uploads;
        self
    }

    /// Admits an upload, before its first byte is read.
    ///
    /// # Errors
    /// [`ManageError::Busy`] if as many as may are under way, [`ManageError::AudienceInvalid`] for another kind; those
    /// of the precondition.
    pub async fn begin_upload(
        &self,
        environment: &Environment,
        key: &AudienceKey,
        sent: Sent,
        precondition: &Precondition,
    ) -> Result<Upload, ManageError> {
        let old = self.store.audience(environment.number, key).await?;
        self.admit(environment, key, sent.kind, old.as_ref(), precondition).await?;
        let place = self.uploads.places.clone().try_acquire_owned();
        let place = place.map_err(|_error| ManageError::Busy(UPLOADS_MAX))?;
        let shape = Shape {
            format: sent.format,
            gzip: sent.gzip,
            folder: self.uploads.folder.clone(),
            ids_max: self.uploads.ids_max,
        };
        Ok(Upload { intake: Intake::begin(shape), kind: sent.kind, _place: place })
    }

    /// Creates an audience, or replaces its contents, atomically: what was there serves until all is stored.
    ///
    /// # Errors
    /// [`ManageError::Upload`] if it cannot be taken; those of the precondition, also if it was met when the upload
    /// began: somebody added an id meanwhile, which would be lost.
    pub async fn put_audience(
        &self,
        caller: &Caller,
        environment: &Environment,
        key: &AudienceKey,
        upload: Upload,
        precondition: &Precondition,
    ) -> Result<ChangedAudience, ManageError> {
        let Upload { intake, kind, _place } = upload;
        let sorted = intake.finish().await?;
        let old = self.store.audience(environment.number, key).await?;
        let (kind, expected) = self.admit(environment, key, kind, old.as_ref(), precondition).await?;
        let (unfinished, size) = self.load_generation(environment, key, sorted).await?;
        let now_ms = self.clock.now_ms();
        let mut change = self.begin(environment).await?;
        let action = if old.is_some() { "replace" } else { "create" };
        let put = change
            .put_audience(AudienceChange {
                key,
                kind: kind.as_str(),
                expected: Some(expected),
                generation: unfinished.generation,
                size,
                at: now_ms,
                actor: &caller.name,
                reason: caller.reason.as_deref(),
                action,
            })
            .await
            .map_err(|error| refused(error, key))?;
        let detail = json!({"version": put.version, "kind": kind.as_str(), "size": size, "size_before": old.as_ref().map(|row| row.size)});
        change.audit(audit(caller, now_ms, action, "audience", key.as_str(), &detail.to_string())).await?;
        change.commit_change(&subjects(environment, key), now_ms).await?;
        self.live.catch_up(environment).await?;
        self.sweep_beside(environment, key, put.fallen);
        let row = self.audience(environment, key).await?;
        Ok(ChangedAudience { row, created: old.is_none(), turned: 0 })
    }

    /// One audience.
    ///
    /// # Errors
    /// [`ManageError::NotFound`].
    pub async fn audience(
        &self,
        environment: &Environment,
        key: &AudienceKey,
    ) -> Result<AudienceRow, ManageError> {
        self.store.audience(environment.number, key).await?.ok_or(ManageError::NotFound("audience"))
    }

    /// A page of audiences in order of their keys.
    ///
    /// # Errors
    /// [`ManageError`] of the database.
    pub async fn audiences(
        &self,
        environment: &Environment,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<AudienceRow>, ManageError> {
        let rows = self.store.audiences_page(environment.number, after, limit as i64 + 1).await?;
        Ok(Page::cut(rows, limit, |row| row.key.clone()))
    }

    /// A page of an audience's ids in the order of their bytes, and the version that they are of.
    ///
    /// # Errors
    /// [`ManageError::NotFound`].
    pub async fn audience_ids(
        &self,
        environment: &Environment,
        key: &AudienceKey,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Page<String>, i64), ManageError> {
        let row = self.audience(environment, key).await?;
        let place = Place { environment: environment.number, audience: key, generation: row.generation };
        let ids = self.store.audience_ids_page(place, after, limit + 1).await;
        Ok((Page::cut(ids.map_err(|error| refused(error, key))?, limit, String::clone), row.version))
    }

    /// Whether `id` is a member, as the database has it, and the version of the audience.
    ///
    /// # Errors
    /// [`ManageError::NotFound`].
    pub async fn audience_contains(
        &self,
        environment: &Environment,
        key: &AudienceKey,
        id: &str,
    ) -> Result<(bool, i64), ManageError> {
        let row = self.audience(environment, key).await?;
        let place = Place { environment: environment.number, audience: key, generation: row.generation };
        let found = self.store.members(place, &[id], None).await?.ok_or(ManageError::NotFound("audience"))?;
        Ok((found == [true], row.version))
    }

    /// The kind that the contents have, and the version that the audience must be at.
    async fn admit(
        &self,
        environment: &Environment,
        key: &AudienceKey,
        kind: Option<AudienceKind>,
        old: Option<&AudienceRow>,
        precondition: &Precondition,
    ) -> Result<(AudienceKind, i64), ManageError> {
        let Some(old) = old else {
            if *precondition != Precondition::New {
                return Err(ManageError::NotFound("audience"));
            }
            if self.store.audiences(environment.number).await?.len() >= AUDIENCES_MAX {
                return Err(ManageError::Quota(format!(
                    "an environment has at most {AUDIENCES_MAX} audiences"
                )));
            }
            return Ok((kind.unwrap_or(AudienceKind::User), 0));
        };
        if *precondition == Precondition::New {
            return Err(ManageError::AudienceExists(key.to_string()));
        }
        precondition.check(&format!("audience {key}"), old.version)?;
        let fixed = AudienceKind::parse(&old.kind).unwrap_or(AudienceKind::User);
        match kind {
            Some(kind) if kind != fixed => Err(ManageError::AudienceInvalid(format!(
                "the audience holds ids of kind {}, which is fixed since its creation",
                fixed.as_str()
            ))),
            _ => Ok((fixed, old.version)),
        }
    }

    /// Takes away contents that are kept no more, beside the answer: ten million ids take a while.
    pub(super) fn sweep_beside(&self, environment: &Environment, key: &AudienceKey, generations: Vec<i64>) {
        let (store, key, environment) = (self.store.clone(), key.clone(), environment.number);
        tokio::spawn(async move { sweep(&store, environment, &key, &generations).await });
    }

    /// Loads ids into a new generation, which nothing refers to yet; and how many ids it holds.
    async fn load_generation(
        &self,
        environment: &Environment,
        key: &AudienceKey,
        sorted: Sorted,
    ) -> Result<(Unfinished, i64), ManageError> {
        let secrets = self.live.secrets();
        let keys = &secrets.audiences;
        let (hasher, hash_key) = (keys.newest().map_err(ManageError::Behind)?, keys.newest_number());
        let unfinished = Unfinished {
            store: self.store.clone(),
            environment: environment.number,
            key: key.clone(),
            generation: self.store.begin_generation(environment.number, key, self.clock.now_ms()).await?,
        };
        let (mut size, mut number, mut hashes) = (0, 0, Vec::new());
        let mut batches = cut(sorted, hasher, self.uploads.ids_max);
        let put = async |number: i64, bytes: Vec<u8>| {
            let part = NewPart { part: number, hashes: &bytes, hash_key, checksum: &part_checksum(&bytes) };
            self.store.put_part(environment.number, key, unfinished.generation, part).await
        };
        while let Some(batch) = batches.recv().await {
            let batch = batch?;
            self.store.append_blocks(unfinished.place(), &batch.blocks, self.clock.now_ms()).await?;
            size += batch.hashes.len() as i64;
            hashes.extend(batch.hashes);
            while let Some(bytes) = full_part(&mut hashes) {
                put(number, bytes).await?;
                number += 1;
            }
        }
        for bytes in parts(hashes) {
            put(number, bytes).await?;
        }
        Ok((unfinished, size))
    }
}

/// What a change of an audience names: it, and the flags that use it.
fn subjects(environment: &Environment, key: &AudienceKey) -> String {
    let users =
        environment.published().map(|published| users_of(&published.snapshot, key)).unwrap_or_default();
    json!({"audiences": [key], "flags": users}).to_string()
}

/// The flags whose conditions ask for `audience`, archived ones included. Of one that cannot be read it is
/// enough that the name stands in it.
pub(super) fn users_of(snapshot: &Snapshot, audience: &AudienceKey) -> Vec<String> {
    let index = snapshot.audience_index(audience.as_str());
    let named = format!("\"{audience}\"");
    let users = snapshot.sorted().filter(|flag| {
        index.is_some_and(|index| flag.audiences().contains(&index))
            || flag.broken.is_some() && flag.json.contains(&named)
    });
    users.map(|flag| flag.key.to_string()).collect()
}

fn refused(error: StoreError, key: &AudienceKey) -> ManageError {
    match error {
        StoreError::Exists => ManageError::AudienceExists(key.to_string()),
        StoreError::NotFound => ManageError::NotFound("audience"),
        StoreError::Conflict { current, sent } => {
            ManageError::Conflict { subject: format!("audience {key}"), current, sent: sent.to_string() }
        }
        other => other.into(),
    }
}
