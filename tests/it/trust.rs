//! Who may do what, and what everybody else is told.

mod answers;
mod input;
pub(crate) mod wire;

use serde_json::{Value, json};

use crate::decide::make_key;
use crate::fixture::*;

/// Roles in the order of the tables below; `none` is a call without a key.
const ROLES: [&str; 6] = ["none", "client", "server", "analyst", "editor", "admin"];

/// Every route, and the roles that may call it, by their first letters (`n`: without a key).
pub(crate) const RIGHTS: &[(&str, &str, &str)] = &[
    ("GET", "/healthz", "ncsaeA"),
    ("GET", "/readyz", "ncsaeA"),
    ("GET", "/", "ncsaeA"),
    ("GET", "/openapi.json", "ncsaeA"),
    ("GET", "/docs", "ncsaeA"),
    ("POST", "/ofrep/v1/evaluate/flags", "csA"),
    ("POST", "/ofrep/v1/evaluate/flags/{key}", "csA"),
    ("POST", "/v1/decisions", "csA"),
    ("POST", "/v1/events", "csA"),
    ("POST", "/v1/goods/eligibility", "csA"),
    ("POST", "/v1/tokens/verify", "sA"),
    ("GET", "/v1/stream", "csA"),
    ("GET", "/ofrep/v1/sse", "csA"),
    ("GET", "/metrics", "saeA"),
    ("GET", "/v1/environments", "A"),
    ("POST", "/v1/environments", "A"),
    ("GET", "/v1/environments/{environment}", "A"),
    ("PATCH", "/v1/environments/{environment}", "A"),
    ("GET", "/v1/environments/{environment}/export", "aeA"),
    ("POST", "/v1/environments/{environment}/import", "eA"),
    ("POST", "/v1/environments/{environment}/promote", "eA"),
    ("POST", "/v1/environments/{environment}/unit-secrets", "A"),
    ("DELETE", "/v1/environments/{environment}/unit-secrets/{id}", "A"),
    ("GET", "/v1/keys", "A"),
    ("POST", "/v1/keys", "A"),
    ("DELETE", "/v1/keys/{id}", "A"),
    ("GET", "/v1/audit", "A"),
    ("GET", "/v1/environments/{environment}/flags", "aeA"),
    ("GET", "/v1/environments/{environment}/flags/{key}", "aeA"),
    ("PUT", "/v1/environments/{environment}/flags/{key}", "eA"),
    ("PATCH", "/v1/environments/{environment}/flags/{key}", "eA"),
    ("POST", "/v1/environments/{environment}/flags/{key}/rollout", "eA"),
    ("POST", "/v1/environments/{environment}/flags/{key}/kill", "eA"),
    ("POST", "/v1/environments/{environment}/flags/{key}/restore", "eA"),
    ("POST", "/v1/environments/{environment}/flags/{key}/archive", "eA"),
    ("POST", "/v1/environments/{environment}/flags/{key}/rollback", "eA"),
    ("POST", "/v1/environments/{environment}/flags/{key}/explain", "saeA"),
    ("GET", "/v1/environments/{environment}/flags/{key}/propagation", "aeA"),
    ("GET", "/v1/environments/{environment}/flags/{key}/exposures", "aeA"),
    ("GET", "/v1/environments/{environment}/flags/{key}/conversions", "aeA"),
    ("GET", "/v1/environments/{environment}/flags/{key}/report", "aeA"),
    ("GET", "/v1/environments/{environment}/flags/{key}/timeseries", "aeA"),
    ("GET", "/v1/environments/{environment}/flags/{key}/versions", "aeA"),
    ("GET", "/v1/environments/{environment}/flags/{key}/versions/{version}", "aeA"),
    ("GET", "/v1/environments/{environment}/audiences", "aeA"),
    ("GET", "/v1/environments/{environment}/audiences/{key}", "aeA"),
    ("PUT", "/v1/environments/{environment}/audiences/{key}", "eA"),
    ("DELETE", "/v1/environments/{environment}/audiences/{key}", "eA"),
    ("POST", "/v1/environments/{environment}/audiences/{key}/add", "eA"),
    ("POST", "/v1/environments/{environment}/audiences/{key}/remove", "eA"),
    ("POST", "/v1/environments/{environment}/audiences/{key}/rollback", "eA"),
    ("GET", "/v1/environments/{environment}/audiences/{key}/ids", "aeA"),
    ("GET", "/v1/environments/{environment}/audiences/{key}/contains", "aeA"),
    ("POST", "/v1/environments/{environment}/units/erase", "A"),
    ("POST", "/v1/environments/{environment}/units/export", "A"),
    ("GET", "/v1/environments/{environment}/audit", "aeA"),
];

