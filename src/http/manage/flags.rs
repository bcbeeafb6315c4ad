//! Flags over HTTP.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::ContentType;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{BODY_BYTES_MAX, RollbackBody, page_json, stored_json, tagged};
use crate::access::role::{Edit, Observe, Read};
use crate::clock::rfc3339;
use crate::decide;
use crate::engine::compile::CompiledFlag;
use crate::engine::context::parse_ofrep;
use crate::engine::evaluate::evaluate;
use crate::engine::explain::{Recorder, decision_json};
use crate::engine::flag::State;
use crate::engine::key::FlagKey;
use crate::engine::snapshot::Snapshot;
use crate::http::access::Access;
use crate::http::body::{JsonBody, PatchBody};
use crate::http::json::{strict, typed};
use crate::http::ofrep::refuse_context;
use crate::http::problem::{Code, Problem};
use crate::http::request::{Query, caller, if_match, named, number, precondition};
use crate::http::service::Service;
use crate::live::Environment;
use crate::manage::flags::{Changed, RolloutChange, StateChange};
use crate::manage::{Manage, ManageError, Page, Precondition};
use crate::store::VersionRow;

/// A flag as it is read and answered.
fn flag_json(flag: &CompiledFlag) -> Value {
    json!({
        "flag": stored_json(&flag.json),
        "version": flag.version,
        "state": flag.state.as_str(),
        "expired": flag.expired,
        "stage": flag.stage,
        "updated_at": rfc3339(flag.updated_at),
        "updated_by": &*flag.updated_by,
        "unreadable": flag.broken.as_deref(),
        "frozen": flag.frozen.as_deref(),
    })
}

/// Changes a flag, and makes the answer there.
async fn change<F: Future<Output = Result<Changed, ManageError>> + Send + 'static>(
    access: &Access<Edit>,
    service: &Service,
    make: impl FnOnce(Arc<Manage>, Arc<Environment>) -> F,
) -> Result<HttpResponse, Problem> {
    let answered = super::change(access, service, |manage, environment| {
        // Boxed: a rollout's is large, and would be carried in the call's own.
        let made = Box::pin(make(manage, environment));
        async move {
            let changed = made.await?;
            let flag = changed.flag();
            let flag =
                flag.ok_or_else(|| Problem::new(Code::Internal, "the flag is stored, but not served"))?;
            let mut body = flag_json(flag);
            if let (Value::Object(body), false) = (&mut body, changed.warnings.is_empty()) {
                body.insert("warnings".into(), json!(changed.warnings));
            }
            let status = if changed.created { StatusCode::CREATED } else { StatusCode::OK };
            Ok::<_, Problem>((status, flag.version, body.to_string()))
        }
    });
    let (status, version, body) = answered.await?;
    Ok(tagged(status, version).content_type(ContentType::json()).body(body))
}

/// `GET .../flags`
pub(super) async fn list(access: Access<Read>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let query = Query::read(&req, &["limit", "cursor", "state"])?;
    let (limit, after) = (query.limit()?, query.text("cursor").unwrap_or_default());
    let published = access.environment.published().ok_or_else(crate::http::not_ready)?;
    let state = match query.text("state") {
        Some(text) => Some(
            State::parse(text)
                .ok_or_else(|| Problem::new(Code::QueryInvalid, "`state` is live, killed or archived"))?,
        ),
        None => None,
    };
    let wanted = |flag: &&Arc<CompiledFlag>| {
        flag.key.as_str() > after && state.is_none_or(|state| flag.state == state)
    };
    let mut items: Vec<_> = published.snapshot.sorted().filter(wanted).take(limit + 1).cloned().collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|flag| flag.key.to_string());
    Ok(page_json(&Page { items, next_cursor }, |flag| flag_json(flag)))
}

/// `GET .../flags/{key}`
pub(super) async fn read(access: Access<Read>, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", FlagKey::parse)?;
    let published = access.environment.published().ok_or_else(crate::http::not_ready)?;
    let flag = published.snapshot.find(key.as_str()).ok_or_else(no_flag)?;
    Ok(tagged(StatusCode::OK, flag.version).json(flag_json(flag)))
}

fn no_flag() -> Problem {
    Problem::new(Code::NotFound, "there is no such flag")
}

/// `PUT .../flags/{key}`: 428 without a precondition, 412 when someone else was first.
pub(super) async fn replace(
    access: Access<Edit>,
    req: HttpRequest,
    body: JsonBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", FlagKey::parse)?;
    let precondition = precondition(&req)?;
    let caller = caller(&req, &access.actor, None)?;
    let document = strict(&body.0)?;
    change(&access, &service, |manage, environment| async move {
        manage.put_flag(&caller, &environment, &key, document, &precondition).await
    })
    .await
}

