//! Opening a database that is there already, for the commands that work on it beside a service or without one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use secrecy::ExposeSecret as _;

use super::folder;
use crate::settings::Settings;
use crate::store::sqlite::inspect;
use crate::store::{Deadlines, OpenOptions, Store, open};

/// Longest wait for another instance's migrations.
const MIGRATE_MAX: Duration = Duration::from_secs(600);

/// The file of an embedded database; `None` for PostgreSQL.
pub(super) fn file(settings: &Settings) -> Option<PathBuf> {
    let url = settings.database();
    let url = url.expose_secret();
    url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).map(PathBuf::from)
}

/// Opens the database of `settings` as it is: nothing is made, migrated or seeded.
pub(super) async fn open_existing(settings: &Settings) -> anyhow::Result<Store> {
    let used_with = folder::used_with(&settings.data_dir)?;
    if let Some(file) = file(settings) {
        admit(&file, used_with.is_some()).await?;
    }
    let call = Duration::from_millis(settings.database_timeout_ms);
    let options = OpenOptions {
        create: false,
        connections: settings.database_connections,
        deadlines: Deadlines { read: call, write: call, migrate: MIGRATE_MAX },
    };
    let url = settings.database();
    let store = open(url.expose_secret(), &options).await.context("the database cannot be opened")?;
    store.ping().await.context("the database does not answer: is it there, and is `database_url` right?")?;
    Ok(store)
}

async fn admit(file: &Path, used: bool) -> anyhow::Result<()> {
    if !used && !file.exists() {
        bail!("there is no database {} yet: `huidu serve` makes it and shows its first keys", file.display());
    }
    let state = inspect(file)
        .await
        .with_context(|| format!("the database {} cannot be inspected", file.display()))?;
    folder::admit(file, &state, used)
}

/// Opens it, and refuses one that this release cannot work on: not migrated, migrated by a newer one, never served,
/// or another one than the data folder was used with.
pub(super) async fn open_ready(settings: &Settings) -> anyhow::Result<Store> {
    let store = open_existing(settings).await?;
    let state = store.migrations().await.context("the database cannot be read")?;
    if let Some(unknown) = state.unknown.last() {
        bail!(
            "the database was migrated by a newer huidu (migration {unknown} is unknown here): use that one"
        );
    }
    if let (false, Some(last)) = (state.at == 0, state.pending.last()) {
        bail!(
            "the database is at migration {}, this huidu needs {}: run `huidu migrate` first",
            state.at,
            last.version
        );
    }
    let identity = if state.at == 0 { None } else { store.identity().await? };
    let Some(identity) = identity else {
        bail!("the database has no content yet: start `huidu serve` once, which shows its first keys");
    };
    match folder::used_with(&settings.data_dir)? {
        Some(used_with) if used_with != identity.database_id => bail!(
            "the data folder {} belongs to another database ({used_with}): give the right --database-url or --data-dir",
            settings.data_dir.display()
        ),
        _ => Ok(store),
    }
}

/// Runs one command's work on a thread of its own making.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
