//! `huidu unit-secret`: what the shop's backend signs units with.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::flag::Service;
use super::output::{Cell, Output, answer, minute, say, table, word};
use super::remote::{Remote, encoded};

/// What can be done with unit secrets.
#[derive(Debug, Subcommand)]
pub(super) enum SecretCommand {
    /// List the secrets of the environment, without their texts
    List {
        #[command(flatten)]
        service: Service,
    },
    /// Make a secret and show it: the only time that it can be seen
    Create {
        /// Why, for the audit
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        service: Service,
    },
    /// Delete a secret: what it signed is refused from then on
    Delete {
        /// Its id, as the list shows it
        id: String,
        #[command(flatten)]
        service: Service,
    },
}

pub(super) fn run(command: &SecretCommand, output: Output) -> anyhow::Result<ExitCode> {
    match command {
        SecretCommand::List { service } => list(service, output)?,
        SecretCommand::Create { reason, service } => create(service, reason.as_deref())?,
        SecretCommand::Delete { id, service } => {
            Remote::new(&service.client)?.delete(&format!("/unit-secrets/{}", encoded(id)), &[])?;
            let done = json!({"deleted": id});
            answer(&done, service.json, || {
                format!("{} is deleted: what it signed is refused", word(&json!(id)))
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(service: &Service, output: Output) -> anyhow::Result<()> {
    let remote = Remote::new(&service.client)?;
    let environment = remote.get("")?.json;
    let secrets = environment.get("unit_secrets").cloned().unwrap_or_default();
    answer(&json!({"items": secrets}), service.json, || {
        let field = |secret: &Value, name: &str| word(secret.get(name).unwrap_or(&Value::Null));
        let rows =
            secrets.as_array().into_iter().flatten().map(|secret| {
                vec![field(secret, "id").into(), Cell::from(minute(&field(secret, "created_at")))]
            });
        let rows: Vec<Vec<Cell>> = rows.collect();
        let signed = environment.get("require_signed_units").and_then(Value::as_bool).unwrap_or_default();
        let demanded = if signed { "demands signed units" } else { "does not demand signed units" };
        let head = format!("{} {demanded}", remote.environment());
        if rows.is_empty() {
            format!("{head}; it has no unit secret")
        } else {
            format!("{head}\n\n{}", table(&["id", "made"], rows, output))
        }
    });
    Ok(())
}

fn create(service: &Service, reason: Option<&str>) -> anyhow::Result<()> {
    let remote = Remote::new(&service.client)?;
    let body = reason.map_or_else(|| json!({}), |reason| json!({"reason": reason}));
    let made = remote.send("POST", "/unit-secrets", &[], &body)?.json;
    let field = |name: &str| word(made.get(name).unwrap_or(&Value::Null));
    if service.json {
        say(&super::output::pretty(&made));
    } else {
        say(&format!(
            "secret  {}\nid      {}\nIt is shown now and never again.",
            field("secret"),
            field("id")
        ));
    }
    Ok(())
}
