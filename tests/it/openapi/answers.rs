//! What the service really answers, held against the document.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Api;
use crate::fixture::*;
use crate::trust::{STREAMS, unlimited};

const FLAGS: &str = "/v1/environments/{environment}/flags";
const FLAG: &str = "/v1/environments/{environment}/flags/{key}";
const AUDIENCES: &str = "/v1/environments/{environment}/audiences";
const AUDIENCE: &str = "/v1/environments/{environment}/audiences/{key}";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A service whose answers are held against its document.
struct Checked {
    huidu: Huidu,
    api: Api,
    seen: RefCell<BTreeSet<String>>,
}

impl Checked {
    /// A call by the template of its path; `at` fills `{key}`, `{version}` or `{id}`, and may hold a query.
    #[track_caller]
    fn call(
        &self,
        (method, path): (&str, &str),
        at: &[&str],
        key: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        status: u16,
    ) -> Answer {
        let mut filled = path.replace("{environment}", "production");
        for part in at {
            match (filled.find('{'), filled.find('}')) {
                (Some(from), Some(to)) => filled.replace_range(from..=to, part),
                _ => filled.push_str(part),
            }
        }
        let answer = super::call(&self.huidu, method, &filled, key, headers, body).expect(status);
        self.api.check(method, path, &answer);
        self.seen.borrow_mut().insert(format!("{method} {path} {status}"));
        answer
    }

    #[track_caller]
    fn get(&self, path: &str, at: &[&str]) -> Answer {
        self.call(("GET", path), at, ADMIN, &[], b"", 200)
    }

    #[track_caller]
    fn post(&self, path: &str, at: &[&str], key: &str, body: &Value, status: u16) -> Answer {
        self.call(("POST", path), at, key, &[JSON], body.to_string().as_bytes(), status)
    }

    /// A change of a flag at a version (0: a new one).
    #[track_caller]
    fn change(&self, method: &str, tail: &str, key: &str, version: i64, body: &Value, status: u16) -> Answer {
        let tag = format!("\"{version}\"");
        let condition = if version == 0 { ("if-none-match", "*") } else { ("if-match", &*tag) };
        let path = format!("{FLAG}{tail}");
        self.call((method, &path), &[key], ADMIN, &[JSON, condition], body.to_string().as_bytes(), status)
    }
}

/// Every entry in every form: seen and unseen, measured and not, with and without goods, and one that errs.
fn decide(checked: &Checked) {
    let goods = json!([{"id": "g-1", "category": "shoes", "price": 1}, {"id": "g-2", "category": "phone", "price": 1}]);
    let users = [
        json!({"id": "tester-1"}),
        json!({"id": "u-9", "app_version": "10.9.1", "region": "CN-31"}),
        json!({}),
    ];
    for user in users {
        for key in [&checked.huidu.client, &checked.huidu.server] {
            for goods in [json!([goods[0]]), goods.clone(), Value::Null] {
                let body =
                    json!({"placement": "checkout", "user": user, "order": {"id": "o", "goods": goods}});
                checked.post("/v1/decisions", &[], key, &body, 200);
            }
            let body = json!({"placement": "checkout", "user": user, "goods": goods});
            checked.post("/v1/goods/eligibility", &[], key, &body, 200);
            let context =
                json!({"context": {"targetingKey": user["id"], "app_version": "10.9.1", "goods": goods}});
            let bulk = checked.post("/ofrep/v1/evaluate/flags", &[], key, &context, 200);
            let tag = [JSON, ("if-none-match", bulk.header("etag").unwrap())];
            let body = context.to_string();
            checked.call(("POST", "/ofrep/v1/evaluate/flags"), &[], key, &tag, body.as_bytes(), 304);
            if !user["id"].is_null() {
                checked.post("/ofrep/v1/evaluate/flags/{key}", &["wechat-scan-pay"], key, &context, 200);
            }
            let explained = json!({"context": context["context"]});
            checked.post(&format!("{FLAG}/explain"), &["wechat-scan-pay"], ADMIN, &explained, 200);
        }
    }
    let draft = json!({"context": {"targetingKey": "u-1"}, "document": ramp("draft", 50.0, 0.0)});
    let answer = checked.post(&format!("{FLAG}/explain"), &["draft"], ADMIN, &draft, 200).json();
    assert_eq!(answer["draft"], true);
}

