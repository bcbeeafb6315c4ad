//! Export: what an environment decides by, as one document that fits in a repository. States stay behind, and salts
//! too unless they are asked for; large audiences are named, not listed.

use serde::Serialize;
use serde_json::Value;

use super::{Manage, ManageError};
use crate::engine::flag::State;
use crate::engine::key::{AudienceKey, EnvironmentKey};
use crate::live::Environment;
use crate::live::load;
use crate::store::{AudienceRow, FlagRow, Place, StoreError};

/// The form of the document that [`Export`] is.
pub const EXPORT_FORMAT: i64 = 1;
/// Most ids of an audience that an export lists.
pub const EXPORTED_IDS_MAX: usize = 1_000;
/// How often an audience that changes while it is read is read again.
const ATTEMPTS: usize = 3;

/// Whether an export holds salts: whoever knows one can choose ids that are inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Salts {
    /// It does.
    Shown,
    /// It does not.
    Hidden,
}

/// An environment as one document; the same state gives the same bytes.
#[derive(Debug, Serialize)]
pub struct Export {
    /// [`EXPORT_FORMAT`].
    pub huidu_export: i64,
    /// Where it is from.
    pub environment: EnvironmentKey,
    /// Documents in order of their keys, without those of archived flags.
    pub flags: Vec<Value>,
    /// Audiences in order of their keys.
    pub audiences: Vec<ExportedAudience>,
}

/// An audience of an export.
#[derive(Debug, Serialize)]
pub struct ExportedAudience {
    /// Its key.
    pub key: String,
    /// `user`, `goods` or `other`.
    pub kind: String,
    /// How many ids it has.
    pub size: i64,
    /// Its ids in order of their bytes; left out where there are over 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
}

impl Manage {
    /// Reads an environment as one document, as of one moment.
    ///
    /// # Errors
    /// [`ManageError::FlagUnreadable`] where a stored flag is damaged: a copy without it would look whole.
    pub async fn export(&self, environment: &Environment, salts: Salts) -> Result<Export, ManageError> {
        let mut attempt = 1;
        let (flags, audiences) = loop {
            let loaded = self.store.read_snapshot(environment.number).await?;
            match self.exported_audiences(environment, loaded.audiences).await? {
                Some(audiences) => break (loaded.flags, audiences),
                None if attempt < ATTEMPTS => attempt += 1,
                None => {
                    let why = "its audiences changed each time they were read";
                    return Err(StoreError::Unavailable(why.into()).into());
                }
            }
        };
        let environment = environment.key.clone();
        // Ten thousand documents take a while: not on a thread that decides.
        let flags = tokio::task::spawn_blocking(move || exported_flags(flags, salts));
        let flags = flags.await.map_err(|error| ManageError::Task(error.to_string()))??;
        Ok(Export { huidu_export: EXPORT_FORMAT, environment, flags, audiences })
    }

    /// `None`: one of them changed after `rows` were read.
    async fn exported_audiences(
        &self,
        environment: &Environment,
        rows: Vec<AudienceRow>,
    ) -> Result<Option<Vec<ExportedAudience>>, ManageError> {
        let mut audiences = Vec::with_capacity(rows.len());
        for row in rows {
            let size = usize::try_from(row.size).unwrap_or(usize::MAX);
            let ids = if size > EXPORTED_IDS_MAX {
                None
            } else {
                let key = AudienceKey::parse(&row.key).map_err(|_error| ManageError::NotFound("audience"))?;
                let place =
                    Place { environment: environment.number, audience: &key, generation: row.generation };
                match self.store.audience_ids_page(place, None, EXPORTED_IDS_MAX + 1).await {
                    Ok(ids) if ids.len() == size => Some(ids),
                    Ok(_) | Err(StoreError::NotFound) => return Ok(None),
                    Err(error) => return Err(error.into()),
                }
            };
            audiences.push(ExportedAudience { key: row.key, kind: row.kind, size: row.size, ids });
        }
        Ok(Some(audiences))
    }
}

fn exported_flags(mut rows: Vec<FlagRow>, salts: Salts) -> Result<Vec<Value>, ManageError> {
    rows.retain(|row| State::parse(&row.state) != Some(State::Archived));
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    let documents = rows.iter().map(|row| {
        let read = load::forms(&row.document, &row.sha256);
        let (mut document, _) = read.map_err(|_why| ManageError::FlagUnreadable(row.key.clone()))?;
        if let (Some(document), Salts::Hidden) = (document.as_object_mut(), salts) {
            document.remove("salt");
        }
        Ok(document)
    });
    documents.collect()
}
