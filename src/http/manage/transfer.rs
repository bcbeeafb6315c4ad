//! Between environments, over HTTP: promote, export, import.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::{BODY_BYTES_MAX, change};
use crate::access::role::{Administer, Edit, Read, Right as _};
use crate::engine::key::FlagKey;
use crate::http::access::Access;
use crate::http::body::JsonBody;
use crate::http::json::{strict_export, typed};
use crate::http::problem::{Code, Problem};
use crate::http::request::{Query, caller, optional_precondition};
use crate::http::service::Service;
use crate::manage::export::Salts;
use crate::manage::import::Run;
use crate::manage::promote::{Parts, Promotion};

/// Bytes of an export that is taken in.
const IMPORT_BYTES_MAX: usize = 32 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromoteBody {
    flag: String,
    from: String,
    parts: Option<Vec<String>>,
    reason: Option<String>,
}

/// `POST .../promote?dry_run=`: a flag's document, or parts of it, from another environment.
pub(super) async fn promote(
    access: Access<Edit>,
    req: HttpRequest,
    body: JsonBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    if access.actor.environment.is_some() {
        return Err(Problem::new(
            Code::Forbidden,
            "promoting needs rights in both environments: a key of all environments",
        ));
    }
    let dry_run = Query::read(&req, &["dry_run"])?.boolean("dry_run")?;
    let precondition = optional_precondition(&req)?;
    let PromoteBody { flag, from, parts, reason } = typed(&body.0)?;
    let caller = caller(&req, &access.actor, reason)?;
    let invalid = |detail: String| Problem::new(Code::BodyInvalid, detail);
    let flag = FlagKey::parse(&flag).map_err(|error| invalid(format!("`flag`: {error}")))?;
    let source = service.live.environment(&from);
    let source =
        source.ok_or_else(|| Problem::new(Code::NotFound, "`from`: there is no such environment"))?;
    if source.number == access.environment.number {
        return Err(invalid("`from` is another environment than the one promoted to".into()));
    }
    let parts = parts.map_or(Ok(Parts::All), Parts::parse).map_err(invalid)?;
    let promoted = change(&access, &service, |manage, environment| async move {
        let promotion = Promotion { flag: &flag, from: &source, parts, dry_run };
        let promoted = manage.promote(&caller, &environment, &promotion, &precondition).await?;
        Ok::<_, Problem>(json!({
            "dry_run": dry_run,
            "flag": flag,
            "from": source.key,
            "from_version": promoted.from_version,
            "environment": environment.key,
            "action": promoted.action.as_str(),
            "version": promoted.version,
            "state": promoted.state.as_str(),
            "diff": promoted.diff,
            "warnings": promoted.warnings,
            "snapshot": promoted.snapshot,
        }))
    });
    Ok(HttpResponse::Ok().json(promoted.await?))
}

/// `GET .../export?secrets=`: the whole environment as one document; with `secrets=true`, which only admins may, with salts.
pub(super) async fn export(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let secrets = Query::read(&req, &["secrets"])?.boolean("secrets")?;
    if secrets && !Administer::allows(access.actor.role) {
        return Err(Problem::new(Code::Forbidden, "only an admin key exports salts"));
    }
    let salts = if secrets { Salts::Shown } else { Salts::Hidden };
    let export = service.manage.export(&access.environment, salts).await?;
    let text = blocking(move || serde_json::to_vec(&export).map_err(internal)).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(text))
}

/// `POST .../import?dry_run=`: an export taken in, all of it or nothing.
pub(super) async fn import(
    access: Access<Edit>,
    req: HttpRequest,
    body: JsonBody<IMPORT_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let dry_run = Query::read(&req, &["dry_run"])?.boolean("dry_run")?;
    let caller = caller(&req, &access.actor, None)?;
    let value = blocking(move || strict_export(&body.0)).await?;
    let run = if dry_run { Run::Dry } else { Run::Whole };
    let done = change(&access, &service, |manage, environment| async move {
        manage.import(&caller, &environment, value, run).await
    })
    .await?;
    let flags = done.flags.iter().map(|flag| {
        json!({"key": flag.key, "action": flag.action.as_str(), "version": flag.version, "diff": flag.diff})
    });
    let audiences = done.audiences.iter().map(|audience| {
        json!({"key": audience.key, "action": audience.action.as_str(), "add": audience.add, "remove": audience.remove})
    });
    Ok(HttpResponse::Ok().json(json!({
        "dry_run": dry_run,
        "flags": flags.collect::<Vec<_>>(),
        "audiences": audiences.collect::<Vec<_>>(),
        "warnings": done.warnings,
        "snapshot": done.snapshot,
    })))
}

/// Runs what takes long on a thread that decides nothing.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    actix_web::web::block(work).await.map_err(internal)?
}

fn internal(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "an export could not be written");
    Problem::new(Code::Internal, "the export could not be written; the log says why")
}