/// Routes whose answers do not end.
pub(crate) const STREAMS: [&str; 2] = ["/v1/stream", "/ofrep/v1/sse"];

/// A route's path with names that exist nowhere, so that no call changes anything.
pub(crate) fn filled(path: &str) -> String {
    let path = path.replace("{environment}", "production").replace("{version}", "1");
    path.replace("{key}", "nobody").replace("{id}", "nobody")
}

/// Every route: method and path with unknown names.
pub(crate) fn every_route() -> impl Iterator<Item = (&'static str, String)> {
    RIGHTS.iter().map(|(method, path, _)| (*method, filled(path)))
}

/// A service whose rate limits no table of calls reaches.
pub(crate) fn unlimited() -> Huidu {
    Huidu::start_with(&[("FAILED_AUTH_PER_MINUTE", "100000"), ("WRITES_PER_MINUTE", "100000")])
}

fn allowed(role: &str, rights: &str) -> bool {
    let letter = if role == "admin" { "A" } else { role.get(..1).unwrap() };
    rights.contains(letter)
}

/// A key for each of [`ROLES`].
fn keys(huidu: &Huidu, environment: &Value) -> Vec<String> {
    let key = |role: &&str| if *role == "none" { String::new() } else { make_key(huidu, role, environment) };
    ROLES.iter().map(key).collect()
}

/// The routes as the service's source declares them: methods from the list that its 405 shows.
fn declared() -> Vec<(String, String)> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http");
    let source = |file: &str| std::fs::read_to_string(format!("{root}{file}")).unwrap();
    let mut found = Vec::new();
    let lists = [
        (".rs", "routes"),
        ("/manage.rs", "routes"),
        ("/manage.rs", "environment_routes"),
        ("/manage.rs", "audience_routes"),
    ];
    for (file, list) in lists {
        let text = source(file);
        let begin = text.find(&format!("fn {list}(")).unwrap();
        let text = text.get(begin..).unwrap().split("\n}\n").next().unwrap();
        for service in text.split(".service(").skip(1) {
            let Some((path, methods)) = service.split_once(".allow(&[") else { continue };
            let (kind, path) = path.split_once('(').unwrap();
            let path = path.split(".route(").next().unwrap().trim().trim_end_matches(')');
            let path =
                path.trim_start_matches("&format!(").trim_matches('"').replace("{{", "{").replace("}}", "}");
            let path = match kind.trim() {
                "environment" => format!("/v1/environments/{{environment}}{path}"),
                "flag" => format!("{{FLAGS}}/{{key}}{path}"),
                "audience" => format!("{{AUDIENCES}}/{{key}}{path}"),
                _ => path,
            };
            let path = match &*path {
                "FLAGS" | "AUDIENCES" => format!("{{{path}}}"),
                _ => path,
            };
            let base = "/v1/environments/{environment}";
            let path = path.replace("{FLAGS}", &format!("{base}/flags"));
            let path = path.replace("{AUDIENCES}", &format!("{base}/audiences"));
            for method in methods.split(']').next().unwrap().split(',') {
                found.push((method.trim().trim_matches('"').to_owned(), path.clone()));
            }
        }
    }
    found
}

#[test]
fn every_declared_route_stands_in_the_table() {
    let routes = declared();
    assert!(routes.len() >= 20, "the source is read: {routes:?}");
    for (method, path) in routes {
        let known = RIGHTS.iter().any(|(m, p, _)| (*m, *p) == (method.as_str(), path.as_str()));
        assert!(known, "{method} {path} has no row in RIGHTS");
    }
}

#[test]
fn every_route_takes_exactly_its_roles() {
    let huidu = unlimited();
    for environment in [json!("production"), json!(null)] {
        let keys = keys(&huidu, &environment);
        for (method, path, rights) in RIGHTS {
            for (role, key) in ROLES.iter().zip(&keys) {
                let answer = plain_call(&huidu, method, &filled(path), key, &[]);
                let what = format!("{role} {method} {path}: {answer:?}");
                // What belongs to no environment, or to two, is for those who have all of them.
                let global = ["/v1/audit", "/v1/environments/{environment}/promote"].contains(path);
                let whole = !global || environment.is_null();
                match (allowed(role, rights) && whole, *role) {
                    (true, _) => assert!(![401, 403, 405, 500].contains(&answer.status), "{what}"),
                    (false, "none") => assert_eq!(answer.status, 401, "{what}"),
                    (false, _) => assert_eq!(answer.status, 403, "{what}"),
                }
            }
            if !rights.contains('n') {
                assert_eq!(
                    plain_call(&huidu, method, &filled(path), "wrong", &[]).status,
                    401,
                    "{method} {path}"
                );
            }
        }
    }
}

