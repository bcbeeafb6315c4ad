//! What a generation holds: its blocks of sorted ids, and what single ids became since. An id is a member if its
//! newest delta says so, or, without one, if its block has it.

use std::time::Duration;

use crate::engine::key::AudienceKey;

use super::super::Store;
use super::super::error::StoreError;
use super::super::lent::{Lent, both, run};
use super::super::write::WriteTx;

/// A block of a generation: sorted ids, a line feed before and after each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBlock {
    /// Its first id, by which it is found.
    pub first: String,
    /// How many ids it has.
    pub size: i64,
    /// The ids.
    pub ids: String,
}

impl NewBlock {
    /// A block of `ids`, which are sorted and have no line feeds; `None` for none.
    #[must_use]
    pub fn new(ids: &[&str]) -> Option<Self> {
        let first = (*ids.first()?).to_owned();
        let mut text = String::with_capacity(1 + ids.iter().map(|id| id.len() + 1).sum::<usize>());
        text.push('\n');
        for id in ids {
            text.push_str(id);
            text.push('\n');
        }
        Some(Self { first, size: ids.len() as i64, ids: text })
    }
}

/// What an id became.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DeltaRow {
    /// The id.
    pub id: String,
    /// The version of the audience that made it so.
    pub version: i64,
    /// Whether it is a member from then on.
    pub member: bool,
}

#[derive(sqlx::FromRow)]
struct StoredDelta {
    id: String,
    version: i64,
    member: i64,
}

impl From<StoredDelta> for DeltaRow {
    fn from(row: StoredDelta) -> Self {
        Self { id: row.id, version: row.version, member: row.member != 0 }
    }
}

/// Where contents lie: environment, audience, generation.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The environment.
    pub environment: i64,
    /// The audience.
    pub audience: &'a AudienceKey,
    /// The generation.
    pub generation: i64,
}

/// Nobody is a member by an id that spans lines: between them it would be found in a block.
fn can_be_stored(id: &str) -> bool {
    !id.contains(['\n', '\r', '\0'])
}

fn list(ids: &[&str]) -> String {
    serde_json::Value::from(ids.to_vec()).to_string()
}

impl Store {
    /// Whether each of `ids` is a member, in their order; `None` if the generation is not there, or not whole.
    /// It answers `within` that time or fails.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn members(
        &self,
        place: Place<'_>,
        ids: &[&str],
        within: Option<Duration>,
    ) -> Result<Option<Vec<bool>>, StoreError> {
        let within = within.unwrap_or(self.deadlines.read).min(self.deadlines.read);
        let mut lent = self.lend("members", within, false).await?;
        members(&mut lent, place, ids).await
    }

    /// Ids in the order of their bytes, after an id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the generation is not there.
    pub async fn audience_ids_page(
        &self,
        place: Place<'_>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        // One state of the database: a delta that came between two reads would be told half.
        let mut lent = self.read_transaction("audience ids").await?;
        if !is_whole(&mut lent, place).await? {
            return Err(StoreError::NotFound);
        }
        let page = ids_page(&mut lent, place, after.unwrap_or(""), limit).await?;
        lent.commit().await?;
        Ok(page)
    }

    /// What ids of a generation became after a version: the newest of each.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn deltas_since(&self, place: Place<'_>, version: i64) -> Result<Vec<DeltaRow>, StoreError> {
        let mut lent = self.reader("deltas").await?;
        let rows = both!(&mut lent, "deltas", c => sqlx::query_as::<_, StoredDelta>(
            "SELECT d.id, d.version, d.member FROM audience_deltas AS d
             WHERE d.environment = $1 AND d.audience = $2 AND d.generation = $3 AND d.version > $4
               AND NOT EXISTS (
                 SELECT 1 FROM audience_deltas AS later
                 WHERE later.environment = d.environment AND later.audience = d.audience
                   AND later.generation = d.generation AND later.id = d.id AND later.version > d.version)
             ORDER BY d.id")
            .bind(place.environment).bind(place.audience.as_str()).bind(place.generation).bind(version)
            .fetch_all(c))?;
        Ok(rows.into_iter().map(DeltaRow::from).collect())
    }

    /// How many ids the blocks of a generation hold; `None` if the generation is not whole.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn blocks_size(&self, place: Place<'_>) -> Result<Option<i64>, StoreError> {
        let mut lent = self.reader("blocks").await?;
        if !is_whole(&mut lent, place).await? {
            return Ok(None);
        }
        both!(&mut lent, "blocks", c => sqlx::query_scalar::<_, i64>(
            "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM audience_blocks
             WHERE environment = $1 AND audience = $2 AND generation = $3")
            .bind(place.environment).bind(place.audience.as_str()).bind(place.generation).fetch_one(c))
        .map(Some)
    }

    /// Adds blocks to a generation, and notes that it is being fed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the generation was swept meanwhile.
    pub async fn append_blocks(
        &self,
        place: Place<'_>,
        blocks: &[NewBlock],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let mut lent = self.write_transaction("append blocks", self.deadlines.write).await?;
        append_blocks(&mut lent, place, blocks, now_ms).await?;
        lent.commit().await
    }
}

