//! The OpenFeature Remote Evaluation Protocol: any OpenFeature client's provider speaks it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::dev::RequestHead;
use actix_web::http::{StatusCode, header};
use smallvec::SmallVec;

use super::access::Access;
use super::problem::{Code, Problem};
use super::service::Service;
use super::write::{json, push_hex, push_number, push_text};
use crate::access::Actor;
use crate::access::role::Decide;
use crate::clock::DAY_MS;
use crate::decide::signed::{SignatureInvalid, vouch};
use crate::decide::{self, Answered};
use crate::engine::asks::Fetched;
use crate::engine::compile::CompiledFlag;
use crate::engine::context::{Context, ContextError, Parsed, parse_ofrep};
use crate::engine::decision::{Decision, DecisionError};
use crate::live::{Environment, Published};
use crate::token::{StreamPass, stream_epoch};

/// Longest wait for a number that another instance told of.
const REACH_MAX: Duration = Duration::from_secs(1);
/// How far ahead another instance can be: beyond it nobody told that number.
const AHEAD_MAX: i64 = 10_000;
/// Where OpenFeature clients listen.
pub const SSE_PATH: &str = "/ofrep/v1/sse";
/// Bytes of a decision's body.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// `POST /ofrep/v1/evaluate/flags` and `.../flags/{key}`; `rest` is what comes after the prefix.
pub async fn evaluate(
    access: Access<Decide>,
    rest: &str,
    head: &RequestHead,
    body: &[u8],
    service: &Service,
) -> Result<HttpResponse, Problem> {
    let published = access.environment.published().ok_or_else(super::not_ready)?;
    match rest.strip_prefix('/') {
        None => {
            // Seldom: nearly all calls come without a number.
            let published = match told(head) {
                None => published,
                Some(_) => Box::pin(caught_up(&access.environment, head, published, service)).await,
            };
            bulk(&access, head, body, &published, service).await
        }
        Some(key) if !key.is_empty() => single(key, &access.actor, body, &published, service).await,
        Some(_) => Err(super::nothing_here()),
    }
}

/// The problem of a body that is no context.
pub(super) fn refuse_context(error: &ContextError) -> Problem {
    let problem = Problem::new(Code::parse(error.code()), error.to_string());
    match error {
        ContextError::Json { line, column, .. } | ContextError::TooDeep { line, column } => {
            problem.with("line", (*line).into()).with("column", (*column).into())
        }
        _ => problem,
    }
}

/// The problem of a context whose unit nobody vouches for.
pub(super) fn refuse_signature(error: SignatureInvalid) -> Problem {
    Problem::new(Code::UnitSignatureInvalid, error.to_string())
}

/// The context of a body, of which only what the caller can vouch for is left.
fn read<'b>(body: &'b [u8], actor: &Actor, published: &Published) -> Result<Parsed<'b>, Problem> {
    let mut parsed =
        parse_ofrep(body, published.snapshot.attributes()).map_err(|error| refuse_context(&error))?;
    vouch(published, actor.role, &mut parsed).map_err(refuse_signature)?;
    Ok(parsed)
}

async fn single(
    key: &str,
    actor: &Actor,
    body: &[u8],
    published: &Published,
    service: &Service,
) -> Result<HttpResponse, Problem> {
    let snapshot = &published.snapshot;
    let flag = snapshot.find(key).ok_or_else(|| {
        Problem::new(Code::FlagNotFound, "there is no such flag in this environment")
            .of_flag(super::shown(key))
    })?;
    let read = || read(body, actor, published).map_err(|problem| problem.of_flag(key));
    let answer = |parsed: &Parsed<'_>, fetched: &Fetched| {
        let now_ms = service.clock.now_ms();
        let asked = Asked { published, actor, context: &parsed.context, service, now_ms };
        single_answer(&asked, flag, fetched)
    };
    if snapshot.asks(flag.index).is_empty() {
        return answer(&read()?, &Fetched::default());
    }
    // What waits is kept apart: it would make every call carry the room for it.
    Box::pin(async move {
        let parsed = read()?;
        let fetched = decide::fetch(&service.live, snapshot, [flag], &parsed.context).await;
        answer(&parsed, &fetched)
    })
    .await
}

