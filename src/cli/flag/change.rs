//! Changing flags.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::{Change, FlagName, show};
use crate::cli::differences;
use crate::cli::output::{Output, answer, read_input};
use crate::cli::remote::{Remote, reason_header};
use crate::engine::diff::diff;
use crate::engine::json::parse;
use crate::engine::key::{FlagKey, RuleId};

/// How a document is to be set.
pub(super) struct Wish<'a> {
    /// Only create.
    pub(super) new: bool,
    /// Change nothing.
    pub(super) dry_run: bool,
    /// Version and reason.
    pub(super) change: &'a Change,
}

pub(super) fn set(
    remote: &Remote,
    file: &Path,
    wish: &Wish<'_>,
    as_json: bool,
    output: Output,
) -> anyhow::Result<()> {
    let document = read_document(file)?;
    let key = document.get("key").and_then(Value::as_str).context("the document has no `key`")?;
    let flag = FlagName { key: FlagKey::parse(key).with_context(|| format!("`key`: {key:?}"))? };
    let stored = match wish.new {
        true => None,
        false => stored(remote, &flag)?,
    };
    if wish.dry_run {
        return rehearse(remote, &flag, &document, stored.as_ref(), as_json, output);
    }
    let version = wish.change.if_version.or_else(|| stored.as_ref().and_then(version_of));
    let mut headers = reason_header(wish.change.reason.as_deref());
    headers.push(match version {
        Some(version) => if_match(version),
        None => ("if-none-match", "*".to_owned()),
    });
    let reply = remote.send("PUT", &flag.path(), &headers, &document)?;
    answer(&reply.json, as_json, || {
        let unchanged = reply.json.get("version") == stored.as_ref().and_then(|stored| stored.get("version"));
        let done = match (reply.status, unchanged) {
            (201, _) => "created",
            (_, true) => "unchanged",
            (_, false) => "replaced",
        };
        format!("{done}\n{}", show::summary(&reply.json, output))
    });
    Ok(())
}

/// The document of a file: alone, or inside an answer of the service.
fn read_document(file: &Path) -> anyhow::Result<Value> {
    let bytes = read_input(file)?;
    let value = parse(&bytes).map_err(|fault| anyhow::anyhow!("{}: {fault}", file.display()))?;
    let is_answer = value.get("state").is_some() && value.get("version").is_some();
    Ok(match value {
        Value::Object(mut answer) if is_answer && answer.get("flag").is_some_and(Value::is_object) => {
            answer.remove("flag").unwrap_or_default()
        }
        value => value,
    })
}

