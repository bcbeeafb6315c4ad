//! Taking one id out of everything that is kept of an audience: blocks, packed hashes, deltas, of all generations.

use crate::engine::key::AudienceKey;

use super::super::Store;
use super::super::error::StoreError;
use super::super::lent::{Lent, both, run};
use super::super::write::WriteTx;
use super::contents::NewBlock;
use super::{AudienceRow, PartRow, VERSIONS_KEPT};

/// How an id stands in the packed hashes of an audience.
#[derive(Debug, Clone, Copy)]
pub struct HashedId<'h> {
    /// The id.
    pub id: &'h str,
    /// Its hash as it is packed: 8 bytes, little-endian.
    pub packed: [u8; 8],
    /// The number of the secret that made the hash.
    pub hash_key: i64,
    /// The checksum of hashes.
    pub checksum: fn(&[u8]) -> Vec<u8>,
}

/// What a generation holds of an id.
struct Holding {
    generation: i64,
    /// The block that has it.
    block: Option<(String, String)>,
    /// Versions that turned it over, and what it became.
    deltas: Vec<(i64, i64)>,
}

impl Holding {
    /// Whether the id was a member at `version`.
    fn member_at(&self, version: i64) -> bool {
        match (self.deltas.iter().rfind(|(at, _)| *at <= version), self.deltas.first()) {
            (Some((_, member)), _) => *member != 0,
            // Each row turns the id over, so what was before the first is its opposite.
            (None, Some((_, first))) => *first == 0,
            (None, None) => self.block.is_some(),
        }
    }
}

impl Store {
    /// Whether anything that is kept of an audience names `id`: its present ids, those of versions before, or those
    /// that were removed.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn audience_names(
        &self,
        environment: i64,
        key: &AudienceKey,
        id: &str,
    ) -> Result<bool, StoreError> {
        let mut lent = self.read_transaction("an id of an audience").await?;
        let found = !holdings(&mut lent, environment, key, id).await?.is_empty();
        lent.commit().await?;
        Ok(found)
    }
}

impl WriteTx {
    /// Takes an id that is no member any more out of everything that is kept of the audience, and out of the sizes of
    /// its kept versions; whether it was there is answered.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if it is a member still; [`StoreError::Corrupt`] if ids and hashes disagree.
    pub async fn forget_id(&mut self, row: &AudienceRow, id: HashedId<'_>) -> Result<bool, StoreError> {
        let environment = self.locked()?;
        let key = AudienceKey::parse(&row.key).map_err(|e| StoreError::Corrupt { what: e.to_string() })?;
        let held = holdings(&mut self.lent, environment, &key, id.id).await?;
        if held.iter().any(|held| held.generation == row.generation && held.member_at(row.version)) {
            return Err(StoreError::Exists);
        }
        for held in &held {
            self.correct_sizes(row, held).await?;
            run!(
                &mut self.lent,
                "forget an id's deltas",
                sqlx::query(
                    "DELETE FROM audience_deltas
                     WHERE environment = $1 AND audience = $2 AND generation = $3 AND id = $4"
                )
                .bind(environment)
                .bind(row.key.as_str())
                .bind(held.generation)
                .bind(id.id)
            )?;
            if let Some((first, ids)) = &held.block {
                self.cut_block(row, held.generation, (first, ids), id.id).await?;
                self.cut_part(row, held.generation, id).await?;
            }
        }
        Ok(!held.is_empty())
    }