impl WriteTx {
    /// Adds blocks to a generation inside this transaction: for small audiences.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn append_blocks(
        &mut self,
        key: &AudienceKey,
        generation: i64,
        blocks: &[NewBlock],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let place = Place { environment: self.locked()?, audience: key, generation };
        append_blocks(&mut self.lent, place, blocks, now_ms).await
    }

    /// Whether each of `ids` is a member, as this transaction sees it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the generation is not there.
    pub async fn members(
        &mut self,
        key: &AudienceKey,
        generation: i64,
        ids: &[&str],
    ) -> Result<Vec<bool>, StoreError> {
        let place = Place { environment: self.locked()?, audience: key, generation };
        members(&mut self.lent, place, ids).await?.ok_or(StoreError::NotFound)
    }

    /// Turns ids over: from `version` on they are members, or not. What no kept version needs is forgotten.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment, [`StoreError::Exists`] if one has a row of that version.
    pub async fn turn_over(
        &mut self,
        key: &AudienceKey,
        generation: i64,
        version: i64,
        changes: &[(&str, bool)],
    ) -> Result<(), StoreError> {
        let environment = self.locked()?;
        for member in [true, false] {
            let ids: Vec<&str> =
                changes.iter().filter(|(_, becomes)| *becomes == member).map(|(id, _)| *id).collect();
            if ids.is_empty() {
                continue;
            }
            let ids = list(&ids);
            let insert = self.lent.pick(
                "INSERT INTO audience_deltas (environment, audience, generation, id, version, member)
                 SELECT $1, $2, $3, value, $5, $6 FROM json_each($4)",
                "INSERT INTO audience_deltas (environment, audience, generation, id, version, member)
                 SELECT $1, $2, $3, json_array_elements_text($4::json), $5, $6",
            );
            run!(
                &mut self.lent,
                "turn ids over",
                sqlx::query(insert)
                    .bind(environment)
                    .bind(key.as_str())
                    .bind(generation)
                    .bind(ids.as_str())
                    .bind(version)
                    .bind(i64::from(member))
            )?;
            // A row is needed no more if a later one of its id is as old as the oldest kept version.
            let forget = self.lent.pick(
                "DELETE FROM audience_deltas
                 WHERE environment = $1 AND audience = $2 AND generation = $3
                   AND id IN (SELECT value FROM json_each($4))
                   AND version < (SELECT MAX(later.version) FROM audience_deltas AS later
                                  WHERE later.environment = $1 AND later.audience = $2 AND later.generation = $3
                                    AND later.id = audience_deltas.id AND later.version <= $5)",
                "DELETE FROM audience_deltas
                 WHERE environment = $1 AND audience = $2 AND generation = $3
                   AND id IN (SELECT json_array_elements_text($4::json))
                   AND version < (SELECT MAX(later.version) FROM audience_deltas AS later
                                  WHERE later.environment = $1 AND later.audience = $2 AND later.generation = $3
                                    AND later.id = audience_deltas.id AND later.version <= $5)",
            );
            run!(
                &mut self.lent,
                "forget old deltas",
                sqlx::query(forget)
                    .bind(environment)
                    .bind(key.as_str())
                    .bind(generation)
                    .bind(ids.as_str())
                    .bind(version - super::VERSIONS_KEPT + 1)
            )?;
        }
        Ok(())
    }

    /// What ids must become for a generation to be as it was at `version`.
    ///
    /// # Errors
    /// [`StoreError::NotLocked`] without an environment.
    pub async fn way_back(
        &mut self,
        key: &AudienceKey,
        generation: i64,
        version: i64,
    ) -> Result<Vec<(String, bool)>, StoreError> {
        let environment = self.locked()?;
        let rows = both!(&mut self.lent, "way back", c => sqlx::query_as::<_, StoredDelta>(
            "SELECT id, version, member FROM audience_deltas
             WHERE environment = $1 AND audience = $2 AND generation = $3 AND id IN (
                 SELECT id FROM audience_deltas
                 WHERE environment = $1 AND audience = $2 AND generation = $3 AND version > $4)
             ORDER BY id, version")
            .bind(environment).bind(key.as_str()).bind(generation).bind(version).fetch_all(c))?;
        let rows: Vec<DeltaRow> = rows.into_iter().map(DeltaRow::from).collect();
        Ok(way_back(&rows, version))
    }
}

