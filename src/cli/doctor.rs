//! `huidu doctor`: whether a service can run well here, and what to do where it cannot.

mod data_folder;
mod database;
mod machine;
mod service;

use std::ffi::OsString;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::database::block_on;
use super::output::{Output, Tone, plain, say, say_json};
use crate::settings::{SettingOrigin, Settings, SettingsError, Surroundings, origins};

/// Arguments of `huidu doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 nothing fails; 1 something does; 2 wrong arguments.")]
pub(super) struct DoctorArguments {
    /// Address of a running service, which is then asked as well
    #[arg(long, value_name = "URL", env = "HUIDU_URL", hide_env_values = true,
          value_parser = crate::settings::service_url)]
    url: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Box<Settings>,
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// As it should be.
    Ok,
    /// Worth a look.
    Warn,
    /// A service would not run, or would lose what it acknowledged.
    Fail,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Warn => Tone::Doubtful,
            Self::Fail => Tone::Bad,
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    /// What to do about it.
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), advice: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, state: State::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, state: State::Fail, found: found.into(), advice: Some(advice.into()) }
    }

    fn json(&self) -> Value {
        json!({"check": self.name, "state": self.state.as_str(), "found": self.found, "advice": self.advice})
    }

    fn lines(&self, output: Output) -> Vec<String> {
        let state = output.tone(self.state.tone(), &format!("{:<4}", self.state.as_str()));
        let mut lines = vec![format!("{state}  {:<14} {}", self.name, plain(&self.found))];
        lines.extend(self.advice.iter().map(|advice| format!("      {:<14} -> {advice}", "")));
        lines
    }
}

pub(super) fn run(
    arguments: &DoctorArguments,
    line: &[OsString],
    surroundings: &Surroundings,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let settings = &arguments.settings;
    let mut checks = machine::checks(settings);
    checks.extend(data_folder::checks(settings));
    checks.extend(block_on(async { Ok(database::checks(settings).await) })?);
    if let Some(url) = &arguments.url {
        checks.extend(service::checks(url));
    }
    let known = origins(line, surroundings)?;
    Ok(report(&checks, &known, arguments.json, output))
}

/// Says that the settings themselves are wrong: a report of one line.
pub(super) fn settings_refused(error: &SettingsError, line: &[OsString], output: Output) -> ExitCode {
    let check =
        Check::fail("settings", error.to_string(), "correct it; `huidu serve --help` shows all settings");
    let as_json = line.iter().any(|word| word == "--json");
    report(&[check], &[], as_json, output)
}

fn report(checks: &[Check], settings: &[SettingOrigin], as_json: bool, output: Output) -> ExitCode {
    let worst = |state: State| checks.iter().filter(|check| check.state == state).count();
    let (fails, warnings) = (worst(State::Fail), worst(State::Warn));
    if as_json {
        let settings: Vec<Value> = settings
            .iter()
            .map(|setting| json!({"name": setting.name, "value": setting.value, "origin": setting.origin}))
            .collect();
        let checks: Vec<Value> = checks.iter().map(Check::json).collect();
        say_json(&json!({"ok": fails == 0, "checks": checks, "settings": settings}));
    } else {
        let mut lines: Vec<String> = checks.iter().flat_map(|check| check.lines(output)).collect();
        let given: Vec<_> = settings.iter().filter(|setting| setting.origin != "default").collect();
        lines.push(String::new());
        lines.push(if given.is_empty() {
            "settings: all are at their defaults".to_owned()
        } else {
            "settings (all others are at their defaults):".to_owned()
        });
        lines.extend(given.iter().map(|setting| {
            let value = setting.value.as_deref().unwrap_or("(empty)");
            format!("  {} = {}   from {}", setting.name, plain(value), setting.origin)
        }));
        lines.push(String::new());
        lines.push(match (fails, warnings) {
            (0, 0) => output.tone(Tone::Good, "all is well"),
            (0, warnings) => output.tone(Tone::Doubtful, &format!("{warnings} to look at, nothing fails")),
            (fails, warnings) => output.tone(Tone::Bad, &format!("{fails} failed, {warnings} to look at")),
        });
        say(&lines.join("\n"));
    }
    if fails == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A span of time for people.
fn span(ms: i64) -> String {
    match ms.abs() {
        0..10_000 => format!("{} ms", ms.abs()),
        10_000..600_000 => format!("{} s", ms.abs() / 1_000),
        _ => format!("{} min", ms.abs() / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_says_what_to_do_on_a_line_of_its_own() {
        let check = Check::warn("disk", "12 MiB free", "make room");
        assert_eq!(
            check.lines(Output::plain()),
            ["warn  disk           12 MiB free", "                     -> make room"]
        );
        assert_eq!(Check::ok("hash", "good").lines(Output::plain()), ["ok    hash           good"]);
    }

    #[test]
    fn spans_are_readable() {
        for (ms, text) in [(5, "5 ms"), (-9_999, "9999 ms"), (12_345, "12 s"), (-7_200_000, "120 min")] {
            assert_eq!(span(ms), text);
        }
    }
}
