//! The audit over HTTP.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::{page_json, stored_json};
use crate::access::role::{Administer, Read};
use crate::clock::rfc3339;
use crate::http::access::{Access, GlobalAccess};
use crate::http::problem::{Code, Problem};
use crate::http::request::Query;
use crate::http::service::Service;
use crate::store::{AuditFilter, AuditRow};

/// An audit row as it is told.
pub(super) fn audit_json(row: &AuditRow) -> Value {
    json!({
        "id": row.id,
        "at": rfc3339(row.at),
        "actor": row.actor,
        "action": row.action,
        "kind": row.subject_kind,
        "subject": row.subject,
        "reason": row.reason,
        "request_id": row.request_id,
        "detail": stored_json(&row.detail),
    })
}

/// `GET /v1/environments/{environment}/audit`: newest first.
pub(super) async fn list(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    answer(&req, &service, access.environment.number).await
}

/// `GET /v1/audit`: what belongs to no environment, for administrators of all.
pub(super) async fn global(
    access: GlobalAccess<Administer>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    if access.actor.environment.is_some() {
        return Err(Problem::new(Code::Forbidden, "this needs an admin key of all environments"));
    }
    answer(&req, &service, 0).await
}

async fn answer(req: &HttpRequest, service: &Service, environment: i64) -> Result<HttpResponse, Problem> {
    let query = Query::read(req, &["flag", "audience", "actor", "from", "to", "limit", "cursor"])?;
    let flag = query.text("flag").map(|key| ("flag", key));
    let subject = flag.or_else(|| query.text("audience").map(|key| ("audience", key)));
    let filter = AuditFilter {
        subject_kind: subject.map(|(kind, _)| kind),
        subject: subject.map(|(_, key)| key),
        actor: query.text("actor"),
        from: query.time("from")?,
        to: query.time("to")?,
    };
    let page = service.manage.audit(environment, filter, query.number("cursor")?, query.limit()?).await?;
    Ok(page_json(&page, audit_json))
}
