//! Bad input: each has its own clear refusal, and the service answers on.

use std::time::{Duration, Instant};

use serde_json::json;

use super::wire::{Wire, request};
use super::{every_route, unlimited};
use crate::fixture::*;

const DECIDE: &str = "/v1/decisions";
const JSON: &str = "Content-Type: application/json\r\n";
const GOOD: &[u8] = b"{\"placement\":\"checkout\",\"user\":{\"id\":\"u\"}}";

fn decide(huidu: &Huidu, body: &[u8]) -> Answer {
    huidu.call("POST", DECIDE, &huidu.client, &[("content-type", "application/json")], body)
}

/// A decision's body with this user.
fn user(user: &str) -> Vec<u8> {
    format!("{{\"placement\":\"checkout\",\"user\":{user}}}").into_bytes()
}

/// A decision's body with these goods.
fn goods(goods: &str) -> Vec<u8> {
    format!("{{\"placement\":\"checkout\",\"user\":{{\"id\":\"u\"}},\"order\":{{\"goods\":{goods}}}}}")
        .into_bytes()
}

fn nested(depth: usize) -> Vec<u8> {
    user(&format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth)))
}

fn items(count: usize) -> Vec<u8> {
    goods(&format!("[{}]", vec!["{\"id\":\"g\"}"; count].join(",")))
}

fn attributes(count: usize) -> Vec<u8> {
    let fields: Vec<String> = (0..count).map(|n| format!("\"a{n}\":1")).collect();
    user(&format!("{{{}}}", fields.join(",")))
}

#[track_caller]
fn check(huidu: &Huidu, body: &[u8], status: u16, code: &str) {
    let shown = String::from_utf8_lossy(&body[..body.len().min(90)]).into_owned();
    let answer = decide(huidu, body);
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{shown}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{shown}");
    decide(huidu, GOOD).expect(200);
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    let huidu = Huidu::start();
    let rows: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"{".to_vec(),
        b"nonsense".to_vec(),
        [GOOD, b" x"].concat(),
        [GOOD, GOOD].concat(),
        [b"\xef\xbb\xbf", GOOD].concat(),
        user("{\"x\":NaN}"),
        user("{\"x\":1e400}"),
        user("{\"id\":\"\\ud800\"}"),
        user("{\"x\":01}"),
        [b"{\"placement\":\"".as_slice(), b"\xff\xfe\"}"].concat(),
        [GOOD, b"\0"].concat(),
    ];
    for body in rows {
        check(&huidu, &body, 400, "json_invalid");
        let problem = decide(&huidu, &body).json();
        assert!(problem["line"].is_u64() && problem["column"].is_u64(), "{problem}");
    }
}

#[test]
fn what_is_no_context_is_refused_by_its_own_code() {
    let huidu = Huidu::start();
    let long = "x".repeat(10_000);
    let rows: Vec<(Vec<u8>, &str)> = vec![
        (nested(33), "json_too_deep"),
        (nested(10_000), "json_too_deep"),
        (b"[]".to_vec(), "context_invalid"),
        (b"{}".to_vec(), "context_invalid"),
        (b"{\"placement\":\"checkout\"}".to_vec(), "context_invalid"),
        (b"{\"placement\":7,\"user\":{}}".to_vec(), "context_invalid"),
        (user("[]"), "context_invalid"),
        (user("\"u\""), "context_invalid"),
        (user("{\"id\":\"\"}"), "unit_invalid"),
        (user("{\"id\":7}"), "unit_invalid"),
        (user(&format!("{{\"id\":\"{long}\"}}")), "unit_invalid"),
        (goods("{}"), "context_invalid"),
        (goods("[{}]"), "id_invalid"),
        (goods("[{\"id\":\"\"}]"), "id_invalid"),
        (goods(&format!("[{{\"id\":\"{long}\"}}]")), "id_invalid"),
        (goods("[{\"id\":\"g\",\"price\":-1}]"), "out_of_range"),
        (goods("[{\"id\":\"g\",\"price\":1.5}]"), "out_of_range"),
        (goods("[{\"id\":\"g\",\"price\":9007199254740992}]"), "out_of_range"),
        (goods("[{\"id\":\"g\",\"price\":9007199254740991,\"quantity\":2}]"), "out_of_range"),
        (items(201), "too_many_goods"),
        (items(2_000), "too_many_goods"),
        (attributes(101), "too_many_attributes"),
    ];
    for (body, code) in rows {
        check(&huidu, &body, 400, code);
    }
    let unit = "u".repeat(256);
    let good = [items(200), attributes(100), user(&format!("{{\"id\":\"{unit}\"}}"))];
    for body in good {
        decide(&huidu, &body).expect(200);
    }
}

