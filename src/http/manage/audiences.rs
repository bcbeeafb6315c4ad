//! Audiences over HTTP.

use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{RollbackBody, change, page_json, tagged};
use crate::access::role::{Edit, Read};
use crate::audiences::{Format, UploadError, checked};
use crate::clock::rfc3339;
use crate::engine::flag::AudienceKind;
use crate::engine::key::AudienceKey;
use crate::http::access::Access;
use crate::http::body::{JsonBody, Upload};
use crate::http::is_gzip;
use crate::http::json::typed;
use crate::http::problem::{Code, Problem};
use crate::http::request::{Query, caller, if_match, named, precondition};
use crate::http::service::Service;
use crate::live::{Environment, held};
use crate::manage::audiences::{ChangedAudience, Edit as Editing, Sent, Upload as Admitted};
use crate::manage::{Caller, ManageError, Precondition};
use crate::store::AudienceRow;

/// Most ids of a call that adds or removes them.
const EDIT_IDS_MAX: usize = 10_000;
/// Bytes of such a call.
const EDIT_BYTES_MAX: usize = 4 << 20;
/// Ids of a page where nobody asks for a number, and at most.
const IDS_LIMITS: (usize, usize) = (1_000, 10_000);

fn audience_json(environment: &Environment, row: &AudienceRow) -> Value {
    json!({
        "held": environment.published().map_or("unreadable", |published| held(&published.snapshot, &row.key)),
        "key": row.key,
        "kind": row.kind,
        "size": row.size,
        "version": row.version,
        "updated_at": rfc3339(row.updated_at),
        "updated_by": row.updated_by,
    })
}

/// `GET .../audiences`
pub(super) async fn list(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let query = Query::read(&req, &["limit", "cursor"])?;
    let page = service.manage.audiences(&access.environment, query.text("cursor"), query.limit()?).await?;
    Ok(page_json(&page, |row| audience_json(&access.environment, row)))
}

/// `GET .../audiences/{key}`
pub(super) async fn read(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", AudienceKey::parse)?;
    let row = service.manage.audience(&access.environment, &key).await?;
    Ok(tagged(StatusCode::OK, row.version).json(audience_json(&access.environment, &row)))
}

/// `PUT .../audiences/{key}?kind=`: replaces its ids, all at once, as they stream.
pub(super) async fn replace(
    access: Access<Edit>,
    req: HttpRequest,
    mut upload: Upload,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let (head, admitted) = match admit(&access, &req, &service).await {
        Ok(admitted) => admitted,
        Err(problem) => return Err(upload.refuse(problem).await),
    };
    while let Some(chunk) = upload.chunk().await? {
        if !admitted.intake.feed(chunk).await {
            // It was refused half way, and says why at once.
            let refused = admitted.intake.finish().await.err().unwrap_or(UploadError::Incomplete);
            return Err(upload.refuse(ManageError::Upload(refused).into()).await);
        }
    }
    let Head { key, precondition, caller } = head;
    let changed = change(&access, &service, |manage, environment| async move {
        manage.put_audience(&caller, &environment, &key, admitted, &precondition).await
    })
    .await?;
    let status = if changed.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(tagged(status, changed.row.version).json(audience_json(&access.environment, &changed.row)))
}

/// What stands before the body: which audience, from what, by whom.
struct Head {
    key: AudienceKey,
    precondition: Precondition,
    caller: Caller,
}

/// Reads the head of an upload, and refuses it before its body where that is known already.
async fn admit(
    access: &Access<Edit>,
    req: &HttpRequest,
    service: &Service,
) -> Result<(Head, Admitted), Problem> {
    let (key, sent) = sent(req)?;
    let head = Head { key, precondition: precondition(req)?, caller: caller(req, &access.actor, None)? };
    let begun = service.manage.begin_upload(&access.environment, &head.key, sent, &head.precondition).await?;
    Ok((head, begun))
}

/// Which audience, of what, written how.
fn sent(req: &HttpRequest) -> Result<(AudienceKey, Sent), Problem> {
    let key = named(req, "key", AudienceKey::parse)?;
    let query = Query::read(req, &["kind"])?;
    let kind = match query.text("kind") {
        Some(text) => Some(
            AudienceKind::parse(text)
                .ok_or_else(|| Problem::new(Code::QueryInvalid, "`kind` is user, goods or other"))?,
        ),
        None => None,
    };
    let media = req
        .headers()
        .get(header::CONTENT_TYPE)
        .map_or("text/plain", |value| value.to_str().unwrap_or_default());
    let format = Format::of_media_type(media).ok_or_else(|| {
        Problem::new(Code::UnsupportedMediaType, "ids come as text/plain, text/csv or application/x-ndjson")
    })?;
    Ok((key, Sent { kind, format, gzip: is_gzip(req.headers()) }))
}

/// Ids to add or to remove.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdsBody {
    ids: Vec<String>,
    reason: Option<String>,
}

