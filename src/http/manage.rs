//! Calls of product managers and administrators.

mod audiences;
mod audit;
mod environments;
mod exports;
mod flags;
mod keys;
mod propagation;
mod report;
mod transfer;
mod units;

use std::sync::Arc;

use actix_web::http::{StatusCode, header};
use actix_web::web::ServiceConfig;
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::Access;
use super::problem::{Code, Problem};
use super::service::Service;
use super::{Allow as _, get, patch, post, put, resource};
use crate::access::role::Edit;
use crate::audiences::UploadError;
use crate::live::Environment;
use crate::manage::{Manage, ManageError, Page};
use crate::store::StoreError;

/// Bytes of a document.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Where to go back to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    version: i64,
    reason: Option<String>,
}

/// The one path whose bodies may be compressed.
pub(super) const UPLOAD: &str = "/v1/environments/{environment}/audiences/{key}";

/// Routes below `/v1/environments` and `/v1/keys`; all of them after the hot ones.
pub(super) fn routes(config: &mut ServiceConfig) {
    const FLAGS: &str = "/v1/environments/{environment}/flags";
    let flag = |tail: &str| resource(&format!("{FLAGS}/{{key}}{tail}"));
    config
        .service(
            resource("/v1/keys").route(get(keys::list)).route(post(keys::create)).allow(&["GET", "POST"]),
        )
        .service(resource("/v1/keys/{id}").route(super::delete(keys::revoke)).allow(&["DELETE"]))
        .service(resource("/v1/audit").route(get(audit::global)).allow(&["GET"]))
        .service(resource(FLAGS).route(get(flags::list)).allow(&["GET"]))
        .service(
            flag("")
                .route(get(flags::read))
                .route(put(flags::replace))
                .route(patch(flags::patch))
                .allow(&["GET", "PUT", "PATCH"]),
        )
        .service(flag("/rollout").route(post(flags::roll_out)).allow(&["POST"]))
        .service(flag("/kill").route(post(flags::kill)).allow(&["POST"]))
        .service(flag("/restore").route(post(flags::restore)).allow(&["POST"]))
        .service(flag("/archive").route(post(flags::archive)).allow(&["POST"]))
        .service(flag("/rollback").route(post(flags::roll_back)).allow(&["POST"]))
        .service(flag("/explain").route(post(flags::explain)).allow(&["POST"]))
        .service(flag("/exposures").route(get(exports::exposures)).allow(&["GET"]))
        .service(flag("/conversions").route(get(exports::conversions)).allow(&["GET"]))
        .service(flag("/propagation").route(get(propagation::read)).allow(&["GET"]))
        .service(flag("/report").route(get(report::report)).allow(&["GET"]))
        .service(flag("/timeseries").route(get(report::series)).allow(&["GET"]))
        .service(flag("/versions").route(get(flags::versions)).allow(&["GET"]))
        .service(flag("/versions/{version}").route(get(flags::version)).allow(&["GET"]))
        .service(
            resource("/v1/environments/{environment}/units/erase").route(post(units::erase)).allow(&["POST"]),
        )
        .service(
            resource("/v1/environments/{environment}/units/export")
                .route(post(units::export))
                .allow(&["POST"]),
        )
        .service(resource("/v1/environments/{environment}/audit").route(get(audit::list)).allow(&["GET"]))
        .configure(environment_routes)
        .configure(audience_routes);
}

/// Routes of environments themselves, and between them.
fn environment_routes(config: &mut ServiceConfig) {
    let environment = |tail: &str| resource(&format!("/v1/environments/{{environment}}{tail}"));
    config
        .service(
            resource("/v1/environments")
                .route(get(environments::list))
                .route(post(environments::create))
                .allow(&["GET", "POST"]),
        )
        .service(
            environment("")
                .route(get(environments::read))
                .route(patch(environments::change))
                .allow(&["GET", "PATCH"]),
        )
        .service(environment("/export").route(get(transfer::export)).allow(&["GET"]))
        .service(environment("/import").route(post(transfer::import)).allow(&["POST"]))
        .service(environment("/promote").route(post(transfer::promote)).allow(&["POST"]))
        .service(environment("/unit-secrets").route(post(environments::create_secret)).allow(&["POST"]))
        .service(
            environment("/unit-secrets/{id}")
                .route(super::delete(environments::delete_secret))
                .allow(&["DELETE"]),
        );
}

/// Routes of audiences.
fn audience_routes(config: &mut ServiceConfig) {
    const AUDIENCES: &str = "/v1/environments/{environment}/audiences";
    let audience = |tail: &str| resource(&format!("{AUDIENCES}/{{key}}{tail}"));
    config
        .service(resource(AUDIENCES).route(get(audiences::list)).allow(&["GET"]))
        .service(
            audience("")
                .route(get(audiences::read))
                .route(put(audiences::replace))
                .route(super::delete(audiences::delete))
                .allow(&["GET", "PUT", "DELETE"]),
        )
        .service(audience("/add").route(post(audiences::add)).allow(&["POST"]))
        .service(audience("/remove").route(post(audiences::remove)).allow(&["POST"]))
        .service(audience("/rollback").route(post(audiences::roll_back)).allow(&["POST"]))
        .service(audience("/ids").route(get(audiences::ids)).allow(&["GET"]))
        .service(audience("/contains").route(get(audiences::contains)).allow(&["GET"]));
}