#[test]
fn a_refusal_leaves_the_connection_usable() {
    let huidu = unlimited();
    let (client, large) = (&*huidu.client, vec![b' '; 65 * 1024]);
    /// Method, path, key, media type, body; status and code.
    type Row<'r> = (&'r str, &'r str, &'r str, &'r str, &'r [u8], u16, &'r str);
    let rows: [Row<'_>; 7] = [
        ("POST", DECIDE, "", JSON, GOOD, 401, "unauthorized"),
        ("POST", DECIDE, "wrong", JSON, &large, 401, "unauthorized"),
        ("POST", "/v1/nothing", client, JSON, &large, 404, "not_found"),
        ("POST", DECIDE, client, JSON, &large, 413, "body_too_large"),
        ("POST", DECIDE, client, "Content-Type: text/plain\r\n", GOOD, 415, "unsupported_media_type"),
        ("POST", DECIDE, client, "Content-Encoding: gzip\r\n", &large, 415, "unsupported_media_type"),
        ("PUT", DECIDE, client, JSON, &large, 405, "method_not_allowed"),
    ];
    for (method, path, key, more, body, status, code) in rows {
        let mut wire = Wire::open(&huidu);
        wire.send(&request(method, path, key, more, body));
        wire.answer().refused(status, code);
        wire.send(&request("POST", DECIDE, client, JSON, GOOD));
        let answer = wire.answer();
        assert_eq!(answer.status, 200, "after {status} to {method} {path}: {answer:?}");
    }
}

#[test]
fn a_huge_body_is_refused_and_the_service_answers_on() {
    let huidu = Huidu::start();
    let mut wire = Wire::open(&huidu);
    let head = format!(
        "POST {DECIDE} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Length: 99999999\r\n\r\n",
        huidu.client
    );
    wire.send(head.as_bytes());
    wire.answer().refused(413, "body_too_large");
    assert_eq!(wire.answer().status, 0, "closed: the rest is not read");
    decide(&huidu, GOOD).expect(200);
}

#[test]
fn no_route_inflates_a_body() {
    let huidu = unlimited();
    for (method, path) in every_route() {
        let mut wire = Wire::open(&huidu);
        for encoding in ["gzip", "br", "identity, gzip"] {
            let more = format!("{JSON}Content-Encoding: {encoding}\r\n");
            wire.send(&request(method, &path, ADMIN, &more, b"\x1f\x8b\x08\0\0\0\0\0\0\x03"));
            let answer = wire.answer();
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (415, "unsupported_media_type"),
                "{method} {path}"
            );
        }
    }
    let plain = [("content-type", "application/json"), ("content-encoding", "identity")];
    huidu.call("POST", DECIDE, &huidu.client, &plain, GOOD).expect(200);
}

#[test]
fn an_undeclared_method_is_told_the_declared_ones() {
    let huidu = unlimited();
    let rows = [
        ("GET", DECIDE, "POST"),
        ("DELETE", "/v1/events", "POST"),
        ("POST", "/healthz", "GET"),
        ("POST", "/v1/stream", "GET"),
        ("DELETE", "/ofrep/v1/sse", "GET"),
        ("POST", "/openapi.json", "GET"),
        ("POST", "/docs", "GET"),
        ("GET", "/ofrep/v1/evaluate/flags", "POST"),
        ("PUT", "/v1/keys", "GET, POST"),
        ("DELETE", "/v1/environments", "GET, POST"),
        ("DELETE", "/v1/environments/production", "GET, PATCH"),
        ("POST", "/v1/environments/production/export", "GET"),
        ("GET", "/v1/environments/production/import", "POST"),
        ("GET", "/v1/environments/production/promote", "POST"),
        ("GET", "/v1/environments/production/unit-secrets", "POST"),
        ("GET", "/v1/environments/production/unit-secrets/x", "DELETE"),
        ("DELETE", "/v1/environments/production/flags/x", "GET, PUT, PATCH"),
        ("GET", "/v1/environments/production/flags/x/kill", "POST"),
        ("POST", "/v1/environments/production/flags/x/propagation", "GET"),
        ("GET", "/v1/environments/production/units/erase", "POST"),
        ("DELETE", "/v1/environments/production/units/export", "POST"),
    ];
    for (method, path, allow) in rows {
        let answer = huidu.call(method, path, ADMIN, &[], b"").refused(405, "method_not_allowed");
        let allow = allow.replace("GET", "GET, HEAD");
        assert_eq!(answer.header("allow"), Some(&*allow), "{method} {path}");
    }
}

