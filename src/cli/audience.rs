//! `huidu audience`: lists of ids of a running service, from a few to millions.

mod change;
mod upload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::flag::Service;
use super::output::{Cell, Output, Tone, minute, plain, say_json, table, who, word, write_lines};
use super::remote::{Remote, encoded};
use crate::audiences::Format;
use crate::engine::flag::AudienceKind;
use crate::engine::key::AudienceKey;
use crate::report::sentence::figure::count;

/// Ids of one page of a reading.
const IDS_PAGE: usize = 10_000;

/// What can be done with audiences.
#[derive(Debug, Subcommand)]
pub(super) enum AudienceCommand {
    /// List the audiences of the environment
    List {
        #[command(flatten)]
        service: Service,
    },
    /// Show an audience: its kind, its size, its version
    Get {
        #[command(flatten)]
        audience: AudienceName,
        #[command(flatten)]
        service: Service,
    },
    /// Create an audience from a file of ids, or replace all of its ids at once
    Put {
        #[command(flatten)]
        audience: AudienceName,
        /// File with one id a line (.csv: the first column; .ndjson: a string or {"id"}), `-` for standard input;
        /// files ending in .gz travel as they are
        file: PathBuf,
        /// What it holds ids of: user, goods or other; fixed at creation [default: user]
        #[arg(long, value_parser = kind)]
        kind: Option<AudienceKind>,
        /// How the file is written: text, csv or ndjson; by its name where left out
        #[arg(long, value_parser = format)]
        format: Option<Format>,
        /// Only create: refuse where the audience exists
        #[arg(long, conflicts_with = "if_version")]
        new: bool,
        /// Replace only this version; the present one where left out
        #[arg(long, value_name = "NUMBER")]
        if_version: Option<i64>,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        service: Service,
    },
    /// Make ids members
    Add(Edit),
    /// Take ids out
    Remove(Edit),
    /// Say whether an id is a member; exit code 1 where it is not
    Contains {
        #[command(flatten)]
        audience: AudienceName,
        /// The id
        id: String,
        #[command(flatten)]
        service: Service,
    },
    /// Write all ids, one a line, in the order of their bytes
    Ids {
        #[command(flatten)]
        audience: AudienceName,
        #[command(flatten)]
        service: Service,
    },
    /// Bring back the ids of an older version; the last three are kept
    Rollback {
        #[command(flatten)]
        audience: AudienceName,
        /// The version whose ids are brought back
        #[arg(long, value_name = "NUMBER")]
        to: i64,
        /// Change only this version; the present one where left out
        #[arg(long, value_name = "NUMBER")]
        if_version: Option<i64>,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        service: Service,
    },
    /// Delete an audience that no flag asks for
    Delete {
        #[command(flatten)]
        audience: AudienceName,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        service: Service,
    },
}

/// Which audience.
#[derive(Debug, Args)]
pub(super) struct AudienceName {
    /// The audience's key
    #[arg(id = "audience_key", value_name = "AUDIENCE", value_parser = AudienceKey::parse)]
    key: AudienceKey,
}

impl AudienceName {
    fn path(&self) -> String {
        format!("/audiences/{}", self.key)
    }
}

/// Ids to add or to remove.
#[derive(Debug, Args)]
pub(super) struct Edit {
    #[command(flatten)]
    audience: AudienceName,
    /// The ids
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    ids: Vec<String>,
    /// File with one id a line, `-` for standard input; each 10,000 of them make a version
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    service: Service,
}

fn kind(text: &str) -> Result<AudienceKind, String> {
    AudienceKind::parse(text).ok_or_else(|| "a kind is user, goods or other".to_owned())
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "text" => Ok(Format::Text),
        "csv" => Ok(Format::Csv),
        "ndjson" => Ok(Format::Ndjson),
        _ => Err("a format is text, csv or ndjson".to_owned()),
    }
}

