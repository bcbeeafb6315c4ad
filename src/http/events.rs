//! `POST /v1/events` and `POST /v1/tokens/verify`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;
use serde::Deserialize;
use serde_json::json;

use super::access::Access;
use super::body::JsonBody;
use super::json::typed;
use super::problem::{Code, Problem};
use super::service::Service;
use crate::access::role::{Decide, Verify};
use crate::clock::DAY_MS;
use crate::events::check::{Checker, Rows};
use crate::events::parse::Body;
use crate::events::queue::{Fate, QueueError};
use crate::events::{EVENTS_MAX, Rejection};

/// Bytes of a call's body.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Takes events; answered after the accepted ones are durable.
pub async fn append(
    access: Access<Decide>,
    body: JsonBody<BODY_BYTES_MAX>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let parsed = Body::read(&body.0).map_err(|error| refuse_body(&error))?;
    if parsed.events.len() > EVENTS_MAX {
        return Err(Problem::new(Code::TooManyEvents, format!("a call has at most {EVENTS_MAX} events")));
    }
    let (rows, rejected) = check(&access, &parsed, &service)?;
    let fates = service.events.append(rows, body.0.len()).await.map_err(|error| refuse(&error))?;
    let accepted = fates.iter().filter(|fate| **fate == Fate::Accepted).count();
    let duplicates = fates.len() - accepted;
    let environment = [access.environment.key.as_str()];
    service.metrics.events_accepted.with_label_values(&environment).inc_by(accepted as u64);
    service.metrics.events_duplicate.with_label_values(&environment).inc_by(duplicates as u64);
    let answer = json!({"accepted": accepted, "duplicates": duplicates, "rejected": rejected});
    Ok(super::write::json(StatusCode::OK, answer.to_string().into_bytes()))
}

/// Sorts the events into rows and refusals.
fn check(
    access: &Access<Decide>,
    parsed: &Body<'_>,
    service: &Service,
) -> Result<(Vec<Rows>, Vec<Rejection>), Problem> {
    let published = access.environment.published().ok_or_else(super::not_ready)?;
    let checker = Checker {
        published: &published,
        tokens: &service.tokens,
        role: access.actor.role,
        now_ms: service.clock.now_ms(),
        unit_ids: &service.unit_ids,
        currencies: &service.currencies,
    };
    let environment = access.environment.key.as_str();
    let (mut rows, mut rejected) = (Vec::with_capacity(parsed.events.len()), Vec::new());
    for (index, raw) in parsed.events.iter().enumerate() {
        match checker.check(index, raw) {
            Ok((row, moved)) => {
                if moved {
                    service.metrics.events_clamped.with_label_values(&[environment]).inc();
                }
                rows.push(row);
            }
            Err(rejection) => {
                service.metrics.events_rejected.with_label_values(&[environment, rejection.code]).inc();
                rejected.push(rejection);
            }
        }
    }
    Ok((rows, rejected))
}

fn refuse_body(error: &serde_json::Error) -> Problem {
    let detail = error.to_string();
    let detail = detail.split(" at line ").next().unwrap_or_default().to_owned();
    let code = if error.is_data() { Code::BodyInvalid } else { Code::JsonInvalid };
    Problem::new(code, detail).with("line", error.line().into()).with("column", error.column().into())
}

fn refuse(error: &QueueError) -> Problem {
    match error {
        QueueError::Full => Problem::new(Code::QueueFull, "too many events wait; send these again"),
        QueueError::Stopping => Problem::new(Code::QueueFull, "the service is stopping; send these again"),
        QueueError::Store(_) => {
            Problem::new(Code::DatabaseUnavailable, "the events could not be stored; send these again")
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
pub async fn verify(
    access: Access<Verify>,
    body: JsonBody<{ 64 << 10 }>,
    service: Data<Service>,
) -> Result<HttpResponse, Problem> {
    let VerifyBody { token } = typed(&body.0)?;
    let published = access.environment.published().ok_or_else(super::not_ready)?;
    let today = service.clock.today();
    let answer = match service.tokens.open(&token, access.environment.number, today) {
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
                "open": flag.is_open(),
                "arm": exposure.arm.as_str(),
                "variant": exposure.variant,
                "visible": flag.document.as_ref().is_some_and(|document| document.off_variant.as_str() != exposure.variant),
                "unit": exposure.unit,
                "day": crate::clock::rfc3339(exposure.day * DAY_MS).get(..10),
            }),
        },
    };
    Ok(super::write::json(StatusCode::OK, answer.to_string().into_bytes()))
}
