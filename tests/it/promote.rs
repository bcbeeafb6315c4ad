//! Promotion: a flag's document taken over from another environment, its state and salt left where they are.

use serde_json::{Value, json};

use crate::decide::make_key;
use crate::fixture::*;
use crate::postgres::{Database, Engine, block_on};

/// A call to an environment, with `If-Match` if a version is given; a PUT without one creates.
fn call(
    huidu: &Huidu,
    method: &str,
    environment: &str,
    path: &str,
    version: Option<i64>,
    body: &Value,
) -> Answer {
    let tag = version.map(|version| format!("\"{version}\""));
    let mut headers = vec![("content-type", "application/json")];
    match &tag {
        Some(tag) => headers.push(("if-match", tag)),
        None if method == "PUT" => headers.push(("if-none-match", "*")),
        None => {}
    }
    let path = format!("/v1/environments/{environment}{path}");
    huidu.call(method, &path, ADMIN, &headers, body.to_string().as_bytes())
}

/// Creates a flag in `staging`.
#[track_caller]
fn stage(huidu: &Huidu, document: &Value) {
    let path = format!("/flags/{}", document["key"].as_str().unwrap());
    call(huidu, "PUT", "staging", &path, None, document).expect(201);
}

fn promote(huidu: &Huidu, query: &str, body: &Value) -> Answer {
    call(huidu, "POST", "production", &format!("/promote{query}"), None, body)
}

fn flag(huidu: &Huidu, environment: &str, key: &str) -> Answer {
    call(huidu, "GET", environment, &format!("/flags/{key}"), None, &json!(null))
}

fn snapshot(huidu: &Huidu) -> Value {
    huidu.get("/v1/environments/production", ADMIN).expect(200).json()["snapshot"].clone()
}

#[test]
fn a_new_flag_arrives_killed_with_a_salt_of_its_own() {
    let huidu = Huidu::start();
    let document = ramp("f", 20.0, 5.0);
    stage(&huidu, &document);
    let body = json!({"flag": "f", "from": "staging", "reason": "tested"});
    let before = snapshot(&huidu);
    let told = promote(&huidu, "?dry_run=true", &body).expect(200).json();
    assert_eq!(flag(&huidu, "production", "f").status, 404, "a dry run writes nothing");
    assert_eq!(told["snapshot"], before);
    let done = promote(&huidu, "", &body).expect(200).json();
    assert_eq!(
        json!([
            done["action"],
            done["version"],
            done["state"],
            done["from"],
            done["from_version"],
            done["environment"]
        ]),
        json!(["create", 1, "killed", "staging", 1, "production"])
    );
    assert_eq!((&done["diff"], &done["warnings"]), (&told["diff"], &json!([])), "the dry run told the truth");
    assert!(!done["diff"].to_string().contains("salt"), "{done}");
    assert_eq!(done["snapshot"], snapshot(&huidu));
    let arrived = flag(&huidu, "production", "f").expect(200).json();
    let mut expected = document;
    expected["salt"] = arrived["flag"]["salt"].clone();
    assert_eq!(arrived["flag"], expected);
    assert_eq!(arrived["flag"]["salt"].as_str().unwrap().len(), 26);
    assert_eq!((&arrived["state"], &arrived["stage"]), (&json!("killed"), &json!(null)));
    let audit = huidu.get("/v1/environments/production/audit?flag=f", ADMIN).expect(200).json();
    let row = &audit["items"][0];
    assert_eq!((&row["action"], &row["reason"]), (&json!("promote"), &json!("tested")));
    assert_eq!(row["detail"]["origin"], json!({"environment": "staging", "version": 1, "parts": ["all"]}));
    let again = promote(&huidu, "", &body).expect(200).json();
    assert_eq!(
        json!([again["action"], again["version"], again["diff"], again["snapshot"]]),
        json!(["unchanged", 1, [], done["snapshot"]])
    );
}

#[test]
fn an_existing_flag_keeps_state_salt_and_what_was_not_chosen() {
    let huidu = Huidu::start();
    let mut ours = ramp("f", 5.0, 5.0);
    (ours["salt"], ours["name"]) = (json!("ours"), json!("Ours"));
    huidu.create_flag(&ours);
    let mut theirs = ramp("f", 50.0, 5.0);
    (theirs["salt"], theirs["name"]) = (json!("theirs"), json!("Theirs"));
    theirs["goods"] = json!({"match": "any"});
    stage(&huidu, &theirs);
    let body = |parts: Value| json!({"flag": "f", "from": "staging", "parts": parts});
    let some = promote(&huidu, "", &body(json!(["rules"]))).expect(200).json();
    let percent = json!([{"pointer": "/rules/0/serve/rollout/percent", "from": 5.0, "to": 50.0}]);
    assert_eq!(
        json!([some["action"], some["version"], some["state"], some["diff"]]),
        json!(["replace", 2, "live", percent])
    );
    let after = flag(&huidu, "production", "f").json();
    let mut expected = ours.clone();
    expected["rules"] = theirs["rules"].clone();
    assert_eq!((&after["flag"], &after["stage"]), (&expected, &json!(2)));
    promote(&huidu, "", &body(json!(["all"]))).expect(200);
    let after = flag(&huidu, "production", "f").json();
    expected = theirs.clone();
    expected["salt"] = json!("ours");
    assert_eq!((&after["flag"], &after["state"]), (&expected, &json!("live")));
    // A part that the source leaves out is left out here too.
    let mut without = theirs;
    without.as_object_mut().unwrap().remove("goods");
    call(&huidu, "PUT", "staging", "/flags/f", Some(1), &without).expect(200);
    promote(&huidu, "", &body(json!(["goods"]))).expect(200);
    expected.as_object_mut().unwrap().remove("goods");
    assert_eq!(flag(&huidu, "production", "f").json()["flag"], expected);
    // What is shut stays shut, in the target and whatever the source is.
    huidu.manage("POST", "/flags/f/kill", None, &json!({})).expect(200);
    call(&huidu, "PATCH", "staging", "/flags/f", Some(2), &json!({"name": "Third"})).expect(200);
    assert_eq!(promote(&huidu, "", &body(json!(["name"]))).expect(200).json()["state"], "killed");
    assert_eq!(flag(&huidu, "staging", "f").json()["state"], "live", "the source is only read");
}

