//! Health, metrics and the document itself.

#![expect(dead_code, reason = "only the derive reads the fields of a shape")]

use serde_json::json;
use utoipa::ToSchema;

use super::call::Call;
use crate::access::role::Observe;

/// That the process answers.
#[derive(ToSchema)]
pub(super) struct Health {
    /// `ok`.
    #[schema(example = "ok")]
    pub(super) status: String,
}

/// Whether the service can decide.
#[derive(ToSchema)]
pub(super) struct Readiness {
    /// `ready`, `degraded` or `starting`.
    pub(super) status: Standing,
    /// What is not as it should be; only for keys that may read metrics.
    #[schema(nullable = false)]
    pub(super) reasons: Option<Vec<Degradation>>,
}

/// Something that is not as it should be.
#[derive(ToSchema)]
pub(super) struct Degradation {
    /// Its stable name; docs/reliability.md lists them.
    #[schema(example = "database_away")]
    pub(super) code: String,
    /// Since when.
    #[schema(format = DateTime)]
    pub(super) since: String,
    /// The environment that it concerns, where it is one.
    #[schema(nullable = false)]
    pub(super) environment: Option<String>,
    /// In words for operators.
    pub(super) detail: String,
}

/// Whether every environment has a state that decides.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Standing {
    /// Each has.
    Ready,
    /// Each has, but something is not as it should be.
    Degraded,
    /// Not yet.
    Starting,
}

/// Where to go.
#[derive(ToSchema)]
pub(super) struct Index {
    /// `huidu`.
    pub(super) service: String,
    /// Its version.
    pub(super) version: String,
    /// Path of the health check.
    pub(super) health: String,
    /// Path of the readiness check.
    pub(super) ready: String,
    /// Path of the metrics.
    pub(super) metrics: String,
    /// Path of the page to read.
    pub(super) docs: String,
    /// Path of this document.
    pub(super) openapi: String,
    /// Paths that decide.
    pub(super) decide: Vec<String>,
}

/// All calls of this topic.
pub(super) fn calls() -> Vec<Call> {
    vec![
        Call::get("/healthz", "health", "Does the process answer?").answers::<Health>(
            200,
            "It does.",
            json!({"status": "ok"}),
        ),
        Call::get("/readyz", "readiness", "Can it decide?")
            .says("It answers 200 while the database is away, as `degraded`: decisions go on. Without a key, or with a `client` key, the word alone.")
            .answers::<Readiness>(200, "Every environment has a state that decides.", json!({"status": "degraded", "reasons": [
                {"code": "database_away", "since": "2026-11-24T08:00:00Z", "detail": "the database did not answer in time (sequences)"}]}))
            .answers::<Readiness>(503, "Not yet.", json!({"status": "starting"})),
        Call::get("/metrics", "metrics", "Metrics in Prometheus' text format")
            .says("Without a key where the setting `metrics_public` says so.")
            .global::<Observe>()
            .answers_text("text/plain", "All metrics.", "# HELP huidu_snapshot_number The snapshot that decides\n"),
        Call::get("/openapi.json", "openapi", "This document").answers::<Document>(
            200,
            "OpenAPI 3.1.",
            json!({"openapi": "3.1.0", "info": {"title": "huidu", "version": env!("CARGO_PKG_VERSION")}, "paths": {}, "components": {}, "tags": []}),
        ),
        Call::get("/docs", "docs", "This document as a page").answers_text(
            "text/html",
            "A page without scripts that loads nothing.",
            "<!doctype html>...",
        ),
        Call::get("/", "index", "Where to go").answers::<Index>(200, "Paths.", json!({
            "service": "huidu", "version": env!("CARGO_PKG_VERSION"), "health": "/healthz", "ready": "/readyz",
            "metrics": "/metrics", "docs": "/docs", "openapi": "/openapi.json", "decide": ["/v1/decisions", "/ofrep/v1/evaluate/flags"],
        })),
    ]
}

/// An OpenAPI document.
#[derive(ToSchema)]
pub(super) struct Document {
    /// The version of OpenAPI.
    #[schema(example = "3.1.0")]
    pub(super) openapi: String,
    /// What it describes.
    #[schema(value_type = Object)]
    pub(super) info: (),
    /// The calls by path.
    #[schema(value_type = Object)]
    pub(super) paths: (),
    /// Shapes, refusals and how keys travel.
    #[schema(value_type = Object)]
    pub(super) components: (),
    /// The topics in the order of reading.
    #[schema(value_type = Vec<Object>)]
    pub(super) tags: (),
}