/// `PATCH .../flags/{key}`: a JSON Merge Patch (RFC 7396) of the document.
pub(super) async fn patch(
    access: Access<Edit>,
    req: HttpRequest,
    body: PatchBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", FlagKey::parse)?;
    let precondition = if_match(&req)?;
    let caller = caller(&req, &access.actor, None)?;
    let patch = strict(&body.0)?;
    change(&access, &service, |manage, environment| async move {
        manage.patch_flag(&caller, &environment, &key, &patch, &precondition).await
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RolloutBody {
    rule: Option<String>,
    percent: Value,
    control: Option<Value>,
    reason: Option<String>,
}

/// `POST .../flags/{key}/rollout`
pub(super) async fn roll_out(
    access: Access<Edit>,
    req: HttpRequest,
    body: JsonBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", FlagKey::parse)?;
    let precondition = if_match(&req)?;
    let RolloutBody { rule, percent, control, reason } = typed(&body.0)?;
    let caller = caller(&req, &access.actor, reason)?;
    let rollout = RolloutChange { rule, percent, control };
    change(&access, &service, |manage, environment| async move {
        manage.roll_out(&caller, &environment, &key, rollout, &precondition).await
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonBody {
    reason: Option<String>,
}

/// `POST .../flags/{key}/kill`: whatever the version.
pub(super) async fn kill(
    access: Access<Edit>,
    req: HttpRequest,
    body: JsonBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    move_state(&access, &req, &body, &service, StateChange::Kill, Precondition::Any).await
}

/// `POST .../flags/{key}/restore`
pub(super) async fn restore(
    access: Access<Edit>,
    req: HttpRequest,
    body: JsonBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let precondition = if_match(&req)?;
    move_state(&access, &req, &body, &service, StateChange::Restore, precondition).await
}

/// `POST .../flags/{key}/archive`
pub(super) async fn archive(
    access: Access<Edit>,
    req: HttpRequest,
    body: JsonBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let precondition = if_match(&req)?;
    move_state(&access, &req, &body, &service, StateChange::Archive, precondition).await
}

async fn move_state(
    access: &Access<Edit>,
    req: &HttpRequest,
    body: &JsonBody<BODY_BYTES_MAX>,
    service: &Service,
    wish: StateChange,
    precondition: Precondition,
) -> Result<HttpResponse, Problem> {
    let key = named(req, "key", FlagKey::parse)?;
    let ReasonBody { reason } = typed(&body.0)?;
    let caller = caller(req, &access.actor, reason)?;
    change(access, service, |manage, environment| async move {
        manage.move_state(&caller, &environment, &key, wish, &precondition).await
    })
    .await
}

/// `POST .../flags/{key}/rollback`
pub(super) async fn roll_back(
    access: Access<Edit>,
    req: HttpRequest,
    body: JsonBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", FlagKey::parse)?;
    let precondition = if_match(&req)?;
    let RollbackBody { version, reason } = typed(&body.0)?;
    let caller = caller(&req, &access.actor, reason)?;
    change(&access, &service, |manage, environment| async move {
        manage.roll_back(&caller, &environment, &key, version, &precondition).await
    })
    .await
}

/// The part of an explanation's body that is no context.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainBody<'a> {
    #[serde(borrow, rename = "context")]
    _context: Option<&'a RawValue>,
    #[serde(borrow)]
    document: Option<&'a RawValue>,
}

/// `POST .../flags/{key}/explain`: the decision for a context, and every step that led to it; with `document`, of a draft.
pub(super) async fn explain(
    access: Access<Observe>,
    req: HttpRequest,
    body: JsonBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", FlagKey::parse)?;
    // What is no JSON is refused below, where the context is read.
    let document = match serde_json::from_slice::<ExplainBody<'_>>(&body.0) {
        Ok(body) => body.document,
        Err(error) if error.is_data() => return Err(Problem::new(Code::BodyInvalid, error.to_string())),
        Err(_) => None,
    };
    let published = access.environment.published().ok_or_else(crate::http::not_ready)?;
    match document {
        None => explained(&service, &published.snapshot, &key, &body.0, false).await,
        Some(document) => {
            let document = strict(document.get().as_bytes())?;
            let draft = service.manage.draft(&access.environment, &key, document).await?;
            explained(&service, &draft, &key, &body.0, true).await
        }
    }
}

async fn explained(
    service: &Service,
    snapshot: &Snapshot,
    key: &FlagKey,
    body: &[u8],
    draft: bool,
) -> Result<HttpResponse, Problem> {
    let flag = snapshot.find(key.as_str()).ok_or_else(no_flag)?;
    let parsed = parse_ofrep(body, snapshot.attributes()).map_err(|error| refuse_context(&error))?;
    let fetched = decide::fetch(&service.live, snapshot, [flag], &parsed.context).await;
    let mut recorder = Recorder::new(snapshot);
    let decision = evaluate(snapshot, flag, &parsed.context, &fetched, &mut recorder);
    let measured = decide::measured(&decision, &parsed.context).is_some();
    let mut result = decision_json(&decision);
    if let (Value::Object(result), Ok(_)) = (&mut result, decision.result) {
        result.insert("measured".into(), measured.into());
    }
    let body = json!({
        "flag": flag.key, "version": flag.version, "draft": draft, "snapshot": snapshot.number(),
        "decision": result, "trace": recorder.steps(),
    });
    Ok(HttpResponse::Ok().json(body))
}

fn version_json(row: &VersionRow) -> Value {
    json!({
        "version": row.version,
        "state": row.state,
        "at": rfc3339(row.at),
        "actor": row.actor,
        "action": row.action,
        "reason": row.reason,
        "diff": row.diff.as_deref().map(stored_json),
    })
}

/// `GET .../flags/{key}/versions`: newest first.
pub(super) async fn versions(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", FlagKey::parse)?;
    let query = Query::read(&req, &["limit", "cursor"])?;
    let page =
        service.manage.versions(&access.environment, &key, query.number("cursor")?, query.limit()?).await?;
    Ok(page_json(&page, version_json))
}

/// `GET .../flags/{key}/versions/{version}`: with its document.
pub(super) async fn version(
    access: Access<Read>,
    req: HttpRequest,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let key = named(&req, "key", FlagKey::parse)?;
    let row = service.manage.version(&access.environment, &key, number(&req, "version")?).await?;
    let mut body = version_json(&row);
    if let Value::Object(body) = &mut body {
        body.insert("flag".into(), stored_json(&row.document));
    }
    Ok(HttpResponse::Ok().json(body))
}
