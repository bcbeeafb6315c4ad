//! From stored rows to what a snapshot is made of. Each row is read alone: a bad one closes its own flag
//! or audience only.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::error::LiveError;
use crate::engine::compile::StoredFlag;
use crate::engine::flag::{self, AudienceKind, Document, Faults, State};
use crate::engine::json;
use crate::engine::key::AudienceKey;
use crate::engine::membership::{IdHasher, IdSet};
use crate::engine::snapshot::Audience;
use crate::store::{AudienceRow, FlagRow, PartRow, Store};

/// The database's secrets that audience ids are hashed with, by number.
#[derive(Debug, Clone)]
pub struct AudienceKeys(Vec<(i64, IdHasher)>);

impl AudienceKeys {
    /// Reads them.
    ///
    /// # Errors
    /// [`LiveError`] if the database fails or a secret has not 32 bytes.
    pub async fn load(store: &Store) -> Result<Self, LiveError> {
        let mut keys = Vec::new();
        for row in store.secrets("audience").await? {
            let secret = <[u8; 32]>::try_from(row.value.as_slice())
                .map_err(|_error| LiveError::Unreadable("a secret for audiences has not 32 bytes".into()))?;
            keys.push((row.number, IdHasher::new(secret)));
        }
        keys.sort_by_key(|(number, _)| *number);
        Ok(Self(keys))
    }

    /// The one that new ids are hashed with.
    ///
    /// # Errors
    /// [`LiveError`] if there is none.
    pub fn newest(&self) -> Result<IdHasher, LiveError> {
        self.0
            .last()
            .map(|(_, hasher)| hasher.clone())
            .ok_or_else(|| LiveError::Unreadable("no secret for audiences".into()))
    }

    /// Its number.
    #[must_use]
    pub fn newest_number(&self) -> i64 {
        self.0.last().map_or(0, |(number, _)| *number)
    }
}

/// SHA-256 of a stored document, as lower-case hex.
#[must_use]
pub fn checksum(document: &str) -> String {
    Sha256::digest(document.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a stored document.
///
/// # Errors
/// Why it cannot be read, for the log.
pub fn document(text: &str, sha256: &str) -> Result<Document, String> {
    if checksum(text) != sha256 {
        return Err("its checksum does not match".into());
    }
    let value = json::parse(text.as_bytes()).map_err(|fault| fault.to_string())?;
    let mut faults = Faults::default();
    let document = flag::read(&value, &mut faults);
    match (document, faults.0.first()) {
        (Some(document), None) => Ok(document),
        (_, Some(fault)) => Err(format!("{}: {}", fault.pointer, fault.detail)),
        (None, None) => Err("it cannot be read".into()),
    }
}

/// A stored flag for a snapshot at `now_ms`.
#[must_use]
pub fn flag(row: FlagRow, now_ms: i64) -> StoredFlag {
    let document = document(&row.document, &row.sha256).map(Arc::new).map_err(Arc::<str>::from);
    if let Err(why) = &document {
        tracing::error!(flag = %row.key, version = row.version, %why, "a stored flag cannot be read; it answers an error");
    }
    // Once the database has closed the stage, no clock that is behind opens the flag again.
    let closed = row.stage_open.is_none() && State::parse(&row.state) == Some(State::Live);
    let expired =
        document.as_ref().is_ok_and(|document| document.expire_at.is_some_and(|at| closed || at <= now_ms));
    StoredFlag {
        number: row.number,
        version: row.version,
        // What cannot be read as open is shut.
        state: State::parse(&row.state).unwrap_or(State::Killed),
        stage: row.stage_open,
        expired,
        updated_at: row.updated_at,
        updated_by: row.updated_by.into(),
        document,
        json: row.document.into(),
    }
}

/// Stored audiences with their ids. One whose ids are damaged is unreadable, not empty.
///
/// # Errors
/// [`LiveError`] if the database fails: what decides goes on with the ids it has, until it can be asked again.
pub async fn audiences(
    store: &Store,
    keys: &AudienceKeys,
    environment: i64,
    rows: Vec<AudienceRow>,
) -> Result<Vec<Audience>, LiveError> {
    let mut audiences = Vec::with_capacity(rows.len());
    for row in rows {
        let (Ok(key), Some(kind)) = (AudienceKey::parse(&row.key), AudienceKind::parse(&row.kind)) else {
            tracing::error!(audience = %row.key, "a stored audience cannot be read");
            continue;
        };
        let parts = store.audience_parts(environment, &key, row.generation).await?;
        let ids = match ids(&parts, keys.newest_number(), row.size) {
            Ok(ids) => Some(Arc::new(ids)),
            Err(why) => {
                tracing::error!(audience = %row.key, %why, "an audience cannot be read; flags that ask for it answer an error");
                None
            }
        };
        audiences.push(Audience { key, kind, version: row.version, size: row.size, ids });
    }
    Ok(audiences)
}

/// The set of an audience's parts. A part that is lost would make members strangers, and so open what they are
/// excluded from: there must be as many hashes as ids.
fn ids(parts: &[PartRow], hash_key: i64, size: i64) -> Result<IdSet, String> {
    let mut hashes = Vec::new();
    for part in parts {
        if part.hash_key != hash_key {
            return Err(format!("part {} is hashed with another secret", part.part));
        }
        if part.checksum != part_checksum(&part.hashes) {
            return Err(format!("the checksum of part {} does not match", part.part));
        }
        let (chunks, rest) = part.hashes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(format!("part {} is cut", part.part));
        }
        hashes.extend(chunks.iter().map(|bytes| u64::from_le_bytes(*bytes)));
    }
    if i64::try_from(hashes.len()) != Ok(size) {
        return Err(format!("it has {size} ids, and {} hashes of them", hashes.len()));
    }
    Ok(IdSet::new(hashes))
}

/// What stands beside a part: the first 16 bytes of BLAKE3.
#[must_use]
pub fn part_checksum(hashes: &[u8]) -> Vec<u8> {
    blake3::hash(hashes).as_bytes().iter().take(16).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: i64, hashes: &[u64]) -> PartRow {
        let hashes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        PartRow { part: number, checksum: part_checksum(&hashes), hashes, hash_key: 1 }
    }

    #[test]
    fn damaged_ids_are_unreadable_never_fewer() {
        let whole = [part(0, &[1, 2]), part(1, &[3])];
        assert!(ids(&whole, 1, 3).unwrap().contains(3));
        assert!(ids(&[], 1, 0).unwrap().is_empty());
        let [first, _] = whole;
        let lost = ids(std::slice::from_ref(&first), 1, 3).unwrap_err();
        assert!(lost.contains("3 ids"), "{lost}");
        assert!(ids(&[], 1, 3).is_err());
        assert!(ids(std::slice::from_ref(&first), 2, 2).is_err(), "another secret");
        let flipped = PartRow { hashes: vec![0; 16], ..first.clone() };
        assert!(ids(&[flipped], 1, 2).is_err());
        let cut = PartRow {
            checksum: part_checksum(&first.hashes[..9]),
            hashes: first.hashes[..9].to_vec(),
            ..first
        };
        assert!(ids(&[cut], 1, 2).is_err());
    }
}
