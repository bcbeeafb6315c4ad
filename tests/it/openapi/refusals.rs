//! Every call is tried with everything that can be wrong with one, and names each refusal that comes; and each
//! refusal that it names does come.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Api;
use crate::decide::make_key;
use crate::fixture::*;
use crate::trust::unlimited;

const AUDIENCE: &str = "/v1/environments/{environment}/audiences/{key}";
/// What needs a broken database, a full queue or a slow client: other tests show these.
const ELSEWHERE: [&str; 14] = [
    "body_timeout",
    "body_incomplete",
    "rate_limited",
    "queue_full",
    "too_many_streams",
    "database_unavailable",
    "not_ready",
    "audience_unavailable",
    "flag_unreadable",
    "audience_too_large",
    "uploads_busy",
    "reports_busy",
    "report_preparing",
    "quota_reached",
];
/// What only one call has of these: a stored document that cannot be read can be shut, but not opened; and a gzip
/// that inflates without end.
const ONCE: [&str; 2] = [
    "POST /v1/environments/{environment}/flags/{key}/restore flag_invalid",
    "PUT /v1/environments/{environment}/audiences/{key} body_too_large",
];

/// Everything that is wrong with a call in the same way, whatever it is for.
struct Probe<'p> {
    key: &'p str,
    headers: Vec<(&'static str, &'p str)>,
    query: &'static str,
    body: Vec<u8>,
}

/// A call as the document describes it, ready to be made wrong.
struct Target<'t> {
    method: &'t str,
    path: &'t str,
    operation: &'t Value,
}

impl Target<'_> {
    /// A path of things that are there, unless `environment` or `name` says otherwise.
    fn filled(&self, environment: &str, name: &str) -> String {
        let key = if self.path.contains("/audiences/") { "wechat-testers" } else { "wechat-scan-pay" };
        let key = if name.is_empty() { key } else { name };
        let path = self.path.replace("{environment}", environment).replace("{key}", key);
        let path =
            path.replace("{version}", if name.is_empty() { "1" } else { "999" }).replace("{id}", "nobody");
        let parameters = self.operation["parameters"].as_array().into_iter().flatten();
        let needed =
            parameters.filter(|parameter| parameter["in"] == "query" && parameter["required"] == true);
        let needed: Vec<String> = needed
            .map(|p| format!("{}={}", p["name"].as_str().unwrap(), p["example"].as_str().unwrap()))
            .collect();
        if needed.is_empty() { path } else { format!("{path}?{}", needed.join("&")) }
    }

    fn media(&self) -> Option<&str> {
        let content = self.operation["requestBody"]["content"].as_object()?;
        content.keys().find(|media| *media != "application/json" || content.len() == 1).map(String::as_str)
    }

    fn example(&self) -> Vec<u8> {
        let example = self.media().map(|media| &self.operation["requestBody"]["content"][media]["example"]);
        match example {
            Some(Value::String(text)) => text.clone().into_bytes(),
            Some(example) => example.to_string().into_bytes(),
            None => Vec::new(),
        }
    }

    fn takes(&self, place: &str, name: &str) -> bool {
        let parameters = self.operation["parameters"].as_array().unwrap();
        parameters.iter().any(|parameter| parameter["in"] == place && parameter["name"] == name)
    }
}

/// Bodies that are wrong for every call that takes JSON, and one that is too large.
fn wrong_bodies(path: &str) -> Vec<Vec<u8>> {
    let too_large = if path.ends_with("/import") { (32 << 20) + 1 } else { (4 << 20) + 1 };
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(40), "]".repeat(40));
    let mut bodies: Vec<Vec<u8>> = ["{", "[]", "{\"nonsense\":1}", "{\"a\":1,\"a\":1}", &deep]
        .iter()
        .map(|t| t.as_bytes().to_vec())
        .collect();
    bodies.push(vec![b' '; too_large]);
    bodies.push(b"\xff".to_vec());
    bodies
}

