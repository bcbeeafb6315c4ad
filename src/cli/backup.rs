//! `huidu backup`: a whole copy of the embedded database, beside a running service or without one.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::database::{self, block_on, open_existing};
use super::output::{say, say_json};
use crate::report::sentence::figure::count;
use crate::settings::Settings;
use crate::store::sqlite::{FileState, copy, inspect};

/// Arguments of `huidu backup`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The copy holds the secrets that seal tokens, and the hashes of keys: guard it. To restore it, put it \
    as huidu.db into an empty folder and serve from there."
)]
pub(super) struct BackupArguments {
    /// Where the copy is written; a file that exists is refused
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Box<Settings>,
}

pub(super) fn run(arguments: &BackupArguments) -> anyhow::Result<ExitCode> {
    let Some(from) = database::file(&arguments.settings) else {
        bail!(
            "this is for the embedded database: back up PostgreSQL with its own pg_dump, such as `pg_dump -Fc`"
        );
    };
    block_on(back_up(arguments, &from))?;
    Ok(ExitCode::SUCCESS)
}

async fn back_up(arguments: &BackupArguments, from: &Path) -> anyhow::Result<()> {
    let to = &arguments.to;
    refuse_existing(to)?;
    let store = open_existing(&arguments.settings).await?;
    let part = Part::make(to)?;
    copy(from, &part.0).await.with_context(|| format!("{} cannot be copied", from.display()))?;
    // What comes of it is looked at before anybody relies on it.
    match inspect(&part.0).await? {
        FileState::Huidu => {}
        other => bail!("the copy is not good ({other:?}): is the disk of {} sound?", to.display()),
    }
    let bytes = part.finish(to)?;
    store.close().await;
    if arguments.json {
        say_json(&json!({"file": to.display().to_string(), "bytes": bytes}));
    } else {
        say(&format!("{}: {} bytes", to.display(), count(bytes)));
    }
    Ok(())
}

fn refuse_existing(to: &Path) -> anyhow::Result<()> {
    if to.symlink_metadata().is_ok() {
        bail!("{} exists already: give another name, or move it away", to.display());
    }
    Ok(())
}

/// The file under the name that it has while it is made; it goes with this unless it was finished.
struct Part(PathBuf);

impl Part {
    fn make(to: &Path) -> anyhow::Result<Self> {
        let mut name = to.as_os_str().to_owned();
        name.push(".part");
        let part = PathBuf::from(name);
        match fs::remove_file(&part) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} is in the way", part.display()));
            }
            _ => {}
        }
        // Secrets are in it: nobody else may look in, from the first byte on.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        made.with_context(|| format!("{} cannot be made", part.display()))?;
        Ok(Self(part))
    }

    /// Makes it durable and gives it its name; one that came to be meanwhile is not overwritten.
    fn finish(self, to: &Path) -> anyhow::Result<u64> {
        let settle = || -> std::io::Result<u64> {
            let file = File::open(&self.0)?;
            file.sync_all()?;
            let bytes = file.metadata()?.len();
            name_it(&self.0, to)?;
            let folder =
                to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()?;
            Ok(bytes)
        };
        settle().with_context(|| format!("{} cannot be written", to.display()))
    }
}

/// A link refuses a name that is taken, which a rename would overwrite; some disks know no links.
fn name_it(part: &Path, to: &Path) -> std::io::Result<()> {
    match fs::hard_link(part, to) {
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            if to.symlink_metadata().is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            fs::rename(part, to)
        }
        linked => linked.and_then(|()| fs::remove_file(part)),
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}
