//! The command line: arguments in, one function called, words out.

mod audience;
mod backup;
mod completions;
mod database;
mod demo;
mod differences;
mod doctor;
mod eval;
mod events;
mod explain;
mod export;
mod flag;
mod flag_file;
mod folder;
mod health;
mod import;
mod key;
mod migrate;
mod output;
mod promote;
mod remote;
mod report;
mod restored;
mod secret;
mod serve;
mod start;
mod trace;
mod tree;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::report::export::Table;
use crate::settings::{Settings, SettingsError, Surroundings, parse_command};
use output::{Output, complain};

/// Exit code of arguments that cannot be understood.
const USAGE: u8 = 2;

/// Decides which users, and which goods, see a payment entry; opens it step by step; measures each step.
#[derive(Debug, Parser)]
#[command(name = "huidu", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Huidu {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done; 1 refused, failed, or (eval, doctor) not as it should be; 2 wrong arguments.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the service; the first start makes its database, the example entries and the first keys
    Serve {
        #[command(flatten)]
        settings: Box<Settings>,
    },
    /// Show it: a service in a temporary folder, with simulated shoppers through a ramp
    Demo(demo::DemoArguments),
    /// Read and change flags of a running service
    #[command(subcommand)]
    Flag(flag::FlagCommand),
    /// Decide a flag of a file for one context, without a service
    Eval(eval::EvalArguments),
    /// Read and change audiences of a running service
    #[command(subcommand)]
    Audience(audience::AudienceCommand),
    /// Say why a running service decides as it does for one context
    Explain(explain::ExplainArguments),
    /// Say what a flag came to, as a running service measured it: verdict, funnel, comparisons, guardrails
    Report(Box<report::ReportArguments>),
    /// Write who was shown a flag's variants, and when, as a running service measured it
    Exposures(events::EventsArguments),
    /// Write what shoppers did then: a flag's funnel stops and metrics
    Conversions(events::EventsArguments),
    /// Take a flag over from another environment of a running service
    Promote(promote::PromoteArguments),
    /// Manage what signs units in an environment of a running service
    #[command(subcommand)]
    UnitSecret(secret::SecretCommand),
    /// Write a whole environment as files that fit into version control
    Export(export::ExportArguments),
    /// Bring a folder of files into an environment, all or nothing
    Import(import::ImportArguments),
    /// Manage keys in the database itself: a lost admin key is no disaster
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Bring the database to this release's form
    Migrate(migrate::MigrateArguments),
    /// Say that the database was restored from a backup on purpose: services take its state, older or not
    Restored(restored::RestoredArguments),
    /// Check settings, folder, database and machine, and say what to do
    Doctor(doctor::DoctorArguments),
    /// Ask a service whether it is ready
    Health(health::HealthArguments),
    /// Copy the embedded database whole, beside a running service or without one
    Backup(backup::BackupArguments),
    /// Print a script that completes commands in a shell
    Completions(completions::CompletionsArguments),
}

/// Arguments that are each good but do not go together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

/// Runs the program with the process's arguments and environment.
#[must_use]
pub fn run() -> ExitCode {
    match dispatch(std::env::args_os(), &Surroundings::of_process()) {
        Ok(code) => code,
        Err(error) => {
            if let Some(SettingsError::Arguments(error)) = error.downcast_ref::<SettingsError>() {
                error.exit();
            }
            complain(&format!("huidu: {error:#}"));
            if error.is::<UsageError>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn dispatch(
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings,
) -> anyhow::Result<ExitCode> {
    let line: Vec<OsString> = arguments.into_iter().collect();
    let output = Output::of_process(surroundings.want_colours());
    let parsed: Huidu = match parse_command(line.iter().cloned(), surroundings) {
        // Wrong settings are among what the doctor looks for.
        Err(error) if !matches!(error, SettingsError::Arguments(_)) && names_doctor(&line) => {
            return Ok(doctor::settings_refused(&error, &line, output));
        }
        parsed => parsed?,
    };
    match parsed.command {
        Command::Serve { settings } => serve::serve(*settings).map(|()| ExitCode::SUCCESS),
        Command::Demo(arguments) => demo::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Flag(command) => flag::run(command, output),
        Command::Audience(command) => audience::run(command, output),
        Command::Explain(arguments) => explain::run(&arguments, output),
        Command::Eval(arguments) => eval::run(&arguments, output),
        Command::Report(arguments) => report::run(&arguments, surroundings, output),
        Command::Exposures(arguments) => events::run(Table::Exposures, &arguments),
        Command::Conversions(arguments) => events::run(Table::Conversions, &arguments),
        Command::Promote(arguments) => promote::run(&arguments, output),
        Command::UnitSecret(command) => secret::run(&command, output),
        Command::Export(arguments) => export::run(&arguments, output),
        Command::Import(arguments) => import::run(&arguments, output),
        Command::Key(command) => key::run(command, output),
        Command::Migrate(arguments) => migrate::run(&arguments),
        Command::Restored(arguments) => restored::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments, &line, surroundings, output),
        Command::Health(arguments) => health::run(&arguments),
        Command::Backup(arguments) => backup::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments, &mut Huidu::command()),
    }
}

fn names_doctor(line: &[OsString]) -> bool {
    line.get(1).is_some_and(|word| word == "doctor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_every_command_go_together() {
        Huidu::command().debug_assert();
    }
}