fn measure(checked: &Checked) {
    let token = checked.huidu.tester_token();
    let events = json!({"events": [
        {"type": "exposure", "token": token}, {"type": "exposure", "token": token}, {"type": "exposure", "token": "x"}, 7,
        {"id": "e-1", "type": "step", "step": "order_paid", "user_id": "u-9", "value": 1, "currency": "CNY"},
    ]});
    let answer = checked.post("/v1/events", &[], &checked.huidu.server, &events, 200).json();
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["id"]), (&json!(2), &Value::Null), "{answer}");
    for token in [&*token, "x"] {
        let answer =
            checked.post("/v1/tokens/verify", &[], &checked.huidu.server, &json!({"token": token}), 200);
        assert_eq!(answer.json()["valid"], token != "x");
    }
}

/// Both exports in every form, with rows of every kind.
fn analyse(checked: &Checked) {
    let token = checked.huidu.tester_token();
    let events = json!({"events": [
        {"id": "e-2", "type": "step", "step": "qr_shown", "token": token},
        {"id": "e-3", "type": "step", "step": "qr_saved", "flag": "wechat-scan-pay", "user_id": "u-never"},
        {"id": "e-4", "type": "step", "step": "order_paid", "user_id": "tester-1", "order_id": "o-1", "value": 1,
         "currency": "CNY", "attributes": {"payment_method": "wechat"}},
    ]});
    checked.post("/v1/events", &[], &checked.huidu.server, &events, 200);
    for (table, rows) in [("exposures", 1), ("conversions", 3)] {
        let path = format!("{FLAG}/{table}");
        let page = checked.get(&path, &["wechat-scan-pay"]).json();
        assert_eq!(page["items"].as_array().unwrap().len(), rows, "{page}");
        for media in ["text/csv", "application/x-ndjson"] {
            let call = ("GET", &*path);
            checked.call(call, &["wechat-scan-pay"], ADMIN, &[("accept", media)], b"", 200);
        }
    }
}

fn change_flags(checked: &Checked) {
    let mut document = ramp("probe", 5.0, 5.0);
    checked.change("PUT", "", "probe", 0, &document, 201);
    document["salt"] = json!("other");
    let warned = checked.change("PUT", "", "probe", 1, &document, 200).json();
    assert_eq!(warned["warnings"][0]["code"], "salt_changed");
    checked.change("PATCH", "", "probe", 2, &json!({"description": "x", "tags": ["a"]}), 200);
    checked.change("POST", "/rollout", "probe", 3, &json!({"percent": 10, "reason": "quiet"}), 200);
    checked.change("POST", "/kill", "probe", 4, &json!({}), 200);
    checked.change("POST", "/restore", "probe", 5, &json!({"reason": "fixed"}), 200);
    checked.change("POST", "/rollback", "probe", 6, &json!({"version": 1}), 200);
    checked.change("POST", "/archive", "probe", 7, &json!({}), 200);
    checked.get(FLAGS, &["?limit=1"]);
    checked.get(FLAGS, &["?state=archived"]);
    checked.get(FLAG, &["wechat-scan-pay"]);
    checked.get(&format!("{FLAG}/versions"), &["probe", "?limit=2"]);
    checked.get(&format!("{FLAG}/propagation"), &["probe", "?version=2"]);
    for query in ["", "?by=user.region&from=2026-01-01T00:00:00Z", "?format=csv&table=stages"] {
        checked.get(&format!("{FLAG}/report"), &["wechat-scan-pay", query]);
    }
    for query in ["", "?by=hour", "?by=day&tz=Asia/Shanghai&format=csv"] {
        checked.get(&format!("{FLAG}/timeseries"), &["wechat-scan-pay", query]);
    }
    for version in 1..=8 {
        checked.get(&format!("{FLAG}/versions/{{version}}"), &["probe", &version.to_string()]);
    }
}

fn change_audiences(checked: &Checked) {
    for (media, body, condition, status) in [
        ("text/plain", "a\nb\n", ("if-none-match", "*"), 201),
        ("text/csv", "id\na\n", ("if-match", "\"1\""), 200),
        ("application/x-ndjson", "\"a\"\n{\"id\":\"b\"}\n", ("if-match", "\"2\""), 200),
    ] {
        let headers = [("content-type", media), condition];
        checked.call(("PUT", AUDIENCE), &["probes"], ADMIN, &headers, body.as_bytes(), status);
    }
    checked.get(AUDIENCES, &["?limit=1"]);
    checked.get(AUDIENCE, &["probes"]);
    let at = |tail: &str| format!("{AUDIENCE}/{tail}");
    let ids = json!({"ids": ["c"], "reason": "asked for"});
    assert_eq!(checked.post(&at("add"), &["probes"], ADMIN, &ids, 200).json()["added"], 1);
    assert_eq!(checked.post(&at("remove"), &["probes"], ADMIN, &ids, 200).json()["removed"], 1);
    checked.get(&at("ids"), &["probes", "?limit=1"]);
    checked.get(&at("ids"), &["probes"]);
    checked.get(&at("contains"), &["probes", "?id=a"]);
    let back = json!({"version": 3}).to_string();
    let headers = [JSON, ("if-match", "\"5\"")];
    checked.call(("POST", &at("rollback")), &["probes"], ADMIN, &headers, back.as_bytes(), 200);
    checked.call(("DELETE", AUDIENCE), &["probes"], ADMIN, &[], b"", 204);
}

