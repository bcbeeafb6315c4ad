//! Between environments, over HTTP: promote.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::BODY_BYTES_MAX;
use crate::access::role::Edit;
use crate::engine::key::FlagKey;
use crate::http::access::Access;
use crate::http::body::JsonBody;
use crate::http::json::typed;
use crate::http::problem::{Code, Problem};
use crate::http::request::{Query, caller, optional_precondition};
use crate::http::service::Service;
use crate::manage::promote::{Parts, Promotion};

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
    let promotion = Promotion { flag: &flag, from: &source, parts, dry_run };
    let promoted = service.manage.promote(&caller, &access.environment, &promotion, &precondition).await?;
    Ok(HttpResponse::Ok().json(json!({
        "dry_run": dry_run,
        "flag": flag,
        "from": source.key,
        "from_version": promoted.from_version,
        "environment": access.environment.key,
        "action": promoted.action.as_str(),
        "version": promoted.version,
        "state": promoted.state.as_str(),
        "diff": promoted.diff,
        "warnings": promoted.warnings,
        "snapshot": promoted.snapshot,
    })))
}
