//! Audiences, and the generations of their contents. A generation is filled in many short transactions,
//! then one change switches to it; add and remove leave it and turn single ids over.

mod contents;
mod forget;

use crate::engine::key::AudienceKey;

use super::Store;
use super::error::StoreError;
use super::lent::{Lent, both, run};
use super::write::WriteTx;

pub use contents::{DeltaRow, NewBlock, Place};
pub use forget::HashedId;

/// Versions of an audience whose contents are kept: the current one and three before it.
const VERSIONS_KEPT: i64 = 4;
/// Rows that one transaction deletes.
const SWEEP_ROWS: i64 = 5_000;
/// Blocks that one transaction deletes.
const SWEEP_BLOCKS: i64 = 200;
/// Attempts to take a generation's number that another instance takes too.
const NUMBER_ATTEMPTS: u32 = 10;

/// A stored audience.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AudienceRow {
    /// Its key.
    pub key: String,
    /// `user`, `goods` or `other`.
    pub kind: String,
    /// Its version.
    pub version: i64,
    /// The generation of its contents.
    pub generation: i64,
    /// How many ids it has.
    pub size: i64,
    /// When it changed last.
    pub updated_at: i64,
    /// Who changed it last.
    pub updated_by: String,
}

/// A stored version of an audience.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AudienceVersionRow {
    /// The version.
    pub version: i64,
    /// The generation of its contents.
    pub generation: i64,
    /// How many ids it had.
    pub size: i64,
    /// When it was made.
    pub at: i64,
    /// Who made it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// What was done.
    pub action: String,
}

/// A generation of an audience's contents.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct GenerationRow {
    /// The environment.
    pub environment: i64,
    /// The audience's key.
    pub audience: String,
    /// Its number.
    pub generation: i64,
}

/// A stored part of a generation.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct PartRow {
    /// Its number.
    pub part: i64,
    /// Sorted little-endian hashes of 8 bytes.
    pub hashes: Vec<u8>,
    /// The number of the secret that made them.
    pub hash_key: i64,
    /// The checksum of the hashes.
    pub checksum: Vec<u8>,
}

/// A part of a generation to be kept.
#[derive(Debug, Clone, Copy)]
pub struct NewPart<'a> {
    /// Its number.
    pub part: i64,
    /// Sorted little-endian hashes of 8 bytes.
    pub hashes: &'a [u8],
    /// The number of the secret that made them.
    pub hash_key: i64,
    /// The checksum of the hashes.
    pub checksum: &'a [u8],
}

/// What an audience shall be from now on.
#[derive(Debug, Clone, Copy)]
pub struct AudienceChange<'a> {
    /// Its key.
    pub key: &'a AudienceKey,
    /// `user`, `goods` or `other`; used at its creation only.
    pub kind: &'a str,
    /// The version that the caller had read; 0 = it shall not be there yet; `None` = whatever is there.
    pub expected: Option<i64>,
    /// The generation to switch to.
    pub generation: i64,
    /// How many ids that has.
    pub size: i64,
    /// When.
    pub at: i64,
    /// Who.
    pub actor: &'a str,
    /// Why.
    pub reason: Option<&'a str>,
    /// What is done.
    pub action: &'a str,
}

/// What became of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudiencePut {
    /// The new version.
    pub version: i64,
    /// Generations that are kept no more: to be swept after the commit.
    pub fallen: Vec<i64>,
}

/// How large an audience is.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AudienceSize {
    /// The environment.
    pub environment: i64,
    /// The audience's key.
    pub key: String,
    /// How many ids it has.
    pub size: i64,
}

