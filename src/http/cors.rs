//! Which web pages may call. Never with credentials: keys travel in headers of their own.

use actix_cors::Cors;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

use crate::settings::Origin;

/// What a page may read of an answer beside its body.
const EXPOSED: &str = "ETag, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id";

/// What stands around the router: answers preflight questions, and marks every other answer.
pub fn around(origins: &[Origin]) -> Cors {
    let mut cors = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
        .allowed_headers([
            "content-type",
            "if-none-match",
            "if-match",
            "authorization",
            "x-api-key",
            "last-event-id",
            "huidu-environment",
            "huidu-reason",
        ])
        .expose_headers(EXPOSED.split(", "))
        .max_age(3_600);
    for origin in origins {
        cors = match origin {
            Origin::Any => cors.allow_any_origin(),
            Origin::Exact(origin) => cors.allowed_origin(origin),
        };
    }
    // A page that is not allowed gets its answer without the header that lets it read it.
    cors.block_on_origin_mismatch(false)
}

/// Marks the answer of a call that does not pass the router, as [`around`] would: for a page that is named, and may.
pub fn mark(origins: &[Origin], asked: &HeaderMap, answer: &mut HeaderMap) {
    let Some(page) = asked.get(header::ORIGIN) else { return };
    answer.insert(header::VARY, HeaderValue::from_static("Origin"));
    let allowed = origins.iter().any(|origin| match origin {
        Origin::Any => true,
        Origin::Exact(origin) => page.as_bytes() == origin.as_bytes(),
    });
    if allowed {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page.clone());
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}
