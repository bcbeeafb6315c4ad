//! The calls that a checkout waits for, answered in front of the router: scopes, extractors and middleware cost such a
//! call more than its decision does. Everything else, every other method of these paths included, goes on to it.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_http::Request;
use actix_service::{IntoServiceFactory, Service as ActixService, ServiceFactory};
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{AppConfig, Payload, Response, ServiceResponse, Url};
use actix_web::http::Method;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpMessage as _, HttpResponse};
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt as _, TryFutureExt as _};
use tracing::Instrument as _;

use super::access::Access;
use super::around::{HttpMeters, Kind, finish, id_of};
use super::body::{drained, json};
use super::problem::Problem;
use super::service::Service;
use super::{cors, decisions, events, ofrep, refuse_encoding};
use crate::access::Right;

/// Prefix of OFREP's evaluation calls.
pub const OFREP_PREFIX: &str = "/ofrep/v1/evaluate/flags";

/// A call of a checkout, by POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Evaluate,
    Decide,
    Append,
    Eligibility,
    Verify,
}

impl Call {
    const PATHS: [(&'static str, Self); 4] = [
        ("/v1/decisions", Self::Decide),
        ("/v1/events", Self::Append),
        ("/v1/goods/eligibility", Self::Eligibility),
        ("/v1/tokens/verify", Self::Verify),
    ];

    fn of(path: &str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix(OFREP_PREFIX) {
            return (rest.is_empty() || rest.starts_with('/')).then_some(Self::Evaluate);
        }
        Self::PATHS.iter().find(|(known, _)| *known == path).map(|(_, call)| *call)
    }

    fn kind(self) -> Kind {
        match self {
            Self::Evaluate => Kind::Ofrep,
            Self::Decide | Self::Eligibility => Kind::Decisions,
            Self::Append | Self::Verify => Kind::Events,
        }
    }
}

/// A path as the router reads it: without its escapes.
fn unescaped(req: &Request) -> Cow<'_, str> {
    let path = req.path();
    if path.contains('%') {
        Cow::Owned(Url::new(req.head().uri.clone()).path().to_owned())
    } else {
        Cow::Borrowed(path)
    }
}

/// A request whose body is not read yet.
pub(super) struct Asked<'r> {
    req: &'r Request,
    payload: Payload,
    service: &'r Arc<Service>,
}

impl Asked<'_> {
    /// Who calls, and what they sent: nothing is read of a caller who may not call, but to keep the connection.
    async fn admit<R: Right>(self, limit: usize) -> Result<(Access<R>, Bytes), Problem> {
        match Access::of(self.req.head(), self.service) {
            Ok(access) => Ok((access, json(self.req.headers(), self.payload, limit).await?)),
            Err(problem) => Err(drained(problem, self.payload).await),
        }
    }
}

/// Answers `call`. Each handler's first argument says who may call it; `admit` alone makes one.
async fn answer(call: Call, path: &str, asked: Asked<'_>) -> Result<HttpResponse, Problem> {
    let (req, service) = (asked.req, asked.service);
    if let Some(problem) = refuse_encoding(req.headers(), false) {
        return Err(drained(problem, asked.payload).await);
    }
    match call {
        Call::Evaluate => {
            let (access, body) = asked.admit(ofrep::BODY_BYTES_MAX).await?;
            let rest = path.strip_prefix(OFREP_PREFIX).unwrap_or_default();
            ofrep::evaluate(access, rest, req.head(), &body, service).await
        }
        Call::Decide => {
            let (access, body) = asked.admit(ofrep::BODY_BYTES_MAX).await?;
            decisions::decide(access, &body, service).await
        }
        // Boxed: the room that these need while they wait would have to be moved with every call.
        Call::Append => {
            Box::pin(async {
                let (access, body) = asked.admit(events::BODY_BYTES_MAX).await?;
                events::append(access, body, service).await
            })
            .await
        }
        Call::Eligibility => {
            Box::pin(async {
                let (access, body) = asked.admit(decisions::BADGES_BYTES_MAX).await?;
                decisions::eligibility(access, &body, service).await
            })
            .await
        }
        Call::Verify => {
            let (access, body) = asked.admit(events::VERIFY_BYTES_MAX).await?;
            events::verify(access, &body, service)
        }
    }
}

/// What the front of a worker needs.
struct Shared {
    service: Arc<Service>,
    meters: Arc<HttpMeters>,
}

