//! `/docs`: the document as a page to read. One file without scripts that loads nothing: it works without internet
//! and under the strictest policy.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::html::{Html, at, text};
use super::operation::operation;
use super::shape::shape;
use crate::engine::map::Map;
use crate::http::access::Open;
use crate::http::problem::Code;

const STYLE: &str = include_str!("page.css");

static PAGE: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(page(&super::value())));

/// Nothing but this page's own style.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// `GET /docs`
pub async fn docs(_: Open) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY.as_str()))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .body(PAGE.clone())
}

/// A topic with its calls: method, path and operation.
struct Topic<'d> {
    name: &'static str,
    about: &'static str,
    calls: Vec<(&'static str, &'d str, &'d Value)>,
}

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn topics(document: &Value) -> Vec<Topic<'_>> {
    let mut calls: Map<&str, (&'static str, &str, &Value)> = Map::default();
    for (path, item) in at(document, "paths").as_object().into_iter().flatten() {
        for method in METHODS {
            let Some(operation) = item.get(method) else { continue };
            calls.insert(text(operation, "operationId"), (method, path.as_str(), operation));
        }
    }
    let found = |ids: Vec<&str>| ids.into_iter().filter_map(|id| calls.get(id).copied()).collect();
    super::contents().into_iter().map(|(name, about, ids)| Topic { name, about, calls: found(ids) }).collect()
}

/// The whole page.
fn page(document: &Value) -> String {
    let topics = topics(document);
    let mut html = Html::default();
    html.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.raw("<title>huidu API</title><style>").raw(STYLE).raw("</style></head><body>");
    html.raw("<a class=\"skip\" href=\"#main\">To the calls</a>");
    navigation(&mut html, &topics);
    html.raw("<main id=\"main\"><header><h1>huidu API <small>");
    html.text(text(at(document, "info"), "version")).raw("</small></h1>");
    html.paragraphs(text(at(document, "info"), "description"));
    html.raw(
        "<p class=\"links\"><a href=\"/openapi.json\">/openapi.json</a> is the same for programs (OpenAPI ",
    );
    html.text(text(document, "openapi"))
        .raw(").</p><p class=\"narrow\"><a href=\"#contents\">Contents</a></p></header>");
    for topic in &topics {
        html.raw("<section id=\"").text(&anchor(topic.name)).raw("\"><h2>").text(topic.name).raw("</h2><p>");
        html.marked(topic.about).raw("</p>");
        for (method, path, call) in &topic.calls {
            operation(&mut html, document, method, path, call);
        }
        html.raw("</section>");
    }
    shapes(&mut html, document);
    codes(&mut html);
    html.raw("</main></body></html>\n");
    html.0
}

fn anchor(name: &str) -> String {
    format!("topic-{}", name.to_lowercase().replace(' ', "-"))
}

fn navigation(html: &mut Html, topics: &[Topic<'_>]) {
    html.raw("<nav id=\"contents\" aria-label=\"Contents\"><a class=\"home\" href=\"#main\">huidu API</a>");
    for topic in topics {
        html.raw("<details open><summary>").text(topic.name).raw("</summary><ul>");
        for (method, _, call) in &topic.calls {
            html.raw("<li><a href=\"#").text(text(call, "operationId")).raw("\"><b class=\"").text(method);
            html.raw("\">")
                .text(&method.to_uppercase())
                .raw("</b> ")
                .text(text(call, "summary"))
                .raw("</a></li>");
        }
        html.raw("</ul></details>");
    }
    html.raw("<a href=\"#shapes\">Shapes</a><a href=\"#codes\">Codes</a></nav>");
}

fn shapes(html: &mut Html, document: &Value) {
    html.raw("<section id=\"shapes\"><h2>Shapes</h2><p>The objects that bodies and answers are made of.</p>");
    let schemas = at(at(document, "components"), "schemas").as_object();
    for (name, schema) in schemas.into_iter().flatten() {
        shape(html, name, schema);
    }
    html.raw("</section>");
}

fn codes(html: &mut Html) {
    html.raw(
        "<section id=\"codes\"><h2>Codes</h2><p>Every code that a refusal can carry. They are stable.</p>",
    );
    html.raw(
        "<div class=\"wide\"><table><thead><tr><th>Code</th><th>Status</th><th>When</th></tr></thead><tbody>",
    );
    for code in Code::ALL {
        html.raw("<tr id=\"code-")
            .text(code.as_str())
            .raw("\"><td><code>")
            .text(code.as_str())
            .raw("</code></td><td>");
        html.text(code.status().as_str()).raw("</td><td>").marked(code.meaning()).raw("</td></tr>");
    }
    html.raw("</tbody></table></div></section>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_loads_nothing() {
        let document = super::super::value();
        let page = page(&document);
        for topic in topics(&document) {
            assert!(!topic.calls.is_empty(), "{} has no calls", topic.name);
            for (_, path, call) in topic.calls {
                assert!(page.contains(&format!("id=\"{}\"", text(call, "operationId"))), "{path}");
            }
        }
        for wrong in ["<script", "http://", "https://", "src=", "@import", "url(", " style=", " on"] {
            let found = page.find(wrong).and_then(|at| page.get(at.saturating_sub(60)..at + 20));
            // A word such as ` on` is one of prose; only an attribute would run.
            let found = found
                .filter(|found| wrong != " on" || found.contains(" onclick") || found.contains(" onload"));
            assert_eq!(found, None, "{wrong}");
        }
        let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|part| part.split('"').next()).collect();
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "an id stands twice");
        for target in page.split("href=\"#").skip(1).filter_map(|part| part.split('"').next()) {
            assert!(ids.contains(&target), "#{target} leads nowhere");
        }
    }
}
