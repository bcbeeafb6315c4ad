//! Audiences: their contents are replaced as a whole, in a generation of their own that one short
//! transaction switches to.

use serde_json::json;

use super::{Caller, Manage, ManageError, Page, Precondition, audit};
use crate::engine::flag::AudienceKind;
use crate::engine::key::AudienceKey;
use crate::engine::snapshot::Snapshot;
use crate::live::Environment;
use crate::live::load::part_checksum;
use crate::store::{AudienceChange, AudienceRow, NewPart, StoreError};

/// Most ids of an upload.
pub const IDS_MAX: i64 = 100_000;
/// Most audiences of an environment.
const AUDIENCES_MAX: usize = 1_000;
/// Ids of one transaction: the writer is never held for long.
const IDS_PER_TRANSACTION: usize = 5_000;
/// Hashes of one stored part: 512 KiB.
const HASHES_PER_PART: usize = 65_536;

/// New contents of an audience.
#[derive(Debug, Clone)]
pub struct Contents {
    /// What it holds ids of; `None`: as it is, or users for a new one.
    pub kind: Option<AudienceKind>,
    /// The ids, repeats allowed.
    pub ids: Vec<String>,
}

/// An audience after a change.
#[derive(Debug, Clone)]
pub struct ChangedAudience {
    /// As it now is.
    pub row: AudienceRow,
    /// Whether it is new.
    pub created: bool,
}

impl Manage {
    /// Creates an audience, or replaces its contents, atomically.
    ///
    /// # Errors
    /// [`ManageError::AudienceTooLarge`], [`ManageError::AudienceInvalid`] for another kind; those of the precondition.
    pub async fn put_audience(
        &self,
        caller: &Caller,
        environment: &Environment,
        key: &AudienceKey,
        contents: Contents,
        precondition: &Precondition,
    ) -> Result<ChangedAudience, ManageError> {
        if contents.ids.len() as i64 > IDS_MAX {
            return Err(ManageError::AudienceTooLarge(IDS_MAX));
        }
        let old = self.store.audience(environment.number, key).await?;
        let (kind, expected) =
            self.admit(environment, key, contents.kind, old.as_ref(), precondition).await?;
        let (generation, size) = self.load_generation(environment, key, contents.ids).await?;
        let now_ms = self.clock.now_ms();
        let mut change = self.begin(environment).await?;
        let put = change
            .put_audience(AudienceChange {
                key,
                kind: kind.as_str(),
                expected: Some(expected),
                generation,
                size,
                at: now_ms,
                actor: &caller.name,
                reason: caller.reason.as_deref(),
                action: if old.is_some() { "replace" } else { "create" },
            })
            .await
            .map_err(|error| refused(error, key))?;
        let detail = json!({"version": put.version, "kind": kind.as_str(), "size": size, "size_before": old.as_ref().map(|row| row.size)});
        let action = if old.is_some() { "replace" } else { "create" };
        change.audit(audit(caller, now_ms, action, "audience", key.as_str(), &detail.to_string())).await?;
        let users =
            environment.published().map(|published| users_of(&published.snapshot, key)).unwrap_or_default();
        change.commit_change(&json!({"audiences": [key], "flags": users}).to_string(), now_ms).await?;
        self.live.catch_up(environment).await?;
        for fallen in put.fallen {
            // What is left over is swept at the next start.
            if let Err(error) = self.store.sweep_generation(environment.number, key.as_str(), fallen).await {
                tracing::warn!(%error, audience = %key, "old contents of an audience are still there");
            }
        }
        let row = self.audience(environment, key).await?;
        Ok(ChangedAudience { row, created: old.is_none() })
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

    /// Loads ids into a new generation, which nothing refers to yet; its number and how many ids it holds.
    async fn load_generation(
        &self,
        environment: &Environment,
        key: &AudienceKey,
        mut ids: Vec<String>,
    ) -> Result<(i64, i64), ManageError> {
        let hasher = self.live.audience_keys().newest().map_err(ManageError::Behind)?;
        let hash_key = self.live.audience_keys().newest_number();
        // Sorted ids make sequential writes, and no two chunks the same id.
        ids.sort_unstable();
        ids.dedup();
        let generation = self.store.begin_generation(environment.number, key, self.clock.now_ms()).await?;
        for chunk in ids.chunks(IDS_PER_TRANSACTION) {
            let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
            self.store.append_ids(environment.number, key, generation, &chunk).await?;
        }
        for (number, bytes) in (0..).zip(parts(ids.iter().map(|id| hasher.hash(id)).collect())) {
            let part = NewPart { part: number, hashes: &bytes, hash_key, checksum: &part_checksum(&bytes) };
            self.store.put_part(environment.number, key, generation, part).await?;
        }
        Ok((generation, ids.len() as i64))
    }
}

/// Hashes as stored: sorted, little-endian, in parts.
pub(super) fn parts(mut hashes: Vec<u64>) -> Vec<Vec<u8>> {
    hashes.sort_unstable();
    hashes
        .chunks(HASHES_PER_PART)
        .map(|chunk| chunk.iter().flat_map(|hash| hash.to_le_bytes()).collect())
        .collect()
}

/// The flags whose conditions ask for `audience`.
fn users_of(snapshot: &Snapshot, audience: &AudienceKey) -> Vec<String> {
    let Some(index) = snapshot.audience_index(audience.as_str()) else { return Vec::new() };
    let users = snapshot.sorted().filter(|flag| flag.audiences().contains(&index));
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
