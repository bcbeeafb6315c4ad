//! `huidu flag`: reads and changes flags of a running service.

mod change;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output::Output;
use super::remote::Remote;
use crate::engine::flag::State;
use crate::engine::key::{FlagKey, RuleId};
use crate::settings::ClientSettings;

/// What can be done with flags.
#[derive(Debug, Subcommand)]
pub(super) enum FlagCommand {
    /// List the flags of the environment
    List {
        /// Only those in this state: live, killed or archived
        #[arg(long, value_parser = state)]
        state: Option<State>,
        #[command(flatten)]
        service: Service,
    },
    /// Show a flag, or an older version of it
    Get {
        #[command(flatten)]
        flag: FlagName,
        /// Show this version
        #[arg(long, value_name = "NUMBER")]
        version: Option<i64>,
        /// Write the document alone, as `flag set` and `eval` take it
        #[arg(long)]
        document: bool,
        #[command(flatten)]
        service: Service,
    },
    /// Create a flag from a file, or replace it
    Set {
        /// File with the document, `-` for standard input
        file: PathBuf,
        /// Only create: refuse where the flag exists
        #[arg(long, conflicts_with = "if_version")]
        new: bool,
        /// Show what would change, and the faults, and change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        service: Service,
    },
    /// Move the percentage of a rollout
    Rollout {
        #[command(flatten)]
        flag: FlagName,
        /// Percent of the units that are treated, with up to four decimals
        #[arg(long, allow_negative_numbers = true, value_parser = percent)]
        percent: f64,
        /// Which rule; may be left out where the flag has one rollout
        #[arg(long, value_name = "ID", value_parser = RuleId::parse)]
        rule: Option<RuleId>,
        /// Percent that is measured as control; left as it is where not given
        #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, value_parser = percent)]
        control: Option<f64>,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        service: Service,
    },
    /// Shut a flag at once, whatever its version
    Kill {
        #[command(flatten)]
        flag: FlagName,
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        service: Service,
    },
    /// Open a killed flag as it was; an archived one becomes killed
    Restore {
        #[command(flatten)]
        flag: FlagName,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        service: Service,
    },
    /// Put a flag away: it decides off and leaves the list of entries
    Archive {
        #[command(flatten)]
        flag: FlagName,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        service: Service,
    },
    /// List the versions of a flag, newest first
    Versions {
        #[command(flatten)]
        flag: FlagName,
        /// At most so many
        #[arg(long, value_name = "NUMBER", default_value = "20")]
        limit: usize,
        #[command(flatten)]
        service: Service,
    },
    /// Show what differs between two versions
    Diff {
        #[command(flatten)]
        flag: FlagName,
        /// The older version
        #[arg(long, value_name = "NUMBER")]
        from: i64,
        /// The newer version; the present one where left out
        #[arg(long, value_name = "NUMBER")]
        to: Option<i64>,
        #[command(flatten)]
        service: Service,
    },
    /// Bring back the document of an older version; the state stays
    Rollback {
        #[command(flatten)]
        flag: FlagName,
        /// The version whose document is brought back
        #[arg(long, value_name = "NUMBER")]
        to: i64,
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        service: Service,
    },
}

/// Which flag.
#[derive(Debug, Args)]
pub(super) struct FlagName {
    /// The flag's key
    #[arg(id = "flag_key", value_name = "FLAG", value_parser = FlagKey::parse)]
    key: FlagKey,
}

impl FlagName {
    fn path(&self) -> String {
        format!("/flags/{}", self.key)
    }
}

/// What every change but a kill takes.
#[derive(Debug, Args)]
pub(super) struct Change {
    /// Change only this version; the present one where left out
    #[arg(long, value_name = "NUMBER")]
    if_version: Option<i64>,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// The service, and how its answer is shown.
#[derive(Debug, Args)]
pub(super) struct Service {
    /// Write the service's JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) client: ClientSettings,
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "a percentage is a number from 0 to 100".to_owned())
}

fn state(text: &str) -> Result<State, String> {
    State::parse(text).ok_or_else(|| "a state is live, killed or archived".to_owned())
}

pub(super) fn run(command: FlagCommand, output: Output) -> anyhow::Result<ExitCode> {
    match command {
        FlagCommand::List { state, service } => show::list(&connect(&service)?, state, service.json, output),
        FlagCommand::Get { flag, version, document, service } => {
            let form = show::Form::of(document, service.json);
            show::get(&connect(&service)?, &flag, version, form, output)
        }
        FlagCommand::Set { file, new, dry_run, change, service } => {
            let wish = change::Wish { new, dry_run, change: &change };
            change::set(&connect(&service)?, &file, &wish, service.json, output)
        }
        FlagCommand::Rollout { flag, percent, rule, control, change, service } => {
            let rollout = change::Rollout { percent, rule: rule.as_ref(), control };
            change::roll_out(&connect(&service)?, &flag, &rollout, &change, service.json, output)
        }
        FlagCommand::Kill { flag, reason, service } => {
            change::kill(&connect(&service)?, &flag, reason.as_deref(), service.json, output)
        }
        FlagCommand::Restore { flag, change, service } => {
            change::act(&connect(&service)?, &flag, "restore", &change, service.json, output)
        }
        FlagCommand::Archive { flag, change, service } => {
            change::act(&connect(&service)?, &flag, "archive", &change, service.json, output)
        }
        FlagCommand::Versions { flag, limit, service } => {
            show::versions(&connect(&service)?, &flag, limit, service.json, output)
        }
        FlagCommand::Diff { flag, from, to, service } => {
            show::diff(&connect(&service)?, &flag, from, to, service.json, output)
        }
        FlagCommand::Rollback { flag, to, change, service } => {
            change::roll_back(&connect(&service)?, &flag, to, &change, service.json, output)
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn connect(service: &Service) -> anyhow::Result<Remote> {
    Remote::new(&service.client)
}
