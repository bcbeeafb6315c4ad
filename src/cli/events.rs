//! `huidu exposures` and `huidu conversions`: a flag's events from a running service, as they stream.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;

use super::remote::{Remote, encoded};
use crate::clock::parse_rfc3339;
use crate::engine::key::FlagKey;
use crate::report::export::Table;
use crate::settings::ClientSettings;

/// Bytes that are handed on at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Arguments of `huidu exposures` and `huidu conversions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Rows come oldest first. Each ends with a cursor: where an export broke off, --cursor with that of the last whole row \
    goes on behind it. In CSV texts that a spreadsheet would take for formulas begin with a '."
)]
pub(super) struct EventsArguments {
    /// The flag's key
    #[arg(id = "flag_key", value_name = "FLAG", value_parser = FlagKey::parse)]
    flag: FlagKey,
    /// How rows are written
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// Only what happened at this time or later, in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<String>,
    /// Only what happened before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<String>,
    /// Only what comes behind this row
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Write to this file, which must not be there yet, instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    client: ClientSettings,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For spreadsheets and databases
    Csv,
    /// One JSON object a line, for programs
    Ndjson,
}

/// A time as the service takes it.
pub(super) fn time(text: &str) -> Result<String, String> {
    let known = parse_rfc3339(text).map(|_| text.to_owned());
    known.ok_or_else(|| "a time is RFC 3339, such as 2026-12-31T16:00:00Z".to_owned())
}

pub(super) fn run(table: Table, arguments: &EventsArguments) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(&arguments.client)?;
    let format = match arguments.format {
        Format::Csv => "csv",
        Format::Ndjson => "ndjson",
    };
    let mut tail = format!("/flags/{}/{}?format={format}", arguments.flag, table.as_str());
    for (name, value) in [("from", &arguments.from), ("to", &arguments.to), ("cursor", &arguments.cursor)] {
        if let Some(value) = value {
            tail.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    let rows = remote.stream(&tail)?;
    match &arguments.output {
        None => copy(&remote, rows, std::io::stdout().lock())?,
        Some(path) => {
            let file =
                File::create_new(path).with_context(|| format!("{} cannot be made", path.display()))?;
            copy(&remote, rows, file)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Hands on what comes. Who reads no further, such as `head`, is no failure.
fn copy(remote: &Remote, mut rows: impl Read, mut to: impl Write) -> anyhow::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = match rows.read(&mut piece) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                let broken = remote.broken(&error.to_string());
                return Err(broken).context("go on with --cursor of the last whole row");
            }
        };
        let written = match piece.get(..read) {
            None | Some([]) => return to.flush().context("the rows cannot be written"),
            Some(bytes) => to.write_all(bytes),
        };
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("the rows cannot be written")?,
        }
    }
}
