//! The server itself: what stands around every handler, and how it listens.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_cors::Cors;
use actix_web::body::{BoxBody, MessageBody as _};
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::Data;
use actix_web::{App, Error, HttpMessage as _, HttpResponse, HttpServer};
use prometheus::Histogram;
use tracing::Instrument as _;

use super::body::{HeadOnly, drained};
use super::limits::RateState;
use super::problem::{Code, Problem};
use super::service::Service;
use crate::settings::Origin;
use crate::telemetry::logs::clean;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::request_id::RequestId;

/// Prefix of OFREP's evaluation calls.
pub const OFREP_PREFIX: &str = "/ofrep/v1/evaluate/flags";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest time for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for which sent bytes may wait to be taken by the other end.
const UNTAKEN_MAX: Duration = Duration::from_secs(10);
/// Longest idle time of a connection.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Kinds of calls, for metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Ofrep,
    Decisions,
    Events,
    Manage,
    Stream,
    Other,
}

impl Route {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Ofrep, "ofrep"),
        (Self::Decisions, "decisions"),
        (Self::Events, "events"),
        (Self::Manage, "manage"),
        (Self::Stream, "stream"),
        (Self::Other, "other"),
    ];

    /// For counting only: rights never hang on the text of a path.
    fn of(path: &str) -> Self {
        if path == "/v1/stream" || path == "/ofrep/v1/sse" {
            Self::Stream
        } else if path.starts_with("/ofrep/") {
            Self::Ofrep
        } else if path == "/v1/decisions" || path == "/v1/goods/eligibility" {
            Self::Decisions
        } else if path == "/v1/events" || path == "/v1/tokens/verify" {
            Self::Events
        } else if path.starts_with("/v1/environments") || path.starts_with("/v1/keys") {
            Self::Manage
        } else {
            Self::Other
        }
    }

    /// Whether a span is made at the level of debugging only, since it costs more than the decision.
    fn is_hot(self) -> bool {
        matches!(self, Self::Ofrep | Self::Decisions | Self::Events)
    }
}

/// Histograms by route and class of status, taken once.
pub struct HttpMeters([[Histogram; 5]; Route::ALL.len()]);

impl HttpMeters {
    /// Takes them from the registry.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        Self(
            Route::ALL.map(|(_, route)| {
                classes.map(|class| metrics.http_duration.with_label_values(&[route, class]))
            }),
        )
    }

    fn observe(&self, route: Route, status: u16, seconds: f64) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(histogram) = self.0.get(route as usize).and_then(|classes| classes.get(class)) {
            histogram.observe(seconds);
        }
    }
}

/// Starts to listen; the addresses that were bound, and the server, which runs when awaited.
///
/// # Errors
/// If the address is taken.
pub fn listen(
    listener: TcpListener,
    service: Data<Service>,
    meters: Arc<HttpMeters>,
) -> std::io::Result<(Vec<SocketAddr>, Server)> {
    let settings = &service.settings;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = if settings.workers == 0 { cores } else { settings.workers };
    // Streams are counted apart, so that they can never take the connections that decisions need.
    let connections = (settings.connections_max + settings.streams_max).div_ceil(workers);
    let shutdown = settings.shutdown_seconds;
    let origins = settings.cors_origins.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(service.clone())
            .app_data(Data::from(meters.clone()))
            .wrap(from_fn(around))
            .wrap(cors(&origins))
            .configure(super::routes)
    })
    .workers(workers)
    .max_connections(connections)
    .client_request_timeout(HEAD_TIMEOUT)
    .keep_alive(KEEP_ALIVE)
    .on_connect(|connection, _| bound_silence(connection))
    // A page that is closed says so by ending its side only: its stream must not stay until the next heartbeat.
    .h1_allow_half_closed(false)
    .shutdown_timeout(shutdown)
    .disable_signals()
    .listen(listener)?;
    Ok((server.addrs(), server.run()))
}

/// Has the machine close a connection whose other end takes nothing for [`UNTAKEN_MAX`]: a reader that has stopped, or
/// is gone without a word, must not keep its stream.
#[cfg(target_os = "linux")]
fn bound_silence(connection: &dyn std::any::Any) {
    let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNTAKEN_MAX)) {
        tracing::debug!(%error, "a connection has no bound on untaken bytes");
    }
}

/// Other systems have no such bound: there the heartbeats that nobody takes fill a buffer of fixed size, and then wait.
#[cfg(not(target_os = "linux"))]
fn bound_silence(_connection: &dyn std::any::Any) {}

