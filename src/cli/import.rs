//! `huidu import`: brings a folder of files into an environment, all or nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use serde_json::Value;

use super::differences;
use super::output::{Output, Tone, answer, plain, word};
use super::remote::{Remote, RemoteError, reason_header};
use super::tree::{self, Tree};
use crate::settings::ClientSettings;

/// Arguments of `huidu import`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is not in the folder is left alone. Flags that are created are killed: restore them when they are wanted. \
    The state of existing flags stays."
)]
pub(super) struct ImportArguments {
    /// Folder as `huidu export` writes it
    #[arg(long, value_name = "FOLDER")]
    dir: PathBuf,
    /// Show what would change, and the faults, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Write the service's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientSettings,
}

pub(super) fn run(arguments: &ImportArguments, output: Output) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(&arguments.client)?;
    let tree = tree::read(&arguments.dir)?;
    let query = if arguments.dry_run { "?dry_run=true" } else { "" };
    let headers = reason_header(arguments.reason.as_deref());
    let reply = remote.send("POST", &format!("/import{query}"), &headers, &tree.body);
    let json = reply.map_err(|error| placed(error, &tree))?.json;
    answer(&json, arguments.json, || words(&json, &tree, arguments.dry_run, remote.environment(), output));
    Ok(ExitCode::SUCCESS)
}

/// A refusal whose pointers name files.
fn placed(error: RemoteError, tree: &Tree) -> anyhow::Error {
    match error {
        RemoteError::Refused(refusal) => anyhow!(refusal.with_places(|pointer| place(tree, pointer))),
        error => error.into(),
    }
}

fn place(tree: &Tree, pointer: &str) -> Option<String> {
    let (file, rest) = tree.place(pointer)?;
    Some(if rest.is_empty() { file.display().to_string() } else { format!("{} {rest}", file.display()) })
}

fn words(answer: &Value, tree: &Tree, dry_run: bool, environment: &str, output: Output) -> String {
    let list = |name: &str| answer.get(name).and_then(Value::as_array).into_iter().flatten();
    let field = |item: &Value, name: &str| word(item.get(name).unwrap_or(&Value::Null));
    let (mut lines, mut changes, mut unchanged) = (Vec::new(), 0, 0);
    for (kind, name) in [("flag", "flags"), ("audience", "audiences")] {
        for item in list(name) {
            let action = field(item, "action");
            if action == "unchanged" {
                unchanged += 1;
                continue;
            }
            changes += 1;
            let tone = if action == "create" { Tone::Good } else { Tone::Doubtful };
            let mut line = format!("{} {kind} {}", output.tone(tone, &action), field(item, "key"));
            if kind == "audience" {
                line.push_str(&format!(
                    ": {} ids to add, {} to remove",
                    field(item, "add"),
                    field(item, "remove")
                ));
            }
            lines.push(line);
            // A new flag differs in everything: its file says it better.
            if action != "create" {
                lines.extend(differences::lines(item.get("diff").unwrap_or(&Value::Null), output));
            }
        }
    }
    for warning in list("warnings") {
        let pointer = warning.get("pointer").and_then(Value::as_str).unwrap_or_default();
        let place = place(tree, pointer).unwrap_or_else(|| plain(pointer));
        let words = format!("warning {place} {}: {}", field(warning, "code"), field(warning, "detail"));
        lines.push(output.tone(Tone::Doubtful, &words));
    }
    let made = if changes == 1 { "1 change".to_owned() } else { format!("{changes} changes") };
    lines.push(match (dry_run, changes) {
        (_, 0) => format!("{environment} is up to date: {unchanged} unchanged"),
        (true, _) => {
            format!("would make {made} in {environment}, {unchanged} unchanged; nothing was changed")
        }
        (false, _) => {
            format!(
                "{made} made in {environment}, {unchanged} unchanged, snapshot {}",
                field(answer, "snapshot")
            )
        }
    });
    lines.join("\n")
}
