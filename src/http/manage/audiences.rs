//! Audiences over HTTP.

use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::{page_json, tagged};
use crate::access::role::{Edit, Read};
use crate::audiences::{Format, parse};
use crate::clock::rfc3339;
use crate::engine::flag::AudienceKind;
use crate::engine::key::AudienceKey;
use crate::http::access::Access;
use crate::http::body::Upload;
use crate::http::problem::{Code, Problem};
use crate::http::request::{Query, caller, named, precondition};
use crate::http::service::Service;
use crate::manage::audiences::{Contents, IDS_MAX};
use crate::store::AudienceRow;

/// Bytes of an upload: as many of the longest ids as an audience may hold.
const UPLOAD_BYTES_MAX: usize = 32 << 20;

fn audience_json(row: &AudienceRow) -> Value {
    json!({
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
    Ok(page_json(&page, audience_json))
}

/// `GET .../audiences/{key}`
pub(super) async fn read(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", AudienceKey::parse)?;
    let row = service.manage.audience(&access.environment, &key).await?;
    Ok(tagged(StatusCode::OK, row.version).json(audience_json(&row)))
}

/// `PUT .../audiences/{key}?kind=`: replaces its ids, all at once.
pub(super) async fn replace(
    access: Access<Edit>,
    req: HttpRequest,
    mut upload: Upload,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let head = match head(&req) {
        Ok(head) => head,
        Err(problem) => return Err(upload.refuse(problem).await),
    };
    let precondition = match precondition(&req) {
        Ok(precondition) => precondition,
        Err(problem) => return Err(upload.refuse(problem).await),
    };
    let caller = match caller(&req, &access.actor, None) {
        Ok(caller) => caller,
        Err(problem) => return Err(upload.refuse(problem).await),
    };
    let mut body = Vec::new();
    while let Some(chunk) = upload.chunk().await? {
        if body.len() + chunk.len() > UPLOAD_BYTES_MAX {
            let problem = Problem::new(
                Code::AudienceTooLarge,
                format!("an upload has at most {IDS_MAX} ids of 256 bytes"),
            );
            return Err(upload.refuse(problem).await);
        }
        body.extend_from_slice(&chunk);
    }
    let (key, kind, format) = head;
    // A long list takes milliseconds: not on a thread that decides.
    let parsed = actix_web::web::block(move || parse(format, &body)).await;
    let parsed = parsed.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    let ids = parsed.map_err(|error| {
        Problem::new(Code::AudienceInvalid, error.to_string()).with("line", error.line.into())
    })?;
    let contents = Contents { kind, ids };
    let changed =
        service.manage.put_audience(&caller, &access.environment, &key, contents, &precondition).await?;
    let status = if changed.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(tagged(status, changed.row.version).json(audience_json(&changed.row)))
}

/// What stands before the body: which audience, of what, written how.
fn head(req: &HttpRequest) -> Result<(AudienceKey, Option<AudienceKind>, Format), Problem> {
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
    Ok((key, kind, format))
}
