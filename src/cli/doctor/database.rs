//! The database: reachable, durable, of the right form, with a clock that agrees.

use secrecy::ExposeSecret as _;

use super::{Check, span};
use crate::cli::database::{file, open_existing};
use crate::cli::folder;
use crate::clock::{Clock as _, MINUTE_MS, MachineClock, SECOND_MS};
use crate::report::sentence::figure::count;
use crate::settings::{Settings, UnitIds};
use crate::store::sqlite::CHECK_BYTES_MAX;
use crate::store::{Engine, Identity, MigrationState, Store, StoreError};

const NAME: &str = "database";
/// The first SQLite in which two checkpoints at one instant cannot damage a database.
const SQLITE_MIN: [u64; 3] = [3, 51, 3];
/// Clocks that differ by more deserve a look.
const CLOCK_MS_GOOD: i64 = 5 * SECOND_MS;
/// Clocks that differ by more make leases and event times wrong.
const CLOCK_MS_MAX: i64 = 5 * MINUTE_MS;

pub(super) async fn checks(settings: &Settings) -> Vec<Check> {
    if let Some(file) = file(settings)
        && !file.exists()
        && matches!(folder::used_with(&settings.data_dir), Ok(None))
    {
        let found = format!("{} is not there yet", file.display());
        return vec![Check::warn(NAME, found, "`huidu serve` makes it")];
    }
    let store = match open_existing(settings).await {
        Ok(store) => store,
        Err(error) => {
            let words = without_password(&format!("{error:#}"), settings);
            return vec![Check::fail(NAME, words, "see `database_url` and `data_dir` below")];
        }
    };
    let mut checks = Vec::new();
    match look(&store, settings, &mut checks).await {
        Ok(()) => {}
        Err(error) => checks.push(Check::fail(NAME, error.to_string(), "see why it does not answer")),
    }
    store.close().await;
    checks
}

/// A driver's message might quote the address.
fn without_password(words: &str, settings: &Settings) -> String {
    let url = settings.database();
    let url = url.expose_secret();
    let password = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(who, _)| who);
    password.filter(|who| !who.is_empty()).map_or_else(|| words.to_owned(), |who| words.replace(who, "..."))
}

async fn look(store: &Store, settings: &Settings, checks: &mut Vec<Check>) -> Result<(), StoreError> {
    let engine = store.engine().await?;
    checks.push(version(&engine));
    if let Some(file) = file(settings) {
        checks.push(size(std::fs::metadata(&file).map_or(0, |about| about.len())));
    }
    checks.extend(store.durability().await?.iter().map(|(name, value)| durable(name, value)));
    let migrations = store.migrations().await?;
    checks.push(migrated(&migrations));
    if migrations.at == 0 {
        return Ok(());
    }
    let used_with = folder::used_with(&settings.data_dir).unwrap_or_default();
    checks.push(belongs(store.identity().await?.as_ref(), used_with.as_deref(), settings.unit_ids));
    let before = MachineClock.now_ms();
    let theirs = store.clock_ms().await?;
    let own = before.midpoint(MachineClock.now_ms());
    checks.push(clock(own, theirs, store.newest_change_ms().await?));
    Ok(())
}

fn version(engine: &Engine) -> Check {
    let found = format!("{} {} answers", engine.name, engine.version);
    let numbers = engine.version.split('.').map(|part| part.parse::<u64>().unwrap_or_default());
    if engine.name == "SQLite" && numbers.lt(SQLITE_MIN) {
        let advice =
            "build huidu with its own SQLite: before 3.51.3 two checkpoints at once can damage a database";
        return Check::fail(NAME, found, advice);
    }
    Check::ok(NAME, found)
}

fn size(bytes: u64) -> Check {
    let kib = count(bytes >> 10);
    if bytes > CHECK_BYTES_MAX {
        Check::ok(NAME, format!("the file has {kib} KiB; only its header was checked"))
    } else {
        Check::ok(NAME, format!("the file has {kib} KiB and is sound"))
    }
}

/// A setting that decides whether an acknowledged commit survives a power cut.
fn durable(name: &str, value: &str) -> Check {
    let good: &[&str] = match name {
        "journal_mode" => &["wal"],
        "synchronous" => &["2", "3"],
        "foreign_keys" => &["1"],
        "synchronous_commit" => &["on", "remote_apply", "remote_write", "local"],
        _ => &["on"],
    };
    let found = format!("{name} = {value}");
    if good.contains(&value) {
        Check::ok("durability", found)
    } else {
        let advice =
            format!("set {name} = {}: else what was acknowledged can be lost", good.first().unwrap_or(&"on"));
        Check::fail("durability", found, advice)
    }
}

fn migrated(state: &MigrationState) -> Check {
    const NAME: &str = "migrations";
    match (state.unknown.last(), state.pending.last()) {
        (Some(unknown), _) => Check::fail(
            NAME,
            format!("a newer huidu was here: migration {unknown} is unknown to this one"),
            "use that one; this one refuses to serve",
        ),
        (None, Some(last)) => Check::warn(
            NAME,
            format!("at {}, this huidu needs {}", state.at, last.version),
            "run `huidu migrate`, or let `huidu serve` do it at its start",
        ),
        (None, None) => Check::ok(NAME, format!("none pending, at {}", state.at)),
    }
}