fn single_answer(
    asked: &Asked<'_, '_>,
    flag: &Arc<CompiledFlag>,
    fetched: &Fetched,
) -> Result<HttpResponse, Problem> {
    let answered = asked.decide([flag], 1, fetched);
    let mut out = Vec::with_capacity(512);
    for (decision, token) in answered.iter() {
        if let Err(error) = decision.result {
            return Err(Problem::new(Code::parse(error.code()), error.to_string()).of_flag(flag.key.as_str()));
        }
        write_success(asked, decision, token, &mut out);
    }
    Ok(json(StatusCode::OK, out))
}

async fn bulk(
    access: &Access<Decide>,
    head: &RequestHead,
    body: &[u8],
    published: &Published,
    service: &Service,
) -> Result<HttpResponse, Problem> {
    // Once: tag, tokens and stream are of one day.
    let now_ms = service.clock.now_ms();
    let tag = entity_tag(body, &access.actor, published, now_ms, service);
    let read = || read(body, &access.actor, published);
    // `*` holds for any answer, so it says nothing of the body: that must be one that has an answer.
    if let Some(tag) = &tag
        && fresh(head, published)
        && (matches(head, tag, false) || matches(head, tag, true) && read().is_ok())
    {
        return Ok(HttpResponse::NotModified()
            .insert_header((header::ETAG, tag.as_str()))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .finish());
    }
    let answer = |parsed: &Parsed<'_>, fetched: &Fetched| {
        let asked = Asked { published, actor: &access.actor, context: &parsed.context, service, now_ms };
        bulk_answer(&asked, tag.as_deref(), fetched)
    };
    if !published.snapshot.reads_through() {
        return Ok(answer(&read()?, &Fetched::default()));
    }
    Box::pin(async move {
        let (parsed, snapshot) = (read()?, &published.snapshot);
        let fetched = decide::fetch(&service.live, snapshot, snapshot.flags(), &parsed.context).await;
        Ok(answer(&parsed, &fetched))
    })
    .await
}

fn bulk_answer(asked: &Asked<'_, '_>, tag: Option<&str>, fetched: &Fetched) -> HttpResponse {
    let snapshot = &asked.published.snapshot;
    let flags = snapshot.flags().len();
    let answered = asked.decide(snapshot.sorted(), flags, fetched);
    let mut out = Vec::with_capacity(512 + flags * 288);
    out.extend_from_slice(b"{\"flags\":[");
    let mut readable = true;
    for (at, (decision, token)) in answered.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match decision.result {
            Ok(_) => write_success(asked, decision, token, &mut out),
            Err(error) => {
                readable &= error != DecisionError::AudienceUnavailable;
                write_failure(decision.flag, error, &mut out);
            }
        }
    }
    out.push(b']');
    if asked.service.streams.are_offered() {
        let environment = snapshot.environment_number();
        let (key, epoch) = (Cow::Borrowed(&*asked.actor.id), stream_epoch(asked.now_ms));
        let pass = StreamPass { environment, key, epoch };
        write_event_streams(&pass, asked.service, &mut out);
    }
    out.extend_from_slice(b",\"metadata\":{\"flagSetId\":");
    push_text(&mut out, snapshot.environment().as_str());
    out.extend_from_slice(b",\"snapshot\":");
    push_number(&mut out, snapshot.number());
    out.extend_from_slice(b"}}");
    let mut response = json(StatusCode::OK, out);
    // An answer that could not read everything must not be kept as the newest.
    if readable && let Some(Ok(tag)) = tag.map(header::HeaderValue::from_str) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Where to hear of changes. The address is the same for the whole epoch, so that clients see no change in it.
fn write_event_streams(pass: &StreamPass<'_>, service: &Service, out: &mut Vec<u8>) {
    let before = out.len();
    out.extend_from_slice(b",\"eventStreams\":[{\"type\":\"sse\",\"endpoint\":{\"requestUri\":\"");
    out.extend_from_slice(SSE_PATH.as_bytes());
    out.extend_from_slice(b"?token=");
    if service.live.secrets_now().tokens.seal_stream(pass, out) {
        out.extend_from_slice(b"\"},\"inactivityDelaySec\":120}]");
    } else {
        out.truncate(before);
    }
}

