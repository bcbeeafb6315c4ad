//! The program and the machine: versions, the hash, open files, room on the disks.

use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};

use super::Check;
use crate::cli::database;
use crate::engine::bucket;
use crate::report::sentence::figure::count;
use crate::settings::Settings;

/// Open files that a service needs beside its connections: database, log, watchers.
const FILES_BESIDE: u64 = 100;
/// Less room than this, and commits may fail at any moment.
const DISK_BYTES_MIN: u64 = 64 << 20;
/// Less room than this deserves a look.
const DISK_BYTES_GOOD: u64 = 1 << 30;

pub(super) fn checks(settings: &Settings) -> Vec<Check> {
    let mut checks = vec![
        Check::ok("version", format!("huidu {} on {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH)),
        hash(bucket::self_check()),
        files(getrlimit(Resource::Nofile).current, settings.connections_max),
    ];
    let mut folders = vec![settings.data_dir.clone()];
    folders.extend(database::file(settings).and_then(|file| file.parent().map(Path::to_owned)));
    folders.dedup();
    checks.extend(folders.iter().filter_map(|folder| disk(folder)));
    checks
}

fn hash(good: bool) -> Check {
    if good {
        Check::ok("hash", "buckets are those of the reference")
    } else {
        Check::fail(
            "hash",
            "buckets are not those of the reference",
            "do not serve with this build on this machine",
        )
    }
}

/// Whether connections may run out of descriptors; `None`: no limit.
fn files(limit: Option<u64>, connections_max: usize) -> Check {
    let needed = FILES_BESIDE.saturating_add(u64::try_from(connections_max).unwrap_or(u64::MAX));
    match limit {
        Some(limit) if limit < needed => Check::warn(
            "open files",
            format!("{} allowed, connections_max {connections_max} needs {}", count(limit), count(needed)),
            format!("raise the limit (`ulimit -n {needed}`, LimitNOFILE), or lower connections_max"),
        ),
        Some(limit) => Check::ok("open files", format!("{} allowed, {} needed", count(limit), count(needed))),
        None => Check::ok("open files", "without a limit"),
    }
}

/// The room on the disk that holds `folder`, or will.
fn disk(folder: &Path) -> Option<Check> {
    let there: PathBuf = folder.ancestors().find(|part| part.exists()).map(Path::to_owned)?;
    let disk = statvfs(&there).ok()?;
    Some(room(&there, disk.f_bavail.saturating_mul(disk.f_frsize)))
}

fn room(folder: &Path, free: u64) -> Check {
    let found = format!("{} MiB free for {}", count(free >> 20), folder.display());
    let advice = "make room: a full disk refuses changes and events, while decisions go on";
    match free {
        0..DISK_BYTES_MIN => Check::fail("disk", found, advice),
        DISK_BYTES_MIN..DISK_BYTES_GOOD => Check::warn("disk", found, advice),
        _ => Check::ok("disk", found),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn few_descriptors_and_full_disks_are_told() {
        for (limit, connections, state) in [
            (Some(1_024), 10_000, State::Warn),
            (Some(10_099), 10_000, State::Warn),
            (Some(10_100), 10_000, State::Ok),
            (None, 10_000, State::Ok),
        ] {
            assert_eq!(files(limit, connections).state, state, "{limit:?}");
        }
        let folder = Path::new("/data");
        for (free, state) in [
            (0, State::Fail),
            (DISK_BYTES_MIN - 1, State::Fail),
            (DISK_BYTES_MIN, State::Warn),
            (DISK_BYTES_GOOD, State::Ok),
        ] {
            assert_eq!(room(folder, free).state, state, "{free}");
        }
        assert_eq!((hash(true).state, hash(false).state), (State::Ok, State::Fail));
    }
}
