//! Writes the copy: first the audiences that it names, then the state, then what it names no more is swept.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use super::frame::{self, Kind, Sum};
use super::state::{self, CopiedKey, CopiedSecret, FileRef, Held, State};
use super::{CopiedAudience, CopiedEnvironment, CopiedFlag, Copy, DiskError, STATE, file, folder, ids};
use crate::engine::compile::CompiledFlag;
use crate::engine::map::Map;
use crate::engine::membership::{IdSet, Members};
use crate::engine::snapshot::Audience;
use crate::live::Published;
use crate::live::secrets::Secrets;
use crate::store::{Identity, KeyRow};

/// What is to be written, as one moment saw it. Taking it copies nothing.
pub struct Gathered {
    /// The database that it is of.
    pub identity: Identity,
    /// When an operator last said that the database was restored on purpose.
    pub restored_at: i64,
    /// The number of the last change of keys.
    pub keys_sequence: i64,
    /// All keys.
    pub keys: Arc<[KeyRow]>,
    /// All secrets.
    pub secrets: Arc<Secrets>,
    /// By environment: what decides, and when the database last agreed.
    pub environments: Vec<(Arc<Published>, i64)>,
}

/// What is known of an audience's files.
struct Written {
    base: Weak<IdSet>,
    members: Weak<Members>,
    held: Held,
}

/// Writes the copies of one data folder.
pub struct Writer {
    folder: PathBuf,
    /// By environment and audience: what did not change needs no look at the disk.
    written: Map<(i64, String), Written>,
}

impl Writer {
    /// A writer into a data folder.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { folder: folder(data_dir), written: Map::default() }
    }

    /// Knows the files of a copy that was read: what is held as it was read is not written again.
    pub fn knows(&mut self, copy: &Copy) {
        for environment in &copy.environments {
            for audience in &environment.audiences {
                let place = (environment.number, audience.key.clone());
                if let Some((held, members)) = audience.held.clone().zip(copy.members.get(&place)) {
                    let base = Arc::downgrade(members.base_set());
                    self.written.insert(place, Written { base, members: Arc::downgrade(members), held });
                }
            }
        }
    }

    /// Writes it at `now_ms`. It blocks, and takes as long as the disk does.
    ///
    /// # Errors
    /// [`DiskError`]: the copy that was there is as it was.
    pub fn write(&mut self, gathered: &Gathered, now_ms: i64) -> Result<(), DiskError> {
        file::make_folder(&self.folder)?;
        let mut environments = Vec::with_capacity(gathered.environments.len());
        let mut written = Map::default();
        for (published, confirmed_at) in &gathered.environments {
            environments.push(self.environment(published, *confirmed_at, &mut written)?);
        }
        let state = State {
            database_id: gathered.identity.database_id.clone(),
            unit_ids: gathered.identity.unit_ids.clone(),
            created_at: gathered.identity.created_at,
            written_at: now_ms,
            restored_at: gathered.restored_at,
            keys_sequence: gathered.keys_sequence,
            keys: gathered.keys.iter().map(CopiedKey::of).collect(),
            secrets: gathered.secrets.rows().iter().map(CopiedSecret::of).collect(),
            environments,
        };
        let body = state::body(&state)?;
        let mut sum = Sum::new(Kind::State, body.len() as u64);
        sum.update(&body);
        let line = frame::line(Kind::State, body.len() as u64, &sum.finish());
        // The files that the state names are there for good before it is.
        file::sync_folder(&self.folder)?;
        file::write(&self.folder, STATE, |out| {
            out.write_all(line.as_bytes())?;
            out.write_all(&body)
        })?;
        file::sync_folder(&self.folder)?;
        self.written = written;
        let named = |name: &str| self.written.values().any(|written| names(&written.held, name));
        file::sweep(&self.folder, |name| name == STATE || named(name))
    }

    fn environment(
        &self,
        published: &Published,
        confirmed_at: i64,
        written: &mut Map<(i64, String), Written>,
    ) -> Result<CopiedEnvironment, DiskError> {
        let snapshot = &published.snapshot;
        let number = snapshot.environment_number();
        let mut audiences = Vec::with_capacity(snapshot.audiences().len());
        // One that was deleted keeps its place, but has no key any more.
        let there = |audience: &&Audience| snapshot.audience_index(audience.key.as_str()).is_some();
        for audience in snapshot.audiences().iter().filter(there) {
            let held = match &audience.ids {
                Some(members) => Some(self.members(number, audience, members, written)?),
                None => None,
            };
            audiences.push(copied_audience(audience, held));
        }
        Ok(CopiedEnvironment {
            number,
            key: snapshot.environment().to_string(),
            settings: published.signing.settings().to_owned(),
            snapshot: snapshot.number(),
            confirmed_at,
            flags: snapshot.flags().iter().map(|flag| copied_flag(flag)).collect(),
            audiences,
        })
    }

    fn members(
        &self,
        environment: i64,
        audience: &Audience,
        members: &Arc<Members>,
        written: &mut Map<(i64, String), Written>,
    ) -> Result<Held, DiskError> {
        let place = (environment, audience.key.to_string());
        let known = self.written.get(&place);
        let same_members = known.filter(|known| known.members.as_ptr() == Arc::as_ptr(members));
        let same_base = known.filter(|known| known.base.as_ptr() == Arc::as_ptr(members.base_set()));
        let held = match (same_members, same_base) {
            (Some(known), _) => known.held.clone(),
            (None, known) => {
                let base: FileRef = match known {
                    Some(known) => known.held.base.clone(),
                    None => ids::write_base(&self.folder, members.base_set())?,
                };
                Held { base, turned: ids::write_turned(&self.folder, members)? }
            }
        };
        let base = Arc::downgrade(members.base_set());
        written.insert(place, Written { base, members: Arc::downgrade(members), held: held.clone() });
        Ok(held)
    }
}

fn names(held: &Held, name: &str) -> bool {
    held.files().any(|file| file == name)
}

fn copied_audience(audience: &Audience, held: Option<Held>) -> CopiedAudience {
    CopiedAudience {
        key: audience.key.to_string(),
        kind: audience.kind.as_str().to_owned(),
        version: audience.version,
        generation: audience.generation,
        size: audience.size,
        held,
    }
}

fn copied_flag(flag: &CompiledFlag) -> CopiedFlag {
    let text = |why: &Option<Arc<str>>| why.as_deref().map(str::to_owned);
    CopiedFlag {
        number: flag.number,
        key: flag.key.to_string(),
        version: flag.version,
        document: flag.json.to_string(),
        state: flag.state.as_str().to_owned(),
        stage: flag.stage,
        updated_at: flag.updated_at,
        updated_by: flag.updated_by.to_string(),
        broken: text(&flag.broken),
        frozen: text(&flag.frozen),
    }
}