/// A mark of everything that the answer depends on: body, key, snapshot, day (of the tokens), epoch (of the stream), and
/// what this instance shut by itself. Without a key of tokens, none: an answer with them would have the same.
fn entity_tag(
    body: &[u8],
    actor: &Actor,
    published: &Published,
    now_ms: i64,
    service: &Service,
) -> Option<String> {
    let snapshot = &published.snapshot;
    let mut beside: SmallVec<[u8; 64]> = SmallVec::new();
    for number in [snapshot.number(), stream_epoch(now_ms), published.expired] {
        beside.extend_from_slice(&number.to_le_bytes());
    }
    beside.extend_from_slice(actor.id.as_bytes());
    let (environment, day) = (snapshot.environment_number(), now_ms.div_euclid(DAY_MS));
    let mark = service.live.secrets_now().tokens.mark(environment, day, body, &beside)?;
    let mut tag = String::with_capacity(34);
    tag.push('"');
    push_hex(&mut tag, mark);
    tag.push('"');
    Some(tag)
}

/// The number that a client was told of: what stands in the query, which need not be one.
fn told(head: &RequestHead) -> Option<Result<i64, std::num::ParseIntError>> {
    let told =
        head.uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("flagConfigEtag="));
    told.map(str::parse)
}

/// A client that was told of a change must not hear "not modified" from an instance with another number.
fn fresh(head: &RequestHead, published: &Published) -> bool {
    told(head).is_none_or(|told| told == Ok(published.snapshot.number()))
}

/// A client that another instance told of a change, and that comes here before it did, would see an entry again that
/// was shut: this instance gets a moment to hear of the change.
async fn caught_up(
    environment: &Environment,
    head: &RequestHead,
    published: Arc<Published>,
    service: &Service,
) -> Arc<Published> {
    let own = published.snapshot.number();
    let Some(Ok(told @ 1..)) = told(head) else { return published };
    if !(own + 1..=own + AHEAD_MAX).contains(&told) {
        return published;
    }
    service.live.reach(environment, told, REACH_MAX).await;
    environment.published().unwrap_or(published)
}

/// `If-None-Match`: a list, with `star` also `*`, or weak tags, which compare alike here.
fn matches(head: &RequestHead, tag: &str, star: bool) -> bool {
    head.headers.get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok()).any(|value| {
        value
            .split(',')
            .map(str::trim)
            .any(|one| star && one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
    })
}

/// What a call asks for, and who asks.
struct Asked<'a, 'c> {
    published: &'a Published,
    actor: &'a Actor,
    context: &'a Context<'c>,
    service: &'a Service,
    /// When, milliseconds since 1970.
    now_ms: i64,
}

impl<'a, 'c> Asked<'a, 'c> {
    /// Decides `flags`. Their tokens are of one key and one day: neither may change within an answer.
    fn decide(
        &self,
        flags: impl IntoIterator<Item = &'a Arc<CompiledFlag>>,
        expected: usize,
        fetched: &Fetched,
    ) -> Answered<'a> {
        let secrets = self.service.live.secrets_now();
        let environment = self.published.snapshot.environment_number();
        let sealer = secrets.tokens.sealer(environment, self.now_ms.div_euclid(DAY_MS));
        decide::all(self.published, flags, expected, self.context, fetched, sealer)
    }
}

fn write_success(asked: &Asked<'_, '_>, decision: &Decision<'_>, token: Option<&[u8]>, out: &mut Vec<u8>) {
    let Ok(served) = decision.result else { return };
    let Some(ready) = asked.published.beside(decision.flag).and_then(|beside| beside.ofrep(served.variant))
    else {
        return;
    };
    out.extend_from_slice(ready.as_bytes());
    if let (true, Some(rule)) = (asked.actor.role.sees_rules(), decision.rule()) {
        out.extend_from_slice(b",\"rule\":\"");
        out.extend_from_slice(rule.id.as_str().as_bytes());
        out.push(b'"');
    }
    if let Some(token) = token {
        out.extend_from_slice(b",\"exposureToken\":\"");
        out.extend_from_slice(token);
        out.push(b'"');
    }
    out.extend_from_slice(b"},\"reason\":\"");
    out.extend_from_slice(served.reason.as_ofrep().as_bytes());
    out.extend_from_slice(b"\"}");
}

fn write_failure(flag: &CompiledFlag, error: DecisionError, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"key\":\"");
    out.extend_from_slice(flag.key.as_str().as_bytes());
    out.extend_from_slice(b"\",\"errorCode\":\"");
    out.extend_from_slice(Code::parse(error.code()).as_ofrep().as_bytes());
    out.extend_from_slice(b"\",\"errorDetails\":");
    push_text(out, &error.to_string());
    out.extend_from_slice(b",\"metadata\":{}}");
}
