//! Who asks over HTTP: parse, authorise, call one function, answer.

pub mod access;
pub mod around;
pub mod body;
pub mod cors;
pub mod courtesy;
pub mod decisions;
pub mod events;
pub mod front;
pub mod json;
pub mod limits;
pub mod manage;
pub mod ofrep;
pub mod openapi;
pub mod ops;
pub mod problem;
pub mod request;
pub mod server;
pub mod service;
pub mod stream;
pub mod write;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, Resource, Responder, Route, guard};

use access::{Guarded, Open};
use body::Upload;
use problem::{Code, Problem};

/// All routes in one list. Those of the first lines take POST alone, which [`front`] has answered before.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(web::scope(front::OFREP_PREFIX).default_service(only(&["POST"])))
        .service(resource("/v1/decisions").allow(&["POST"]))
        .service(resource("/v1/events").allow(&["POST"]))
        .service(resource("/v1/goods/eligibility").allow(&["POST"]))
        .service(resource("/v1/tokens/verify").allow(&["POST"]))
        .service(resource("/v1/stream").route(get(stream::changes)).allow(&["GET"]))
        .service(resource("/ofrep/v1/sse").route(get(stream::ofrep)).allow(&["GET"]))
        .service(resource("/healthz").route(get(ops::healthz)).allow(&["GET"]))
        .service(resource("/readyz").route(get(ops::readyz)).allow(&["GET"]))
        .service(resource("/metrics").route(get(ops::metrics)).allow(&["GET"]))
        .service(resource("/openapi.json").route(get(openapi::document)).allow(&["GET"]))
        .service(resource("/docs").route(get(openapi::page::docs)).allow(&["GET"]))
        .service(resource("/").route(get(ops::index)).allow(&["GET"]))
        .configure(manage::routes)
        .default_service(guarded(nothing));
}

/// Turns a handler into a route. Its first argument must say who may call it.
fn guarded<F, Args>(handler: F) -> Route
where
    F: Handler<Args>,
    Args: FromRequest + Guarded + 'static,
    F::Output: Responder + 'static,
{
    web::route().to(handler)
}

macro_rules! methods {
    ($($name:ident $method:ident)*) => {$(
        fn $name<F, Args>(handler: F) -> Route
        where
            F: Handler<Args>,
            Args: FromRequest + Guarded + 'static,
            F::Output: Responder + 'static,
        {
            guarded(handler).method(Method::$method)
        }
    )*};
}

methods! { post POST put PUT patch PATCH delete DELETE }

/// A route for GET, and for HEAD: the same answer, of which the server sends no body.
fn get<F, Args>(handler: F) -> Route
where
    F: Handler<Args>,
    Args: FromRequest + Guarded + 'static,
    F::Output: Responder + 'static,
{
    guarded(handler).guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn resource(path: &str) -> Resource {
    web::resource(path)
}

/// Answers every other method with 405 and the list of those that are there.
trait Allow {
    fn allow(self, methods: &'static [&'static str]) -> Resource;
}

impl Allow for Resource {
    fn allow(self, methods: &'static [&'static str]) -> Resource {
        self.default_service(only(methods))
    }
}

/// Refuses every method, and says which there are.
fn only(methods: &'static [&'static str]) -> Route {
    guarded(move |_: Open, upload: Upload| async move {
        Err::<&str, _>(upload.refuse(method_not_allowed(methods)).await)
    })
}

/// The problem of a method that a path does not take.
fn method_not_allowed(methods: &[&str]) -> Problem {
    let allowed = methods.join(", ").replace("GET", "GET, HEAD");
    Problem::new(Code::MethodNotAllowed, format!("this path takes {allowed}")).header(header::ALLOW, allowed)
}

fn not_ready() -> Problem {
    Problem::new(Code::NotReady, "no snapshot serves yet")
}

fn nothing_here() -> Problem {
    Problem::new(Code::NotFound, "there is nothing at this path")
}

async fn nothing(_: Open, upload: Upload) -> Result<&'static str, Problem> {
    Err(upload.refuse(nothing_here()).await)
}

/// A key of the request as an answer may repeat it.
fn shown(key: &str) -> &str {
    key.get(..key.floor_char_boundary(crate::engine::key::KEY_BYTES_MAX)).unwrap_or_default()
}

/// Requests are not inflated: a bomb costs its sender nothing and the server everything. An `upload` of ids alone is,
/// within bounds.
fn refuse_encoding(headers: &HeaderMap, upload: bool) -> Option<Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING)?.to_str().unwrap_or_default().trim();
    let plain = encoding.eq_ignore_ascii_case("identity");
    let taken = plain || upload && is_gzip(headers);
    (!taken).then(|| {
        Problem::new(Code::UnsupportedMediaType, "bodies are not inflated: send it without Content-Encoding")
    })
}

/// Whether the body is compressed with gzip, and with that alone.
fn is_gzip(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING);
    let gzip = encodings
        .next()
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| ["gzip", "x-gzip"].iter().any(|known| value.trim().eq_ignore_ascii_case(known)));
    gzip && encodings.next().is_none()
}
