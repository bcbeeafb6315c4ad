//! Changing single ids, going back, deleting.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::{AudienceName, Edit, show};
use crate::cli::output::{Output, answer, read_input};
use crate::cli::remote::{Remote, reason_header};

/// Most ids of one call.
const IDS_MAX: usize = 10_000;

pub(super) fn edit(remote: &Remote, edit: &Edit, action: &str, output: Output) -> anyhow::Result<()> {
    let ids = match &edit.file {
        None => edit.ids.clone(),
        Some(file) => read_ids(file)?,
    };
    if ids.is_empty() {
        bail!("there are no ids to {action}");
    }
    let path = format!("{}/{action}", edit.audience.path());
    let (mut turned, mut last) = (0, Value::Null);
    let count = if action == "add" { "added" } else { "removed" };
    for some in ids.chunks(IDS_MAX) {
        let body = match &edit.reason {
            Some(reason) => json!({"ids": some, "reason": reason}),
            None => json!({"ids": some}),
        };
        last = remote.send("POST", &path, &[], &body)?.json;
        turned += last.get(count).and_then(Value::as_u64).unwrap_or_default();
    }
    if let Value::Object(last) = &mut last {
        last.insert(count.to_owned(), turned.into());
    }
    show(&last, edit.service.json, &format!("{turned} {count}\n"), output);
    Ok(())
}

fn read_ids(file: &Path) -> anyhow::Result<Vec<String>> {
    let bytes = read_input(file)?;
    let text = String::from_utf8(bytes).ok().with_context(|| format!("{} is not UTF-8", file.display()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text.lines().map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect())
}

/// The version to change: the one that was asked for, else the present one.
fn version(remote: &Remote, audience: &AudienceName, asked: Option<i64>) -> anyhow::Result<i64> {
    match asked {
        Some(version) => Ok(version),
        None => {
            let audience = remote.get(&audience.path())?.json;
            audience.get("version").and_then(Value::as_i64).context("the service told no version")
        }
    }
}

pub(super) fn roll_back(
    remote: &Remote,
    audience: &AudienceName,
    to: i64,
    if_version: Option<i64>,
    reason: Option<String>,
) -> anyhow::Result<Value> {
    let version = version(remote, audience, if_version)?;
    let mut body = json!({"version": to});
    if let (Value::Object(body), Some(reason)) = (&mut body, reason) {
        body.insert("reason".into(), reason.into());
    }
    let headers = [("if-match", format!("\"{version}\""))];
    Ok(remote.send("POST", &format!("{}/rollback", audience.path()), &headers, &body)?.json)
}

pub(super) fn delete(
    remote: &Remote,
    audience: &AudienceName,
    reason: Option<&str>,
    as_json: bool,
) -> anyhow::Result<()> {
    remote.delete(&audience.path(), &reason_header(reason))?;
    answer(&json!({"key": audience.key, "deleted": true}), as_json, || {
        format!("{} is deleted", audience.key)
    });
    Ok(())
}
