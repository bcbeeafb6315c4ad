//! From stored rows to what a snapshot is made of. Each row is read alone: a bad one closes its own flag
//! or audience only.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::error::LiveError;
use crate::engine::compile::{CompiledFlag, StoredFlag};
use crate::engine::flag::{self, Document, Faults, State};
use crate::engine::json;
use crate::engine::key::FlagKey;
use crate::engine::membership::IdHasher;
use crate::engine::snapshot::Snapshot;
use crate::store::{FlagRow, SecretRow};

/// The database's secrets that audience ids are hashed with, by number.
#[derive(Debug, Clone, Default)]
pub struct AudienceKeys(Vec<(i64, IdHasher)>);

impl AudienceKeys {
    /// Those among the secrets of a database.
    ///
    /// # Errors
    /// [`LiveError`] if one has not 32 bytes.
    pub(super) fn of(rows: &[SecretRow]) -> Result<Self, LiveError> {
        let mut keys = Vec::new();
        for row in rows.iter().filter(|row| row.purpose == "audience") {
            keys.push((row.number, IdHasher::new(bytes(row)?)));
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

/// The bytes of a secret.
///
/// # Errors
/// [`LiveError`] if there are not 32 of them.
pub(super) fn bytes(row: &SecretRow) -> Result<[u8; 32], LiveError> {
    <[u8; 32]>::try_from(row.value.as_slice()).map_err(|_error| {
        LiveError::Unreadable(format!("the secret {} for {} has not 32 bytes", row.number, row.purpose))
    })
}

/// SHA-256 of a stored document, as lower-case hex.
#[must_use]
pub fn checksum(document: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(document.as_bytes()).into();
    let (words, _none) = digest.as_chunks();
    words.iter().map(|word| format!("{:016x}", u64::from_be_bytes(*word))).collect()
}

/// Reads a stored document.
///
/// # Errors
/// Why it cannot be read, for the log.
pub fn document(text: &str, sha256: &str) -> Result<Document, String> {
    forms(text, sha256).map(|(_, document)| document)
}

/// Reads a stored document as JSON.
///
/// # Errors
/// Why it cannot be read, for the log.
pub fn value(text: &str, sha256: &str) -> Result<Value, String> {
    if checksum(text) != sha256 {
        return Err("its checksum does not match".into());
    }
    json::parse(text.as_bytes()).map_err(|fault| fault.to_string())
}

/// Reads a stored document, as JSON and typed.
///
/// # Errors
/// Why it cannot be read, for the log.
pub fn forms(text: &str, sha256: &str) -> Result<(Value, Document), String> {
    let value = value(text, sha256)?;
    let mut faults = Faults::default();
    let document = flag::read(&value, &mut faults);
    match (document, faults.0.first()) {
        (Some(document), None) => Ok((value, document)),
        (_, Some(fault)) => Err(format!("{}: {}", fault.pointer, fault.detail)),
        (None, None) => Err("it cannot be read".into()),
    }
}

/// A stored flag for a snapshot at `now_ms`; `None` for one whose key is none: nobody can ask for it. Its document is read,
/// if it is not `known`.
#[must_use]
pub fn flag(row: FlagRow, known: Option<Arc<Document>>, now_ms: i64) -> Option<StoredFlag> {
    let Ok(key) = FlagKey::parse(&row.key) else {
        tracing::error!(flag = %row.key, "a stored flag has a key that cannot be read; it is left out");
        return None;
    };
    let own = |document: Arc<Document>| {
        let stranger = document.key != key;
        if stranger { Err(format!("its document is that of {:?}", document.key)) } else { Ok(document) }
    };
    let read = || document(&row.document, &row.sha256).map(Arc::new);
    debug_assert!(known.as_ref().is_none_or(|known| Ok(known) == read().as_ref()), "another than is stored");
    let document = known.map_or_else(read, Ok).and_then(own).map_err(Arc::<str>::from);
    // Once the database has closed the stage, no clock that is behind opens the flag again.
    let closed = row.stage_open.is_none() && State::parse(&row.state) == Some(State::Live);
    let expired =
        document.as_ref().is_ok_and(|document| document.expire_at.is_some_and(|at| closed || at <= now_ms));
    Some(StoredFlag {
        key,
        number: row.number,
        version: row.version,
        // What cannot be read as open is shut.
        state: State::parse(&row.state).unwrap_or(State::Killed),
        stage: row.stage_open,
        stages: Some(row.stages),
        expired,
        updated_at: row.updated_at,
        updated_by: row.updated_by.into(),
        document,
        json: row.document.into(),
    })
}

/// Whether a stored flag is what `known` was made of, so that nothing of it needs to be made again.
#[must_use]
pub fn is_same(row: &FlagRow, known: &CompiledFlag) -> bool {
    let whole = known.broken.is_none() && known.frozen.is_none();
    let stage = if known.expired { known.stage } else { row.stage_open };
    whole
        && (row.number, row.version, row.updated_at) == (known.number, known.version, known.updated_at)
        && (row.state.as_str(), stage) == (known.state.as_str(), known.stage)
        && *row.document == *known.json
        && row.sha256 == checksum(&row.document)
}

/// Whether the row that `flag` was made of can be told from its form.
#[must_use]
pub fn shows_its_row(flag: &CompiledFlag) -> bool {
    flag.broken.is_none() && flag.frozen.is_none() && !flag.expired && flag.stages.is_some()
}

/// The row that `flag` was made of; `None` where it cannot be told from its form.
#[must_use]
pub fn row(flag: &CompiledFlag) -> Option<FlagRow> {
    if !shows_its_row(flag) {
        return None;
    }
    Some(FlagRow {
        number: flag.number,
        key: flag.key.to_string(),
        version: flag.version,
        sha256: checksum(&flag.json),
        document: flag.json.to_string(),
        state: flag.state.as_str().to_owned(),
        stage_open: flag.stage,
        stages: flag.stages?,
        updated_at: flag.updated_at,
        updated_by: flag.updated_by.to_string(),
    })
}

/// Says each flag that does not decide by its newest form, once for each reason.
pub fn tell_of_frozen(environment: &str, old: Option<&Snapshot>, new: &Snapshot) {
    for flag in new.flags() {
        let known = old.and_then(|old| old.find(flag.key.as_str()));
        let said = |why: &Option<Arc<str>>, before: Option<&Option<Arc<str>>>| {
            why.clone().filter(|why| before.and_then(Option::as_deref) != Some(&**why))
        };
        if let Some(why) = said(&flag.broken, known.map(|known| &known.broken)) {
            tracing::error!(environment, flag = %flag.key, %why, "a stored flag cannot be read; it answers an error");
        }
        if let Some(why) = said(&flag.frozen, known.map(|known| &known.frozen)) {
            tracing::error!(environment, flag = %flag.key, version = flag.version, %why,
                "a stored flag cannot be read; it goes on as it was, all others move on");
        }
        if flag.frozen.is_none() && flag.broken.is_none() && known.is_some_and(|known| known.frozen.is_some())
        {
            tracing::info!(environment, flag = %flag.key, version = flag.version, "a frozen flag decides by its newest form again");
        }
    }
}

/// What stands beside a part: the first 16 bytes of BLAKE3.
#[must_use]
pub fn part_checksum(hashes: &[u8]) -> Vec<u8> {
    blake3::hash(hashes).as_bytes().iter().take(16).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::key::EnvironmentKey;

    #[test]
    fn a_checksum_is_sha_256_in_hex() {
        // FIPS 180-4, example of one block.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(checksum("abc"), abc);
    }

    #[test]
    fn the_row_of_a_form_is_told_only_where_it_is_what_is_stored() {
        let document = r#"{"key": "f", "value_type": "boolean", "variants": {"off": false, "on": true}, "off_variant": "off", "salt": "s"}"#;
        let stored = |sha256: String| FlagRow {
            number: 1,
            key: "f".into(),
            version: 3,
            document: document.into(),
            sha256,
            state: "live".into(),
            stage_open: Some(2),
            stages: 2,
            updated_at: 5,
            updated_by: "who".into(),
        };
        let environment = EnvironmentKey::parse("production").unwrap();
        let empty = Snapshot::empty(environment, 1, IdHasher::new([0; 32]));
        let served = |row: FlagRow| empty.next(1, Vec::new(), flag(row, None, 10).into_iter().collect());
        let whole = served(stored(checksum(document)));
        let found = whole.find("f").and_then(|form| row(form)).unwrap();
        assert_eq!((found.version, found.stages, found.document.as_str()), (3, 2, document));
        assert_eq!(found.sha256, checksum(document));
        let told = |snapshot: &Snapshot| snapshot.find("f").is_some_and(|form| row(form).is_some());
        assert!(!told(&served(stored("abc".into()))), "it cannot be read");
        let place = whole.find("f").map(|form| form.index).unwrap();
        assert!(!told(&whole.freeze(&[place], "another is stored")), "frozen");
    }
}