impl Shared {
    /// Answers `call` as what stands around the router would: with an id, headers, a time, and problems as documents.
    async fn answer(
        self: Rc<Self>,
        call: Call,
        path: Cow<'static, str>,
        mut req: Request,
    ) -> Response<BoxBody> {
        let service = &self.service;
        let began = service.clock.monotonic_ns();
        let id = id_of(service, req.headers());
        let span = tracing::debug_span!("request", %id);
        let payload = req.take_payload();
        let asked = Asked { req: &req, payload, service };
        let path = if path.is_empty() { req.path() } else { &path };
        let outcome = answer(call, path, asked).instrument(span).await;
        let mut response =
            outcome.unwrap_or_else(|problem| problem.answer(Some(&id), call == Call::Evaluate));
        finish(&mut response, &id, None);
        cors::mark(&service.settings.cors_origins, req.headers(), response.headers_mut());
        let status = response.status();
        self.meters.observe(call.kind(), status, service.clock.monotonic_ns().saturating_sub(began));
        if status.is_server_error() && status.as_u16() != 503 {
            // There is no span at this level, so the line names the request itself.
            tracing::error!(%id, status = status.as_u16(), "a request failed");
        }
        response.into()
    }
}

/// Puts the front before the router of `app`.
pub fn before<A, S, B>(app: A, service: &Data<Service>, meters: &Arc<HttpMeters>) -> Factory<S>
where
    A: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>>,
    B: MessageBody,
{
    let service = Arc::clone(service);
    Factory { app: app.into_factory(), shared: Rc::new(Shared { service, meters: meters.clone() }) }
}

/// Makes the front of a worker.
pub struct Factory<S> {
    app: S,
    shared: Rc<Shared>,
}

impl<S, B> ServiceFactory<Request> for Factory<S>
where
    S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>>,
    S::Service: 'static,
    S::Future: 'static,
    <S::Service as ActixService<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = Response<BoxBody>;
    type Error = S::Error;
    type Config = AppConfig;
    type Service = Front<S::Service>;
    type InitError = S::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, S::InitError>>;

    fn new_service(&self, config: AppConfig) -> Self::Future {
        let (app, shared) = (self.app.new_service(config), self.shared.clone());
        async move { Ok(Front { app: app.await?, shared }) }.boxed_local()
    }
}

/// The front of a worker, and the router behind it.
pub struct Front<S> {
    app: S,
    shared: Rc<Shared>,
}

impl<S, B> ActixService<Request> for Front<S>
where
    S: ActixService<Request, Response = ServiceResponse<B>> + 'static,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = Response<BoxBody>;
    type Error = S::Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.app.poll_ready(context)
    }

    fn call(&self, req: Request) -> Self::Future {
        if req.method() == Method::POST {
            let path = unescaped(&req);
            if let Some(call) = Call::of(&path) {
                let path = match path {
                    Cow::Owned(path) => Cow::Owned(path),
                    // As it stands in the request.
                    Cow::Borrowed(_) => Cow::Borrowed(""),
                };
                return self.shared.clone().answer(call, path, req).map(Ok).boxed_local();
            }
        }
        self.app.call(req).map_ok(|answer| Response::from(answer.map_into_boxed_body())).boxed_local()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of what `make` makes.
    fn room<F>(_make: impl FnOnce(Rc<Shared>, Call, Cow<'static, str>, Request) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_a_call_keeps_while_it_waits_is_small() {
        // glibc has blocks of up to 1,032 bytes at hand. Larger ones take it several hundred instructions each.
        let room = room(Shared::answer);
        assert!(room <= 1_024, "{room} bytes");
    }

    #[test]
    fn whole_paths_are_calls() {
        for (path, call) in [
            ("/ofrep/v1/evaluate/flags", Some(Call::Evaluate)),
            ("/ofrep/v1/evaluate/flags/", Some(Call::Evaluate)),
            ("/ofrep/v1/evaluate/flags/a/b", Some(Call::Evaluate)),
            ("/ofrep/v1/evaluate/flagship", None),
            ("/v1/decisions", Some(Call::Decide)),
            ("/v1/decisions/", None),
            ("/v1/events", Some(Call::Append)),
            ("/v1/goods/eligibility", Some(Call::Eligibility)),
            ("/v1/tokens/verify", Some(Call::Verify)),
            ("/v1/environments", None),
            ("/", None),
        ] {
            assert_eq!(Call::of(path), call, "{path}");
        }
    }
}
