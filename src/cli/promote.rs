//! `huidu promote`: takes a flag over from another environment.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::differences;
use super::output::{Output, Tone, answer, word};
use super::remote::Remote;
use crate::engine::key::{EnvironmentKey, FlagKey};
use crate::settings::ClientSettings;

/// Arguments of `huidu promote`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The key must be of all environments. A flag that is new there arrives killed: restore it when it is wanted. One that \
    exists keeps its state and its salt."
)]
pub(super) struct PromoteArguments {
    /// The flag's key
    #[arg(id = "flag_key", value_name = "FLAG", value_parser = FlagKey::parse)]
    flag: FlagKey,
    /// The environment that it is taken from; --environment says where it goes
    #[arg(long, value_name = "KEY", value_parser = EnvironmentKey::parse)]
    from: EnvironmentKey,
    /// Take these fields of its document only, such as rules,goods
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    parts: Vec<String>,
    /// Show what would change, and the faults, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace only this version
    #[arg(long, value_name = "NUMBER")]
    if_version: Option<i64>,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Write the service's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientSettings,
}

pub(super) fn run(arguments: &PromoteArguments, output: Output) -> anyhow::Result<ExitCode> {
    let remote = Remote::new(&arguments.client)?;
    let mut body = json!({"flag": arguments.flag, "from": arguments.from});
    if let Value::Object(body) = &mut body {
        if !arguments.parts.is_empty() {
            body.insert("parts".to_owned(), json!(arguments.parts));
        }
        if let Some(reason) = &arguments.reason {
            body.insert("reason".to_owned(), json!(reason));
        }
    }
    let version = arguments.if_version.map(|version| ("if-match", format!("\"{version}\"")));
    let query = if arguments.dry_run { "?dry_run=true" } else { "" };
    let headers: Vec<_> = version.into_iter().collect();
    let reply = remote.send("POST", &format!("/promote{query}"), &headers, &body)?.json;
    answer(&reply, arguments.json, || words(&reply, arguments.dry_run, output));
    Ok(ExitCode::SUCCESS)
}

fn words(reply: &Value, dry_run: bool, output: Output) -> String {
    let field = |name: &str| word(reply.get(name).unwrap_or(&Value::Null));
    let (action, flag, to) = (field("action"), field("flag"), field("environment"));
    let done = match (action.as_str(), dry_run) {
        ("unchanged", _) => "unchanged".to_owned(),
        (action, true) => format!("would {action}"),
        (action, false) => format!("{action}d"),
    };
    let mut lines = vec![format!(
        "{} in {to}: {done}, {}, version {}, from version {} of {}",
        output.tone(Tone::Strong, &flag),
        field("state"),
        field("version"),
        field("from_version"),
        field("from")
    )];
    // A new flag differs in everything.
    if action != "create" {
        lines.extend(differences::lines(reply.get("diff").unwrap_or(&Value::Null), output));
    }
    for warning in reply.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        let part = |name: &str| word(warning.get(name).unwrap_or(&Value::Null));
        let words = format!("  warning {} {}: {}", part("pointer"), part("code"), part("detail"));
        lines.push(output.tone(Tone::Doubtful, &words));
    }
    lines.join("\n")
}