/// Everything that is tried with every call.
fn probes<'p>(target: &'p Target<'_>, keys: &'p [String], reason: &'p str) -> Vec<(Probe<'p>, String)> {
    let good = || {
        let mut headers = Vec::new();
        headers.extend(target.media().map(|media| ("content-type", media)));
        if target.takes("header", "If-Match") {
            headers.push(("if-match", "\"1\""));
        }
        Probe { key: ADMIN, headers, query: "", body: target.example() }
    };
    let (here, mut all) = (target.filled("production", ""), Vec::new());
    for key in keys {
        all.push((Probe { key, ..good() }, here.clone()));
    }
    all.push((good(), target.filled("nowhere", "")));
    all.push((good(), target.filled("production", "nobody")));
    for query in ["?nonsense=1", "?limit=0", "?cursor=x", "?from=x", "?kind=x"] {
        all.push((Probe { query, ..good() }, here.clone()));
    }
    for (name, value) in [
        ("huidu-environment", "nowhere"),
        ("huidu-reason", "%zz"),
        ("huidu-reason", reason),
        ("if-match", "7"),
        ("if-match", "\"99\""),
        ("if-match", "*"),
        ("if-none-match", "7"),
        ("content-type", "image/png"),
    ] {
        let mut probe = good();
        let relevant = if name == "content-type" { target.media().is_some() } else { true };
        if relevant {
            // A reason in the body goes before the header's.
            if let Ok(Value::Object(mut body)) = serde_json::from_slice(&probe.body)
                && body.remove("reason").is_some()
            {
                probe.body = json!(body).to_string().into_bytes();
            }
            probe.headers.retain(|(known, _)| *known != name);
            probe.headers.push((name, value));
            all.push((probe, here.clone()));
        }
    }
    let mut creating = good();
    creating.headers.retain(|(name, _)| *name != "if-match");
    creating.headers.push(("if-none-match", "*"));
    all.push((creating, here.clone()));
    if target.media().is_some_and(|media| media.ends_with("json") && !media.contains("ndjson")) {
        all.extend(
            wrong_bodies(target.path).into_iter().map(|body| (Probe { body, ..good() }, here.clone())),
        );
    }
    all
}

/// Refusals that only one call has, or only with a body of its own: method, path, query, body, code.
fn special() -> Vec<(&'static str, &'static str, &'static str, Value, &'static str)> {
    const FLAG: &str = "/v1/environments/{environment}/flags/{key}";
    const EXPLAIN: &str = "/v1/environments/{environment}/flags/{key}/explain";
    const ROLLOUT: &str = "/v1/environments/{environment}/flags/{key}/rollout";
    const OFREP: &str = "/ofrep/v1/evaluate/flags";
    const ONE: &str = "/ofrep/v1/evaluate/flags/{key}";
    const ADD: &str = "/v1/environments/{environment}/audiences/{key}/add";
    const REMOVE: &str = "/v1/environments/{environment}/audiences/{key}/remove";
    let key = |name: &str| json!({"name": name, "role": "client", "environment": null});
    const UNITS: [&str; 2] =
        ["/v1/environments/{environment}/units/erase", "/v1/environments/{environment}/units/export"];
    let mut rows = vec![
        ("POST", UNITS[0], "", json!({"unit": ""}), "unit_invalid"),
        ("POST", UNITS[1], "", json!({"unit": ""}), "unit_invalid"),
        ("PUT", FLAG, "", json!({"key": "wechat-scan-pay"}), "flag_invalid"),
        ("PATCH", FLAG, "", json!({"nonsense": 1}), "flag_invalid"),
        ("POST", ROLLOUT, "", json!({"percent": 100, "control": 5}), "flag_invalid"),
        ("POST", EXPLAIN, "", json!({"document": {}}), "flag_invalid"),
        ("POST", "/v1/keys", "", key(""), "key_invalid"),
        ("POST", ADD, "", json!({"ids": [""]}), "audience_invalid"),
        ("POST", REMOVE, "", json!({"ids": [""]}), "audience_invalid"),
        ("POST", ADD, "", json!({"ids": vec!["x"; 10_001]}), "too_many_ids"),
        ("POST", REMOVE, "", json!({"ids": vec!["x"; 10_001]}), "too_many_ids"),
        ("DELETE", AUDIENCE, "", json!({}), "audience_in_use"),
        ("POST", "/v1/environments/{environment}/import", "", json!({"huidu_export": 2}), "import_invalid"),
        ("POST", "/v1/environments", "", json!({"key": "a b"}), "environment_invalid"),
        ("POST", "/v1/environments", "", json!({"key": "staging"}), "environment_exists"),
        ("PATCH", "/v1/environments/{environment}", "", json!({"name": ""}), "environment_invalid"),
        ("POST", ONE, "", json!({}), "unit_missing"),
        ("POST", "/v1/events", "", json!({"events": vec![0; 1001]}), "too_many_events"),
    ];
    let (long, attributes) =
        ("x".repeat(5_000), (0..101).map(|n| (format!("a{n}"), json!(1))).collect::<Value>());
    let contexts = [
        (json!({"targetingKey": 7}), "unit_invalid"),
        (json!({"goods": [{"id": ""}]}), "id_invalid"),
        (json!({"goods": [{"id": "g", "price": -1}]}), "out_of_range"),
        (json!({"goods": vec![json!({"id": "g"}); 201]}), "too_many_goods"),
        (attributes.clone(), "too_many_attributes"),
        (json!({"a": long}), "string_too_long"),
        (json!({"goods": 7}), "context_invalid"),
    ];
    for (context, code) in contexts {
        rows.extend([OFREP, ONE, EXPLAIN].map(|path| ("POST", path, "", json!({"context": context}), code)));
    }
    for (user, goods, code) in [
        (json!({"id": 7}), json!([]), "unit_invalid"),
        (json!({}), json!([{"id": ""}]), "id_invalid"),
        (json!({}), json!([{"id": "g", "price": -1}]), "out_of_range"),
        (json!({}), json!(vec![json!({"id": "g"}); 1001]), "too_many_goods"),
        (attributes, json!([]), "too_many_attributes"),
        (json!({"a": long}), json!([]), "string_too_long"),
        (json!(7), json!([]), "context_invalid"),
    ] {
        let body = json!({"placement": "p", "user": user, "order": {"goods": goods}});
        rows.push(("POST", "/v1/decisions", "", body, code));
        let body = json!({"placement": "p", "user": user, "goods": goods});
        rows.push(("POST", "/v1/goods/eligibility", "", body, code));
    }
    rows
}

