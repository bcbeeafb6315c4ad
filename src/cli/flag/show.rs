//! Reading flags.

use serde_json::{Value, json};

use super::FlagName;
use crate::cli::differences;
use crate::cli::output::{Cell, Output, Tone, answer, minute, plain, pretty, say, table, who, word};
use crate::cli::remote::Remote;
use crate::engine::diff;
use crate::engine::flag::State;

/// How a flag is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Words,
    /// The service's JSON.
    Answer,
    /// The document alone.
    Document,
}

impl Form {
    /// What the arguments ask for.
    pub(super) fn of(document: bool, json: bool) -> Self {
        match (document, json) {
            (true, _) => Self::Document,
            (false, true) => Self::Answer,
            (false, false) => Self::Words,
        }
    }
}

pub(super) fn list(
    remote: &Remote,
    state: Option<State>,
    as_json: bool,
    output: Output,
) -> anyhow::Result<()> {
    let query = state.map(|state| format!("?state={}", state.as_str())).unwrap_or_default();
    let flags = remote.all(&format!("/flags{query}"), None)?;
    answer(&json!({"items": flags, "next_cursor": null}), as_json, || {
        if flags.is_empty() {
            return format!("no flags in {}", remote.environment());
        }
        let rows: Vec<Vec<Cell>> = flags.iter().map(line).collect();
        table(&["flag", "state", "version", "stage", "placement", "rollouts", "changed", "by"], rows, output)
    });
    Ok(())
}

fn line(flag: &Value) -> Vec<Cell> {
    let field = |pointer: &str| word(flag.pointer(pointer).unwrap_or(&Value::Null));
    let (tone, state) = standing(flag);
    vec![
        field("/flag/key").into(),
        Cell::toned(tone, state),
        field("/version").into(),
        field("/stage").into(),
        field("/flag/placement").into(),
        rollouts(flag.get("flag").unwrap_or(&Value::Null)).join(", ").into(),
        minute(&field("/updated_at")).into(),
        who(&field("/updated_by")).into(),
    ]
}

/// The state, with what stands beside it.
fn standing(flag: &Value) -> (Tone, String) {
    let state = word(flag.get("state").unwrap_or(&Value::Null));
    let expired = flag.get("expired").and_then(Value::as_bool).unwrap_or_default();
    if flag.get("unreadable").is_some_and(|why| !why.is_null()) {
        return (Tone::Bad, format!("{state}, unreadable"));
    }
    if flag.get("frozen").is_some_and(|why| !why.is_null()) {
        return (Tone::Bad, format!("{state}, frozen"));
    }
    match (state.as_str(), expired) {
        ("live", true) => (Tone::Doubtful, "live, at its end".to_owned()),
        ("live", false) => (Tone::Good, state),
        _ => (Tone::Doubtful, state),
    }
}

/// Each rollout of a document: rule, percent and control.
pub(super) fn rollouts(document: &Value) -> Vec<String> {
    let rules = document.get("rules").and_then(Value::as_array).into_iter().flatten();
    rules
        .filter_map(|rule| {
            let rollout = rule.pointer("/serve/rollout")?;
            let number = |field: &str| rollout.get(field).and_then(Value::as_f64).unwrap_or_default();
            let control = number("control");
            let control = if control > 0.0 { format!(" (control {control} %)") } else { String::new() };
            Some(format!("{} {} %{control}", word(rule.get("id")?), number("percent")))
        })
        .collect()
}