pub(super) fn run(command: AudienceCommand, output: Output) -> anyhow::Result<ExitCode> {
    let connect = |service: &Service| Remote::new(&service.client);
    match command {
        AudienceCommand::List { service } => list(&connect(&service)?, service.json, output)?,
        AudienceCommand::Get { audience, service } => {
            let reply = connect(&service)?.get(&audience.path())?;
            show(&reply.json, service.json, "", output);
        }
        AudienceCommand::Put { audience, file, kind, format, new, if_version, reason, service } => {
            let wish = upload::Wish { kind, format, new, if_version, reason: reason.as_deref() };
            upload::put(&connect(&service)?, &audience, &file, &wish, service.json, output)?;
        }
        AudienceCommand::Add(edit) => change::edit(&connect(&edit.service)?, &edit, "add", output)?,
        AudienceCommand::Remove(edit) => change::edit(&connect(&edit.service)?, &edit, "remove", output)?,
        AudienceCommand::Contains { audience, id, service } => {
            return contains(&connect(&service)?, &audience, &id, service.json, output);
        }
        AudienceCommand::Ids { audience, service } => ids(&connect(&service)?, &audience, service.json)?,
        AudienceCommand::Rollback { audience, to, if_version, reason, service } => {
            let remote = connect(&service)?;
            let reply = change::roll_back(&remote, &audience, to, if_version, reason)?;
            show(&reply, service.json, "rolled back\n", output);
        }
        AudienceCommand::Delete { audience, reason, service } => {
            change::delete(&connect(&service)?, &audience, reason.as_deref(), service.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn field(audience: &Value, name: &str) -> String {
    word(audience.get(name).unwrap_or(&Value::Null))
}

fn list(remote: &Remote, as_json: bool, output: Output) -> anyhow::Result<()> {
    let audiences = remote.all("/audiences", None)?;
    super::output::answer(&json!({"items": audiences, "next_cursor": null}), as_json, || {
        if audiences.is_empty() {
            return format!("no audiences in {}", remote.environment());
        }
        let line = |audience: &Value| {
            let mut line: Vec<String> =
                ["key", "kind", "size", "version", "held"].map(|name| field(audience, name)).into();
            line.push(minute(&field(audience, "updated_at")));
            line.push(who(&field(audience, "updated_by")));
            line.into_iter().map(Cell::from).collect()
        };
        let rows: Vec<Vec<Cell>> = audiences.iter().map(line).collect();
        table(&["audience", "kind", "ids", "version", "held in", "changed", "by"], rows, output)
    });
    Ok(())
}

/// An audience in a line or two, after words on what was done.
fn show(audience: &Value, as_json: bool, done: &str, output: Output) {
    super::output::answer(audience, as_json, || {
        let size = audience.get("size").and_then(Value::as_u64).unwrap_or_default();
        format!(
            "{done}{}: {} ids of kind {}, version {}\n  changed   {} UTC by {}",
            output.tone(Tone::Strong, &field(audience, "key")),
            count(size),
            field(audience, "kind"),
            field(audience, "version"),
            minute(&field(audience, "updated_at")),
            who(&field(audience, "updated_by")),
        )
    });
}

fn contains(
    remote: &Remote,
    audience: &AudienceName,
    id: &str,
    as_json: bool,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let reply = remote.get(&format!("{}/contains?id={}", audience.path(), encoded(id)))?.json;
    let member = reply.get("contains").and_then(Value::as_bool).unwrap_or_default();
    super::output::answer(&reply, as_json, || {
        let (tone, words) = if member { (Tone::Good, "is in") } else { (Tone::Doubtful, "is not in") };
        output.tone(tone, &format!("{} {words} {}", plain(id), audience.key))
    });
    Ok(if member { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ids(remote: &Remote, audience: &AudienceName, as_json: bool) -> anyhow::Result<()> {
    let path = format!("{}/ids", audience.path());
    if as_json {
        let mut all = Vec::new();
        remote.pages(&path, IDS_PAGE, |items| {
            all.extend(items);
            true
        })?;
        say_json(&json!({"items": all, "next_cursor": null}));
        return Ok(());
    }
    // Who reads may have seen enough: then the rest is not fetched.
    remote.pages(&path, IDS_PAGE, |items| {
        write_lines(items.iter().map(|id| id.as_str().unwrap_or_default()))
    })?;
    Ok(())
}
