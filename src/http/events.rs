//! `POST /v1/events` and `POST /v1/tokens/verify`.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::access::Access;
use super::json::typed;
use super::problem::{Code, Problem};
use super::service::Service;
use crate::access::Role;
use crate::access::role::{Decide, Verify};
use crate::clock::DAY_MS;
use crate::engine::asks::{Fetched, Wanted};
use crate::engine::compile::CompiledFlag;
use crate::engine::decision::Arm;
use crate::events::check::{Checker, Rows};
use crate::events::parse::Body;
use crate::events::queue::{Fate, QueueError};
use crate::events::{EVENTS_MAX, Rejection};
use crate::token::Exposure;

/// Bytes of a call's body.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;
/// A body of more is read and checked beside the workers, since a hundred events take them a millisecond.
const BESIDE_BYTES: usize = 8 << 10;
/// So many events are a piece of work: a tenth of a millisecond.
const PIECE: usize = 50;
/// Bytes of a call that checks a token.
pub(super) const VERIFY_BYTES_MAX: usize = 64 << 10;

/// Takes events; answered after the accepted ones are durable.
pub async fn append(
    access: Access<Decide>,
    body: Bytes,
    service: &Arc<Service>,
) -> Result<HttpResponse, Problem> {
    let answer = if body.len() > BESIDE_BYTES {
        let shared = service.clone();
        service
            .beside(async move { take(&access, &body, &shared, || shared.courtesy.pause()).await })
            .await??
    } else {
        take(&access, &body, service, || {}).await?
    };
    Ok(super::write::json(StatusCode::OK, answer))
}

/// The answer to events that are durable. Between two pieces of the work it may `pause`.
async fn take(
    access: &Access<Decide>,
    body: &[u8],
    service: &Service,
    pause: impl Fn(),
) -> Result<Vec<u8>, Problem> {
    let parsed = Body::read(body).map_err(|error| refuse_body(&error))?;
    if parsed.events.len() > EVENTS_MAX {
        return Err(Problem::new(Code::TooManyEvents, format!("a call has at most {EVENTS_MAX} events")));
    }
    let Checked { rows, rejected, clamped } = check(access, &parsed, service, pause).await?;
    let fates = service.events.append(rows, body.len()).await.map_err(|error| refuse(&error, service))?;
    let accepted = fates.iter().filter(|fate| **fate == Fate::Accepted).count();
    let duplicates = fates.len() - accepted;
    let key = access.environment.key.as_str();
    let environment = [key];
    service.metrics.events_accepted.with_label_values(&environment).inc_by(accepted as u64);
    service.metrics.events_duplicate.with_label_values(&environment).inc_by(duplicates as u64);
    // Counted with the others: a call that is refused as a whole is sent again.
    service.metrics.events_clamped.with_label_values(&environment).inc_by(clamped);
    for rejection in &rejected {
        service.metrics.events_rejected.with_label_values(&[key, rejection.code]).inc();
    }
    let answer = json!({"accepted": accepted, "duplicates": duplicates, "rejected": rejected});
    Ok(answer.to_string().into_bytes())
}

/// The events of a call, sorted.
#[derive(Default)]
struct Checked {
    rows: Vec<Rows>,
    rejected: Vec<Rejection>,
    /// How many had their time moved.
    clamped: u64,
}

/// Sorts the events into rows and refusals.
async fn check(
    access: &Access<Decide>,
    parsed: &Body<'_>,
    service: &Service,
    pause: impl Fn(),
) -> Result<Checked, Problem> {
    let published = access.environment.published().ok_or_else(super::not_ready)?;
    let (nothing, secrets) = (Fetched::default(), service.live.secrets());
    let unit_ids = service.unit_ids().ok_or_else(super::not_ready)?;
    let mut checker = Checker {
        fetched: &nothing,
        published: &published,
        tokens: &secrets.tokens,
        role: access.actor.role,
        now_ms: service.clock.now_ms(),
        unit_ids: &unit_ids,
        currencies: &service.currencies,
    };
    let fetched = if published.snapshot.reads_through() && access.actor.role != Role::Client {
        let mut wanted = Wanted::default();
        parsed.events.iter().for_each(|raw| checker.want(raw, &mut wanted));
        service.live.read_through().fetch(&published.snapshot, wanted).await
    } else {
        Fetched::default()
    };
    checker.fetched = &fetched;
    let mut checked = Checked { rows: Vec::with_capacity(parsed.events.len()), ..Checked::default() };
    for (index, raw) in parsed.events.iter().enumerate() {
        if index > 0 && index % PIECE == 0 {
            pause();
        }
        match checker.check(index, raw) {
            Ok((row, moved)) => {
                checked.clamped += u64::from(moved);
                checked.rows.push(row);
            }
            Err(rejection) => checked.rejected.push(rejection),
        }
    }
    Ok(checked)
}

fn refuse_body(error: &serde_json::Error) -> Problem {
    let detail = error.to_string();
    let detail = detail.split(" at line ").next().unwrap_or_default().to_owned();
    let code = if error.is_data() { Code::BodyInvalid } else { Code::JsonInvalid };
    Problem::new(code, detail).with("line", error.line().into()).with("column", error.column().into())
}

fn refuse(error: &QueueError, service: &Service) -> Problem {
    match error {
        QueueError::Full => {
            service.metrics.event_queue_full.only().inc();
            Problem::new(Code::QueueFull, "too many events wait; send these again")
        }
        QueueError::Stopping => Problem::new(Code::QueueFull, "the service is stopping; send these again"),
        QueueError::Store(_) => {
            Problem::new(Code::DatabaseUnavailable, "the events could not be stored; send these again")
        }
    }
}

/// Whether the shopper of a token was shown the entry. Control never was, treatment always, whatever has become of
/// the variants since; a rule's fixed variant was, unless it is the one that shows nothing.
fn was_visible(flag: &CompiledFlag, exposure: &Exposure<'_>) -> bool {
    match exposure.arm {
        Arm::Control => false,
        Arm::Treatment => true,
        Arm::Fixed => {
            flag.document.as_ref().is_some_and(|document| document.off_variant.as_str() != exposure.variant)
        }
    }
}

/// A token to check.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyBody {
    token: String,
}

/// Was this unit really shown this entry? The last gate before a payment backend takes a payment.
pub fn verify(access: Access<Verify>, body: &Bytes, service: &Service) -> Result<HttpResponse, Problem> {
    let VerifyBody { token } = typed(body)?;
    let published = access.environment.published().ok_or_else(super::not_ready)?;
    let today = service.clock.today();
    let answer = match service.live.secrets().tokens.open(&token, access.environment.number, today) {
        Err(error) => json!({"valid": false, "code": error.code()}),
        Ok(exposure) => match published.snapshot.find(&exposure.flag) {
            None => json!({"valid": false, "code": "token_invalid"}),
            Some(flag) => json!({
                "valid": true,
                "environment": access.environment.key,
                "flag": flag.key,
                "stage": exposure.stage,
                "current_stage": flag.stage,
                "state": flag.state.as_str(),
                "open": flag.is_open() && flag.broken.is_none(),
                "arm": exposure.arm.as_str(),
                "variant": exposure.variant,
                "visible": was_visible(flag, &exposure),
                "unit": exposure.unit,
                "day": crate::clock::rfc3339(exposure.day * DAY_MS).get(..10),
            }),
        },
    };
    Ok(super::write::json(StatusCode::OK, answer.to_string().into_bytes()))
}
