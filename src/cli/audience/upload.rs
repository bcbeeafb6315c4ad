//! Uploading a file of ids, of any size, as it streams.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{AudienceName, show};
use crate::audiences::lines::read_ids;
use crate::audiences::{Format, UploadError};
use crate::cli::eval::format_of;
use crate::cli::output::Output;
use crate::cli::remote::{Remote, reason_header};
use crate::engine::flag::AudienceKind;

/// What every gzip file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// How an audience is to be put.
pub(super) struct Wish<'a> {
    /// What it holds ids of.
    pub(super) kind: Option<AudienceKind>,
    /// How the file is written.
    pub(super) format: Option<Format>,
    /// Only create.
    pub(super) new: bool,
    /// Only this version.
    pub(super) if_version: Option<i64>,
    /// Why.
    pub(super) reason: Option<&'a str>,
}

pub(super) fn put(
    remote: &Remote,
    audience: &AudienceName,
    file: &Path,
    wish: &Wish<'_>,
    as_json: bool,
    output: Output,
) -> anyhow::Result<()> {
    let mut source = Source::open(file)?;
    let format = wish.format.unwrap_or_else(|| format_of(file));
    if source.bytes.is_some() {
        check(file, format, source.gzip).with_context(|| file.display().to_string())?;
    }
    let stored = if wish.new { None } else { stored(remote, audience)? };
    let known = stored.as_ref().and_then(|stored| stored.get("kind")).and_then(Value::as_str);
    if let (Some(kind), Some(known)) = (wish.kind, known)
        && kind.as_str() != known
    {
        bail!("{} holds ids of kind {known}, which is fixed; you ask for {}", audience.key, kind.as_str());
    }
    let version = stored.as_ref().and_then(|stored| stored.get("version")).and_then(Value::as_i64);
    let mut headers = reason_header(wish.reason);
    headers.push(match wish.if_version.or(version) {
        Some(version) => ("if-match", format!("\"{version}\"")),
        None => ("if-none-match", "*".to_owned()),
    });
    headers.push(("content-type", media_type(format).to_owned()));
    if source.gzip {
        headers.push(("content-encoding", "gzip".to_owned()));
    }
    if let Some(bytes) = source.bytes {
        headers.push(("content-length", bytes.to_string()));
    }
    let query = wish.kind.map(|kind| format!("?kind={}", kind.as_str())).unwrap_or_default();
    let bar = bar(source.bytes);
    let mut reader = Watched { reader: bar.wrap_read(&mut source.reader), bar: &bar };
    let reply = remote.upload(&format!("{}{query}", audience.path()), &headers, &mut reader);
    bar.finish_and_clear();
    let reply = reply?;
    let done = if reply.status == 201 { "created\n" } else { "replaced\n" };
    show(&reply.json, as_json, done, output);
    Ok(())
}

fn media_type(format: Format) -> &'static str {
    match format {
        Format::Text => "text/plain",
        Format::Csv => "text/csv",
        Format::Ndjson => "application/x-ndjson",
    }
}

/// Reads a whole file before anything is sent: a service that refuses an upload half way cannot always say why to
/// somebody who is still sending.
fn check(file: &Path, format: Format, gzip: bool) -> Result<(), UploadError> {
    let whole = io::BufReader::new(File::open(file).map_err(UploadError::Disk)?);
    let mut pass = |_: &str| Ok(());
    if gzip {
        let inflated = io::BufReader::new(MultiGzDecoder::new(whole));
        read_ids(format, inflated, |error| UploadError::Gzip(error.to_string()), &mut pass)
    } else {
        read_ids(format, whole, UploadError::Disk, &mut pass)
    }
}

fn stored(remote: &Remote, audience: &AudienceName) -> anyhow::Result<Option<Value>> {
    match remote.get(&audience.path()) {
        Ok(reply) => Ok(Some(reply.json)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What is sent: its first bytes, then the rest.
struct Source {
    reader: Box<dyn Read>,
    gzip: bool,
    bytes: Option<u64>,
}

impl Source {
    fn open(file: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("{} cannot be read", file.display());
        let (mut rest, bytes): (Box<dyn Read>, _) = if file == Path::new("-") {
            (Box::new(io::stdin().lock()), None)
        } else {
            let opened = File::open(file).with_context(cannot)?;
            let about = opened.metadata().with_context(cannot)?;
            if about.is_dir() {
                bail!("{} is a folder", file.display());
            }
            (Box::new(io::BufReader::with_capacity(1 << 16, opened)), about.is_file().then_some(about.len()))
        };
        let mut first = Vec::new();
        rest.by_ref().take(GZIP.len() as u64).read_to_end(&mut first).with_context(cannot)?;
        let gzip = first == GZIP;
        Ok(Self { reader: Box::new(io::Cursor::new(first).chain(rest)), gzip, bytes })
    }
}

/// Says when all is sent: the service then still sorts and stores.
struct Watched<'b, R> {
    reader: R,
    bar: &'b ProgressBar,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if read == 0 {
            self.bar.set_style(style("{spinner} {bytes} sent, the service stores them: {elapsed}"));
        }
        Ok(read)
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_error| ProgressStyle::default_bar())
}

/// Shows how far an upload is, on a terminal.
fn bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match bytes {
        Some(bytes) => {
            (ProgressBar::new(bytes), "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")
        }
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}, {bytes_per_sec}"),
    };
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.with_style(style(template))
}