/// The stored flag; `None` where there is none.
fn stored(remote: &Remote, flag: &FlagName) -> anyhow::Result<Option<Value>> {
    match remote.get(&flag.path()) {
        Ok(reply) => Ok(Some(reply.json)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Has the document checked as a draft, and shows what would change.
fn rehearse(
    remote: &Remote,
    flag: &FlagName,
    document: &Value,
    stored: Option<&Value>,
    as_json: bool,
    output: Output,
) -> anyhow::Result<()> {
    // A draft is explained for some context, whatever comes out: only its faults matter.
    let draft = json!({"context": {}, "document": document});
    remote.send("POST", &format!("{}/explain", flag.path()), &[], &draft)?;
    let mut document = document.clone();
    let old = stored.and_then(|stored| stored.get("flag")).cloned();
    if let (Some(salt), Value::Object(new)) = (old.as_ref().and_then(|old| old.get("salt")), &mut document)
        && !new.contains_key("salt")
    {
        new.insert("salt".into(), salt.clone());
    }
    let found = old.as_ref().map(|old| diff(old, &document)).unwrap_or_default();
    let action = match (&old, found.is_empty()) {
        (None, _) => "create",
        (Some(_), true) => "unchanged",
        (Some(_), false) => "replace",
    };
    answer(&json!({"dry_run": true, "key": flag.key, "action": action, "diff": found}), as_json, || {
        let mut lines =
            vec![format!("would {} {}", if action == "unchanged" { "not change" } else { action }, flag.key)];
        lines.extend(differences::lines(&json!(found), output));
        lines.join("\n")
    });
    Ok(())
}

fn version_of(flag: &Value) -> Option<i64> {
    flag.get("version").and_then(Value::as_i64)
}

fn if_match(version: i64) -> (&'static str, String) {
    ("if-match", format!("\"{version}\""))
}

/// The version to change: the one that was asked for, else the present one.
fn version(remote: &Remote, flag: &FlagName, change: &Change) -> anyhow::Result<i64> {
    match change.if_version {
        Some(version) => Ok(version),
        None => version_of(&remote.get(&flag.path())?.json).context("the service told no version"),
    }
}

/// Posts a change of the flag and shows the flag after it.
fn post(
    remote: &Remote,
    flag: &FlagName,
    action: &str,
    version: Option<i64>,
    body: Map<String, Value>,
    shown: (bool, Output),
) -> anyhow::Result<()> {
    let headers: Vec<_> = version.map(if_match).into_iter().collect();
    let path = format!("{}/{action}", flag.path());
    let reply = remote.send("POST", &path, &headers, &Value::Object(body))?;
    let (as_json, output) = shown;
    answer(&reply.json, as_json, || show::summary(&reply.json, output));
    Ok(())
}

fn with_reason(reason: Option<&str>) -> Map<String, Value> {
    reason.map(|reason| ("reason".to_owned(), reason.into())).into_iter().collect()
}

/// What a rollout is moved to.
pub(super) struct Rollout<'a> {
    /// Percent of the treated.
    pub(super) percent: f64,
    /// Which rule.
    pub(super) rule: Option<&'a RuleId>,
    /// Percent of the control.
    pub(super) control: Option<f64>,
}

pub(super) fn roll_out(
    remote: &Remote,
    flag: &FlagName,
    rollout: &Rollout<'_>,
    change: &Change,
    as_json: bool,
    output: Output,
) -> anyhow::Result<()> {
    let version = version(remote, flag, change)?;
    let mut body = with_reason(change.reason.as_deref());
    body.insert("percent".into(), number(rollout.percent));
    if let Some(rule) = rollout.rule {
        body.insert("rule".into(), rule.as_str().into());
    }
    if let Some(control) = rollout.control {
        body.insert("control".into(), number(control));
    }
    post(remote, flag, "rollout", Some(version), body, (as_json, output))
}

/// A whole number without a fraction, as people write it into documents.
#[expect(clippy::cast_possible_truncation, reason = "in the range of 32 bits and whole after the check")]
fn number(value: f64) -> Value {
    let whole = value.trunc();
    let is_whole = value.to_bits() == whole.to_bits() && whole.abs() < f64::from(i32::MAX);
    if is_whole { (whole as i64).into() } else { value.into() }
}

pub(super) fn kill(
    remote: &Remote,
    flag: &FlagName,
    reason: Option<&str>,
    as_json: bool,
    output: Output,
) -> anyhow::Result<()> {
    post(remote, flag, "kill", None, with_reason(reason), (as_json, output))
}

/// Restores or archives.
pub(super) fn act(
    remote: &Remote,
    flag: &FlagName,
    action: &str,
    change: &Change,
    as_json: bool,
    output: Output,
) -> anyhow::Result<()> {
    let version = version(remote, flag, change)?;
    post(remote, flag, action, Some(version), with_reason(change.reason.as_deref()), (as_json, output))
}

pub(super) fn roll_back(
    remote: &Remote,
    flag: &FlagName,
    to: i64,
    change: &Change,
    as_json: bool,
    output: Output,
) -> anyhow::Result<()> {
    let version = version(remote, flag, change)?;
    let mut body = with_reason(change.reason.as_deref());
    body.insert("version".into(), to.into());
    post(remote, flag, "rollback", Some(version), body, (as_json, output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_percentage_is_sent_without_a_fraction() {
        for (value, text) in
            [(10.0, "10"), (12.5, "12.5"), (0.0001, "0.0001"), (-1.0, "-1"), (1e300, "1e+300")]
        {
            assert_eq!(number(value).to_string(), text);
        }
        assert_eq!(number(f64::NAN), Value::Null);
    }
}