#[test]
fn what_does_not_fit_its_new_environment_is_refused_and_leaves_nothing() {
    let huidu = Huidu::start();
    let put = |body: &[u8]| {
        let headers = [("content-type", "text/plain"), ("if-none-match", "*")];
        huidu.call("PUT", "/v1/environments/staging/audiences/vips", ADMIN, &headers, body).expect(201)
    };
    put(b"u-1\n");
    let mut document = ramp("f", 5.0, 0.0);
    document["rules"][0]["when"] = json!({"audience": "vips"});
    document["funnel"] = json!(["order_paid"]);
    stage(&huidu, &document);
    let before = snapshot(&huidu);
    for query in ["", "?dry_run=true"] {
        let refused =
            promote(&huidu, query, &json!({"flag": "f", "from": "staging"})).refused(422, "flag_invalid");
        let told: Vec<_> = refused.json()["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| json!([error["pointer"], error["code"]]))
            .collect();
        assert_eq!(
            json!(told),
            json!([["/rules/0/when/audience", "unknown_audience"], ["/funnel/0", "step_kind_conflict"]])
        );
    }
    let partial = promote(&huidu, "", &json!({"flag": "f", "from": "staging", "parts": ["rules"]}));
    partial.refused(422, "flag_invalid");
    for (body, status, code) in [
        (json!({"flag": "f", "from": "staging", "parts": ["salt"]}), 422, "body_invalid"),
        (json!({"flag": "f", "from": "staging", "parts": []}), 422, "body_invalid"),
        (json!({"flag": "f", "from": "production"}), 422, "body_invalid"),
        (json!({"flag": "a/b", "from": "staging"}), 422, "body_invalid"),
        (json!({"flag": "f"}), 422, "body_invalid"),
        (json!({"flag": "f", "from": "staging", "state": "live"}), 422, "body_invalid"),
        (json!({"flag": "f", "from": "nowhere"}), 404, "not_found"),
        (json!({"flag": "nobody", "from": "staging"}), 404, "not_found"),
    ] {
        promote(&huidu, "", &body).refused(status, code);
    }
    promote(&huidu, "?dry_run=1", &json!({"flag": "f", "from": "staging"})).refused(400, "query_invalid");
    promote(&huidu, "?dry=true", &json!({"flag": "f", "from": "staging"})).refused(400, "query_invalid");
    assert_eq!((snapshot(&huidu), flag(&huidu, "production", "f").status), (before, 404));
}

#[test]
fn a_precondition_is_held_where_one_is_sent() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 5.0, 5.0));
    stage(&huidu, &ramp("f", 10.0, 5.0));
    stage(&huidu, &ramp("g", 10.0, 5.0));
    let body = |flag: &str| json!({"flag": flag, "from": "staging"});
    let with = |headers: &[(&str, &str)], flag: &str| {
        let headers = [&[("content-type", "application/json")], headers].concat();
        huidu.call(
            "POST",
            "/v1/environments/production/promote",
            ADMIN,
            &headers,
            body(flag).to_string().as_bytes(),
        )
    };
    with(&[("if-match", "\"2\"")], "f").refused(412, "version_conflict");
    with(&[("if-none-match", "*")], "f").refused(412, "flag_exists");
    with(&[("if-match", "\"1\"")], "g").refused(404, "not_found");
    with(&[("if-match", "x")], "g").refused(400, "header_invalid");
    with(&[("if-match", "\"1\"")], "f").expect(200);
    with(&[("if-none-match", "*")], "g").expect(200);
}

#[test]
fn only_a_key_of_all_environments_promotes() {
    let huidu = Huidu::start();
    stage(&huidu, &ramp("f", 10.0, 5.0));
    let body = json!({"flag": "f", "from": "staging"});
    let path = "/v1/environments/production/promote";
    for (role, environment, status) in [
        ("editor", json!(null), 200),
        ("admin", json!("production"), 403),
        ("editor", json!("production"), 403),
        ("editor", json!("staging"), 403),
        ("analyst", json!(null), 403),
    ] {
        let key = make_key(&huidu, role, &environment);
        assert_eq!(huidu.post(path, &key, &body).status, status, "{role} of {environment}");
    }
}

#[test]
fn it_works_on_postgresql_too() {
    block_on(async {
        let database = Database::empty(Engine::Postgres).await;
        let url = database.url.clone();
        let test = move || {
            let huidu = Huidu::start_with(&[("DATABASE_URL", &url)]);
            stage(&huidu, &ramp("f", 10.0, 5.0));
            let body = json!({"flag": "f", "from": "staging"});
            assert_eq!(promote(&huidu, "", &body).expect(200).json()["action"], "create");
            assert_eq!(promote(&huidu, "", &body).expect(200).json()["action"], "unchanged");
        };
        tokio::task::spawn_blocking(test).await.unwrap();
    });
}
