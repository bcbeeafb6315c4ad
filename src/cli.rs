//! The command line: arguments in, one function called, words out.

mod folder;
mod key;
mod serve;
mod start;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::settings::{Settings, SettingsError, Surroundings, parse_command};

/// Decides which users, and which goods, see a payment entry; opens it step by step; measures each step.
#[derive(Debug, Parser)]
#[command(name = "huidu", version, arg_required_else_help = true)]
struct Huidu {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the service; the first start makes its database, the example entries and the first keys
    Serve {
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Manage keys in the database itself: a lost admin key is no disaster
    Key {
        #[command(subcommand)]
        command: key::KeyCommand,
    },
}

/// Runs the program with the process's arguments and environment.
#[must_use]
pub fn run() -> ExitCode {
    match dispatch(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(SettingsError::Arguments(error)) = error.downcast_ref::<SettingsError>() {
                error.exit();
            }
            complain(&format!("huidu: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    let parsed: Huidu = parse_command(arguments, &Surroundings::of_process())?;
    match parsed.command {
        Command::Serve { settings } => serve::serve(*settings),
        Command::Key { command } => key::run(command),
    }
}

/// Writes a line for people; a closed pipe is no reason to fail.
fn say(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Writes a line of complaint.
fn complain(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
