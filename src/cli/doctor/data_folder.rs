//! The data folder: who may look in, and who holds it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, access};

use super::Check;
use crate::cli::folder;
use crate::clock::rfc3339;
use crate::live::disk::{self, Found};
use crate::settings::Settings;

const NAME: &str = "data folder";

pub(super) fn checks(settings: &Settings) -> Vec<Check> {
    let path = &settings.data_dir;
    let shown = path.display();
    let about = match fs::metadata(path) {
        Ok(about) if about.is_dir() => about,
        Ok(_) => return vec![Check::fail(NAME, format!("{shown} is no folder"), "give another --data-dir")],
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let advice = "`huidu serve` makes it; if there should be one, give the right --data-dir";
            return vec![Check::warn(NAME, format!("{shown} is not there yet"), advice)];
        }
        Err(error) => {
            return vec![Check::fail(NAME, format!("{shown}: {error}"), "give this user the right to it")];
        }
    };
    let mut checks = vec![permissions(path, about.mode())];
    checks.push(match folder::used_with(path) {
        Ok(Some(id)) => Check::ok(NAME, format!("used with the database {id}")),
        Ok(None) => Check::ok(NAME, "not used yet"),
        Err(error) => Check::fail(NAME, format!("{error:#}"), "give this user the right to read it"),
    });
    checks.push(last_good(disk::find(path, folder::used_with(path).ok().flatten().as_deref())));
    checks.push(holder(path));
    checks
}

/// The copy that a service could start from while the database is away.
fn last_good(found: Found) -> Check {
    const NAME: &str = "last good";
    let copy = match found {
        Found::Nothing => return Check::ok(NAME, "not on disk yet; `huidu serve` writes it"),
        Found::Ignored(error) => {
            let advice =
                "with the database, `huidu serve` writes it again; without it, nothing could be decided";
            return Check::warn(NAME, format!("it would be ignored: {error}"), advice);
        }
        Found::Good(copy) => copy,
    };
    let flags: usize = copy.environments.iter().map(|environment| environment.flags.len()).sum();
    let found = format!(
        "written at {}: {} environments, {flags} flags, {} keys",
        rfc3339(copy.written_at),
        copy.environments.len(),
        copy.keys.iter().filter(|key| key.revoked_at.is_none()).count()
    );
    match copy.damaged.first() {
        None => Check::ok(NAME, found),
        Some((audience, error)) => {
            let found = format!(
                "{found}; {} audiences cannot be read, such as {audience}: {error}",
                copy.damaged.len()
            );
            Check::warn(NAME, found, "with the database, `huidu serve` writes them again")
        }
    }
}

fn permissions(path: &Path, mode: u32) -> Check {
    let shown = path.display();
    if access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Check::fail(
            NAME,
            format!("{shown} cannot be read and written by this user"),
            "run as the user that owns it",
        );
    }
    if mode & 0o077 == 0 {
        Check::ok(NAME, format!("{shown}, for its owner only"))
    } else {
        Check::warn(
            NAME,
            format!(
                "{shown} is open to others (mode {:03o}): the database in it holds secrets",
                mode & 0o777
            ),
            format!("chmod 700 {shown}"),
        )
    }
}

/// Whether a service holds the folder. Only looked at, never tried: a service that starts at this moment must not
/// find the lock taken.
fn holder(path: &Path) -> Check {
    let Ok(lock) = fs::metadata(path.join("huidu.lock")) else {
        return Check::ok(NAME, "no service holds it");
    };
    let Ok(locks) = fs::read_to_string("/proc/locks") else {
        return Check::ok(NAME, "whether a service holds it cannot be seen here");
    };
    match held_by(&locks, lock.ino()) {
        Some(process) => Check::ok(NAME, format!("a running service holds it (process {process})")),
        None => Check::ok(NAME, "no service holds it"),
    }
}

/// The process that holds a lock on the file `inode`, from the kernel's list.
fn held_by(locks: &str, inode: u64) -> Option<&str> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().filter(|word| *word != "->").skip(1);
        let (kind, _, _, process, file) =
            (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
        let own = file.rsplit(':').next()?.parse::<u64>().ok()?;
        (kind == "FLOCK" && own == inode).then_some(process)
    })
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_in_the_kernels_list() {
        let locks = "1: POSIX  ADVISORY  READ 77 fe:00:42 128 128\n\
                     2: FLOCK  ADVISORY  WRITE 4711 fe:00:1442 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 4712 fe:00:1442 0 EOF\n";
        for (inode, process) in [(1_442, Some("4711")), (42, None), (442, None)] {
            assert_eq!(held_by(locks, inode), process, "{inode}");
        }
        assert_eq!(held_by("no list of locks\n\n", 1), None);
    }

    #[test]
    fn a_folder_that_others_can_open_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(permissions(folder.path(), 0o40_700).state, State::Ok);
        let open = permissions(folder.path(), 0o40_755);
        assert_eq!(open.state, State::Warn);
        assert!(open.found.contains("mode 755"), "{open:?}");
        assert_eq!(permissions(Path::new("/nowhere/at/all"), 0o40_700).state, State::Fail);
    }
}
