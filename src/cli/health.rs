//! `huidu health`: whether a service is ready, as an exit code; what an image's health check runs.

use std::process::ExitCode;

use super::output::say;
use super::remote::health;
use crate::settings::service_url;

/// Arguments of `huidu health`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 ready; 1 not ready, or not there.")]
pub(super) struct HealthArguments {
    /// Address of the service
    #[arg(long, value_name = "URL", env = "HUIDU_URL", default_value = "http://127.0.0.1:8080",
          hide_env_values = true, value_parser = service_url)]
    url: String,
}

pub(super) fn run(arguments: &HealthArguments) -> anyhow::Result<ExitCode> {
    let ready = health(&arguments.url)?.ready;
    say(if ready { "ready" } else { "not ready" });
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
