//! What operators ask: alive, ready, metrics.

use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::access::{Open, known_holder, require};
use super::problem::{Code, Problem};
use super::service::Service;
use crate::access::role::Observe;
use crate::clock::rfc3339;
use crate::live::health::Degraded;

/// `GET /healthz`: the process answers.
pub async fn healthz(_: Open) -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /readyz`: 200 once every environment has a snapshot that decides, whatever else is not as it should be; that is
/// told to whoever may read metrics. Nothing is asked for it, so that it never waits for what is broken.
pub async fn readyz(_: Open, req: HttpRequest, service: Data<Service>) -> HttpResponse {
    let (ready, degraded) = (service.live.is_ready(), service.live.degraded());
    let (status, word) = match (ready, degraded.is_empty()) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        (true, true) => (StatusCode::OK, "ready"),
        (true, false) => (StatusCode::OK, "degraded"),
    };
    let mut body = json!({"status": word});
    // Before the keys are known, and to whoever may not see more, the word alone.
    if let Some(actor) = known_holder::<Observe>(&req, &service) {
        let seen = degraded.iter().filter(|fault| match (&fault.environment, actor.environment) {
            (Some((number, _)), Some(own)) => *number == own,
            _ => true,
        });
        let reasons: Vec<Value> = seen.map(reason).collect();
        if let Value::Object(body) = &mut body {
            body.insert("reasons".into(), reasons.into());
        }
    }
    HttpResponse::build(status).insert_header((header::CACHE_CONTROL, "no-store")).json(body)
}

fn reason(fault: &Degraded) -> Value {
    let mut reason = json!({"code": fault.code, "since": rfc3339(fault.since), "detail": fault.detail});
    if let (Some((_, key)), Value::Object(reason)) = (&fault.environment, &mut reason) {
        reason.insert("environment".into(), key.as_str().into());
    }
    reason
}

/// `GET /`: where to go.
pub async fn index(_: Open) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "service": "huidu",
        "version": env!("CARGO_PKG_VERSION"),
        "health": "/healthz",
        "ready": "/readyz",
        "metrics": "/metrics",
        "docs": "/docs",
        "openapi": "/openapi.json",
        "decide": ["/v1/decisions", "/ofrep/v1/evaluate/flags"],
    }))
}

/// `GET /metrics`: with a key, unless the setting `metrics_public` opens it.
pub async fn metrics(_: Open, req: HttpRequest, service: Data<Service>) -> Result<HttpResponse, Problem> {
    if !service.settings.metrics_public {
        require::<Observe>(&req, &service)?;
    }
    let metrics = service.metrics.clone();
    service.events.show(&metrics);
    // Thousands of series take milliseconds: not on a thread that decides.
    let text = service.beside(async move { metrics.text() }).await?;
    let text = text.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}
