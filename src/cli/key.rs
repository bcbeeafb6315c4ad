//! `huidu key`: works on the database itself; a running service sees the change within a second.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::database::{block_on, open_ready};
use super::output::{self, Cell, Output, Tone, say, say_json, table};
use crate::access::{Actor, KeyTable, Role};
use crate::clock::{Clock as _, MachineClock, SharedClock, parse_rfc3339, rfc3339};
use crate::live::Live;
use crate::manage::keys::KeyWish;
use crate::manage::{Caller, Manage, ManageError};
use crate::random::SystemRandom;
use crate::settings::Settings;
use crate::store::{EnvironmentRow, KeyRow, Store};
use crate::telemetry::metrics::Metrics;

/// Fewest characters of an id that name its key.
const ID_BEGINNING_MIN: usize = 4;
/// Keys of one reading.
const PAGE: usize = 1_000;

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
        /// Write JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// List all keys, revoked ones too; their texts are known to nobody
    List {
        /// Write JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Revoke a key: a running service refuses it within a second, for ever
    Revoke {
        /// Its id, as `huidu key list` shows it; the beginning is enough where only one key has it
        id: String,
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

pub(super) fn run(command: KeyCommand, output: Output) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Create { name, role, environment, expires_at, json, settings } => {
            let wish = Wish { name, role, environment, expires_at };
            block_on(create(wish, json, &settings))?;
        }
        KeyCommand::List { json, settings } => block_on(list(json, &settings, output))?,
        KeyCommand::Revoke { id, settings } => block_on(revoke(&id, &settings))?,
    }
    Ok(ExitCode::SUCCESS)
}

struct Wish {
    name: String,
    role: Role,
    environment: Option<String>,
    expires_at: Option<i64>,
}

/// The opened database, and who works on it.
struct Opened {
    store: Store,
    manage: Manage,
    environments: Vec<EnvironmentRow>,
}

impl Opened {
    async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let store = open_ready(settings).await?;
        let clock: SharedClock = Arc::new(MachineClock);
        let live = Arc::new(Live::new(store.clone(), Metrics::new()?, clock.clone()));
        let keys = Arc::new(KeyTable::default());
        let manage = Manage::new(store.clone(), live, keys, clock, Arc::new(SystemRandom));
        let environments = store.environments().await?;
        Ok(Self { store, manage, environments })
    }

    /// The environment of that number, as people name it.
    fn name_of(&self, number: i64) -> String {
        let row = self.environments.iter().find(|row| row.number == number);
        row.map_or_else(|| number.to_string(), |row| row.key.clone())
    }
}

/// Who has the machine may do everything.
fn operator() -> Actor {
    Actor {
        id: "operator".into(),
        name: "operator".into(),
        role: Role::Admin,
        environment: None,
        expires_at: None,
    }
}

fn caller(command: &str) -> Caller {
    Caller { name: format!("huidu key {command}"), request_id: None, reason: None }
}

async fn create(wish: Wish, as_json: bool, settings: &Settings) -> anyhow::Result<()> {
    let opened = Opened::open(settings).await?;
    let environment = match &wish.environment {
        None => None,
        Some(key) => {
            let known = opened.environments.iter().find(|row| row.key == *key).map(|row| row.number);
            Some(known.with_context(|| format!("there is no environment {key:?}"))?)
        }
    };
    let Wish { name, role, expires_at, .. } = wish;
    let wish = KeyWish { name, role, environment, expires_at };
    let made = opened.manage.create_key(&caller("create"), &operator(), &wish).await?;
    if as_json {
        say_json(&json!({
            "id": made.id, "key": made.text, "name": wish.name, "role": wish.role.as_str(),
            "environment": environment.map(|number| opened.name_of(number)),
            "created_at": rfc3339(made.created_at), "expires_at": wish.expires_at.map(rfc3339),
        }));
    } else {
        say(&made.text);
    }
    opened.store.close().await;
    Ok(())
}

async fn all_keys(opened: &Opened) -> Result<Vec<KeyRow>, ManageError> {
    let mut rows = Vec::new();
    let mut cursor = None;
    loop {
        let page = opened.manage.list_keys(&operator(), cursor.as_deref(), PAGE).await?;
        rows.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(rows);
        }
    }
}

async fn list(as_json: bool, settings: &Settings, output: Output) -> anyhow::Result<()> {
    let opened = Opened::open(settings).await?;
    let rows = all_keys(&opened).await?;
    if as_json {
        let items: Vec<Value> = rows.iter().map(|row| key_json(&opened, row)).collect();
        say_json(&json!({"items": items, "next_cursor": null}));
    } else {
        let now_ms = MachineClock.now_ms();
        let rows: Vec<Vec<Cell>> = rows.iter().map(|row| key_line(&opened, row, now_ms)).collect();
        say(&table(
            &["id", "role", "environment", "name", "ends with", "state", "made", "last used"],
            rows,
            output,
        ));
    }
    opened.store.close().await;
    Ok(())
}

fn key_json(opened: &Opened, row: &KeyRow) -> Value {
    json!({
        "id": row.id, "name": row.name, "role": row.role,
        "environment": row.environment.map(|number| opened.name_of(number)),
        "hint": row.hint, "created_at": rfc3339(row.created_at), "created_by": row.created_by,
        "expires_at": row.expires_at.map(rfc3339), "revoked_at": row.revoked_at.map(rfc3339),
        "last_used_at": row.last_used_at.map(rfc3339),
    })
}

fn key_line(opened: &Opened, row: &KeyRow, now_ms: i64) -> Vec<Cell> {
    let (tone, state) = match (row.revoked_at, row.expires_at) {
        (Some(at), _) => (Tone::Faint, format!("revoked {}", minute(at))),
        (None, Some(at)) if at <= now_ms => (Tone::Faint, format!("expired {}", minute(at))),
        (None, Some(at)) => (Tone::Good, format!("until {}", minute(at))),
        (None, None) => (Tone::Good, "good".to_owned()),
    };
    vec![
        row.id.clone().into(),
        row.role.clone().into(),
        row.environment.map_or_else(|| "all".to_owned(), |number| opened.name_of(number)).into(),
        row.name.clone().into(),
        format!("...{}", row.hint).into(),
        Cell::toned(tone, state),
        minute(row.created_at).into(),
        row.last_used_at.map_or_else(|| "never".to_owned(), minute).into(),
    ]
}

/// A time to the minute, in UTC.
fn minute(ms: i64) -> String {
    output::minute(&rfc3339(ms))
}

async fn revoke(id: &str, settings: &Settings) -> anyhow::Result<()> {
    let opened = Opened::open(settings).await?;
    let rows = all_keys(&opened).await?;
    let found: Vec<&KeyRow> =
        rows.iter().filter(|row| row.id.starts_with(id) && id.len() >= ID_BEGINNING_MIN).collect();
    let row = match found.as_slice() {
        [only] => *only,
        [] => bail!("there is no key whose id begins with {id:?}: `huidu key list` shows them"),
        several => bail!("{} keys have ids that begin with {id:?}: give more of it", several.len()),
    };
    opened.manage.revoke_key(&caller("revoke"), &operator(), &row.id).await?;
    let of = row.environment.map_or_else(|| "all environments".to_owned(), |number| opened.name_of(number));
    say(&match row.revoked_at {
        Some(at) => format!("the key {} ({}) was revoked already, {}", row.id, row.name, minute(at)),
        None => format!("the {} key {} ({}, of {of}) is revoked", row.role, row.id, row.name),
    });
    opened.store.close().await;
    Ok(())
}
