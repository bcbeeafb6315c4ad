//! `huidu key`: opens the database itself; a running service sees the change within a second.

use anyhow::{Context as _, bail};
use clap::Subcommand;

use super::{folder, say, start};
use crate::access::{Actor, KeyTable, Role};
use crate::clock::{MachineClock, parse_rfc3339};
use crate::live::Live;
use crate::manage::keys::KeyWish;
use crate::manage::{Caller, Manage};
use crate::random::SystemRandom;
use crate::settings::Settings;
use crate::telemetry::metrics::Metrics;
use std::sync::Arc;

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key and show it: the only time that it can be seen
    Create {
        /// Its name, for people
        #[arg(long)]
        name: String,
        /// What it may do: client, server, analyst, editor or admin
        #[arg(long, value_parser = parse_role)]
        role: Role,
        /// The environment it belongs to; all where left out
        #[arg(long, value_name = "KEY")]
        environment: Option<String>,
        /// When it ends by itself, as RFC 3339
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        expires_at: Option<i64>,
        #[command(flatten)]
        settings: Box<Settings>,
    },
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "a role is client, server, analyst, editor or admin".to_owned())
}

fn parse_time(text: &str) -> Result<i64, String> {
    parse_rfc3339(text).ok_or_else(|| "a time is RFC 3339, such as 2026-12-31T16:00:00Z".to_owned())
}

pub(super) fn run(command: KeyCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        KeyCommand::Create { name, role, environment, expires_at, settings } => {
            runtime.block_on(create(name, role, environment.as_deref(), expires_at, &settings))
        }
    }
}

async fn create(
    name: String,
    role: Role,
    environment: Option<&str>,
    expires_at: Option<i64>,
    settings: &Settings,
) -> anyhow::Result<()> {
    let used_with = folder::used_with(&settings.data_dir)?;
    if used_with.is_none() && settings.is_embedded() {
        bail!(
            "there is no database in {} yet: `huidu serve` makes it and shows its first keys",
            settings.data_dir.display()
        );
    }
    let store = start::start(settings, used_with.as_deref()).await?.store;
    let environments = store.environments().await?;
    let environment = match environment {
        None => None,
        Some(key) => {
            let known = environments.iter().find(|row| row.key == key).map(|row| row.number);
            Some(known.with_context(|| format!("there is no environment {key:?}"))?)
        }
    };
    let clock: crate::clock::SharedClock = Arc::new(MachineClock);
    let live = Arc::new(Live::new(store.clone(), Metrics::new()?, clock.clone()).await?);
    let manage =
        Manage::new(store.clone(), live, Arc::new(KeyTable::default()), clock, Arc::new(SystemRandom));
    let caller = Caller { name: "huidu key create".to_owned(), request_id: None, reason: None };
    let operator = Actor {
        id: "operator".into(),
        name: "operator".into(),
        role: Role::Admin,
        environment: None,
        expires_at: None,
    };
    let made =
        manage.create_key(&caller, &operator, &KeyWish { name, role, environment, expires_at }).await?;
    say(&made.text);
    store.close().await;
    Ok(())
}
