//! Rights in a handler's signature: [`Access`] alone yields the caller and the environment. Routes take only
//! handlers whose first argument is one of these (see [`Guarded`]), so none can be forgotten; the calls that do not
//! pass the router cannot be answered without one either (see [`super::front`]).

use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actix_web::dev::{Payload, RequestHead};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use futures_util::FutureExt as _;
use futures_util::future::{Either, LocalBoxFuture, Ready, ready};

use super::body::{Refused, drained};
use super::limits::RateState;
use super::problem::{Code, Problem};
use super::request::Query;
use super::service::Service;
use crate::access::role::Decide;
use crate::access::{Actor, Right};
use crate::live::Environment;
use crate::token::stream_epoch;

/// Names the environment for keys of all environments, on calls without one in the path.
const ENVIRONMENT_HEADER: &str = "huidu-environment";

/// A caller with the right `R` in one environment: the path's, or else the key's.
pub struct Access<R> {
    /// Who calls.
    pub actor: Arc<Actor>,
    /// Where.
    pub environment: Arc<Environment>,
    right: PhantomData<R>,
}

/// A caller with the right `R`, on a call that belongs to no environment.
pub struct GlobalAccess<R> {
    /// Who calls.
    pub actor: Arc<Actor>,
    right: PhantomData<R>,
}

/// A caller with the right to ask for decisions, for whom the URL may carry a stream's token in the place of a key:
/// an `EventSource` cannot send headers.
pub enum StreamAccess {
    /// By a key in a header, or a token of a key that is still good.
    Granted {
        /// Who calls.
        actor: Arc<Actor>,
        /// Where.
        environment: Arc<Environment>,
    },
    /// By a token that is good no more, or never was.
    Dead,
}

/// A call that needs no key.
pub struct Open;

type Extracted<T> = Either<Ready<Result<T, Problem>>, LocalBoxFuture<'static, Result<T, Problem>>>;

/// A refusal drains the body: the extractor of the body comes later in the handler's arguments.
fn extracted<T: 'static>(
    outcome: Result<T, Problem>,
    req: &HttpRequest,
    payload: &mut Payload,
) -> Extracted<T> {
    match outcome {
        Ok(value) => Either::Left(ready(Ok(value))),
        Err(problem) => {
            req.extensions_mut().insert(Refused);
            let payload = payload.take();
            Either::Right(async move { Err(drained(problem, payload).await) }.boxed_local())
        }
    }
}

impl<R: Right> FromRequest for Access<R> {
    type Error = Problem;
    type Future = Extracted<Self>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        extracted(access(req), req, payload)
    }
}

impl<R: Right> Access<R> {
    /// The caller of a call that does not pass the router, in the key's environment or the header's.
    ///
    /// # Errors
    /// What says that the caller may not do this, or not here.
    pub(super) fn of(head: &RequestHead, service: &Service) -> Result<Self, Problem> {
        let (actor, _) = authorise::<R>(head, service)?;
        let environment = environment_of(None, head, service, &actor)?;
        Ok(Self { actor, environment, right: PhantomData })
    }
}

impl<R: Right> FromRequest for GlobalAccess<R> {
    type Error = Problem;
    type Future = Extracted<Self>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let outcome = service_of(req).and_then(|service| {
            let actor = require::<R>(req, service)?;
            Ok(Self { actor, right: PhantomData })
        });
        extracted(outcome, req, payload)
    }
}

impl FromRequest for StreamAccess {
    type Error = Problem;
    type Future = Extracted<Self>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        extracted(stream_access(req), req, payload)
    }
}

impl FromRequest for Open {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(_req: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(Ok(Self))
    }
}

fn service_of(req: &HttpRequest) -> Result<&Data<Service>, Problem> {
    req.app_data::<Data<Service>>().ok_or_else(|| Problem::new(Code::Internal, "the service is not set up"))
}

fn access<R: Right>(req: &HttpRequest) -> Result<Access<R>, Problem> {
    let service = service_of(req)?;
    let actor = require::<R>(req, service)?;
    let environment = environment_of(req.match_info().get("environment"), req.head(), service, &actor)?;
    Ok(Access { actor, environment, right: PhantomData })
}

fn stream_access(req: &HttpRequest) -> Result<StreamAccess, Problem> {
    let service = service_of(req)?;
    let query = Query::read(req, &["token"]);
    let sends_key =
        [header::AUTHORIZATION.as_str(), "x-api-key"].iter().any(|name| req.headers().contains_key(*name));
    let token = query.as_ref().ok().and_then(|query| query.text("token")).filter(|_| !sends_key);
    let Some(token) = token else {
        let Access { actor, environment, .. } = access::<Decide>(req)?;
        return query.map(|_| StreamAccess::Granted { actor, environment });
    };
    let now_ms = service.clock.now_ms();
    let secrets = service.live.secrets();
    let Ok(pass) = secrets.tokens.open_stream(token, stream_epoch(now_ms)) else {
        // Before any secret is known, a good token looks like a bad one.
        return if service.live.is_ready() { Ok(StreamAccess::Dead) } else { Err(super::not_ready()) };
    };
    let environment = service.live.by_number(pass.environment);
    let holder = service.keys.holder(&pass.key, now_ms);
    let holder = holder.filter(|actor| {
        Decide::allows(actor.role) && actor.environment.is_none_or(|own| own == pass.environment)
    });
    match (holder, environment) {
        (Some(actor), Some(environment)) => Ok(StreamAccess::Granted { actor, environment }),
        (Some(_), None) if !service.live.is_ready() => Err(super::not_ready()),
        _ => Ok(StreamAccess::Dead),
    }
}

