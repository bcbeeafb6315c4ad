//! `POST /v1/decisions`: the entries of one placement for one shopper and order.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;

use super::access::Access;
use super::ofrep::{refuse_context, refuse_signature};
use super::problem::Problem;
use super::service::Service;
use super::write::{json, push_list, push_number, push_text};
use crate::access::role::Decide;
use crate::decide;
use crate::decide::badges::badges;
use crate::decide::signed::vouch;
use crate::engine::asks::Fetched;
use crate::engine::context::{Context, Parsed, parse_badges, parse_decision};
use crate::engine::decision::{Arm, Decision, Eligibility};
use crate::live::Published;

/// Entries of a usual placement.
const ENTRIES_EXPECTED: usize = 2;

/// Lists every entry of the placement, invisible ones included.
pub async fn decide(access: Access<Decide>, body: &[u8], service: &Service) -> Result<HttpResponse, Problem> {
    let published = access.environment.published().ok_or_else(super::not_ready)?;
    let snapshot = &published.snapshot;
    let read = || {
        let mut parsed =
            parse_decision(body, snapshot.attributes()).map_err(|error| refuse_context(&error))?;
        vouch(&published, access.actor.role, &mut parsed).map_err(refuse_signature)?;
        Ok::<_, Problem>(parsed)
    };
    if !snapshot.reads_through() {
        return Ok(entries(&access, &published, &read()?, &Fetched::default(), service));
    }
    // What waits is kept apart: it would make every call carry the room for it.
    Box::pin(async {
        let parsed = read()?;
        let placement = parsed.placement.as_deref().unwrap_or_default();
        let fetched =
            decide::fetch(&service.live, snapshot, snapshot.entries(placement), &parsed.context).await;
        Ok(entries(&access, &published, &parsed, &fetched, service))
    })
    .await
}

fn entries(
    access: &Access<Decide>,
    published: &Published,
    parsed: &Parsed<'_>,
    fetched: &Fetched,
    service: &Service,
) -> HttpResponse {
    let (snapshot, context) = (&published.snapshot, &parsed.context);
    let secrets = service.live.secrets_now();
    let sealer = secrets.tokens.sealer(snapshot.environment_number(), service.clock.today());
    let mut out = Vec::with_capacity(1_024);
    out.extend_from_slice(b"{\"environment\":");
    push_text(&mut out, snapshot.environment().as_str());
    out.extend_from_slice(b",\"snapshot\":");
    push_number(&mut out, snapshot.number());
    out.extend_from_slice(b",\"entries\":[");
    let flags = snapshot.entries(parsed.placement.as_deref().unwrap_or_default());
    let answered = decide::all(published, flags, ENTRIES_EXPECTED, context, fetched, sealer);
    for (at, (decision, token)) in answered.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_entry(decision, context, access.actor.role.sees_rules(), &mut out);
        if let Some(token) = token {
            out.extend_from_slice(b",\"exposure_token\":\"");
            out.extend_from_slice(token);
            out.push(b'"');
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    json(StatusCode::OK, out)
}

/// Bytes of a call for badges.
pub(super) const BADGES_BYTES_MAX: usize = 512 << 10;

/// `POST /v1/goods/eligibility`: which goods may carry the badge of which entry, each as if it were the whole order.
pub async fn eligibility(
    access: Access<Decide>,
    body: &[u8],
    service: &Service,
) -> Result<HttpResponse, Problem> {
    let published = access.environment.published().ok_or_else(super::not_ready)?;
    let mut parsed =
        parse_badges(body, published.snapshot.attributes()).map_err(|error| refuse_context(&error))?;
    vouch(&published, access.actor.role, &mut parsed).map_err(refuse_signature)?;
    let snapshot = &published.snapshot;
    let fetched = if snapshot.reads_through() {
        // For all goods at once: one question an audience.
        let entries = snapshot.entries(parsed.placement.as_deref().unwrap_or_default());
        decide::fetch(&service.live, snapshot, entries, &parsed.context).await
    } else {
        Fetched::default()
    };
    let badges = badges(snapshot, parsed, &fetched).map_err(|error| refuse_context(&error))?;
    let mut out = Vec::with_capacity(64 + badges.goods.len() * 48);
    out.extend_from_slice(b"{\"snapshot\":");
    push_number(&mut out, published.snapshot.number());
    out.extend_from_slice(b",\"goods\":");
    push_list(&mut out, &badges.goods, |out, badge| {
        out.extend_from_slice(b"{\"id\":");
        push_text(out, &badge.id);
        out.extend_from_slice(b",\"entries\":");
        push_list(out, &badge.entries, |out, key| push_text(out, key));
        out.push(b'}');
    });
    if !badges.unavailable.is_empty() {
        out.extend_from_slice(b",\"unavailable\":");
        push_list(&mut out, &badges.unavailable, |out, key| push_text(out, key));
    }
    out.push(b'}');
    Ok(json(StatusCode::OK, out))
}

/// Writes an entry without its token and its closing brace.
fn write_entry(decision: &Decision<'_>, context: &Context<'_>, with_rule: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"flag\":\"");
    out.extend_from_slice(decision.flag.key.as_str().as_bytes());
    match (decision.result, decision.variant()) {
        (Ok(served), Some(variant)) => {
            out.extend_from_slice(if decision.is_visible() {
                b"\",\"visible\":true"
            } else {
                b"\",\"visible\":false"
            });
            out.extend_from_slice(b",\"variant\":\"");
            out.extend_from_slice(variant.key.as_str().as_bytes());
            out.extend_from_slice(b"\",\"value\":");
            out.extend_from_slice(variant.json.as_bytes());
            out.extend_from_slice(b",\"reason\":\"");
            out.extend_from_slice(served.reason.as_str().as_bytes());
            out.push(b'"');
            if with_rule {
                write_rule(decision, served.arm, out);
            }
        }
        (Err(error), _) => {
            out.extend_from_slice(b"\",\"visible\":false,\"reason\":\"ERROR\",\"code\":\"");
            out.extend_from_slice(error.code().as_bytes());
            out.push(b'"');
        }
        (Ok(_), None) => {
            out.extend_from_slice(b"\",\"visible\":false,\"reason\":\"ERROR\",\"code\":\"flag_unreadable\"");
        }
    }
    if let Some(eligibility) = &decision.goods {
        write_goods(eligibility, context, out);
    }
}

fn write_rule(decision: &Decision<'_>, arm: Option<Arm>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"rule\":");
    match decision.rule() {
        Some(rule) => push_text(out, rule.id.as_str()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"arm\":");
    match arm {
        Some(arm) => push_text(out, arm.as_str()),
        None => out.extend_from_slice(b"null"),
    }
}

fn write_goods(eligibility: &Eligibility, context: &Context<'_>, out: &mut Vec<u8>) {
    let goods = context.goods().unwrap_or_default();
    let list = |wanted: bool, out: &mut Vec<u8>| {
        let mut first = true;
        for (_, item) in goods.iter().enumerate().filter(|(at, _)| eligibility.is_eligible(*at) == wanted) {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            push_text(out, item.id());
        }
    };
    out.extend_from_slice(b",\"goods\":{\"eligible\":[");
    list(true, out);
    out.extend_from_slice(b"],\"ineligible\":[");
    list(false, out);
    out.extend_from_slice(b"]}");
}
