//! The data folder: held by one service at a time, and never seeded anew once it was used.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::store::sqlite::FileState;

/// A data folder that is held until this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing, and takes it for this process alone.
    pub(super) fn hold(path: &Path) -> anyhow::Result<Self> {
        // The database in it holds secrets: nobody else may look in.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("the data folder {} cannot be made", path.display()))?;
        let lock = path.join("huidu.lock");
        let file = File::options().create(true).truncate(false).write(true).open(&lock);
        let file = file.with_context(|| format!("{} cannot be opened", lock.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(fs::TryLockError::WouldBlock) => {
                bail!(
                    "another huidu serves from {}: stop it, or give this one another --data-dir",
                    path.display()
                )
            }
            Err(fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} cannot be locked", lock.display()))
            }
        }
    }

    /// The database that this folder has been used with, if it was.
    pub(super) fn used_with(&self) -> anyhow::Result<Option<String>> {
        used_with(&self.path)
    }

    /// Writes down which database this folder is used with.
    pub(super) fn remember(&self, database_id: &str) -> anyhow::Result<()> {
        let (part, whole) = (self.path.join("huidu.id.part"), marker(&self.path));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&part)?;
            file.write_all(database_id.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, &whole)?;
            File::open(&self.path)?.sync_all()
        };
        write().with_context(|| format!("{} cannot be written", whole.display()))
    }
}

/// The database that the folder at `path` has been used with, if it was.
pub(super) fn used_with(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(marker(path)) {
        Ok(id) => Ok(Some(id.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", marker(path).display())),
    }
}

fn marker(path: &Path) -> PathBuf {
    path.join("huidu.id")
}

/// Refuses a database file that must not be opened, with a sentence that says what to do.
pub(super) fn admit(file: &Path, state: &FileState, used: bool) -> anyhow::Result<()> {
    const RESTORE: &str =
        "restore it from a backup; to start anew, give another --data-dir, or move this folder away";
    let name = file.display();
    match (state, used) {
        (FileState::Huidu, _) | (FileState::Missing | FileState::Empty, false) => Ok(()),
        (FileState::Missing, true) => {
            bail!("the database {name} is gone, though this data folder was used before: {RESTORE}")
        }
        (FileState::Empty, true) => {
            bail!("the database {name} is empty, though this data folder was used before: {RESTORE}")
        }
        (FileState::Foreign, _) => bail!("{name} is no database of huidu; it was left as it is: {RESTORE}"),
        (FileState::Corrupt(why), _) => {
            bail!("the database {name} is damaged ({why}); it was left as it is: {RESTORE}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_once_and_remembers() {
        let folder = tempfile::tempdir().unwrap();
        let held = Folder::hold(folder.path()).unwrap();
        assert_eq!(held.used_with().unwrap(), None);
        held.remember("db-1").unwrap();
        assert_eq!(held.used_with().unwrap().as_deref(), Some("db-1"));
        assert!(Folder::hold(folder.path()).unwrap_err().to_string().contains("another huidu serves"));
        drop(held);
        assert!(Folder::hold(folder.path()).is_ok());
    }

    #[test]
    fn only_a_new_folder_is_seeded() {
        let file = Path::new("huidu.db");
        let corrupt = FileState::Corrupt("x".into());
        for (state, used, admitted) in [
            (&FileState::Missing, false, true),
            (&FileState::Empty, false, true),
            (&FileState::Huidu, false, true),
            (&FileState::Huidu, true, true),
            (&FileState::Missing, true, false),
            (&FileState::Empty, true, false),
            (&FileState::Foreign, false, false),
            (&FileState::Foreign, true, false),
            (&corrupt, false, false),
            (&corrupt, true, false),
        ] {
            let outcome = admit(file, state, used);
            assert_eq!(outcome.is_ok(), admitted, "{state:?} {used}");
            if let Err(error) = outcome {
                assert!(error.to_string().contains("another --data-dir"), "{error}");
            }
        }
    }
}