/// Whether database, data folder and settings are those of one service.
fn belongs(identity: Option<&Identity>, used_with: Option<&str>, unit_ids: UnitIds) -> Check {
    let wanted = match unit_ids {
        UnitIds::Plain => "plain",
        UnitIds::Hashed => "hashed",
    };
    match (identity, used_with) {
        (None, Some(used_with)) => Check::fail(
            NAME,
            format!("it is empty, but the data folder was used with the database {used_with}"),
            "give the right --database-url, or restore a backup",
        ),
        (None, None) => Check::warn(NAME, "it has no content yet", "`huidu serve` makes it"),
        (Some(identity), Some(used_with)) if identity.database_id != used_with => Check::fail(
            NAME,
            format!("it is {}, but the data folder was used with {used_with}", identity.database_id),
            "give the right --database-url or --data-dir",
        ),
        (Some(identity), _) if identity.unit_ids != wanted => Check::fail(
            NAME,
            format!("it holds unit ids {}, the setting unit_ids says {wanted}", identity.unit_ids),
            format!("set unit_ids to {}", identity.unit_ids),
        ),
        (Some(identity), _) => {
            Check::ok(NAME, format!("it is {}, with unit ids {}", identity.database_id, identity.unit_ids))
        }
    }
}

/// This machine's clock against the database's, and against what was stored.
fn clock(own: i64, theirs: Option<i64>, newest: i64) -> Check {
    const NAME: &str = "clock";
    let advice = "set the clocks by NTP: leases, ends of tests and event times rest on them";
    if let Some(ms) = theirs.map(|theirs| own - theirs)
        && ms.abs() > CLOCK_MS_GOOD
    {
        let side = if ms > 0 { "ahead of" } else { "behind" };
        let found = format!("{} {side} the database's", span(ms));
        return if ms.abs() > CLOCK_MS_MAX {
            Check::fail(NAME, found, advice)
        } else {
            Check::warn(NAME, found, advice)
        };
    }
    if newest - own > CLOCK_MS_GOOD {
        let found = format!("the newest stored change lies {} in the future", span(newest - own));
        return Check::warn(NAME, found, advice);
    }
    match theirs {
        Some(theirs) => Check::ok(NAME, format!("{} from the database's", span(own - theirs))),
        None => Check::ok(NAME, "not behind the newest stored change"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State::{Fail, Ok, Warn};
    use super::*;
    use crate::store::MigrationInfo;

    #[test]
    fn an_old_sqlite_fails() {
        for (name, version_text, state) in [
            ("SQLite", "3.51.3", Ok),
            ("SQLite", "3.52.0", Ok),
            ("SQLite", "4.0.0", Ok),
            ("SQLite", "3.51.2", Fail),
            ("SQLite", "3.40.1", Fail),
            ("PostgreSQL", "15.18 (Debian 15.18-1)", Ok),
        ] {
            let engine = Engine { name, version: version_text.to_owned() };
            assert_eq!(version(&engine).state, state, "{version_text}");
        }
    }

    #[test]
    fn what_loses_commits_fails() {
        for (name, value, state) in [
            ("journal_mode", "wal", Ok),
            ("journal_mode", "delete", Fail),
            ("synchronous", "2", Ok),
            ("synchronous", "1", Fail),
            ("fsync", "on", Ok),
            ("fsync", "off", Fail),
            ("synchronous_commit", "off", Fail),
            ("synchronous_commit", "remote_apply", Ok),
            ("full_page_writes", "off", Fail),
        ] {
            assert_eq!(durable(name, value).state, state, "{name} {value}");
        }
    }

    #[test]
    fn migrations_that_wait_or_are_unknown_are_told() {
        let info = MigrationInfo { version: 2, description: "x".into() };
        for (pending, unknown, state) in
            [(vec![], vec![], Ok), (vec![info.clone()], vec![], Warn), (vec![info], vec![9], Fail)]
        {
            assert_eq!(migrated(&MigrationState { at: 1, pending, unknown }).state, state);
        }
    }

    #[test]
    fn a_foreign_folder_or_another_mode_fails() {
        let identity = Identity { database_id: "db-1".into(), unit_ids: "plain".into(), created_at: 0 };
        for (known, used_with, unit_ids, state) in [
            (Some(&identity), Some("db-1"), UnitIds::Plain, Ok),
            (Some(&identity), None, UnitIds::Plain, Ok),
            (Some(&identity), Some("db-2"), UnitIds::Plain, Fail),
            (Some(&identity), Some("db-1"), UnitIds::Hashed, Fail),
            (None, Some("db-1"), UnitIds::Plain, Fail),
            (None, None, UnitIds::Plain, Warn),
        ] {
            assert_eq!(belongs(known, used_with, unit_ids).state, state, "{used_with:?}");
        }
    }

    #[test]
    fn clocks_that_differ_are_told() {
        let now = 1_795_507_200_000;
        for (theirs, newest, state, words) in [
            (None, 0, Ok, "not behind"),
            (None, now + 4_000, Ok, "not behind"),
            (None, now + 3_600_000, Warn, "60 min in the future"),
            (Some(now - 20), 0, Ok, "20 ms"),
            (Some(now - 6_000), 0, Warn, "6000 ms ahead of"),
            (Some(now + 400_000), 0, Fail, "400 s behind"),
        ] {
            let check = clock(now, theirs, newest);
            assert!(check.state == state && check.found.contains(words), "{check:?}");
        }
    }
}
