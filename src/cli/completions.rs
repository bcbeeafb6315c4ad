//! `huidu completions`: a script that completes commands and arguments in a shell.

use std::io::Write as _;
use std::process::ExitCode;

use clap_complete::{Shell, generate};

/// Arguments of `huidu completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: huidu completions bash > /etc/bash_completion.d/huidu, \
    huidu completions zsh > ~/.zfunc/_huidu, huidu completions fish > ~/.config/fish/completions/huidu.fish")]
pub(super) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

pub(super) fn run(arguments: &CompletionsArguments, command: &mut clap::Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    generate(arguments.shell, command, "huidu", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
