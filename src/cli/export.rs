//! `huidu export`: writes a whole environment as files that fit into version control.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::output::{Output, Tone, answer};
use super::remote::Remote;
use super::tree::{self, Written};
use crate::settings::ClientSettings;

/// Arguments of `huidu export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Only files that changed are written. Audiences of over 1,000 ids are named in huidu.json, without their ids. \
    Exit codes: 0 done; 1 refused, failed, or (with --check) the folder differs; 2 wrong arguments."
)]
pub(super) struct ExportArguments {
    /// Folder of the files: huidu.json, flags/KEY.json, audiences/KEY.txt
    #[arg(long, value_name = "FOLDER")]
    dir: PathBuf,
    /// Write nothing; exit code 1 where the folder differs from the service
    #[arg(long, conflicts_with = "prune")]
    check: bool,
    /// Remove the files of flags and audiences that the service no longer has
    #[arg(long)]
    prune: bool,
    /// With salts: who has them can choose ids that are inside. Needs an admin key
    #[arg(long)]
    secrets: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientSettings,
}

pub(super) fn run(arguments: &ExportArguments, output: Output) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(&arguments.client)?;
    let query = if arguments.secrets { "?secrets=true" } else { "" };
    let files = tree::files(&remote.get(&format!("/export{query}"))?.json)?;
    let written = tree::compare(&arguments.dir, &files)?;
    if !arguments.check {
        tree::write(&arguments.dir, &files, &written)?;
        if arguments.prune {
            tree::prune(&arguments.dir, &written)?;
        }
    }
    answer(&as_json(&written, arguments), arguments.json, || words(&written, arguments, output));
    let differs = arguments.check && !written.is_same();
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn as_json(written: &Written, arguments: &ExportArguments) -> Value {
    let names = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    json!({
        "written": !arguments.check, "new": names(&written.new), "changed": names(&written.changed),
        "unchanged": written.unchanged, "gone": names(&written.gone), "pruned": arguments.prune,
    })
}

fn words(written: &Written, arguments: &ExportArguments, output: Output) -> String {
    let mut lines = Vec::new();
    let mut add = |tone: Tone, mark: &str, paths: &[PathBuf]| {
        let line = |path: &PathBuf| output.tone(tone, &format!("  {mark} {}", path.display()));
        lines.extend(paths.iter().map(line));
    };
    add(Tone::Good, "+", &written.new);
    add(Tone::Doubtful, "~", &written.changed);
    add(Tone::Bad, "-", &written.gone);
    let dir: &Path = &arguments.dir;
    let (new, changed, gone) = (written.new.len(), written.changed.len(), written.gone.len());
    lines.push(match (arguments.check, written.is_same()) {
        (_, true) => format!("{} is up to date: {} files", dir.display(), written.unchanged),
        (true, false) => {
            format!("{} differs: {new} files to add, {changed} to change, {gone} to remove", dir.display())
        }
        (false, false) => {
            format!(
                "{}: {new} files added, {changed} changed, {} unchanged",
                dir.display(),
                written.unchanged
            )
        }
    });
    if gone > 0 && !arguments.check {
        lines.push(if arguments.prune {
            format!("{gone} files of what the service no longer has were removed")
        } else {
            format!("{gone} files are of what the service no longer has: remove them, or export with --prune")
        });
    }
    lines.join("\n")
}
