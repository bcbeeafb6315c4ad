//! The last good state on disk: what this instance decides by, so that it can start while the database is away. It is
//! a copy and never the truth: one that is torn, foreign or of a newer form is ignored, and said to be.
//!
//! One file holds the state, and each audience in memory has files of its own beside it, named by their contents, so
//! that a change of a flag does not write a hundred megabytes again. The state names them with their hashes; those
//! that it names no more are swept.

mod file;
mod frame;
mod ids;
mod state;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::map::Map;
use crate::engine::membership::Members;
use crate::store::{Identity, KeyRow, SecretRow};

pub use state::{CopiedAudience, CopiedEnvironment, CopiedFlag};
pub use writer::{Gathered, Writer};

/// The folder of the copy, in the data folder.
const FOLDER: &str = "last-good";
/// The file of the state, in that folder.
const STATE: &str = "state";

/// Why a copy cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The disk fails.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is not what it was written as.
    #[error("{0}")]
    Damaged(String),
    /// A newer release wrote it.
    #[error("a newer huidu wrote it (format {0}, this one reads {format})", format = frame::FORMAT)]
    Newer(u32),
    /// It belongs to another database than the data folder.
    #[error("it belongs to the database {0}, not to this data folder's")]
    Foreign(String),
}

/// What is found on disk.
pub enum Found {
    /// There is no copy.
    Nothing,
    /// There is one that is ignored, and why.
    Ignored(DiskError),
    /// A whole one, of the right database.
    Good(Box<Copy>),
}

/// A copy that was read.
pub struct Copy {
    /// The database that it is of.
    pub identity: Identity,
    /// When it was written, milliseconds since 1970.
    pub written_at: i64,
    /// When an operator last said that the database was restored on purpose; 0: never.
    pub restored_at: i64,
    /// The number of the last change of keys that it holds.
    pub keys_sequence: i64,
    /// All keys, revoked ones included.
    pub keys: Vec<KeyRow>,
    /// All secrets.
    pub secrets: Vec<SecretRow>,
    /// What each environment decides by.
    pub environments: Vec<CopiedEnvironment>,
    /// Members of audiences, by environment and key; what is missing here is unreadable.
    pub(super) members: Map<(i64, String), Arc<Members>>,
    /// Audiences whose files cannot be read, and why.
    pub damaged: Vec<(String, DiskError)>,
}

/// The folder of the copy in a data folder.
#[must_use]
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(FOLDER)
}

/// Reads the copy in a data folder that was used with the database `database_id`, if it was used.
#[must_use]
pub fn find(data_dir: &Path, database_id: Option<&str>) -> Found {
    let folder = folder(data_dir);
    let path = folder.join(STATE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return Found::Ignored(DiskError::Io { path, error }),
    };
    let copy = state::read(&bytes).and_then(|copy| match database_id {
        Some(id) if id == copy.identity.database_id => Ok(copy),
        _ => Err(DiskError::Foreign(copy.identity.database_id)),
    });
    match copy {
        Ok(mut copy) => {
            copy.read_members(&folder);
            Found::Good(Box::new(copy))
        }
        Err(error) => Found::Ignored(error),
    }
}

impl Copy {
    fn read_members(&mut self, folder: &Path) {
        let audiences = self.environments.iter().flat_map(|environment| {
            environment.audiences.iter().map(move |audience| (environment, audience))
        });
        let (mut members, mut damaged) = (Map::default(), Vec::new());
        for (environment, audience) in audiences {
            let Some(held) = &audience.held else { continue };
            match ids::read(folder, held) {
                Ok(read) => {
                    members.insert((environment.number, audience.key.clone()), Arc::new(read));
                }
                Err(error) => damaged.push((format!("{}/{}", environment.key, audience.key), error)),
            }
        }
        (self.members, self.damaged) = (members, damaged);
    }
}