#[test]
fn no_spelling_of_a_path_gets_around_its_rights() {
    let huidu = unlimited();
    let paths = [
        "/nothing",
        "/v1",
        "//v1/keys",
        "/v1//keys",
        "/v1/keys/",
        "/V1/keys",
        "/v1/decisions/..%2fkeys",
        "/healthz/..%2fmetrics",
        "/healthz%2f..%2fmetrics",
        "/healthz/%2e%2e/metrics",
        "/healthz%00",
        "/%00",
        "/v1/%6beys",
        "/%6detrics",
        "/v1%5ckeys",
        "/v1/environments/production/flags/..%2f..%2faudit",
        "/v1/environments/%2e%2e/flags",
    ];
    for path in paths {
        let mut wire = Wire::open(&huidu);
        wire.send(&request("GET", path, &huidu.client, "", b""));
        let answer = wire.answer();
        assert!(matches!(answer.status, 400 | 403 | 404), "{path}: {answer:?}");
        assert!(answer.json()["code"].is_string(), "{path}: {answer:?}");
    }
    decide(&huidu, GOOD).expect(200);
}

#[test]
fn a_nul_in_an_id_costs_that_event_or_nothing() {
    let huidu = Huidu::start();
    let answer = huidu
        .events(&huidu.server, &json!([{"id": "a\0", "type": "step", "step": "order_paid", "user_id": "u"}]));
    assert_eq!(answer.expect(200).json()["rejected"][0]["code"], "event_invalid");
    let status = decide(&huidu, &user("{\"id\":\"a\\u0000b\"}")).status;
    assert_eq!(status, 400, "no database can keep U+0000");
}

#[test]
fn a_silent_body_is_given_up() {
    let huidu = Huidu::start();
    let whole = request("POST", DECIDE, &huidu.client, JSON, GOOD);
    let mut wire = Wire::open(&huidu);
    wire.send(&whole[..whole.len() - GOOD.len() / 2]);
    let began = Instant::now();
    wire.answer().refused(408, "body_timeout");
    assert!(
        (Duration::from_secs(9)..Duration::from_secs(14)).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(wire.answer().status, 0, "closed");
    decide(&huidu, GOOD).expect(200);
}

/// Sends a call in three pieces, the last of which never comes; how it is answered, and after how long.
fn answer_to_two_pieces(huidu: &Huidu, whole: &[u8], body: usize) -> (Answer, Duration) {
    let mut wire = Wire::open(huidu);
    wire.send(&whole[..whole.len() - body * 2 / 3]);
    // Apart from the head, so that it is waited for.
    std::thread::sleep(Duration::from_millis(300));
    wire.send(&whole[whole.len() - body * 2 / 3..whole.len() - body / 3]);
    let began = Instant::now();
    (wire.answer(), began.elapsed())
}

#[test]
fn silence_after_a_later_piece_is_given_up_too() {
    let huidu = Huidu::start();
    let ids = "u-1\n".repeat(30);
    let upload = "/v1/environments/production/audiences/wechat-testers";
    let text = "Content-Type: text/plain\r\nIf-Match: \"1\"\r\n";
    let seconds = |from, to| Duration::from_secs(from)..Duration::from_secs(to);
    std::thread::scope(|scope| {
        for (call, body, status, within) in [
            (request("POST", DECIDE, &huidu.client, JSON, GOOD), GOOD.len(), 408, seconds(9, 14)),
            (request("POST", DECIDE, "wrong", JSON, GOOD), GOOD.len(), 401, seconds(0, 6)),
            (request("PUT", upload, ADMIN, text, ids.as_bytes()), ids.len(), 408, seconds(9, 14)),
        ] {
            let huidu = &huidu;
            scope.spawn(move || {
                let (answer, took) = answer_to_two_pieces(huidu, &call, body);
                assert_eq!(answer.status, status, "{answer:?}");
                assert!(within.contains(&took), "{status}: {took:?}");
            });
        }
    });
}

#[test]
fn a_silent_head_is_given_up() {
    let huidu = Huidu::start();
    let mut wire = Wire::open(&huidu);
    wire.send(b"POST /v1/decisions HTTP/1.1\r\nHost: h\r\nX-Half: ");
    let began = Instant::now();
    assert_eq!(wire.answer().status, 408);
    assert!(
        (Duration::from_secs(4)..Duration::from_secs(9)).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
    decide(&huidu, GOOD).expect(200);
}
