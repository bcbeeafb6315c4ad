//! What every command that opens the database does first: inspect, open, migrate, make the first content.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use secrecy::ExposeSecret as _;

use super::folder;
use crate::clock::Clock;
use crate::manage::first_start::{FirstKeys, add_bootstrap_key, first_start};
use crate::random::SystemRandom;
use crate::settings::{Settings, UnitIds};
use crate::store::sqlite::inspect;
use crate::store::{Deadlines, Identity, OpenOptions, Store, open};

/// An opened database.
pub(super) struct Started {
    /// The database.
    pub(super) store: Store,
    /// Who it is.
    pub(super) identity: Identity,
    /// The first keys, where this was its first start.
    pub(super) first_keys: Option<FirstKeys>,
}

/// Opens the database of `settings`; one that was never used gets its first content.
pub(super) async fn start(
    settings: &Settings,
    used_with: Option<&str>,
    clock: &dyn Clock,
) -> anyhow::Result<Started> {
    let url = settings.database();
    let url = url.expose_secret();
    if let Some(file) = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")) {
        let file = Path::new(file);
        let state = inspect(file)
            .await
            .with_context(|| format!("the database {} cannot be inspected", file.display()))?;
        folder::admit(file, &state, used_with.is_some())?;
    }
    let call = Duration::from_millis(settings.database_timeout_ms);
    let options = OpenOptions {
        create: true,
        connections: settings.database_connections,
        deadlines: Deadlines { read: call, write: call, ..Deadlines::default() },
    };
    let store = open(url, &options).await.context("the database cannot be opened")?;
    store.ping().await.context("the database does not answer: is it there, and is `database_url` right?")?;
    store.migrate().await.context("the database cannot be migrated")?;
    let mode = mode(settings);
    let known = store.identity().await.context("the database cannot be read")?;
    if let (None, Some(used_with)) = (&known, used_with) {
        bail!(
            "the database is empty, though this data folder was used before (with the database {used_with}): \
             give the right --database-url, or another --data-dir to start anew"
        );
    }
    let bootstrap = settings.bootstrap_admin_key.as_ref();
    let first_keys = match known {
        Some(_) => None,
        None => first_start(&store, &SystemRandom, clock.now_ms(), mode, bootstrap.is_some())
            .await
            .context("the database could not get its first content")?,
    };
    let identity = store.identity().await?.context("the database has no identity")?;
    if used_with.is_some_and(|used_with| used_with != identity.database_id) {
        bail!(
            "this data folder belongs to another database ({}): give the right --database-url, or another --data-dir",
            used_with.unwrap_or_default()
        );
    }
    if identity.unit_ids != mode {
        bail!(
            "the database holds unit ids `{}`, the setting `unit_ids` says `{mode}`: the two cannot be mixed; set it to `{}`",
            identity.unit_ids,
            identity.unit_ids
        );
    }
    if let Some(key) = bootstrap {
        add_bootstrap_key(&store, key.expose_secret(), clock.now_ms())
            .await
            .context("the bootstrap key could not be added")?;
    }
    Ok(Started { store, identity, first_keys })
}

fn mode(settings: &Settings) -> &'static str {
    match settings.unit_ids {
        UnitIds::Plain => "plain",
        UnitIds::Hashed => "hashed",
    }
}
