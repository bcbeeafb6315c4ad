//! `huidu migrate`: brings the database to this release's form, or says what that would take.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::database::{block_on, open_existing};
use super::output::{say, say_json};
use crate::settings::Settings;
use crate::store::MigrationState;

/// Arguments of `huidu migrate`.
#[derive(Debug, clap::Args)]
pub(super) struct MigrateArguments {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Box<Settings>,
}

pub(super) fn run(arguments: &MigrateArguments) -> anyhow::Result<ExitCode> {
    block_on(migrate(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn migrate(arguments: &MigrateArguments) -> anyhow::Result<()> {
    let store = open_existing(&arguments.settings).await?;
    let before = store.migrations().await.context("the database cannot be read")?;
    if let Some(unknown) = before.unknown.last() {
        bail!(
            "the database was migrated by a newer huidu (migration {unknown} is unknown here): use that one"
        );
    }
    let mut after = before.clone();
    if !arguments.dry_run {
        store.migrate().await.context("the database cannot be migrated")?;
        after = store.migrations().await?;
    }
    store.close().await;
    if arguments.json {
        let pending = before.pending.iter();
        let pending: Vec<_> = pending
            .map(|migration| json!({"version": migration.version, "description": migration.description}))
            .collect();
        say_json(
            &json!({"dry_run": arguments.dry_run, "from": before.at, "to": after.at, "migrations": pending}),
        );
    } else {
        say(&words(&before, &after, arguments.dry_run));
    }
    Ok(())
}

fn words(before: &MigrationState, after: &MigrationState, dry_run: bool) -> String {
    let Some(last) = before.pending.last() else {
        return format!("the database is up to date, at migration {}", before.at);
    };
    let mut lines = vec![if dry_run {
        format!(
            "the database is at migration {}; `huidu migrate` would bring it to {}:",
            before.at, last.version
        )
    } else {
        format!("the database was migrated from {} to {}:", before.at, after.at)
    }];
    let each = before.pending.iter();
    lines.extend(each.map(|migration| format!("  {:04} {}", migration.version, migration.description)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MigrationInfo;

    #[test]
    fn it_says_from_which_to_which() {
        let info = |version, words: &str| MigrationInfo { version, description: words.to_owned() };
        let at = |at, pending| MigrationState { at, pending, unknown: Vec::new() };
        let behind = at(1, vec![info(2, "stats"), info(3, "journal")]);
        let done = at(3, Vec::new());
        for (before, after, dry_run, expected) in [
            (&done, &done, false, "the database is up to date, at migration 3"),
            (&behind, &done, false, "the database was migrated from 1 to 3:\n  0002 stats\n  0003 journal"),
            (
                &behind,
                &behind,
                true,
                "the database is at migration 1; `huidu migrate` would bring it to 3:\n  0002 stats\n  0003 journal",
            ),
        ] {
            assert_eq!(words(before, after, dry_run), expected);
        }
    }
}
