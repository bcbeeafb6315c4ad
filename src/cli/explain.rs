//! `huidu explain`: why a running service decides as it does for one context.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::UsageError;
use super::output::{Output, read_input, say, say_json};
use super::remote::Remote;
use super::trace;
use crate::engine::json::parse;
use crate::engine::key::FlagKey;
use crate::settings::ClientSettings;

/// Arguments of `huidu explain`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: echo '{\"targetingKey\": \"u-9\", \"region\": \"CN-31\"}' | huidu explain wechat-scan-pay --context -"
)]
pub(super) struct ExplainArguments {
    /// The flag's key
    #[arg(id = "flag_key", value_name = "FLAG", value_parser = FlagKey::parse)]
    flag: FlagKey,
    /// File with the context in OFREP form, `-` for standard input
    #[arg(long, value_name = "FILE")]
    context: PathBuf,
    /// Explain this draft of the document instead of what is stored; nothing is changed
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Write the service's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientSettings,
}

pub(super) fn run(arguments: &ExplainArguments, output: Output) -> anyhow::Result<ExitCode> {
    let from_input = |file: &Path| file == Path::new("-");
    if from_input(&arguments.context) && arguments.document.as_deref().is_some_and(from_input) {
        return Err(UsageError("only one file can be `-`, standard input".to_owned()).into());
    }
    let remote = Remote::new(&arguments.client)?;
    let context = read_json(&arguments.context)?;
    let context = match context {
        Value::Object(mut whole) if whole.get("context").is_some_and(Value::is_object) => {
            whole.remove("context").unwrap_or_default()
        }
        context => context,
    };
    let mut body = json!({"context": context});
    if let (Value::Object(body), Some(file)) = (&mut body, &arguments.document) {
        body.insert("document".into(), read_json(file)?);
    }
    let answer = remote.send("POST", &format!("/flags/{}/explain", arguments.flag), &[], &body)?.json;
    if arguments.json {
        say_json(&answer);
    } else {
        say(&words(&answer, arguments.flag.as_str(), output));
    }
    Ok(ExitCode::SUCCESS)
}

fn words(answer: &Value, flag: &str, output: Output) -> String {
    let decision = answer.get("decision").unwrap_or(&Value::Null);
    let number = |field: &str| answer.get(field).and_then(Value::as_i64).unwrap_or_default();
    let draft = answer.get("draft").and_then(Value::as_bool).unwrap_or_default();
    let mut lines = trace::decision(flag, decision, output);
    let of = if draft { "a draft over version" } else { "version" };
    lines.push(format!("  {:<8} {of} {}, snapshot {}", "of", number("version"), number("snapshot")));
    lines.push(String::new());
    let steps = answer.get("trace").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    lines.extend(trace::trace(steps, output));
    lines.join("\n")
}

fn read_json(file: &Path) -> anyhow::Result<Value> {
    let bytes = read_input(file)?;
    parse(&bytes).with_context(|| file.display().to_string())
}