/// A call with an empty object as body.
fn plain_call(huidu: &Huidu, method: &str, path: &str, key: &str, headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![(
        "content-type",
        if path.ends_with("/audiences/nobody") { "text/plain" } else { "application/json" },
    )];
    all.extend(headers);
    if STREAMS.contains(&path) {
        // It does not end, so only its head is read.
        let more: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let mut wire = wire::Wire::open(huidu);
        wire.send(&wire::request(method, path, key, &more, b""));
        return wire.answer();
    }
    huidu.call(method, path, key, &all, if matches!(method, "GET" | "DELETE") { b"" } else { b"{}" })
}

#[test]
fn a_key_of_another_environment_opens_nothing_here() {
    let huidu = unlimited();
    let keys = keys(&huidu, &json!("staging"));
    let named = [("huidu-environment", "production")];
    for (method, path, rights) in RIGHTS {
        let global =
            ["/v1/keys", "/v1/environments", "/v1/audit", "/v1/keys/{id}", "/metrics"].contains(path);
        if rights.contains('n') || global {
            continue;
        }
        for (role, key) in ROLES.iter().zip(&keys) {
            let answer = plain_call(&huidu, method, &filled(path), key, &named);
            let status = if *role == "none" { 401 } else { 403 };
            assert_eq!(answer.status, status, "{role} {method} {path}: {answer:?}");
        }
    }
}

#[test]
fn a_header_names_the_environment_for_keys_of_all() {
    let huidu = Huidu::start();
    let staging = make_key(&huidu, "server", &json!("staging"));
    let rows = [
        (ADMIN, None, 200, "production"),
        (ADMIN, Some("production"), 200, "production"),
        (ADMIN, Some("staging"), 200, "staging"),
        (ADMIN, Some("nowhere"), 404, ""),
        (ADMIN, Some(""), 404, ""),
        (&huidu.server, None, 200, "production"),
        (&huidu.server, Some("production"), 200, "production"),
        (&huidu.server, Some("staging"), 403, ""),
        (&huidu.server, Some("nowhere"), 403, ""),
        (&staging, None, 200, "staging"),
        (&staging, Some("production"), 403, ""),
    ];
    for (key, named, status, environment) in rows {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(named.map(|named| ("huidu-environment", named)));
        let answer =
            huidu.call("POST", "/v1/decisions", key, &headers, b"{\"placement\":\"checkout\",\"user\":{}}");
        assert_eq!(answer.status, status, "{named:?}: {answer:?}");
        if status == 200 {
            assert_eq!(answer.json()["environment"], environment, "{named:?}");
        }
    }
    huidu.get("/v1/environments/nowhere/flags", ADMIN).refused(404, "not_found");
    let editor = make_key(&huidu, "editor", &json!("production"));
    for foreign in ["staging", "nowhere"] {
        let path = format!("/v1/environments/{foreign}/flags");
        huidu.get(&path, &editor).refused(403, "forbidden");
    }
}

/// A problem without what differs on every call.
fn told(answer: &Answer) -> Value {
    let mut body = answer.json();
    assert!(body.as_object_mut().unwrap().remove("instance").is_some(), "{body}");
    body
}

