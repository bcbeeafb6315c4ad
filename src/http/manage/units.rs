//! Erasing and exporting one unit over HTTP.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::audit::audit_json;
use super::stored_json;
use crate::access::role::Administer;
use crate::clock::rfc3339;
use crate::engine::context::ID_BYTES_MAX;
use crate::engine::decision::Arm;
use crate::engine::flag::{Attribute, Scope};
use crate::engine::snapshot::Snapshot;
use crate::http::access::Access;
use crate::http::body::JsonBody;
use crate::http::json::typed;
use crate::http::problem::{Code, Problem};
use crate::http::request::{Query, caller};
use crate::http::service::Service;
use crate::manage::units::{Told, UnitName};
use crate::store::{ExposureRow, StoredStep};

/// Bytes of a body that names a unit.
const BODY_BYTES_MAX: usize = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnitBody {
    unit: String,
    attribute: Option<String>,
    reason: Option<String>,
}

/// `POST .../units/erase`: deletes what is stored of a unit, and tells how much it was.
pub(super) async fn erase(
    access: Access<Administer>,
    req: HttpRequest,
    body: JsonBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    Query::read(&req, &[])?;
    let body: UnitBody = typed(&body.0)?;
    let (unit, caller) = (named(&body, &service)?, caller(&req, &access.actor, body.reason)?);
    let erased = service.manage.erase_unit(&caller, &access.environment, &service.events, &unit).await?;
    Ok(HttpResponse::Ok().json(json!({
        "environment": access.environment.key,
        "attribute": unit.attribute,
        "exposures": erased.exposures,
        "steps": erased.steps,
        "audiences": erased.audiences,
        "audit": erased.audit,
        "versions": erased.versions,
        "named_in_flags": erased.named_in_flags,
    })))
}

/// `POST .../units/export`: what is stored of a unit. Its steps are streamed, since they may be many.
pub(super) async fn export(
    access: Access<Administer>,
    req: HttpRequest,
    body: JsonBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    Query::read(&req, &[])?;
    let body: UnitBody = typed(&body.0)?;
    let (unit, caller) = (named(&body, &service)?, caller(&req, &access.actor, body.reason)?);
    let told = service.manage.tell_unit(&caller, &access.environment, &service.events, &unit).await?;
    let first = service.manage.steps_of_unit(access.environment.number, &unit, None).await?;
    let head = Some(head(&access, &unit, &told, &rfc3339(service.clock.now_ms()))?);
    let environment = access.environment.number;
    let page = Page { service, environment, unit, told, head, begun: false, next: Some(first) };
    Ok(HttpResponse::Ok().content_type("application/json").streaming(stream::unfold(Some(page), next_chunk)))
}

/// The unit that a body names.
fn named(body: &UnitBody, service: &Service) -> Result<UnitName, Problem> {
    if !(1..=ID_BYTES_MAX).contains(&body.unit.len()) || body.unit.contains('\0') {
        let detail = format!("`unit` has 1 to {ID_BYTES_MAX} bytes, none of them U+0000");
        return Err(Problem::new(Code::UnitInvalid, detail));
    }
    let attribute = body.attribute.as_deref().unwrap_or("user.id");
    let attribute =
        Attribute::parse(attribute).filter(|attribute| attribute.scope != Scope::Goods).ok_or_else(|| {
            Problem::new(
                Code::BodyInvalid,
                "`attribute` is a `user.*` or `order.*` attribute, such as user.id",
            )
        })?;
    Ok(UnitName {
        attribute: attribute.to_string(),
        unit: body.unit.clone(),
        stored: service.unit_ids().ok_or_else(crate::http::not_ready)?.stored(&body.unit).into(),
    })
}

/// Everything before the steps: an object that is still open.
fn head(access: &Access<Administer>, unit: &UnitName, told: &Told, now: &str) -> Result<Bytes, Problem> {
    let snapshot = &told.published.snapshot;
    let exposures: Vec<Value> = told.exposures.iter().map(|row| exposure_json(row, snapshot)).collect();
    let audit: Vec<Value> = told.audit.iter().map(audit_json).collect();
    let head = json!({
        "environment": access.environment.key,
        "attribute": unit.attribute,
        "unit": unit.unit,
        "stored_as": unit.stored,
        "exported_at": now,
        "audiences": told.audiences,
        "audit": audit,
        "named_in_flags": told.named_in_flags,
        "exposures": exposures,
    });
    let text = head.to_string();
    let open = text.strip_suffix('}').ok_or_else(|| Problem::new(Code::Internal, "no object"))?;
    Ok(format!("{open},\"steps\":[").into())
}

/// Where an export stands.
struct Page {
    service: Data<Service>,
    environment: i64,
    unit: UnitName,
    told: Told,
    /// What is sent first.
    head: Option<Bytes>,
    /// Whether a step was sent.
    begun: bool,
    /// Steps that were read; `None` after the last.
    next: Option<Vec<StoredStep>>,
}

/// The next bytes of an export. One that fails in its middle is cut off, which the client sees.
async fn next_chunk(page: Option<Page>) -> Option<(Result<Bytes, actix_web::Error>, Option<Page>)> {
    let mut page = page?;
    if let Some(head) = page.head.take() {
        return Some((Ok(head), Some(page)));
    }
    let Some(steps) = page.next.take().filter(|steps| !steps.is_empty()) else {
        return Some((Ok(Bytes::from_static(b"]}")), None));
    };
    let mut text = String::new();
    for step in &steps {
        if std::mem::replace(&mut page.begun, true) {
            text.push(',');
        }
        text.push_str(&step_json(step, &page.told.published.snapshot).to_string());
    }
    match page.service.manage.steps_of_unit(page.environment, &page.unit, steps.last()).await {
        Ok(next) => {
            page.next = Some(next);
            Some((Ok(text.into()), Some(page)))
        }
        Err(error) => Some((Err(Problem::from(error).into()), None)),
    }
}

/// A flag's key; its number where no flag of this snapshot has it.
fn flag_key(snapshot: &Snapshot, number: i64) -> Value {
    snapshot.find_number(number).map_or_else(|| json!(number), |flag| json!(flag.key))
}

fn exposure_json(row: &ExposureRow, snapshot: &Snapshot) -> Value {
    json!({
        "flag": flag_key(snapshot, row.flag),
        "stage": row.stage,
        "rule": row.rule,
        "arm": Arm::from_number(row.arm).map(Arm::as_str),
        "variant": row.variant,
        "bucket": row.bucket,
        "at": rfc3339(row.at),
        "captured": row.captured.as_deref().map(stored_json),
    })
}

fn step_json(row: &StoredStep, snapshot: &Snapshot) -> Value {
    json!({
        "step": row.step,
        "id": row.id,
        "flag": row.flag.map(|number| flag_key(snapshot, number)),
        "stage": row.stage,
        "rule": row.rule,
        "value": row.value,
        "currency": row.currency,
        "order_id": row.order_id,
        "at": rfc3339(row.at),
        "attributes": row.attributes.as_deref().map(stored_json),
    })
}
