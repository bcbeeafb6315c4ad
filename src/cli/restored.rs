//! `huidu restored`: an operator's word that the database was restored from a backup on purpose. Services that know a
//! newer state go on with it until then.

use std::process::ExitCode;

use serde_json::json;

use super::database::{block_on, open_ready};
use super::folder;
use super::output::{say, say_json};
use crate::clock::{Clock as _, MachineClock};
use crate::live::disk::{self, Found};
use crate::manage::restored::{Restored, mark_restored};
use crate::settings::Settings;

/// Arguments of `huidu restored`.
#[derive(Debug, clap::Args)]
pub(super) struct RestoredArguments {
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Box<Settings>,
}

pub(super) fn run(arguments: &RestoredArguments) -> anyhow::Result<ExitCode> {
    let done = block_on(mark(&arguments.settings))?;
    if arguments.json {
        let rows: Vec<_> = done
            .iter()
            .map(|row| json!({"environment": row.environment, "from": row.from, "to": row.to}))
            .collect();
        say_json(&json!({"environments": rows}));
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec!["the database's state counts from now on, older or not:".to_owned()];
    lines.extend(
        done.iter().map(|row| format!("  {:<20} snapshot {} -> {}", row.environment, row.from, row.to)),
    );
    lines.push(
        "running services take it within a few seconds; keys revoked after the backup are valid again"
            .to_owned(),
    );
    say(&lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

async fn mark(settings: &Settings) -> anyhow::Result<Vec<Restored>> {
    let store = open_ready(settings).await?;
    let used_with = folder::used_with(&settings.data_dir)?;
    // What the service of this folder served: numbers go on above it, so that open pages see them grow.
    let served: Vec<(i64, i64)> = match disk::find(&settings.data_dir, used_with.as_deref()) {
        Found::Good(copy) => copy.environments.iter().map(|known| (known.number, known.snapshot)).collect(),
        Found::Nothing | Found::Ignored(_) => Vec::new(),
    };
    let done = mark_restored(&store, MachineClock.now_ms(), &served).await?;
    store.close().await;
    Ok(done)
}
