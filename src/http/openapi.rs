//! The document of the HTTP API (OpenAPI 3.1). To document a route:
//! 1. describe its shapes as structs, and the call itself as a [`Call`], in the file of its topic below this folder;
//! 2. a new topic is a module with `calls()`, and a line in [`topics`];
//! 3. give an example that works: `tests/it/openapi.rs` names what is missing, and holds answers against the shapes.

mod administer;
mod audiences;
mod call;
mod decide;
mod environments;
mod events;
mod explain;
mod exports;
mod flag;
mod flags;
mod html;
mod operate;
mod operation;
pub mod page;
mod problem;
mod report;
mod results;
mod shape;
mod streams;
mod transfer;
mod units;
mod values;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Bytes;
use serde_json::Value;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathsBuilder, RefOr, Schema,
};

use super::access::Open;
use super::problem::Code;
use call::Call;

/// What holds for every call.
const ABOUT: &str = "Feature flags for payment entries: decide, measure, ramp.

**Keys** travel as `Authorization: Bearer ...` or `X-API-Key: ...`; each call names the roles that may make it.

**Refusals** are problem documents (RFC 9457) with a stable `code`; docs/errors.md says what to do about each. Besides \
what a call lists, any may answer 404 and 405 (no such path or method), 415 to a body with `Content-Encoding`, and 500 \
`internal` for a fault of the service itself. Every answer carries `x-request-id`, which names it in the log.

**Fields** may be added to answers: ignore those that you do not know. In requests of known fields others are refused.";

/// All calls by topic, in the order of reading.
fn topics() -> Vec<(&'static str, &'static str, Vec<Call>)> {
    vec![
        ("Decide", "Which entries one shopper sees.", decide::calls()),
        ("Streams", "Open pages hear of a change at once.", streams::calls()),
        ("Measure", "What was shown, and what the shopper did then.", events::calls()),
        ("Flags", "Reading and changing flags; why one decides as it does.", flags::calls()),
        (
            "Analyse",
            "What a flag came to, and what was measured of it.",
            [report::calls(), exports::calls()].into_iter().flatten().collect(),
        ),
        ("Audiences", "Lists of ids that conditions ask.", audiences::calls()),
        (
            "Environments",
            "Apart from each other: each with flags, audiences and keys of its own.",
            [environments::calls(), transfer::calls()].into_iter().flatten().collect(),
        ),
        ("Administer", "Keys and the audit.", administer::calls()),
        ("Units", "What is stored of one shopper, told or erased.", units::calls()),
        ("Operate", "Health, metrics, and this document.", operate::calls()),
    ]
}

/// The whole document.
#[must_use]
pub fn api() -> OpenApi {
    let mut paths = PathsBuilder::new().build();
    let mut shapes: Vec<(String, RefOr<Schema>)> = Vec::new();
    let (mut tags, mut responses) = (Vec::new(), Vec::new());
    for (topic, about, calls) in topics() {
        tags.push(TagBuilder::new().name(topic).description(Some(about)).build());
        for call in calls {
            let (path, method, operation) = call.finish(topic, &mut shapes);
            paths.add_path_operation(path, vec![method], operation);
        }
    }
    for code in Code::ALL {
        responses.push((code.as_str(), problem::response(*code)));
    }
    call::collect::<problem::Problem>(&mut shapes);
    call::collect::<problem::OfrepProblem>(&mut shapes);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A key, such as `huidu_client_...`."))
        .build();
    let header =
        ApiKeyValue::with_description("X-API-Key", "The same key, for clients that cannot send the other.");
    let components = ComponentsBuilder::new()
        .schemas_from_iter(shapes)
        .responses_from_iter(responses)
        .security_scheme("bearer", SecurityScheme::Http(bearer))
        .security_scheme("key", SecurityScheme::ApiKey(ApiKey::Header(header)))
        .build();
    let licence = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("huidu")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(ABOUT))
                .license(Some(licence)),
        )
        .paths(paths)
        .components(Some(components))
        .tags(Some(tags))
        .build()
}

/// Topics with what is said of them, and the names of their calls, in the order of reading.
fn contents() -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let names = |calls: Vec<Call>| calls.iter().map(Call::id).collect();
    topics().into_iter().map(|(topic, about, calls)| (topic, about, names(calls))).collect()
}

/// The document as JSON.
fn value() -> Value {
    serde_json::to_value(api()).unwrap_or_default()
}

/// The document's bytes: the same for everybody until the next release.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(value().to_string()));

/// `GET /openapi.json`
pub async fn document(_: Open) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/json")).body(DOCUMENT.clone())
}