#[test]
fn every_refusal_is_documented_and_every_documented_refusal_comes() {
    let huidu = unlimited();
    let api = Api::of(&huidu);
    let mut keys = vec![String::new(), "wrong".to_owned()];
    keys.extend(
        ["client", "server", "analyst", "editor"].map(|role| make_key(&huidu, role, &json!("staging"))),
    );
    let (reason, mut seen) = ("x".repeat(501), BTreeSet::new());
    let mut see = |method: &str, path: &str, answer: &Answer| {
        if answer.status >= 400 {
            api.check(method, path, answer);
            seen.insert(format!("{method} {path} {}", answer.code()));
        }
    };
    // First: what is tried with every call kills and archives in passing.
    only_here(&huidu, &mut see);
    for (method, path, operation) in api.operations() {
        let target = Target { method: &method, path: &path, operation };
        for (probe, filled) in probes(&target, &keys, &reason) {
            let more =
                if filled.contains('?') { probe.query.replace('?', "&") } else { probe.query.to_owned() };
            let filled = format!("{filled}{more}");
            see(
                &method,
                &path,
                &super::call(&huidu, &method, &filled, probe.key, &probe.headers, &probe.body),
            );
        }
    }
    let mut missing = Vec::new();
    for (method, path, operation) in api.operations() {
        for answer in operation["responses"].as_object().unwrap().values() {
            for code in api.resolved(answer)["x-codes"].as_array().into_iter().flatten() {
                let code = code.as_str().unwrap();
                let call = format!("{method} {path} {code}");
                if !ELSEWHERE.contains(&code) && !ONCE.contains(&call.as_str()) && !seen.contains(&call) {
                    missing.push(call);
                }
            }
        }
    }
    assert!(
        missing.is_empty(),
        "documented, but none of the calls above provokes it:\n{}",
        missing.join("\n")
    );
}

/// The refusals of [`special`], and those that need something to be there.
fn only_here(huidu: &Huidu, see: &mut impl FnMut(&str, &str, &Answer)) {
    for (method, path, query, body, code) in special() {
        let target = Target { method, path, operation: &json!({}) };
        let filled = format!("{}{query}", target.filled("production", ""));
        let media =
            if target.method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let headers = [("content-type", media), ("if-match", "\"1\"")];
        let answer = huidu.call(method, &filled, ADMIN, &headers, body.to_string().as_bytes());
        assert_eq!(answer.code(), code, "{method} {path}: {answer:?}");
        see(method, path, &answer);
    }
    raw(huidu, see);
    signed(huidu, see);
    needing(huidu, see);
    promoted(huidu, see);
}

const JSON: (&str, &str) = ("content-type", "application/json");
const STAGING: &str = "/v1/environments/staging";

/// Creates something in `staging`.
fn create(huidu: &Huidu, path: &str, media: (&str, &str), body: &str) {
    let headers = [media, ("if-none-match", "*")];
    huidu.call("PUT", &format!("{STAGING}{path}"), ADMIN, &headers, body.as_bytes()).expect(201);
}

