//! Files that are there whole or not at all, and for their owner only.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::DiskError;

/// The ending of a file that is being written.
pub(super) const PART: &str = ".part";

fn of(path: &Path) -> impl FnOnce(std::io::Error) -> DiskError {
    let path = path.to_owned();
    move |error| DiskError::Io { path, error }
}

/// Makes the folder, for its owner only.
pub(super) fn make_folder(folder: &Path) -> Result<(), DiskError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(of(folder))
}

/// Writes `name` under another name, syncs it, and renames it. [`sync_folder`] makes the name last.
pub(super) fn write(
    folder: &Path,
    name: &str,
    content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), DiskError> {
    let (part, whole) = (folder.join(format!("{name}{PART}")), folder.join(name));
    let write = || -> std::io::Result<()> {
        // One that a crash left may have any content and rights.
        match fs::remove_file(&part) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options().create_new(true).write(true).mode(0o600).open(&part)?;
        let mut out = BufWriter::new(file);
        content(&mut out)?;
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&part, &whole)
    };
    write().map_err(|error| {
        // What is half there helps nobody, and may be what fills the disk.
        drop(fs::remove_file(&part));
        of(&whole)(error)
    })
}

/// Makes the names in a folder last.
pub(super) fn sync_folder(folder: &Path) -> Result<(), DiskError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(of(folder))
}

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, DiskError> {
    fs::read(path).map_err(of(path))
}

/// Takes away every file of `folder` that `keep` does not want.
pub(super) fn sweep(folder: &Path, keep: impl Fn(&str) -> bool) -> Result<(), DiskError> {
    for entry in fs::read_dir(folder).map_err(of(folder))? {
        let path = entry.map_err(of(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if !name.is_some_and(&keep) {
            fs::remove_file(&path).map_err(of(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_whole_private_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("deep/er");
        make_folder(&at).unwrap();
        fs::write(at.join("state.part"), "left by a crash").unwrap();
        write(&at, "state", |out| out.write_all(b"one")).unwrap();
        let failing = |out: &mut dyn Write| {
            out.write_all(b"half of two")?;
            Err(std::io::Error::other("no room"))
        };
        assert!(write(&at, "state", failing).unwrap_err().to_string().contains("no room"));
        sync_folder(&at).unwrap();
        assert_eq!(read(&at.join("state")).unwrap(), b"one");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&at), mode(&at.join("state"))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&at).unwrap().count(), 1);
        fs::write(at.join("old.base"), "").unwrap();
        sweep(&at, |name| name == "state").unwrap();
        assert_eq!(fs::read_dir(&at).unwrap().count(), 1);
    }
}
