//! Keys over HTTP.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::page_json;
use crate::access::role::Administer;
use crate::access::{Actor, Role};
use crate::clock::{parse_rfc3339, rfc3339};
use crate::http::access::GlobalAccess;
use crate::http::body::JsonBody;
use crate::http::json::typed;
use crate::http::problem::{Code, Problem};
use crate::http::request::{Query, caller};
use crate::http::service::Service;
use crate::manage::keys::KeyWish;

/// `GET /v1/keys`
pub(super) async fn list(
    access: GlobalAccess<Administer>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let query = Query::read(&req, &["limit", "cursor"])?;
    let page = service.manage.list_keys(&access.actor, query.text("cursor"), query.limit()?).await?;
    Ok(page_json(&page, |row| {
        json!({
            "id": row.id,
            "name": row.name,
            "role": row.role,
            "environment": row.environment.map(|number| environment_name(&service, number)),
            "hint": row.hint,
            "created_at": rfc3339(row.created_at),
            "created_by": row.created_by,
            "expires_at": row.expires_at.map(rfc3339),
            "revoked_at": row.revoked_at.map(rfc3339),
            "last_used_at": row.last_used_at.map(rfc3339),
        })
    }))
}

fn environment_name(service: &Service, number: i64) -> String {
    service
        .live
        .by_number(number)
        .map_or_else(|| number.to_string(), |environment| environment.key.to_string())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBody {
    name: String,
    role: String,
    /// Must be given; `null` = all environments.
    #[serde(deserialize_with = "present")]
    environment: Option<String>,
    expires_at: Option<String>,
}

/// A field that may be null but not left out.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

fn wish(body: KeyBody, service: &Service, actor: &Actor) -> Result<KeyWish, Problem> {
    let role = Role::parse(&body.role).ok_or_else(|| {
        Problem::new(Code::KeyInvalid, "`role` is client, server, analyst, editor or admin")
    })?;
    let environment = match body.environment {
        None => None,
        Some(key) => {
            let found = service.live.environment(&key).map(|environment| environment.number);
            // A key of one environment cannot find out which others there are.
            if actor.environment.is_some() && found != actor.environment {
                return Err(Problem::new(
                    Code::Forbidden,
                    "an admin key of one environment makes keys of that one only",
                ));
            }
            Some(found.ok_or_else(|| {
                Problem::new(Code::KeyInvalid, "`environment`: there is no such environment")
            })?)
        }
    };
    let expires_at = match body.expires_at {
        None => None,
        Some(text) => Some(
            parse_rfc3339(&text)
                .ok_or_else(|| Problem::new(Code::KeyInvalid, "`expires_at` is a time as RFC 3339"))?,
        ),
    };
    Ok(KeyWish { name: body.name, role, environment, expires_at })
}

/// `POST /v1/keys`: the only time the key is shown.
pub(super) async fn create(
    access: GlobalAccess<Administer>,
    req: HttpRequest,
    body: JsonBody<{ 64 << 10 }>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let caller = caller(&req, &access.actor, None)?;
    let wish = wish(typed(&body.0)?, &service, &access.actor)?;
    let made = service.manage.create_key(&caller, &access.actor, &wish).await?;
    Ok(HttpResponse::Created().json(json!({
        "id": made.id,
        "key": made.text,
        "name": wish.name,
        "role": wish.role.as_str(),
        "environment": wish.environment.map(|number| environment_name(&service, number)),
        "created_at": rfc3339(made.created_at),
        "expires_at": wish.expires_at.map(rfc3339),
    })))
}

/// `DELETE /v1/keys/{id}`: refused from now on.
pub(super) async fn revoke(
    access: GlobalAccess<Administer>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let caller = caller(&req, &access.actor, None)?;
    let id = req.match_info().get("id").unwrap_or_default();
    service.manage.revoke_key(&caller, &access.actor, id).await?;
    Ok(HttpResponse::NoContent().finish())
}