#[test]
fn unknown_malformed_revoked_and_expired_keys_look_the_same() {
    let huidu = unlimited();
    let revoked = huidu.post("/v1/keys", ADMIN, &json!({"name": "r", "role": "server", "environment": null}));
    let revoked = revoked.expect(201).json();
    let key = revoked["key"].as_str().unwrap().to_owned();
    let ask = |key: &str| huidu.post("/v1/decisions", key, &json!({"placement": "checkout", "user": {}}));
    ask(&key).expect(200);
    let id = revoked["id"].as_str().unwrap();
    huidu.call("DELETE", &format!("/v1/keys/{id}"), ADMIN, &[], b"").expect(204);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(1_500);
    let wish = json!({"name": "e", "role": "server", "environment": null, "expires_at": soon.to_string()});
    let expiring =
        huidu.post("/v1/keys", ADMIN, &wish).expect(201).json()["key"].as_str().unwrap().to_owned();
    ask(&expiring).expect(200);
    eventually("the key expires", || ask(&expiring).status == 401);
    let unknown = format!("huidu_server_{}", "a".repeat(32));
    let first = told(&ask(&unknown).refused(401, "unauthorized"));
    let long = "x".repeat(4_000);
    let (almost, _) = huidu.server.split_at(huidu.server.len() - 1);
    let upper = huidu.server.to_uppercase();
    for other in [&*key, &expiring, "x", "huidu_", &long, almost, &upper] {
        let answer = ask(other).refused(401, "unauthorized");
        assert_eq!(told(&answer), first, "{other}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
}

#[test]
fn a_key_travels_in_either_header() {
    let huidu = Huidu::start();
    let server = &*huidu.server;
    let bearer = format!("bearer {server}");
    let rows: [(&[(&str, &str)], u16); 8] = [
        (&[("x-api-key", server)], 200),
        (&[("authorization", &bearer)], 200),
        (&[("authorization", &bearer), ("x-api-key", "wrong")], 200),
        (&[("authorization", "Bearer wrong"), ("x-api-key", server)], 401),
        (&[("authorization", server)], 401),
        (&[("authorization", "Basic eDp5")], 401),
        (&[("x-api-key", "")], 401),
        (&[("cookie", &bearer)], 401),
    ];
    for (headers, status) in rows {
        assert_eq!(huidu.call("GET", "/metrics", "", headers, b"").status, status, "{headers:?}");
    }
    assert_eq!(huidu.get(&format!("/metrics?key={server}"), "").status, 401, "never in a URL");
}

#[test]
fn wrong_keys_are_limited_by_address_and_good_ones_go_on() {
    let huidu = Huidu::start_with(&[("FAILED_AUTH_PER_MINUTE", "5")]);
    for _ in 0..5 {
        huidu.get("/metrics", "wrong").refused(401, "unauthorized");
    }
    let limited = huidu.get("/metrics", "wrong").refused(429, "rate_limited");
    assert!(limited.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1, "{limited:?}");
    for field in ["ratelimit", "ratelimit-policy"] {
        assert!(limited.header(field).is_some(), "{field} on each 429: {limited:?}");
    }
    // Nobody but a trusted proxy may name another address.
    let elsewhere = [("x-forwarded-for", "203.0.113.7")];
    assert_eq!(huidu.call("GET", "/metrics", "wrong", &elsewhere, b"").status, 429);
    huidu.get("/metrics", &huidu.server).expect(200);
    huidu.post("/v1/decisions", &huidu.client, &json!({"placement": "checkout", "user": {}})).expect(200);
}

#[test]
fn a_trusted_proxy_says_whose_failures_count() {
    let settings = [("FAILED_AUTH_PER_MINUTE", "1"), ("TRUSTED_PROXIES", "127.0.0.1")];
    let huidu = Huidu::start_with(&settings);
    let rows = [
        ("203.0.113.7", 401),
        ("203.0.113.7", 429),
        ("203.0.113.8", 401),
        ("203.0.113.9, 203.0.113.7", 429),
        ("203.0.113.7, 127.0.0.1", 429),
    ];
    for (address, status) in rows {
        let answer = huidu.call("GET", "/metrics", "wrong", &[("x-forwarded-for", address)], b"");
        assert_eq!(answer.status, status, "{address}");
    }
}

#[test]
fn writes_are_limited_by_key_and_decisions_are_not() {
    let huidu = Huidu::start_with(&[("WRITES_PER_MINUTE", "3")]);
    let (first, second) =
        (make_key(&huidu, "editor", &json!("production")), make_key(&huidu, "editor", &json!("production")));
    let kill = |key: &str| huidu.post("/v1/environments/production/flags/nobody/kill", key, &json!({}));
    for left in (0..3).rev() {
        let answer = kill(&first).refused(404, "not_found");
        assert_eq!(answer.header("ratelimit-policy"), Some("\"writes\";q=3;w=60"));
        assert!(answer.header("ratelimit").unwrap().starts_with(&format!("\"writes\";r={left};t=")));
    }
    let limited = kill(&first).refused(429, "rate_limited");
    assert!(limited.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    assert_eq!(limited.header("ratelimit-policy"), Some("\"writes\";q=3;w=60"));
    assert!(limited.header("ratelimit").unwrap().starts_with("\"writes\";r=0;t="));
    kill(&second).refused(404, "not_found");
    let reading = huidu.get("/v1/environments/production/flags", &first).expect(200);
    assert!(reading.header("ratelimit").is_none());
    for _ in 0..10 {
        let body = json!({"placement": "checkout", "user": {}});
        let answer = huidu.post("/v1/decisions", &huidu.client, &body).expect(200);
        assert!(answer.header("ratelimit").is_none());
    }
}

fn preflight(huidu: &Huidu, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "content-type,if-none-match,authorization,x-api-key,last-event-id",
        ),
    ];
    huidu.call("OPTIONS", "/ofrep/v1/evaluate/flags", "", &headers, b"")
}

fn page_call(huidu: &Huidu, origin: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("origin", origin)];
    huidu.call("POST", "/ofrep/v1/evaluate/flags", &huidu.client, &headers, b"{}")
}

