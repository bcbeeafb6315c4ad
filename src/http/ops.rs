//! What operators ask: alive, ready, metrics.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::access::{Open, require};
use super::problem::{Code, Problem};
use super::service::Service;
use crate::access::role::Observe;

/// `GET /healthz`: the process answers.
pub async fn healthz(_: Open) -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /readyz`: 200 once every environment has a snapshot that decides.
pub async fn readyz(_: Open, service: Data<Service>) -> HttpResponse {
    let ready = service.live.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(status).json(json!({"status": if ready { "ready" } else { "starting" }}))
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
    // Thousands of series take milliseconds: not on a thread that decides.
    let text = actix_web::web::block(move || metrics.text()).await;
    match text {
        Ok(Ok(text)) => {
            Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
        }
        Ok(Err(error)) => Err(Problem::new(Code::Internal, error.to_string())),
        Err(error) => Err(Problem::new(Code::Internal, error.to_string())),
    }
}