    async fn correct_sizes(&mut self, row: &AudienceRow, held: &Holding) -> Result<(), StoreError> {
        let environment = self.locked()?;
        let versions = both!(&mut self.lent, "kept versions", c => sqlx::query_scalar::<_, i64>(
            "SELECT version FROM audience_versions
             WHERE environment = $1 AND audience = $2 AND generation = $3 AND version > $4 ORDER BY version")
            .bind(environment).bind(row.key.as_str()).bind(held.generation)
            .bind(row.version - VERSIONS_KEPT).fetch_all(c))?;
        for version in versions.into_iter().filter(|version| held.member_at(*version)) {
            run!(
                &mut self.lent,
                "correct a version's size",
                sqlx::query(
                    "UPDATE audience_versions SET size = size - 1
                     WHERE environment = $1 AND audience = $2 AND version = $3"
                )
                .bind(environment)
                .bind(row.key.as_str())
                .bind(version)
            )?;
        }
        Ok(())
    }

    /// Writes a block without an id; the last id of a block takes the block with it.
    async fn cut_block(
        &mut self,
        row: &AudienceRow,
        generation: i64,
        (first, text): (&str, &str),
        id: &str,
    ) -> Result<(), StoreError> {
        let environment = self.locked()?;
        let left: Vec<&str> = text.split('\n').filter(|line| !line.is_empty() && *line != id).collect();
        run!(
            &mut self.lent,
            "cut a block",
            sqlx::query(
                "DELETE FROM audience_blocks
                 WHERE environment = $1 AND audience = $2 AND generation = $3 AND first = $4"
            )
            .bind(environment)
            .bind(row.key.as_str())
            .bind(generation)
            .bind(first)
        )?;
        if let Some(block) = NewBlock::new(&left) {
            run!(
                &mut self.lent,
                "cut a block",
                sqlx::query(
                    "INSERT INTO audience_blocks (environment, audience, generation, first, size, ids)
                     VALUES ($1, $2, $3, $4, $5, $6)"
                )
                .bind(environment)
                .bind(row.key.as_str())
                .bind(generation)
                .bind(block.first.as_str())
                .bind(block.size)
                .bind(block.ids.as_str())
            )?;
        }
        run!(
            &mut self.lent,
            "cut a block",
            sqlx::query(
                "UPDATE audience_generations SET size = size - 1
                 WHERE environment = $1 AND audience = $2 AND generation = $3 AND size > 0"
            )
            .bind(environment)
            .bind(row.key.as_str())
            .bind(generation)
        )
        .map(drop)
    }

    /// Writes the part that has the id's hash without it.
    async fn cut_part(
        &mut self,
        row: &AudienceRow,
        generation: i64,
        id: HashedId<'_>,
    ) -> Result<(), StoreError> {
        let environment = self.locked()?;
        let sql = self.lent.pick(
            "SELECT part, hashes, hash_key, checksum FROM audience_parts
             WHERE environment = $1 AND audience = $2 AND generation = $3 AND instr(hashes, $4) > 0",
            "SELECT part, hashes, hash_key, checksum FROM audience_parts
             WHERE environment = $1 AND audience = $2 AND generation = $3 AND position($4 IN hashes) > 0",
        );
        let parts = both!(&mut self.lent, "part of an id", c => sqlx::query_as::<_, PartRow>(sql)
            .bind(environment).bind(row.key.as_str()).bind(generation).bind(id.packed.as_slice()).fetch_all(c))?;
        for part in parts.into_iter().filter(|part| part.hash_key == id.hash_key) {
            // The bytes may also be found across two hashes.
            let (hashes, _) = part.hashes.as_chunks::<8>();
            let Some(at) = hashes.iter().position(|hash| *hash == id.packed) else { continue };
            let left: Vec<u8> =
                hashes.iter().enumerate().filter(|(n, _)| *n != at).flat_map(|(_, hash)| *hash).collect();
            let checksum = (id.checksum)(&left);
            return run!(
                &mut self.lent,
                "cut a part",
                sqlx::query(
                    "UPDATE audience_parts SET hashes = $5, checksum = $6
                     WHERE environment = $1 AND audience = $2 AND generation = $3 AND part = $4"
                )
                .bind(environment)
                .bind(row.key.as_str())
                .bind(generation)
                .bind(part.part)
                .bind(left.as_slice())
                .bind(checksum.as_slice())
            )
            .map(drop);
        }
        Err(StoreError::Corrupt { what: format!("an id of the audience {} has no hash", row.key) })
    }
}

/// The whole generations that hold an id, or once did.
async fn holdings(
    lent: &mut Lent,
    environment: i64,
    key: &AudienceKey,
    id: &str,
) -> Result<Vec<Holding>, StoreError> {
    let generations = both!(lent, "generations", c => sqlx::query_scalar::<_, i64>(
        "SELECT generation FROM audience_generations
         WHERE environment = $1 AND audience = $2 AND finished_at IS NOT NULL AND size >= 0 ORDER BY generation")
        .bind(environment).bind(key.as_str()).fetch_all(c))?;
    let mut found = Vec::new();
    for generation in generations {
        let block = both!(lent, "block", c => sqlx::query_as::<_, (String, String)>(
            "SELECT first, ids FROM audience_blocks
             WHERE environment = $1 AND audience = $2 AND generation = $3 AND first <= $4
             ORDER BY first DESC LIMIT 1")
            .bind(environment).bind(key.as_str()).bind(generation).bind(id).fetch_optional(c))?;
        let block = block.filter(|(_, ids)| ids.split('\n').any(|line| line == id));
        let deltas = both!(lent, "deltas", c => sqlx::query_as::<_, (i64, i64)>(
            "SELECT version, member FROM audience_deltas
             WHERE environment = $1 AND audience = $2 AND generation = $3 AND id = $4 ORDER BY version")
            .bind(environment).bind(key.as_str()).bind(generation).bind(id).fetch_all(c))?;
        if block.is_some() || !deltas.is_empty() {
            found.push(Holding { generation, block, deltas });
        }
    }
    Ok(found)
}