/// A flag in a few lines.
pub(super) fn summary(flag: &Value, output: Output) -> String {
    let field = |pointer: &str| word(flag.pointer(pointer).unwrap_or(&Value::Null));
    let (tone, state) = standing(flag);
    let mut lines = vec![format!(
        "{}: {}, version {}, stage {}",
        output.tone(Tone::Strong, &field("/flag/key")),
        output.tone(tone, &state),
        field("/version"),
        field("/stage")
    )];
    let rollouts = rollouts(flag.get("flag").unwrap_or(&Value::Null));
    if !rollouts.is_empty() {
        lines.push(format!("  rollouts  {}", rollouts.join(", ")));
    }
    if !flag.pointer("/updated_at").unwrap_or(&Value::Null).is_null() {
        lines.push(format!(
            "  changed   {} UTC by {}",
            minute(&field("/updated_at")),
            who(&field("/updated_by"))
        ));
    }
    if let Some(why) = flag.get("unreadable").filter(|why| !why.is_null()) {
        lines.push(format!("  {}", output.tone(Tone::Bad, &format!("cannot be read: {}", word(why)))));
    }
    if let Some(why) = flag.get("frozen").filter(|why| !why.is_null()) {
        let words = format!("frozen, since its newest form cannot be read: {}", word(why));
        lines.push(format!("  {}", output.tone(Tone::Bad, &words)));
    }
    for warning in flag.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        let part = |name: &str| word(warning.get(name).unwrap_or(&Value::Null));
        let words = format!("warning {} {}: {}", part("pointer"), part("code"), part("detail"));
        lines.push(format!("  {}", output.tone(Tone::Doubtful, &words)));
    }
    lines.join("\n")
}

pub(super) fn get(
    remote: &Remote,
    flag: &FlagName,
    version: Option<i64>,
    form: Form,
    output: Output,
) -> anyhow::Result<()> {
    let path = match version {
        None => flag.path(),
        Some(version) => format!("{}/versions/{version}", flag.path()),
    };
    let reply = remote.get(&path)?.json;
    let document = reply.get("flag").unwrap_or(&Value::Null);
    match (form, version) {
        (Form::Document, _) => say(&pretty(document)),
        (Form::Answer, _) => say(&pretty(&reply)),
        (Form::Words, None) => say(&format!("{}\n\n{}", summary(&reply, output), pretty(document))),
        (Form::Words, Some(_)) => {
            let field = |name: &str| word(reply.get(name).unwrap_or(&Value::Null));
            say(&format!(
                "{} version {}: {} by {} at {} UTC, {}\n\n{}",
                output.tone(Tone::Strong, flag.key.as_str()),
                field("version"),
                field("action"),
                field("actor"),
                minute(&field("at")),
                field("state"),
                pretty(document)
            ));
        }
    }
    Ok(())
}

pub(super) fn versions(
    remote: &Remote,
    flag: &FlagName,
    limit: usize,
    as_json: bool,
    output: Output,
) -> anyhow::Result<()> {
    let versions = remote.all(&format!("{}/versions", flag.path()), Some(limit))?;
    answer(&json!({"items": versions}), as_json, || {
        let rows: Vec<Vec<Cell>> = versions.iter().map(version_line).collect();
        table(&["version", "at", "action", "state", "changes", "reason", "by"], rows, output)
    });
    Ok(())
}

fn version_line(version: &Value) -> Vec<Cell> {
    let field = |name: &str| word(version.get(name).unwrap_or(&Value::Null));
    let changes = version.get("diff").and_then(Value::as_array).into_iter().flatten();
    let pointers: Vec<&str> =
        changes.filter_map(|change| change.get("pointer").and_then(Value::as_str)).collect();
    let changes = match pointers.as_slice() {
        [] => "-".to_owned(),
        [first] => plain(first),
        [first, rest @ ..] => format!("{} and {} more", plain(first), rest.len()),
    };
    let cells = [
        field("version"),
        minute(&field("at")),
        field("action"),
        field("state"),
        changes,
        field("reason"),
        who(&field("actor")),
    ];
    cells.into_iter().map(Cell::from).collect()
}

pub(super) fn diff(
    remote: &Remote,
    flag: &FlagName,
    from: i64,
    to: Option<i64>,
    as_json: bool,
    output: Output,
) -> anyhow::Result<()> {
    let read = |version: Option<i64>| -> anyhow::Result<Value> {
        let path = match version {
            None => flag.path(),
            Some(version) => format!("{}/versions/{version}", flag.path()),
        };
        Ok(remote.get(&path)?.json)
    };
    let (older, newer) = (read(Some(from))?, read(to)?);
    let side = |side: &Value| json!({"state": side.get("state"), "flag": side.get("flag")});
    let found = diff::diff(&side(&older), &side(&newer));
    let version = newer.get("version").cloned().unwrap_or_default();
    answer(&json!({"from": from, "to": version, "diff": found}), as_json, || {
        if found.is_empty() {
            return format!("versions {from} and {version} are the same");
        }
        differences::lines(&json!(found), output).join("\n")
    });
    Ok(())
}