/// `POST .../audiences/{key}/add`: ids become members.
pub(super) async fn add(
    access: Access<Edit>,
    req: HttpRequest,
    body: JsonBody<EDIT_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    edit(&access, &req, &body, &service, Editing::Add).await
}

/// `POST .../audiences/{key}/remove`: ids become strangers.
pub(super) async fn remove(
    access: Access<Edit>,
    req: HttpRequest,
    body: JsonBody<EDIT_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    edit(&access, &req, &body, &service, Editing::Remove).await
}

async fn edit(
    access: &Access<Edit>,
    req: &HttpRequest,
    body: &JsonBody<EDIT_BYTES_MAX>,
    service: &Service,
    editing: Editing,
) -> Result<HttpResponse, Problem> {
    let key = named(req, "key", AudienceKey::parse)?;
    Query::read(req, &[])?;
    let IdsBody { mut ids, reason } = typed(&body.0)?;
    if ids.len() > EDIT_IDS_MAX {
        return Err(Problem::new(Code::TooManyIds, format!("a call has at most {EDIT_IDS_MAX} ids")));
    }
    for (at, id) in ids.iter_mut().enumerate() {
        // As in an upload: an id with outer blanks could not be uploaded again.
        let trimmed = checked(id.trim()).map(str::to_owned);
        *id = trimmed.map_err(|why| {
            Problem::new(Code::AudienceInvalid, format!("`ids[{at}]`: {why}")).with("index", at.into())
        })?;
    }
    let caller = caller(req, &access.actor, reason)?;
    let changed = change(access, service, |manage, environment| async move {
        manage.edit_audience(&caller, &environment, &key, editing, &ids).await
    })
    .await?;
    let count = if editing == Editing::Add { "added" } else { "removed" };
    Ok(turned(&access.environment, &changed, count))
}

/// An audience after ids were turned over, and how many were.
fn turned(environment: &Environment, changed: &ChangedAudience, count: &str) -> HttpResponse {
    let mut body = audience_json(environment, &changed.row);
    if let Some(body) = body.as_object_mut() {
        body.insert(count.to_owned(), changed.turned.into());
    }
    tagged(StatusCode::OK, changed.row.version).json(body)
}

/// `POST .../audiences/{key}/rollback`: the contents of a kept version become those of the newest.
pub(super) async fn roll_back(
    access: Access<Edit>,
    req: HttpRequest,
    body: JsonBody<EDIT_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", AudienceKey::parse)?;
    Query::read(&req, &[])?;
    let precondition = if_match(&req)?;
    let RollbackBody { version, reason } = typed(&body.0)?;
    let caller = caller(&req, &access.actor, reason)?;
    let changed = change(&access, &service, |manage, environment| async move {
        manage.roll_back_audience(&caller, &environment, &key, version, &precondition).await
    })
    .await?;
    Ok(tagged(StatusCode::OK, changed.row.version).json(audience_json(&access.environment, &changed.row)))
}

/// `DELETE .../audiences/{key}`; `If-Match` is heeded, but not needed.
pub(super) async fn delete(
    access: Access<Edit>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", AudienceKey::parse)?;
    Query::read(&req, &[])?;
    let precondition = match req.headers().contains_key(header::IF_MATCH) {
        true => if_match(&req)?,
        false => Precondition::Any,
    };
    let caller = caller(&req, &access.actor, None)?;
    change(&access, &service, |manage, environment| async move {
        manage.delete_audience(&caller, &environment, &key, &precondition).await
    })
    .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `GET .../audiences/{key}/ids`: its ids, in the order of their bytes.
pub(super) async fn ids(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", AudienceKey::parse)?;
    let query = Query::read(&req, &["limit", "cursor"])?;
    let limit = query.limit_of(IDS_LIMITS.0, IDS_LIMITS.1)?;
    let cursor = query.text("cursor").map(checked).transpose();
    let cursor = cursor.map_err(|why| Problem::new(Code::QueryInvalid, format!("`cursor`: {why}")))?;
    let (page, version) = service.manage.audience_ids(&access.environment, &key, cursor, limit).await?;
    let body = json!({"items": page.items, "next_cursor": page.next_cursor, "version": version});
    Ok(HttpResponse::Ok().json(body))
}

/// `GET .../audiences/{key}/contains?id=`
pub(super) async fn contains(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", AudienceKey::parse)?;
    let query = Query::read(&req, &["id"])?;
    let id = query.text("id").ok_or_else(|| Problem::new(Code::QueryInvalid, "`id` is needed"))?;
    let id = checked(id.trim()).map_err(|why| Problem::new(Code::QueryInvalid, format!("`id`: {why}")))?;
    let (contains, version) = service.manage.audience_contains(&access.environment, &key, id).await?;
    Ok(HttpResponse::Ok().json(json!({"id": id, "contains": contains, "version": version})))
}
