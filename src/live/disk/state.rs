//! The state as it stands in its file: JSON, all fields by name.

use serde::{Deserialize, Serialize};

use super::frame::{self, Kind};
use super::{Copy, DiskError};
use crate::engine::map::Map;
use crate::store::{Identity, KeyRow, SecretRow};

/// A file beside the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::live) struct FileRef {
    /// Its name in the folder.
    pub(in crate::live) name: String,
    /// The sum that its first line holds.
    pub(super) sha256: String,
}

/// Where the members of an audience are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::live) struct Held {
    /// Hashes of its base.
    pub(in crate::live) base: FileRef,
    /// What single ids became since; `None`: nothing.
    pub(super) turned: Option<FileRef>,
}

impl Held {
    /// The names of its files.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        let turned = self.turned.as_ref().map(|file| file.name.as_str());
        std::iter::once(self.base.name.as_str()).chain(turned)
    }
}

/// The whole state. No `Debug`: it holds secrets.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    pub(super) database_id: String,
    pub(super) unit_ids: String,
    pub(super) created_at: i64,
    pub(super) written_at: i64,
    pub(super) restored_at: i64,
    pub(super) keys_sequence: i64,
    pub(super) keys: Vec<CopiedKey>,
    pub(super) secrets: Vec<CopiedSecret>,
    pub(super) environments: Vec<CopiedEnvironment>,
}

/// A key: its hash, never its text.
#[derive(Serialize, Deserialize)]
pub(super) struct CopiedKey {
    id: String,
    name: String,
    role: String,
    environment: Option<i64>,
    hash: String,
    created_at: i64,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    last_used_at: Option<i64>,
}

/// A secret of the database. No `Debug`.
#[derive(Serialize, Deserialize)]
pub(super) struct CopiedSecret {
    purpose: String,
    number: i64,
    value: String,
    created_at: i64,
    retired_at: Option<i64>,
}

/// What an environment decides by. No `Debug`: its settings hold secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct CopiedEnvironment {
    /// Its number.
    pub number: i64,
    /// Its key.
    pub key: String,
    /// Its settings as JSON; empty where they could never be read.
    pub settings: String,
    /// The number of its snapshot.
    pub snapshot: i64,
    /// When the database last agreed, milliseconds since 1970.
    pub confirmed_at: i64,
    /// Its flags, in their order.
    pub flags: Vec<CopiedFlag>,
    /// Its audiences.
    pub audiences: Vec<CopiedAudience>,
}

/// A flag, in the form that decides.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CopiedFlag {
    /// Its number in the environment.
    pub number: i64,
    /// Its key.
    pub key: String,
    /// Its version.
    pub version: i64,
    /// Its document as stored.
    pub document: String,
    /// `live`, `killed` or `archived`.
    pub state: String,
    /// The open stage.
    pub stage: Option<i64>,
    /// When it changed last.
    pub updated_at: i64,
    /// Who changed it.
    pub updated_by: String,
    /// Why it could not decide, if it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// Why its newest form did not decide, if another did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
}

/// An audience.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CopiedAudience {
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
    /// Where its members are, if they were in memory.
    pub(in crate::live) held: Option<Held>,
}

impl CopiedKey {
    pub(super) fn of(row: &KeyRow) -> Self {
        Self {
            id: row.id.clone(),
            name: row.name.clone(),
            role: row.role.clone(),
            environment: row.environment,
            hash: hex(&row.hash),
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
        }
    }

    fn row(self) -> Result<KeyRow, DiskError> {
        Ok(KeyRow {
            hash: bytes(&self.hash)?,
            id: self.id,
            name: self.name,
            role: self.role,
            environment: self.environment,
            // For lists only, which are read from the database.
            hint: String::new(),
            created_at: self.created_at,
            created_by: String::new(),
            expires_at: self.expires_at,
            revoked_at: self.revoked_at,
            last_used_at: self.last_used_at,
        })
    }
}

impl CopiedSecret {
    pub(super) fn of(row: &SecretRow) -> Self {
        Self {
            purpose: row.purpose.clone(),
            number: row.number,
            value: hex(&row.value),
            created_at: row.created_at,
            retired_at: row.retired_at,
        }
    }

    fn row(self) -> Result<SecretRow, DiskError> {
        Ok(SecretRow {
            value: bytes(&self.value)?,
            purpose: self.purpose,
            number: self.number,
            created_at: self.created_at,
            retired_at: self.retired_at,
        })
    }
}

/// The bytes of the body.
pub(super) fn body(state: &State) -> Result<Vec<u8>, DiskError> {
    serde_json::to_vec(state).map_err(|error| DiskError::Damaged(error.to_string()))
}

/// The state in a file, without the members of audiences.
pub(super) fn read(file: &[u8]) -> Result<Copy, DiskError> {
    let (body, _) = frame::open(file, Kind::State)?;
    // Without the text, which holds secrets.
    let unreadable = |error: serde_json::Error| {
        DiskError::Damaged(format!(
            "the state cannot be read (line {}, column {})",
            error.line(),
            error.column()
        ))
    };
    let state: State = serde_json::from_slice(body).map_err(unreadable)?;
    Ok(Copy {
        identity: Identity {
            database_id: state.database_id,
            unit_ids: state.unit_ids,
            created_at: state.created_at,
        },
        written_at: state.written_at,
        restored_at: state.restored_at,
        keys_sequence: state.keys_sequence,
        keys: state.keys.into_iter().map(CopiedKey::row).collect::<Result<_, _>>()?,
        secrets: state.secrets.into_iter().map(CopiedSecret::row).collect::<Result<_, _>>()?,
        environments: state.environments,
        members: Map::default(),
        damaged: Vec::new(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Result<Vec<u8>, DiskError> {
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2)?;
        u8::from_str_radix(text, 16).ok()
    };
    pairs.map(byte).collect::<Option<_>>().ok_or_else(|| DiskError::Damaged("a hash is none".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_hex() {
        for some in [vec![], vec![0, 1, 254, 255]] {
            assert_eq!(bytes(&hex(&some)).unwrap(), some);
        }
        assert!(bytes("0").is_err() && bytes("0g").is_err() && bytes("+1").is_ok_and(|b| b == [1]));
    }
}
