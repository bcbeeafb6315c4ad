//! What stands around every request: its id, its time, its span, the headers of its answer.

use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody as _};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage as _, HttpResponse};
use prometheus::Histogram;
use tracing::Instrument as _;

use super::body::{HeadOnly, drained};
use super::limits::RateState;
use super::manage;
use super::problem::{Code, Problem};
use super::service::Service;
use crate::telemetry::logs::clean;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::request_id::RequestId;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Kinds of calls, for metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// OFREP's evaluations.
    Ofrep,
    /// Decisions and badges.
    Decisions,
    /// Events and tokens.
    Events,
    /// Management.
    Manage,
    /// Streams.
    Stream,
    /// Everything else.
    Other,
}

impl Kind {
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
}

/// Histograms by kind of call and class of status, taken once.
pub struct HttpMeters([[Histogram; 5]; Kind::ALL.len()]);

impl HttpMeters {
    /// Takes them from the registry.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        Self(
            Kind::ALL.map(|(_, kind)| {
                classes.map(|class| metrics.http_duration.with_label_values(&[kind, class]))
            }),
        )
    }

    /// How many calls for decisions were answered, well or not.
    #[must_use]
    pub fn decisions(&self) -> u64 {
        let kinds = [Kind::Ofrep, Kind::Decisions].into_iter().filter_map(|kind| self.0.get(kind as usize));
        kinds.flatten().map(Histogram::get_sample_count).sum()
    }

    /// Counts a call that took `ns` nanoseconds.
    pub(super) fn observe(&self, kind: Kind, status: StatusCode, ns: u64) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(histogram) = self.0.get(kind as usize).and_then(|classes| classes.get(class)) {
            histogram.observe(Duration::from_nanos(ns).as_secs_f64());
        }
    }
}

/// Around every request that the router answers; problems are written here, where the id is known.
///
/// # Errors
/// None of its own.
pub async fn around(req: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let (Some(service), Some(meters)) = (req.app_data::<Data<Service>>(), req.app_data::<Data<HttpMeters>>())
    else {
        return next.call(req).await;
    };
    let (service, meters) = (service.clone(), meters.clone());
    let began = service.clock.monotonic_ns();
    let id = id_of(&service, req.headers());
    let kind = Kind::of(req.path());
    req.extensions_mut().insert(id);
    let span = tracing::info_span!("request", %id, method = %req.method(), path = %clean(req.path()));
    let mut response = handle(req, next, &id).instrument(span.clone()).await?;
    let took_ns = service.clock.monotonic_ns().saturating_sub(began);
    let status = response.status();
    meters.observe(kind, status, took_ns);
    let rate = response.request().extensions().get::<RateState>().copied();
    finish(response.response_mut(), &id, rate);
    let (is_head, is_safe) =
        (response.request().method() == Method::HEAD, response.request().method().is_safe());
    if is_head {
        response = response.map_body(|_, body| HeadOnly(body.size()).boxed());
    }
    let _in_span = span.enter();
    if status.is_server_error() && status.as_u16() != 503 {
        tracing::error!(status = status.as_u16(), "a request failed");
    } else if !is_safe {
        let ms = Duration::from_nanos(took_ns).as_millis();
        tracing::info!(status = status.as_u16(), ms, "a request was answered");
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
    // Of an upload of ids, and which path that is, the router has said.
    let upload = req.method() == Method::PUT
        && req.request().match_pattern().is_some_and(|pattern| pattern == manage::UPLOAD);
    if let Some(problem) = super::refuse_encoding(req.headers(), upload) {
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

/// The id of a request: its own, or a new one.
pub(super) fn id_of(service: &Service, headers: &HeaderMap) -> RequestId {
    service.request_ids.take(headers.get(REQUEST_ID).map(HeaderValue::as_bytes))
}

/// Headers that every answer, or every managed one, carries.
pub(super) fn finish(response: &mut HttpResponse, id: &RequestId, rate: Option<RateState>) {
    let bodyless = response.body().size().is_eof();
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