impl Store {
    /// The sizes of all audiences of all environments.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn audience_sizes(&self) -> Result<Vec<AudienceSize>, StoreError> {
        let mut lent = self.reader("audience sizes").await?;
        both!(&mut lent, "audience sizes", c => sqlx::query_as::<_, AudienceSize>(
            "SELECT environment, key, size FROM audiences ORDER BY environment, key").fetch_all(c))
    }

    /// All audiences of an environment in the order of their keys' bytes.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn audiences(&self, environment: i64) -> Result<Vec<AudienceRow>, StoreError> {
        audiences(&mut self.reader("audiences").await?, environment).await
    }

    /// Audiences in the order of their keys' bytes, after a key.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn audiences_page(
        &self,
        environment: i64,
        after_key: Option<&str>,
        limit: i64,
    ) -> Result<Vec<AudienceRow>, StoreError> {
        page(&mut self.reader("audiences").await?, environment, after_key.unwrap_or(""), limit).await
    }

    /// One audience.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn audience(
        &self,
        environment: i64,
        key: &AudienceKey,
    ) -> Result<Option<AudienceRow>, StoreError> {
        audience(&mut self.reader("audience").await?, environment, key).await
    }

    /// The parts of a generation in order.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn audience_parts(
        &self,
        environment: i64,
        key: &AudienceKey,
        generation: i64,
    ) -> Result<Vec<PartRow>, StoreError> {
        let mut lent = self.reader("audience parts").await?;
        both!(&mut lent, "audience parts", c => sqlx::query_as::<_, PartRow>(
            "SELECT part, hashes, hash_key, checksum FROM audience_parts
             WHERE environment = $1 AND audience = $2 AND generation = $3 ORDER BY part")
            .bind(environment).bind(key.as_str()).bind(generation).fetch_all(c))
    }

    /// The parts of a generation after one, in order, at most `limit`.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn audience_parts_page(
        &self,
        place: Place<'_>,
        after_part: i64,
        limit: i64,
    ) -> Result<Vec<PartRow>, StoreError> {
        let mut lent = self.reader("audience parts").await?;
        both!(&mut lent, "audience parts", c => sqlx::query_as::<_, PartRow>(
            "SELECT part, hashes, hash_key, checksum FROM audience_parts
             WHERE environment = $1 AND audience = $2 AND generation = $3 AND part > $4 ORDER BY part LIMIT $5")
            .bind(place.environment).bind(place.audience.as_str()).bind(place.generation).bind(after_part)
            .bind(limit).fetch_all(c))
    }

    /// How many ids a generation was made with; `None` if it is not whole.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn generation_size(&self, place: Place<'_>) -> Result<Option<i64>, StoreError> {
        let mut lent = self.reader("generation").await?;
        both!(&mut lent, "generation", c => sqlx::query_scalar::<_, i64>(
            "SELECT size FROM audience_generations
             WHERE environment = $1 AND audience = $2 AND generation = $3 AND finished_at IS NOT NULL AND size >= 0")
            .bind(place.environment).bind(place.audience.as_str()).bind(place.generation).fetch_optional(c))
    }

    /// Begins a generation; its number is answered.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn begin_generation(
        &self,
        environment: i64,
        key: &AudienceKey,
        now_ms: i64,
    ) -> Result<i64, StoreError> {
        let mut lent = self.write_transaction("begin a generation", self.deadlines.write).await?;
        let generation = begin_generation(&mut lent, environment, key, now_ms).await?;
        lent.commit().await?;
        Ok(generation)
    }

    /// Keeps a part of a generation; one of the same number is replaced.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn put_part(
        &self,
        environment: i64,
        key: &AudienceKey,
        generation: i64,
        part: NewPart<'_>,
    ) -> Result<(), StoreError> {
        let mut lent = self.write_transaction("put a part", self.deadlines.write).await?;
        put_part(&mut lent, environment, key, generation, part).await?;
        lent.commit().await
    }

    /// Deletes a generation to which nothing refers, in pieces, each a transaction of its own, its row last.
    /// From the first on nobody reads it any more: half of it would make strangers of members.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write; what is left is swept by the next call.
    pub async fn sweep_generation(
        &self,
        environment: i64,
        audience: &str,
        generation: i64,
    ) -> Result<(), StoreError> {
        const MARK: &str = "UPDATE audience_generations SET size = -1
             WHERE environment = $1 AND audience = $2 AND generation = $3 AND size >= 0 AND $4 > 0 AND NOT EXISTS (
                 SELECT 1 FROM audiences AS a
                 JOIN audience_versions AS v ON v.environment = a.environment AND v.audience = a.key
                 WHERE a.environment = $1 AND a.key = $2 AND v.version > a.version - $5 AND v.generation = $3)";
        const BLOCKS: &str = "DELETE FROM audience_blocks WHERE environment = $1 AND audience = $2 AND generation = $3
             AND first IN (SELECT first FROM audience_blocks
                           WHERE environment = $1 AND audience = $2 AND generation = $3 ORDER BY first LIMIT $4)
             AND EXISTS (SELECT 1 FROM audience_generations
                         WHERE environment = $1 AND audience = $2 AND generation = $3 AND size < 0) AND $5 > 0";
        const DELTAS: &str = "DELETE FROM audience_deltas WHERE environment = $1 AND audience = $2 AND generation = $3
             AND id IN (SELECT id FROM audience_deltas
                        WHERE environment = $1 AND audience = $2 AND generation = $3 ORDER BY id LIMIT $4)
             AND EXISTS (SELECT 1 FROM audience_generations
                         WHERE environment = $1 AND audience = $2 AND generation = $3 AND size < 0) AND $5 > 0";
        const PARTS: &str = "DELETE FROM audience_parts WHERE environment = $1 AND audience = $2 AND generation = $3
             AND part IN (SELECT part FROM audience_parts WHERE environment = $1 AND audience = $2 AND generation = $3
                          ORDER BY part LIMIT $4)
             AND EXISTS (SELECT 1 FROM audience_generations
                         WHERE environment = $1 AND audience = $2 AND generation = $3 AND size < 0) AND $5 > 0";
        const ROW: &str = "DELETE FROM audience_generations
             WHERE environment = $1 AND audience = $2 AND generation = $3 AND size < 0 AND $4 > 0 AND $5 > 0";
        let pieces = [(MARK, 1), (BLOCKS, SWEEP_BLOCKS), (DELTAS, SWEEP_ROWS), (PARTS, 1), (ROW, 1)];
        for (sql, limit) in pieces {
            loop {
                let mut lent = self.write_transaction("sweep", self.deadlines.write).await?;
                let deleted = run!(
                    &mut lent,
                    "sweep",
                    sqlx::query(sql)
                        .bind(environment)
                        .bind(audience)
                        .bind(generation)
                        .bind(limit)
                        .bind(VERSIONS_KEPT)
                )?;
                lent.commit().await?;
                if deleted == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Generations that were last fed before a time and to which nothing refers: uploads that ended nowhere,
    /// contents that are kept no more, contents of deleted audiences.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn abandoned_generations(&self, before_ms: i64) -> Result<Vec<GenerationRow>, StoreError> {
        let mut lent = self.reader("abandoned generations").await?;
        both!(&mut lent, "abandoned generations", c => sqlx::query_as::<_, GenerationRow>(
            "SELECT g.environment, g.audience, g.generation FROM audience_generations AS g
             WHERE (g.fed_at < $1 OR g.size < 0) AND NOT EXISTS (
                 SELECT 1 FROM audiences AS a
                 JOIN audience_versions AS v ON v.environment = a.environment AND v.audience = a.key
                 WHERE a.environment = g.environment AND a.key = g.audience
                   AND v.version > a.version - $2 AND v.generation = g.generation)
             ORDER BY g.environment, g.audience, g.generation")
            .bind(before_ms).bind(VERSIONS_KEPT).fetch_all(c))
    }
}

pub(super) async fn audiences(lent: &mut Lent, environment: i64) -> Result<Vec<AudienceRow>, StoreError> {
    page(lent, environment, "", i64::MAX).await
}

async fn page(
    lent: &mut Lent,
    environment: i64,
    after: &str,
    limit: i64,
) -> Result<Vec<AudienceRow>, StoreError> {
    both!(lent, "audiences", c => sqlx::query_as::<_, AudienceRow>(
        "SELECT key, kind, version, generation, size, updated_at, updated_by FROM audiences
         WHERE environment = $1 AND key > $2 ORDER BY key LIMIT $3")
        .bind(environment).bind(after).bind(limit).fetch_all(c))
}

async fn audience(
    lent: &mut Lent,
    environment: i64,
    key: &AudienceKey,
) -> Result<Option<AudienceRow>, StoreError> {
    both!(lent, "audience", c => sqlx::query_as::<_, AudienceRow>(
        "SELECT key, kind, version, generation, size, updated_at, updated_by FROM audiences
         WHERE environment = $1 AND key = $2")
        .bind(environment).bind(key.as_str()).fetch_optional(c))
}

async fn begin_generation(
    lent: &mut Lent,
    environment: i64,
    key: &AudienceKey,
    now_ms: i64,
) -> Result<i64, StoreError> {
    for _ in 0..NUMBER_ATTEMPTS {
        let taken = both!(lent, "begin a generation", c => sqlx::query_scalar::<_, i64>(
            "INSERT INTO audience_generations (environment, audience, generation, fed_at, finished_at, size)
             SELECT $1, $2, COALESCE(MAX(generation), 0) + 1, $3, NULL, 0 FROM (
                 SELECT generation FROM audience_generations WHERE environment = $1 AND audience = $2
                 UNION ALL
                 SELECT generation FROM audience_versions WHERE environment = $1 AND audience = $2) AS used
             WHERE true ON CONFLICT DO NOTHING RETURNING generation")
            .bind(environment).bind(key.as_str()).bind(now_ms).fetch_optional(c))?;
        if let Some(generation) = taken {
            return Ok(generation);
        }
    }
    Err(StoreError::Unavailable("too many uploads of one audience at once".into()))
}

async fn put_part(
    lent: &mut Lent,
    environment: i64,
    key: &AudienceKey,
    generation: i64,
    part: NewPart<'_>,
) -> Result<(), StoreError> {
    run!(
        lent,
        "put a part",
        sqlx::query(
            "INSERT INTO audience_parts (environment, audience, generation, part, hashes, hash_key, checksum)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (environment, audience, generation, part) DO UPDATE
         SET hashes = excluded.hashes, hash_key = excluded.hash_key, checksum = excluded.checksum"
        )
        .bind(environment)
        .bind(key.as_str())
        .bind(generation)
        .bind(part.part)
        .bind(part.hashes)
        .bind(part.hash_key)
        .bind(part.checksum)
    )
    .map(drop)
}

impl WriteTx {
    /// One audience, as this transaction sees it.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn audience(&mut self, key: &AudienceKey) -> Result<Option<AudienceRow>, StoreError> {
        let environment = self.locked()?;
        audience(&mut self.lent, environment, key).await
    }

    /// Begins a generation inside this transaction: for small audiences.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn begin_generation(&mut self, key: &AudienceKey, now_ms: i64) -> Result<i64, StoreError> {
        let environment = self.locked()?;
        begin_generation(&mut self.lent, environment, key, now_ms).await
    }

    /// Keeps a part of a generation inside this transaction.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn put_part(
        &mut self,
        key: &AudienceKey,
        generation: i64,
        part: NewPart<'_>,
    ) -> Result<(), StoreError> {
        let environment = self.locked()?;
        put_part(&mut self.lent, environment, key, generation, part).await
    }

    /// Makes an audience, or switches it to a generation.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::Exists`] or [`StoreError::NotFound`] if it is not what the
    /// caller expected; [`StoreError::NotFound`] too if the generation is not there (swept, never begun).
    pub async fn put_audience(&mut self, change: AudienceChange<'_>) -> Result<AudiencePut, StoreError> {
        let environment = self.locked()?;
        match (self.audience(change.key).await?, change.expected) {
            (Some(_), Some(0)) => return Err(StoreError::Exists),
            (None, Some(1..)) => return Err(StoreError::NotFound),
            (Some(row), Some(sent)) if row.version != sent => {
                return Err(StoreError::Conflict { current: row.version, sent });
            }
            _ => {}
        }
        let finished = both!(&mut self.lent, "finish a generation", c => sqlx::query_scalar::<_, i64>(
            "UPDATE audience_generations
             SET size = CASE WHEN finished_at IS NULL THEN $5 ELSE size END, finished_at = COALESCE(finished_at, $4)
             WHERE environment = $1 AND audience = $2 AND generation = $3 AND size >= 0 RETURNING generation")
            .bind(environment).bind(change.key.as_str()).bind(change.generation).bind(change.at)
            .bind(change.size).fetch_optional(c))?;
        finished.ok_or(StoreError::NotFound)?;
        let version = self.append_audience_version(&change).await?;
        run!(&mut self.lent, "put an audience", sqlx::query(
            "INSERT INTO audiences (environment, key, kind, version, generation, size, updated_at, updated_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (environment, key) DO UPDATE
             SET version = excluded.version, generation = excluded.generation, size = excluded.size,
                 updated_at = excluded.updated_at, updated_by = excluded.updated_by")
            .bind(environment).bind(change.key.as_str()).bind(change.kind).bind(version)
            .bind(change.generation).bind(change.size).bind(change.at).bind(change.actor))?;
        let fallen = self.fallen(change.key, version).await?;
        Ok(AudiencePut { version, fallen })
    }

    /// A version of an audience whose contents are kept, `None` for one that is not.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn kept_version(
        &mut self,
        row: &AudienceRow,
        version: i64,
    ) -> Result<Option<AudienceVersionRow>, StoreError> {
        let environment = self.locked()?;
        both!(&mut self.lent, "kept version", c => sqlx::query_as::<_, AudienceVersionRow>(
            "SELECT version, generation, size, at, actor, reason, action FROM audience_versions
             WHERE environment = $1 AND audience = $2 AND version = $3 AND version > $4 AND version <= $5")
            .bind(environment).bind(row.key.as_str()).bind(version).bind(row.version - VERSIONS_KEPT)
            .bind(row.version).fetch_optional(c))
    }

    /// Deletes an audience; its history stays, and the generations to be swept after the commit are answered.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown audience.
    pub async fn delete_audience(&mut self, key: &AudienceKey) -> Result<Vec<i64>, StoreError> {
        let environment = self.locked()?;
        let deleted = both!(&mut self.lent, "delete an audience", c => sqlx::query_scalar::<_, i64>(
            "DELETE FROM audiences WHERE environment = $1 AND key = $2 RETURNING version")
            .bind(environment).bind(key.as_str()).fetch_optional(c))?;
        deleted.ok_or(StoreError::NotFound)?;
        both!(&mut self.lent, "delete an audience", c => sqlx::query_scalar::<_, i64>(
            "SELECT generation FROM audience_generations
             WHERE environment = $1 AND audience = $2 AND finished_at IS NOT NULL ORDER BY generation")
            .bind(environment).bind(key.as_str()).fetch_all(c))
    }

    /// Versions count on where a deleted audience of that key stopped, so that no entity tag comes twice.
    async fn append_audience_version(&mut self, change: &AudienceChange<'_>) -> Result<i64, StoreError> {
        let environment = self.locked()?;
        both!(&mut self.lent, "append an audience's version", c => sqlx::query_scalar::<_, i64>(
            "INSERT INTO audience_versions (environment, audience, version, generation, size, at, actor, reason, action)
             SELECT $1, $2, COALESCE(MAX(version), 0) + 1, $3, $4, $5, $6, $7, $8
             FROM audience_versions WHERE environment = $1 AND audience = $2
             RETURNING version")
            .bind(environment).bind(change.key.as_str()).bind(change.generation).bind(change.size)
            .bind(change.at).bind(change.actor).bind(change.reason).bind(change.action).fetch_one(c))
    }

    /// Finished generations that none of the kept versions refers to.
    async fn fallen(&mut self, key: &AudienceKey, version: i64) -> Result<Vec<i64>, StoreError> {
        let environment = self.locked()?;
        both!(&mut self.lent, "fallen generations", c => sqlx::query_scalar::<_, i64>(
            "SELECT generation FROM audience_generations
             WHERE environment = $1 AND audience = $2 AND finished_at IS NOT NULL AND generation NOT IN (
                 SELECT generation FROM audience_versions
                 WHERE environment = $1 AND audience = $2 AND version > $3)
             ORDER BY generation")
            .bind(environment).bind(key.as_str()).bind(version - VERSIONS_KEPT).fetch_all(c))
    }
}