/// The caller, and what is left to it of its writes, where this is one.
fn authorise<R: Right>(
    head: &RequestHead,
    service: &Service,
) -> Result<(Arc<Actor>, Option<RateState>), Problem> {
    let actor = authenticate(head, service)?;
    if !R::allows(actor.role) {
        return Err(Problem::new(
            Code::Forbidden,
            format!("a key of the role {} may not do this", actor.role),
        ));
    }
    let writes = !head.method.is_safe()
        && !R::allows(crate::access::Role::Client)
        && !R::allows(crate::access::Role::Server);
    let left = if writes { Some(service.limits.write(&actor.id)?) } else { None };
    Ok((actor, left))
}

/// The key that a request carries. `Authorization: Bearer` comes before `X-API-Key`.
fn sent_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| key.trim_ascii())
    });
    let key = bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes))?;
    std::str::from_utf8(key).ok()
}

/// The holder of the request's key.
fn authenticate(head: &RequestHead, service: &Service) -> Result<Arc<Actor>, Problem> {
    let key = sent_key(&head.headers);
    let Some(key) = key else {
        return Err(Problem::new(
            Code::Unauthorized,
            "a key is needed, as `Authorization: Bearer` or `X-API-Key`",
        ));
    };
    if let Some(actor) = service.keys.find(key, service.clock.now_ms()) {
        return Ok(actor);
    }
    // Before any key is known, a good one looks like a bad one.
    if service.keys.is_empty() {
        return Err(super::not_ready());
    }
    service.metrics.auth_failures.only().inc();
    service.limits.failed_authentication(address(head, service))?;
    Err(Problem::new(Code::Unauthorized, "the key is not known"))
}

/// Whom failures count for: the peer, or, behind a trusted proxy, the last address that no trusted one added.
fn address(head: &RequestHead, service: &Service) -> Option<IpAddr> {
    let peer = head.peer_addr?.ip();
    let trusted =
        |address: IpAddr| service.settings.trusted_proxies.iter().any(|network| network.contains(address));
    if !trusted(peer) {
        return Some(peer);
    }
    let forwarded = head.headers.get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let texts: Vec<&str> = forwarded.flat_map(|value| value.split(',')).collect();
    for text in texts.into_iter().rev() {
        match forwarded_address(text.trim()) {
            Some(address) if trusted(address) => {}
            Some(address) => return Some(address),
            // What a proxy wrote cannot be read: before it stands what the client itself may have sent.
            None => return Some(peer),
        }
    }
    Some(peer)
}

/// An address of `X-Forwarded-For`, which some proxies write with its port.
fn forwarded_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// The environment that the path `named`, or else the header, or else that of the key.
fn environment_of(
    named: Option<&str>,
    head: &RequestHead,
    service: &Service,
    actor: &Actor,
) -> Result<Arc<Environment>, Problem> {
    let header = || head.headers.get(ENVIRONMENT_HEADER).map(|value| value.to_str().unwrap_or_default());
    let named = named.or_else(header);
    let Some(named) = named else {
        let own = match actor.environment {
            Some(number) => service.live.by_number(number),
            None => service.live.environment(service.settings.default_environment.as_str()),
        };
        return own.ok_or_else(super::not_ready);
    };
    let found = service.live.environment(named);
    if found.is_none() && !service.live.is_ready() {
        return Err(super::not_ready());
    }
    match (actor.environment, found) {
        (None, Some(found)) => Ok(found),
        (Some(own), Some(found)) if found.number == own => Ok(found),
        (Some(_), _) => Err(Problem::new(Code::Forbidden, "the key belongs to another environment")),
        (None, None) => Err(Problem::new(Code::NotFound, "there is no such environment")),
    }
}

/// Arguments of a handler whose first one says who may call it.
pub trait Guarded {}

impl<R> Guarded for (Access<R>,) {}
impl<R> Guarded for (GlobalAccess<R>,) {}
impl Guarded for (StreamAccess,) {}
impl Guarded for (Open,) {}

macro_rules! guarded {
    ($($rest:ident),+) => {
        impl<R, $($rest),+> Guarded for (Access<R>, $($rest),+) {}
        impl<R, $($rest),+> Guarded for (GlobalAccess<R>, $($rest),+) {}
        impl<$($rest),+> Guarded for (StreamAccess, $($rest),+) {}
        impl<$($rest),+> Guarded for (Open, $($rest),+) {}
    };
}

guarded!(A);
guarded!(A, B);
guarded!(A, B, C);
guarded!(A, B, C, D);

/// The caller, where a setting decides whether one is needed: no other handler may ask for rights by itself.
///
/// # Errors
/// As of [`GlobalAccess`].
pub(super) fn require<R: Right>(req: &HttpRequest, service: &Service) -> Result<Arc<Actor>, Problem> {
    let (actor, left) = authorise::<R>(req.head(), service)?;
    if let Some(left) = left {
        req.extensions_mut().insert::<RateState>(left);
    }
    Ok(actor)
}

/// The caller, where more is told to whoever has the right `R`, and nobody is refused.
pub(super) fn known_holder<R: Right>(req: &HttpRequest, service: &Service) -> Option<Arc<Actor>> {
    let actor = service.keys.find(sent_key(req.headers())?, service.clock.now_ms())?;
    R::allows(actor.role).then_some(actor)
}