fn administer(checked: &Checked) {
    for wish in [
        json!({"name": "a", "role": "editor", "environment": "production", "expires_at": "2200-01-01T00:00:00Z"}),
        json!({"name": "b", "role": "client", "environment": null}),
    ] {
        let made = checked.post("/v1/keys", &[], ADMIN, &wish, 201).json();
        let id = made["id"].as_str().unwrap();
        checked.call(("DELETE", "/v1/keys/{id}"), &[id], ADMIN, &[], b"", 204);
    }
    checked.get("/v1/keys", &[]);
    checked.get("/v1/keys", &["?limit=1"]);
    let audits = ["/v1/audit", "/v1/environments/{environment}/audit"];
    audits.iter().for_each(|path| drop(checked.get(path, &["?limit=200"])));
}

fn units(checked: &Checked) {
    const UNITS: &str = "/v1/environments/{environment}/units";
    for unit in ["tester-1", "u-9", "nobody"] {
        for call in ["export", "erase"] {
            checked.post(
                &format!("{UNITS}/{call}"),
                &[],
                ADMIN,
                &json!({"unit": unit, "reason": "asked"}),
                200,
            );
        }
    }
}

fn environments(checked: &Checked) {
    const ENVIRONMENT: &str = "/v1/environments/{environment}";
    checked.post("/v1/environments", &[], ADMIN, &json!({"key": "canary"}), 201);
    checked.get("/v1/environments", &[]);
    let demand = json!({"require_signed_units": true}).to_string();
    let warned = checked.call(("PATCH", ENVIRONMENT), &[], ADMIN, &[JSON], demand.as_bytes(), 200).json();
    assert_eq!(warned["warnings"][0]["code"], "no_unit_secret");
    let secret = checked.post(&format!("{ENVIRONMENT}/unit-secrets"), &[], ADMIN, &json!({}), 201).json();
    checked.get(ENVIRONMENT, &[]);
    let id = secret["id"].as_str().unwrap();
    checked.call(("DELETE", &format!("{ENVIRONMENT}/unit-secrets/{{id}}")), &[id], ADMIN, &[], b"", 204);
}

fn transfer(checked: &Checked) {
    let at = |tail: &str| format!("/v1/environments/{{environment}}/{tail}");
    let new = [JSON, ("if-none-match", "*")];
    let body = ramp("carried", 1.0, 0.0).to_string();
    let path = "/v1/environments/staging/flags/carried";
    checked.huidu.call("PUT", path, ADMIN, &new, body.as_bytes()).expect(201);
    let promoted =
        checked.post(&at("promote"), &[], ADMIN, &json!({"flag": "carried", "from": "staging"}), 200).json();
    assert_eq!(promoted["action"], "create");
    for query in ["", "?secrets=true"] {
        let export = checked.get(&at("export"), &[query]).json();
        checked.post(&at("import"), &["?dry_run=true"], ADMIN, &export, 200);
        checked.post(&at("import"), &[], ADMIN, &export, 200);
    }
}

#[test]
fn every_documented_success_is_seen_and_is_as_documented() {
    let huidu = unlimited();
    let api = Api::of(&huidu);
    let checked = Checked { huidu, api, seen: RefCell::default() };
    decide(&checked);
    measure(&checked);
    analyse(&checked);
    units(&checked);
    change_flags(&checked);
    change_audiences(&checked);
    for path in STREAMS {
        checked.get(path, &[]);
        checked.call(("GET", path), &["?token=x"], "", &[], b"", 204);
    }
    environments(&checked);
    transfer(&checked);
    administer(&checked);
    for path in ["/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"] {
        checked.get(path, &[]);
    }
    let seen = checked.seen.borrow();
    for (method, path, operation) in checked.api.operations() {
        let statuses = operation["responses"].as_object().unwrap().keys();
        for status in statuses.filter(|status| status.starts_with(['2', '3'])) {
            let call = format!("{method} {path} {status}");
            assert!(seen.contains(&call), "{call} is documented, but no call above shows it: add one");
        }
    }
}