/// Which web pages may call. Never with credentials: keys travel in headers of their own.
fn cors(origins: &[Origin]) -> Cors {
    let mut cors = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
        .allowed_headers([
            "content-type",
            "if-none-match",
            "if-match",
            "authorization",
            "x-api-key",
            "last-event-id",
            "huidu-environment",
            "huidu-reason",
        ])
        .expose_headers(["ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-Id"])
        .max_age(3_600);
    for origin in origins {
        cors = match origin {
            Origin::Any => cors.allow_any_origin(),
            Origin::Exact(origin) => cors.allowed_origin(origin),
        };
    }
    // A page that is not allowed gets its answer without the header that lets it read it.
    cors.block_on_origin_mismatch(false)
}

/// Around every request: its id, its time, its span; problems are written here, where the id is known.
async fn around(req: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let (Some(service), Some(meters)) = (req.app_data::<Data<Service>>(), req.app_data::<Data<HttpMeters>>())
    else {
        return next.call(req).await;
    };
    let (service, meters) = (service.clone(), meters.clone());
    let began = service.clock.monotonic_ns();
    let id = service.request_ids.take(req.headers().get(REQUEST_ID).map(HeaderValue::as_bytes));
    let route = Route::of(req.path());
    req.extensions_mut().insert(id);
    let span = if route.is_hot() {
        tracing::debug_span!("request", %id)
    } else {
        tracing::info_span!("request", %id, method = %req.method(), path = %clean(req.path()))
    };
    let mut response = handle(req, next, &id).instrument(span.clone()).await?;
    let took = Duration::from_nanos(service.clock.monotonic_ns().saturating_sub(began));
    let status = response.status();
    meters.observe(route, status.as_u16(), took.as_secs_f64());
    finish(&mut response, &id);
    if response.request().method() == Method::HEAD {
        response = response.map_body(|_, body| HeadOnly(body.size()).boxed());
    }
    let (failed, status) = (status.is_server_error() && status.as_u16() != 503, status.as_u16());
    let _in_span = span.enter();
    match (route.is_hot(), failed) {
        // A hot route has no span, so its line names the request itself.
        (true, true) => tracing::error!(%id, status, "a request failed"),
        (false, true) => tracing::error!(status, "a request failed"),
        (false, false) if !response.request().method().is_safe() => {
            tracing::info!(status, ms = took.as_millis(), "a request was answered");
        }
        (_, false) => {}
    }
    Ok(response)
}

async fn handle(
    mut req: ServiceRequest,
    next: Next<BoxBody>,
    id: &RequestId,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // As the router reads the path, whatever escapes it was sent with.
    let ofrep = req.match_info().as_str().starts_with("/ofrep/");
    if let Some(problem) = super::refuse_encoding(req.request()) {
        let problem = drained(problem, req.take_payload()).await;
        return Ok(req.into_response(problem.answer(Some(id), ofrep)));
    }
    let response = next.call(req).await?;
    let answer = response.response().error().map(|error| match error.as_error::<Problem>() {
        Some(problem) => problem.answer(Some(id), ofrep),
        // What the server itself refuses, such as a path that it cannot decode.
        None => refused_by_server(error, id, ofrep),
    });
    Ok(match answer {
        Some(answer) => response.into_response(answer),
        None => response,
    })
}

fn refused_by_server(error: &Error, id: &RequestId, ofrep: bool) -> HttpResponse {
    let status = error.as_response_error().status_code();
    let code = match status.as_u16() {
        404 => Code::NotFound,
        408 => Code::BodyTimeout,
        413 => Code::BodyTooLarge,
        400..=499 => Code::QueryInvalid,
        _ => Code::Internal,
    };
    Problem::new(code, "the request cannot be read").answer(Some(id), ofrep)
}

/// Headers that every answer, or every managed one, carries.
fn finish(response: &mut ServiceResponse<BoxBody>, id: &RequestId) {
    let rate = response.request().extensions().get::<RateState>().copied();
    let bodyless = response.response().body().size().is_eof();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, value);
    }
    if !bodyless && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    let Some(rate) = rate else { return };
    for (name, value) in [("ratelimit-policy", rate.policy()), ("ratelimit", rate.limit())] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_bounded_by_what_its_other_end_takes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = actix_web::rt::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let bound = || socket2::SockRef::from(&stream).tcp_user_timeout().unwrap();
        assert_ne!(bound(), Some(UNTAKEN_MAX));
        bound_silence(&stream);
        assert_eq!(bound(), Some(UNTAKEN_MAX));
    }
}
