//! How far a change has come.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use crate::access::role::Read;
use crate::clock::rfc3339;
use crate::engine::key::FlagKey;
use crate::http::access::Access;
use crate::http::problem::Problem;
use crate::http::request::{Query, named};
use crate::http::service::Service;

/// `GET .../flags/{key}/propagation?version=`
pub(super) async fn read(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let query = Query::read(&req, &["version"])?;
    let key = named(&req, "key", FlagKey::parse)?;
    let (version, node) = (query.number("version")?, &service.node.name);
    let known = service.manage.propagation(&access.environment, &key, version, node).await?;
    let node = |node: &crate::manage::propagation::Confirmed| json!({"node": node.node, "confirmed_at": node.at.map(rfc3339), "ms": node.ms});
    Ok(HttpResponse::Ok().json(json!({
        "version": known.version,
        "snapshot": known.number,
        "changed_at": rfc3339(known.changed_at),
        "nodes": known.nodes.iter().map(node).collect::<Vec<Value>>(),
        "waiting": known.waiting,
        "pages_told": known.pages_told,
        "last_exposure_at": known.last_exposure_at.map(rfc3339),
    })))
}
