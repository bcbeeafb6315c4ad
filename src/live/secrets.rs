//! The database's secrets, as this instance needs them for deciding: read once the database was let in, or from the
//! copy on disk.

use super::error::LiveError;
use super::load::{AudienceKeys, bytes};
use crate::store::{SecretRow, Store};
use crate::token::TokenKeys;

/// What each of them is for.
const PURPOSES: [&str; 3] = ["token", "audience", "unit_ids"];

/// All secrets. No `Debug`.
pub struct Secrets {
    /// Seals and opens tokens.
    pub tokens: TokenKeys,
    /// Hash audience ids.
    pub audiences: AudienceKeys,
    /// Hashes unit ids, where they are stored so.
    pub unit_ids: Option<[u8; 32]>,
    rows: Vec<SecretRow>,
}

impl Secrets {
    /// None yet: nothing can be sealed, opened or hashed.
    #[must_use]
    pub fn none() -> Self {
        let (tokens, audiences) = (TokenKeys::new([]), AudienceKeys::default());
        Self { tokens, audiences, unit_ids: None, rows: Vec::new() }
    }

    /// Makes them ready.
    ///
    /// # Errors
    /// [`LiveError::Unreadable`] if one has not 32 bytes, or none is there for tokens or audiences.
    pub fn of(rows: Vec<SecretRow>) -> Result<Self, LiveError> {
        let mut tokens = Vec::new();
        for row in rows.iter().filter(|row| row.purpose == "token") {
            let number = u16::try_from(row.number)
                .map_err(|_error| LiveError::Unreadable("there are too many token keys".into()))?;
            tokens.push((number, bytes(row)?));
        }
        if tokens.is_empty() {
            return Err(LiveError::Unreadable("there is no token key".into()));
        }
        let audiences = AudienceKeys::of(&rows)?;
        audiences.newest()?;
        let unit_ids = rows.iter().find(|row| row.purpose == "unit_ids").map(bytes).transpose()?;
        Ok(Self { tokens: TokenKeys::new(tokens), audiences, unit_ids, rows })
    }

    /// Reads them.
    ///
    /// # Errors
    /// [`LiveError`] if the database fails; as of [`Secrets::of`].
    pub async fn load(store: &Store) -> Result<Self, LiveError> {
        let mut rows = Vec::new();
        for purpose in PURPOSES {
            rows.extend(store.secrets(purpose).await?);
        }
        Self::of(rows)
    }

    /// As they are stored.
    #[must_use]
    pub fn rows(&self) -> &[SecretRow] {
        &self.rows
    }
}