/// Rows by id, then version. Each row turns its id over, so what was before the first is its opposite.
fn way_back(rows: &[DeltaRow], version: i64) -> Vec<(String, bool)> {
    let by_id = rows.chunk_by(|a, b| a.id == b.id);
    let turned = by_id.filter_map(|rows| {
        let (first, last) = (rows.first()?, rows.last()?);
        let then = rows.iter().rev().find(|row| row.version <= version);
        let was = then.map_or(!first.member, |row| row.member);
        (was != last.member).then(|| (last.id.clone(), was))
    });
    turned.collect()
}

/// Whether the generation is finished and nobody sweeps it.
async fn is_whole(lent: &mut Lent, place: Place<'_>) -> Result<bool, StoreError> {
    let found = both!(lent, "generation", c => sqlx::query_scalar::<_, i64>(
        "SELECT generation FROM audience_generations
         WHERE environment = $1 AND audience = $2 AND generation = $3 AND finished_at IS NOT NULL AND size >= 0")
        .bind(place.environment).bind(place.audience.as_str()).bind(place.generation).fetch_optional(c))?;
    Ok(found.is_some())
}

async fn members(lent: &mut Lent, place: Place<'_>, ids: &[&str]) -> Result<Option<Vec<bool>>, StoreError> {
    let mut found = vec![false; ids.len()];
    let asked: Vec<usize> = (0..).zip(ids).filter(|(_, id)| can_be_stored(id)).map(|(at, _)| at).collect();
    let texts: Vec<&str> = ids.iter().copied().filter(|id| can_be_stored(id)).collect();
    let texts = list(&texts);
    let sql = lent.pick(
        "SELECT j.key, COALESCE(
             (SELECT d.member FROM audience_deltas AS d
              WHERE d.environment = $1 AND d.audience = $2 AND d.generation = $3 AND d.id = j.value
              ORDER BY d.version DESC LIMIT 1),
             (SELECT instr(b.ids, char(10) || j.value || char(10)) > 0 FROM audience_blocks AS b
              WHERE b.environment = $1 AND b.audience = $2 AND b.generation = $3 AND b.first <= j.value
              ORDER BY b.first DESC LIMIT 1), 0)
         FROM audience_generations AS g CROSS JOIN json_each($4) AS j
         WHERE g.environment = $1 AND g.audience = $2 AND g.generation = $3 AND g.finished_at IS NOT NULL
           AND g.size >= 0",
        "SELECT j.at - 1, COALESCE(
             (SELECT d.member FROM audience_deltas AS d
              WHERE d.environment = $1 AND d.audience = $2 AND d.generation = $3 AND d.id = j.value COLLATE \"C\"
              ORDER BY d.version DESC LIMIT 1),
             (SELECT CASE WHEN strpos(b.ids, E'\\n' || j.value || E'\\n') > 0 THEN 1 ELSE 0 END
              FROM audience_blocks AS b
              WHERE b.environment = $1 AND b.audience = $2 AND b.generation = $3 AND b.first <= j.value COLLATE \"C\"
              ORDER BY b.first DESC LIMIT 1), 0)::bigint
         FROM audience_generations AS g
         CROSS JOIN json_array_elements_text($4::json) WITH ORDINALITY AS j(value, at)
         WHERE g.environment = $1 AND g.audience = $2 AND g.generation = $3 AND g.finished_at IS NOT NULL
           AND g.size >= 0",
    );
    let rows = both!(lent, "members", c => sqlx::query_as::<_, (i64, i64)>(sql)
        .bind(place.environment).bind(place.audience.as_str()).bind(place.generation).bind(texts.as_str())
        .fetch_all(c))?;
    if rows.is_empty() && (!asked.is_empty() || !is_whole(lent, place).await?) {
        return Ok(None);
    }
    for (at, member) in rows {
        let at = usize::try_from(at).ok().and_then(|at| asked.get(at));
        if let Some(place) = at.and_then(|at| found.get_mut(*at)) {
            *place = member != 0;
        }
    }
    Ok(Some(found))
}

async fn append_blocks(
    lent: &mut Lent,
    place: Place<'_>,
    blocks: &[NewBlock],
    now_ms: i64,
) -> Result<(), StoreError> {
    let fed = run!(
        lent,
        "feed a generation",
        sqlx::query(
            "UPDATE audience_generations SET fed_at = $4
             WHERE environment = $1 AND audience = $2 AND generation = $3 AND finished_at IS NULL AND size >= 0"
        )
        .bind(place.environment)
        .bind(place.audience.as_str())
        .bind(place.generation)
        .bind(now_ms)
    )?;
    if fed == 0 {
        return Err(StoreError::NotFound);
    }
    for block in blocks {
        run!(
            lent,
            "append blocks",
            sqlx::query(
                "INSERT INTO audience_blocks (environment, audience, generation, first, size, ids)
                 VALUES ($1, $2, $3, $4, $5, $6)"
            )
            .bind(place.environment)
            .bind(place.audience.as_str())
            .bind(place.generation)
            .bind(block.first.as_str())
            .bind(block.size)
            .bind(block.ids.as_str())
        )?;
    }
    Ok(())
}