impl From<ManageError> for Problem {
    fn from(error: ManageError) -> Self {
        let code = match &error {
            ManageError::Invalid(faults) => return Self::faults(Code::FlagInvalid, "flag", faults),
            ManageError::ImportInvalid(faults) => return Self::faults(Code::ImportInvalid, "import", faults),
            ManageError::FlagUnreadable(_) => Code::FlagUnreadable,
            ManageError::Store(error) => return Self::from_store(error),
            ManageError::Live(error) => {
                tracing::error!(%error, "a change is stored, but not yet served here");
                return Self::new(
                    Code::DatabaseUnavailable,
                    "the change is stored, but could not be loaded yet",
                );
            }
            ManageError::Behind(error) => {
                tracing::error!(%error, "a change was refused: this instance is behind the database");
                return Self::new(
                    Code::DatabaseUnavailable,
                    "nothing was changed: the newest state cannot be loaded",
                );
            }
            ManageError::Random(_) | ManageError::Task(_) => Code::Internal,
            ManageError::NotFound(_) => Code::NotFound,
            ManageError::FlagExists(_) => Code::FlagExists,
            ManageError::AudienceExists(_) => Code::AudienceExists,
            ManageError::Conflict { .. } => Code::VersionConflict,
            ManageError::FlagInUse(flags) => {
                return Self::new(Code::FlagInUse, error.to_string()).with("flags", json!(flags));
            }
            ManageError::AudienceInvalid(_) => Code::AudienceInvalid,
            ManageError::AudienceTooLarge(_) => Code::AudienceTooLarge,
            ManageError::Upload(error) => return Self::from_upload(error),
            ManageError::Busy(_) => Code::UploadsBusy,
            ManageError::AudienceInUse(flags) => {
                return Self::new(Code::AudienceInUse, error.to_string()).with("flags", json!(flags));
            }
            ManageError::Quota(_) => Code::QuotaReached,
            ManageError::KeyInvalid(_) => Code::KeyInvalid,
            ManageError::UnitSecretLimit => Code::UnitSecretLimit,
            ManageError::EnvironmentInvalid(_) => Code::EnvironmentInvalid,
            ManageError::EnvironmentExists(_) => Code::EnvironmentExists,
            ManageError::Events(error) => {
                tracing::error!(%error, "a unit was left as it is: waiting events could not be stored first");
                return Self::new(
                    Code::DatabaseUnavailable,
                    "nothing was done: waiting events cannot be stored",
                );
            }
            ManageError::Forbidden(_) => Code::Forbidden,
        };
        Self::new(code, error.to_string())
    }
}

impl Problem {
    /// An upload that is not taken.
    fn from_upload(error: &UploadError) -> Self {
        let code = match error {
            UploadError::Line(line) => {
                return Self::new(Code::AudienceInvalid, error.to_string()).with("line", line.line.into());
            }
            UploadError::TooLarge(_) => Code::AudienceTooLarge,
            UploadError::Bomb => Code::BodyTooLarge,
            UploadError::Gzip(_) => Code::BodyInvalid,
            UploadError::Incomplete => Code::BodyIncomplete,
            UploadError::Disk(_) => {
                tracing::error!(%error, "an upload was refused");
                return Self::new(Code::DatabaseUnavailable, "the upload cannot be kept on disk now");
            }
        };
        Self::new(code, error.to_string())
    }

    /// A failure of the database: waiting may help, unless a statement was wrong.
    fn from_store(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound => return Self::new(Code::NotFound, "there is nothing of that name"),
            StoreError::Conflict { current, sent } => {
                return Self::new(
                    Code::VersionConflict,
                    format!("it is at version {current}, you sent {sent}"),
                );
            }
            StoreError::Away => {
                return Self::new(Code::DatabaseUnavailable, "the database is away; nothing was changed");
            }
            StoreError::SetBack { .. } => {
                return Self::new(
                    Code::DatabaseUnavailable,
                    "the database is older than what is served, so nothing is changed in it: see /readyz",
                );
            }
            StoreError::Exists => return Self::new(Code::StateConflict, "it exists already"),
            _ => {}
        }
        tracing::error!(%error, code = error.code(), "the database failed");
        match error {
            StoreError::Statement(_) | StoreError::NotLocked | StoreError::Corrupt { .. } => {
                Self::new(Code::Internal, "the database refused; the log says why")
            }
            _ => Self::new(
                Code::DatabaseUnavailable,
                "the database does not answer; nothing was changed, or it cannot be known",
            ),
        }
    }
}

/// What `make` changes, checked, stored and compiled beside the workers, which decisions wait for: a flag takes
/// milliseconds, a list of millions takes a second.
async fn change<T, E, F>(
    access: &Access<Edit>,
    service: &Service,
    make: impl FnOnce(Arc<Manage>, Arc<Environment>) -> F,
) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
    Problem: From<E>,
{
    Ok(service.beside(make(service.manage.clone(), access.environment.clone())).await??)
}

/// An answer with a version as its entity tag.
fn tagged(status: StatusCode, version: i64) -> HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    answer.insert_header((header::ETAG, format!("\"{version}\"")));
    answer
}

/// A page as JSON.
fn page_json<T>(page: &Page<T>, item: impl Fn(&T) -> Value) -> HttpResponse {
    let items: Vec<Value> = page.items.iter().map(item).collect();
    HttpResponse::Ok().json(json!({"items": items, "next_cursor": page.next_cursor}))
}

/// JSON that the database holds as text.
fn stored_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}