/// A call that the router answers, unlike [`page_call`].
fn routed_call(huidu: &Huidu, origin: &str) -> Answer {
    huidu.call("GET", "/readyz", "", &[("origin", origin)], b"")
}

#[test]
fn exactly_the_configured_pages_may_read_answers() {
    let huidu = Huidu::start_with(&[("CORS_ORIGINS", "https://shop.example,http://localhost:5173")]);
    const ALLOW: &str = "access-control-allow-origin";
    for origin in ["https://shop.example", "http://localhost:5173"] {
        let answer = preflight(&huidu, origin);
        assert_eq!((answer.status / 100, answer.header(ALLOW)), (2, Some(origin)), "{answer:?}");
        let headers = answer.header("access-control-allow-headers").unwrap().to_lowercase();
        for name in ["content-type", "if-none-match", "authorization", "x-api-key", "last-event-id"] {
            assert!(headers.contains(name), "{name}: {headers}");
        }
        for answer in [page_call(&huidu, origin), routed_call(&huidu, origin)] {
            let answer = answer.expect(200);
            assert_eq!(answer.header(ALLOW), Some(origin), "{answer:?}");
            let exposed = answer.header("access-control-expose-headers").unwrap().to_lowercase();
            for name in ["etag", "retry-after", "ratelimit", "ratelimit-policy", "x-request-id"] {
                assert!(exposed.split(',').any(|one| one.trim() == name), "{name}: {exposed}");
            }
            assert!(answer.header("vary").unwrap().to_lowercase().contains("origin"), "{answer:?}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert!(answer.header("access-control-allow-credentials").is_none(), "{answer:?}");
        }
    }
    let foreign = [
        "null",
        "https://SHOP.example",
        "https://shop.example:8443",
        "http://shop.example",
        "https://shop.example.evil",
        "https://evil-shop.example",
        "https://a.shop.example",
        "http://localhost:5174",
        "http://localhost",
    ];
    for origin in foreign {
        for answer in [preflight(&huidu, origin), page_call(&huidu, origin), routed_call(&huidu, origin)] {
            assert_eq!(answer.header(ALLOW), None, "{origin}: {answer:?}");
        }
    }
    // A refusal must be readable for the page, or its client cannot tell why.
    let headers = [("origin", "https://shop.example"), ("content-type", "application/json")];
    let answer = huidu.call("POST", "/ofrep/v1/evaluate/flags", "wrong", &headers, b"{}").expect(401);
    assert_eq!(answer.header(ALLOW), Some("https://shop.example"), "{answer:?}");
}

#[test]
fn no_page_may_read_answers_by_default_and_every_one_by_a_star() {
    let closed = Huidu::start();
    let open = Huidu::start_with(&[("CORS_ORIGINS", "*")]);
    for origin in ["https://shop.example", "null"] {
        for answer in [preflight(&closed, origin), page_call(&closed, origin)] {
            assert_eq!(answer.header("access-control-allow-origin"), None, "{answer:?}");
        }
    }
    for answer in [preflight(&open, "https://shop.example"), page_call(&open, "https://shop.example")] {
        let allowed = answer.header("access-control-allow-origin");
        assert!(matches!(allowed, Some("*" | "https://shop.example")), "{answer:?}");
        assert!(answer.header("access-control-allow-credentials").is_none(), "{answer:?}");
    }
}

#[test]
fn a_request_id_is_kept_if_it_is_one() {
    let huidu = Huidu::start();
    let longest = "a".repeat(64);
    let longer = "a".repeat(65);
    let rows = [
        ("req-1.A_b", true),
        (&*longest, true),
        (&*longer, false),
        ("", false),
        ("a b", false),
        ("a/b", false),
        ("a;b", false),
        ("\u{7070}", false),
    ];
    for (sent, kept) in rows {
        for (path, status) in [("/healthz", 200), ("/v1/nothing", 404), ("/metrics", 401)] {
            let answer = huidu.call("GET", path, "", &[("x-request-id", sent)], b"").expect(status);
            let got = answer.header("x-request-id").unwrap().to_owned();
            assert_eq!(got == sent, kept, "{sent}: {answer:?}");
            assert!(!got.is_empty() && got.len() <= 64, "{answer:?}");
            if status != 200 {
                assert_eq!(answer.json()["instance"], got.as_str(), "{answer:?}");
            }
        }
    }
}