/// Reads blocks and deltas side by side, each as far as it came, until the page is full.
async fn ids_page(
    lent: &mut Lent,
    place: Place<'_>,
    after: &str,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let mut page = Vec::new();
    let mut after = after.to_owned();
    while page.len() < limit {
        let (stored, stored_to) = stored_after(lent, place, &after, limit).await?;
        let (deltas, deltas_to) = deltas_after(lent, place, &after, limit).await?;
        // Beyond the shorter of the two something may be missing.
        let to = match (stored_to, deltas_to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        merge(stored, deltas, to.as_deref(), &mut page);
        let Some(to) = to else { break };
        after = to;
    }
    page.truncate(limit);
    Ok(page)
}

/// Adds to `page` what is a member of sorted `stored` with `deltas` over it, up to `to`.
fn merge(stored: Vec<String>, deltas: Vec<DeltaRow>, to: Option<&str>, page: &mut Vec<String>) {
    let inside = |id: &str| to.is_none_or(|to| id <= to);
    let mut deltas = deltas.into_iter().filter(|row| inside(&row.id)).peekable();
    for id in stored.into_iter().filter(|id| inside(id)) {
        while let Some(row) = deltas.next_if(|row| row.id < id) {
            page.extend(row.member.then_some(row.id));
        }
        match deltas.next_if(|row| row.id == id) {
            Some(row) if !row.member => {}
            _ => page.push(id),
        }
    }
    page.extend(deltas.filter(|row| row.member).map(|row| row.id));
}

/// At least `count` ids of the blocks after an id, and how far they reach; `None`: to the end.
async fn stored_after(
    lent: &mut Lent,
    place: Place<'_>,
    after: &str,
    count: usize,
) -> Result<(Vec<String>, Option<String>), StoreError> {
    let mut ids: Vec<String> = Vec::new();
    let mut from = both!(lent, "block", c => sqlx::query_scalar::<_, String>(
        "SELECT first FROM audience_blocks
         WHERE environment = $1 AND audience = $2 AND generation = $3 AND first <= $4 ORDER BY first DESC LIMIT 1")
        .bind(place.environment).bind(place.audience.as_str()).bind(place.generation).bind(after)
        .fetch_optional(c))?
    .unwrap_or_default();
    loop {
        // The block that begins at `from` or, if none does, the next one.
        let block = both!(lent, "block", c => sqlx::query_as::<_, (String, String)>(
            "SELECT first, ids FROM audience_blocks
             WHERE environment = $1 AND audience = $2 AND generation = $3 AND first >= $4 ORDER BY first LIMIT 1")
            .bind(place.environment).bind(place.audience.as_str()).bind(place.generation).bind(from.as_str())
            .fetch_optional(c))?;
        let Some((first, text)) = block else { return Ok((ids, None)) };
        ids.extend(text.lines().filter(|id| !id.is_empty() && *id > after).map(str::to_owned));
        if ids.len() >= count
            && let Some(last) = ids.last()
        {
            let to = last.clone();
            return Ok((ids, Some(to)));
        }
        // The least text above `first`.
        from = format!("{first}\u{1}");
    }
}

/// At most `count` of the newest deltas after an id, and how far they reach; `None`: to the end.
async fn deltas_after(
    lent: &mut Lent,
    place: Place<'_>,
    after: &str,
    count: usize,
) -> Result<(Vec<DeltaRow>, Option<String>), StoreError> {
    let rows = both!(lent, "deltas", c => sqlx::query_as::<_, StoredDelta>(
        "SELECT d.id, d.version, d.member FROM audience_deltas AS d
         WHERE d.environment = $1 AND d.audience = $2 AND d.generation = $3 AND d.id > $4
           AND d.version = (SELECT MAX(version) FROM audience_deltas
                            WHERE environment = $1 AND audience = $2 AND generation = $3 AND id = d.id)
         ORDER BY d.id LIMIT $5")
        .bind(place.environment).bind(place.audience.as_str()).bind(place.generation).bind(after)
        .bind(i64::try_from(count).unwrap_or(i64::MAX)).fetch_all(c))?;
    let to = if rows.len() < count { None } else { rows.last().map(|row| row.id.clone()) };
    Ok((rows.into_iter().map(DeltaRow::from).collect(), to))
}

#[cfg(test)]
mod tests;
