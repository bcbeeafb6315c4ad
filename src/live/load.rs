//! From stored rows to what a snapshot is made of. Each row is read alone: a bad one closes its own flag
//! or audience only.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::error::LiveError;
use crate::engine::compile::StoredFlag;
use crate::engine::flag::{self, Document, Faults, State};
use crate::engine::json;
use crate::engine::membership::IdHasher;
use crate::store::{FlagRow, Store};

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

/// What stands beside a part: the first 16 bytes of BLAKE3.
#[must_use]
pub fn part_checksum(hashes: &[u8]) -> Vec<u8> {
    blake3::hash(hashes).as_bytes().iter().take(16).copied().collect()
}