/// What an environment that demands signed units refuses.
fn signed(huidu: &Huidu, see: &mut impl FnMut(&str, &str, &Answer)) {
    let client = make_key(huidu, "client", &json!("staging"));
    huidu.call("PATCH", STAGING, ADMIN, &[JSON], b"{\"require_signed_units\":true}").expect(200);
    create(huidu, "/flags/probe", JSON, &ramp("probe", 1.0, 0.0).to_string());
    let user = json!({"id": "u", "unitSignature": "x"});
    let context = json!({"context": {"targetingKey": "u", "unitSignature": "x"}});
    for (path, key, body) in [
        ("/v1/decisions", "", json!({"placement": "p", "user": user})),
        ("/v1/goods/eligibility", "", json!({"placement": "p", "user": user, "goods": []})),
        ("/ofrep/v1/evaluate/flags", "", context.clone()),
        ("/ofrep/v1/evaluate/flags/{key}", "probe", context),
    ] {
        let answer = huidu.post(&path.replace("{key}", key), &client, &body);
        see("POST", path, &answer.refused(400, "unit_signature_invalid"));
    }
    let secret = || huidu.post(&format!("{STAGING}/unit-secrets"), ADMIN, &json!({}));
    secret().expect(201);
    secret().expect(201);
    let third = secret().refused(409, "unit_secret_limit");
    see("POST", "/v1/environments/{environment}/unit-secrets", &third);
}

/// What a flag that others require, or required, refuses.
fn needing(huidu: &Huidu, see: &mut impl FnMut(&str, &str, &Answer)) {
    let mut needing = ramp("needing", 1.0, 0.0);
    needing["prerequisites"] = json!([{"flag": "needed", "variants": ["on"]}]);
    huidu.create_flag(&ramp("needed", 1.0, 0.0));
    huidu.create_flag(&needing);
    let archive = |flag: &str| huidu.manage("POST", &format!("/flags/{flag}/archive"), Some(1), &json!({}));
    let refused = archive("needed").refused(409, "flag_in_use");
    see("POST", "/v1/environments/{environment}/flags/{key}/archive", &refused);
    // What the old version required is archived meanwhile.
    huidu.manage("PUT", "/flags/needing", Some(1), &ramp("needing", 1.0, 0.0)).expect(200);
    archive("needed").expect(200);
    let back = huidu.manage("POST", "/flags/needing/rollback", Some(2), &json!({"version": 1}));
    see("POST", "/v1/environments/{environment}/flags/{key}/rollback", &back.refused(422, "flag_invalid"));
}

/// Flags in `staging`: one that does not fit elsewhere, and the one that the example promotes.
fn promoted(huidu: &Huidu, see: &mut impl FnMut(&str, &str, &Answer)) {
    create(huidu, "/audiences/only-there", ("content-type", "text/plain"), "a\n");
    let mut document = ramp("narrow", 1.0, 0.0);
    document["rules"][0]["when"] = json!({"audience": "only-there"});
    create(huidu, "/flags/narrow", JSON, &document.to_string());
    create(huidu, "/flags/wechat-scan-pay", JSON, &ramp("wechat-scan-pay", 1.0, 0.0).to_string());
    let path = "/v1/environments/{environment}/promote";
    let wish = json!({"flag": "narrow", "from": "staging"});
    see("POST", path, &huidu.manage("POST", "/promote", None, &wish).refused(422, "flag_invalid"));
}

/// Refusals of bodies that no JSON value can be.
fn raw(huidu: &Huidu, see: &mut impl FnMut(&str, &str, &Answer)) {
    const EXPLAIN: &str = "/v1/environments/{environment}/flags/{key}/explain";
    let deep = format!("{{\"document\":{}{}}}", "[".repeat(40), "]".repeat(40));
    for (method, path, media, body, code) in [
        ("POST", EXPLAIN, "application/json", &*deep, "json_too_deep"),
        ("POST", EXPLAIN, "application/json", "{\"document\":{\"a\":1,\"a\":1}}", "json_duplicate_key"),
        ("PUT", AUDIENCE, "text/plain", &"x".repeat(300), "audience_invalid"),
    ] {
        let filled = Target { method, path, operation: &json!({}) }.filled("production", "");
        let headers = [("content-type", media), ("if-match", "\"1\"")];
        let answer = huidu.call(method, &filled, ADMIN, &headers, body.as_bytes());
        assert_eq!(answer.code(), code, "{method} {path}: {answer:?}");
        see(method, path, &answer);
    }
    let headers = [("content-encoding", "gzip"), ("if-match", "\"1\"")];
    let path = Target { method: "PUT", path: AUDIENCE, operation: &json!({}) }.filled("production", "");
    see("PUT", AUDIENCE, &huidu.call("PUT", &path, ADMIN, &headers, b"no gzip").refused(422, "body_invalid"));
}
