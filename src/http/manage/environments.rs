//! Environments over HTTP, with what they demand of clients' units.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::page_json;
use crate::access::role::Administer;
use crate::clock::rfc3339;
use crate::engine::key::EnvironmentKey;
use crate::http::access::{Access, GlobalAccess};
use crate::http::body::{JsonBody, PatchBody};
use crate::http::json::typed;
use crate::http::problem::{Code, Problem};
use crate::http::request::{Query, caller};
use crate::http::service::Service;
use crate::manage::environments::{EnvironmentChange, StoredEnvironment};

/// Bytes of a body here.
const BODY_BYTES_MAX: usize = 64 << 10;

/// An environment as it is answered: of its unit secrets all but their texts.
fn environment_json(environment: &StoredEnvironment) -> Value {
    let StoredEnvironment { row, settings } = environment;
    let secrets = settings.unit_secrets.iter();
    let secrets = secrets.map(|secret| json!({"id": secret.id, "created_at": rfc3339(secret.created_at)}));
    json!({
        "key": row.key,
        "name": row.name,
        "require_signed_units": settings.require_signed_units,
        "unit_secrets": secrets.collect::<Vec<_>>(),
        "snapshot": row.snapshot,
        "created_at": rfc3339(row.created_at),
    })
}

/// `GET /v1/environments`: those that the key may see.
pub(super) async fn list(
    access: GlobalAccess<Administer>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let query = Query::read(&req, &["limit", "cursor"])?;
    let page = service.manage.environments(&access.actor, query.text("cursor"), query.limit()?).await?;
    Ok(page_json(&page, environment_json))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBody {
    key: String,
    name: Option<String>,
    reason: Option<String>,
}

/// `POST /v1/environments`: without flags, and serving at once.
pub(super) async fn create(
    access: GlobalAccess<Administer>,
    req: HttpRequest,
    body: JsonBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let NewBody { key, name, reason } = typed(&body.0)?;
    let caller = caller(&req, &access.actor, reason)?;
    let key = EnvironmentKey::parse(&key)
        .map_err(|error| Problem::new(Code::EnvironmentInvalid, format!("`key`: {error}")))?;
    let made = service.manage.create_environment(&caller, &access.actor, &key, name).await?;
    Ok(HttpResponse::Created().json(environment_json(&made)))
}

/// `GET /v1/environments/{environment}`
pub(super) async fn read(
    access: Access<Administer>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    Query::read(&req, &[])?;
    let environment = service.manage.environment(&access.environment).await?;
    Ok(HttpResponse::Ok().json(environment_json(&environment)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    #[serde(default, deserialize_with = "given")]
    name: Option<String>,
    #[serde(default, deserialize_with = "given")]
    require_signed_units: Option<bool>,
}

/// A field that may be left out but not be null: neither can be taken away.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// `PATCH /v1/environments/{environment}`: its name, and whether clients' units must be signed.
pub(super) async fn change(
    access: Access<Administer>,
    req: HttpRequest,
    body: PatchBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let ChangeBody { name, require_signed_units } = typed(&body.0)?;
    let caller = caller(&req, &access.actor, None)?;
    let wish = EnvironmentChange { name, require_signed_units };
    let changed = service.manage.change_environment(&caller, &access.environment, wish).await?;
    let mut answer = environment_json(&changed);
    if let (Value::Object(answer), true) = (&mut answer, changed.settings.nobody_can_sign()) {
        let detail = "there is no unit secret: until one is made, no client key's unit counts";
        let warning = json!({"pointer": "/require_signed_units", "code": "no_unit_secret", "detail": detail});
        answer.insert("warnings".into(), json!([warning]));
    }
    Ok(HttpResponse::Ok().json(answer))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretBody {
    reason: Option<String>,
}

/// `POST /v1/environments/{environment}/unit-secrets`: the only time that the secret is shown.
pub(super) async fn create_secret(
    access: Access<Administer>,
    req: HttpRequest,
    body: JsonBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let SecretBody { reason } = typed(&body.0)?;
    let caller = caller(&req, &access.actor, reason)?;
    let made = service.manage.create_unit_secret(&caller, &access.environment).await?;
    let answer = json!({"id": made.id, "secret": made.secret, "created_at": rfc3339(made.created_at)});
    Ok(HttpResponse::Created().json(answer))
}

/// `DELETE /v1/environments/{environment}/unit-secrets/{id}`: what it signed is refused from now on.
pub(super) async fn delete_secret(
    access: Access<Administer>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let caller = caller(&req, &access.actor, None)?;
    let id = req.match_info().get("id").unwrap_or_default();
    service.manage.delete_unit_secret(&caller, &access.environment, id).await?;
    Ok(HttpResponse::NoContent().finish())
}
