//! Export and import: an environment as one document, taken in as a whole or not at all.

mod faults;

use serde_json::{Value, json};

use crate::decide::make_key;
use crate::fixture::*;
use crate::postgres::{Database, Engine, block_on};

fn path(environment: &str, tail: &str) -> String {
    format!("/v1/environments/{environment}{tail}")
}

fn export(huidu: &Huidu, environment: &str) -> Value {
    huidu.get(&path(environment, "/export"), ADMIN).expect(200).json()
}

fn import(huidu: &Huidu, environment: &str, query: &str, body: &Value) -> Answer {
    huidu.post(&path(environment, &format!("/import{query}")), ADMIN, body)
}

fn snapshot(huidu: &Huidu, environment: &str) -> i64 {
    let answer = huidu.get(&path(environment, ""), ADMIN).expect(200).json();
    answer["snapshot"].as_i64().unwrap()
}

/// Makes an audience of `production`.
#[track_caller]
fn audience(huidu: &Huidu, key: &str, kind: &str, ids: &[String]) {
    let path = path("production", &format!("/audiences/{key}?kind={kind}"));
    let headers = [("content-type", "text/plain"), ("if-none-match", "*")];
    huidu.call("PUT", &path, ADMIN, &headers, ids.join("\n").as_bytes()).expect(201);
}

/// Key and action of each item of a list.
fn actions(list: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(|item| (text(&item["key"]), text(&item["action"]))).collect()
}

fn every_action(answer: &Value, action: &str) -> bool {
    let all = [actions(&answer["flags"]), actions(&answer["audiences"])].concat();
    !all.is_empty() && all.iter().all(|(_, told)| told == action)
}

/// An export of these flags alone.
fn of_flags(flags: &[Value]) -> Value {
    json!({"huidu_export": 1, "flags": flags})
}

#[test]
fn an_export_is_whole_sorted_stable_and_without_salts_or_states() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("z", 5.0, 0.0));
    huidu.create_flag(&ramp("A", 5.0, 0.0));
    huidu.create_flag(&ramp("gone", 5.0, 0.0));
    huidu.manage("POST", "/flags/gone/archive", Some(1), &json!({})).expect(200);
    huidu.manage("POST", "/flags/z/kill", None, &json!({})).expect(200);
    let ids = |count: usize| (0..count).map(|n| format!("u-{n:04}")).rev().collect::<Vec<_>>();
    audience(&huidu, "at-the-limit", "user", &ids(1_000));
    audience(&huidu, "over", "other", &ids(1_001));
    let text = huidu.get(&path("production", "/export"), ADMIN).expect(200).text;
    assert_eq!(huidu.get(&path("production", "/export"), ADMIN).text, text, "byte for byte");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&answer["huidu_export"], &answer["environment"]), (&json!(1), &json!("production")));
    let keys: Vec<_> = answer["flags"].as_array().unwrap().iter().map(|flag| flag["key"].clone()).collect();
    assert_eq!(json!(keys), json!(["A", "wechat-friend-pay", "wechat-scan-pay", "z"]));
    assert!(!text.contains("\"salt\"") && !text.contains("\"state\"") && !text.contains("killed"), "{text}");
    let mut document = ramp("A", 5.0, 0.0);
    document.as_object_mut().unwrap().remove("salt");
    assert_eq!(answer["flags"][0], document);
    let told: Vec<_> = answer["audiences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|audience| {
            json!([
                audience["key"],
                audience["kind"],
                audience["size"],
                audience["ids"].as_array().map(Vec::len)
            ])
        })
        .collect();
    assert_eq!(
        json!(told),
        json!([
            ["at-the-limit", "user", 1000, 1000],
            ["over", "other", 1001, null],
            ["wechat-excluded-goods", "goods", 0, 0],
            ["wechat-testers", "user", 1, 1],
        ])
    );
    assert!(answer["audiences"][1].get("ids").is_none());
    let listed = answer["audiences"][0]["ids"].as_array().unwrap();
    assert!(listed.is_sorted_by(|a, b| a.as_str() < b.as_str()));
    let secrets = huidu.get(&path("production", "/export?secrets=true"), ADMIN).expect(200).json();
    assert_eq!(secrets["flags"][0]["salt"], "A");
    assert_eq!(secrets["flags"][1]["salt"].as_str().unwrap().len(), 26);
    huidu.get(&path("production", "/export?secrets=yes"), ADMIN).refused(400, "query_invalid");
    huidu.get(&path("production", "/export?salts=true"), ADMIN).refused(400, "query_invalid");
}

#[test]
fn who_may_export_and_import() {
    let huidu = Huidu::start();
    let body = of_flags(&[]);
    for (role, plain, salts, imports) in [
        ("client", 403, 403, 403),
        ("server", 403, 403, 403),
        ("analyst", 200, 403, 403),
        ("editor", 200, 403, 200),
        ("admin", 200, 200, 200),
    ] {
        let key = make_key(&huidu, role, &json!("production"));
        let got = [
            huidu.get(&path("production", "/export"), &key).status,
            huidu.get(&path("production", "/export?secrets=true"), &key).status,
            huidu.post(&path("production", "/import"), &key, &body).status,
        ];
        assert_eq!(got, [plain, salts, imports], "{role}");
        assert_eq!(huidu.get(&path("staging", "/export"), &key).status, 403, "{role} elsewhere");
    }
}

#[test]
fn an_import_into_a_new_environment_gives_the_same_export() {
    let huidu = Huidu::start();
    let mut above = ramp("above", 5.0, 0.0);
    above["prerequisites"] = json!([{"flag": "base", "variants": ["on"]}]);
    huidu.create_flag(&ramp("base", 5.0, 5.0));
    huidu.create_flag(&above);
    audience(&huidu, "vips", "user", &["u-1".into(), "灰度".into()]);
    huidu.post("/v1/environments", ADMIN, &json!({"key": "copy"})).expect(201);
    let body = export(&huidu, "production");
    let before = snapshot(&huidu, "copy");
    let told = import(&huidu, "copy", "?dry_run=true", &body).expect(200).json();
    assert_eq!((&told["dry_run"], &told["snapshot"]), (&json!(true), &json!(before)));
    assert_eq!(export(&huidu, "copy")["flags"], json!([]), "a dry run writes nothing");
    assert!(every_action(&told, "create"), "{told}");
    let done = import(&huidu, "copy", "", &body).expect(200).json();
    assert_eq!(
        (&done["dry_run"], &done["snapshot"]),
        (&json!(false), &json!(before + 1)),
        "one number for all"
    );
    assert_eq!(
        (&done["flags"], &done["audiences"]),
        (&told["flags"], &told["audiences"]),
        "the dry run told the truth"
    );
    assert_eq!(actions(&done["flags"]).len(), 4);
    let vips =
        done["audiences"].as_array().unwrap().iter().find(|audience| audience["key"] == "vips").unwrap();
    assert_eq!(vips, &json!({"key": "vips", "action": "create", "add": 2, "remove": 0}));
    let mut expected = body.clone();
    expected["environment"] = json!("copy");
    assert_eq!(export(&huidu, "copy"), expected);
    for flag in done["flags"].as_array().unwrap() {
        let stored =
            huidu.get(&path("copy", &format!("/flags/{}", flag["key"].as_str().unwrap())), ADMIN).json();
        assert_eq!(
            json!([stored["state"], stored["stage"], stored["version"]]),
            json!(["killed", null, 1]),
            "{flag}"
        );
    }
    // The ids work: what was exported decides alike once it is opened.
    let restore = [("content-type", "application/json"), ("if-match", "\"1\"")];
    huidu.call("POST", &path("copy", "/flags/wechat-scan-pay/restore"), ADMIN, &restore, b"{}").expect(200);
    let ask = json!({"placement": "checkout", "user": {"id": "tester-1"}, "order": {"goods": [{"id": "g", "category": "shoes"}]}});
    let headers = [("content-type", "application/json"), ("huidu-environment", "copy")];
    let answer =
        huidu.call("POST", "/v1/decisions", ADMIN, &headers, ask.to_string().as_bytes()).expect(200).json();
    let scan = answer["entries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["flag"] == "wechat-scan-pay")
        .unwrap()
        .clone();
    assert_eq!((&scan["visible"], &scan["rule"]), (&json!(true), &json!("invited")));
}

#[test]
fn an_import_done_again_changes_nothing_at_all() {
    let huidu = Huidu::start();
    let body = export(&huidu, "production");
    huidu.post("/v1/environments", ADMIN, &json!({"key": "copy"})).expect(201);
    for environment in ["production", "copy"] {
        import(&huidu, environment, "", &body).expect(200);
        let everything = |huidu: &Huidu| {
            let tails = ["/flags", "/audiences", "/audit", "/flags/wechat-scan-pay/versions", ""];
            tails.map(|tail| huidu.get(&path(environment, tail), ADMIN).expect(200).json())
        };
        let before = everything(&huidu);
        let again = import(&huidu, environment, "", &body).expect(200).json();
        assert!(every_action(&again, "unchanged"), "{again}");
        assert!(again["flags"].as_array().unwrap().iter().all(|flag| flag["diff"] == json!([])), "{again}");
        assert_eq!(everything(&huidu), before);
        assert_eq!(again["snapshot"], before[4]["snapshot"]);
    }
}

#[test]
fn what_exists_keeps_state_and_salt_and_what_is_not_named_stays() {
    let huidu = Huidu::start();
    for key in ["live", "killed", "archived", "other"] {
        huidu.create_flag(&ramp(key, 5.0, 5.0));
    }
    huidu.manage("POST", "/flags/killed/kill", None, &json!({})).expect(200);
    huidu.manage("POST", "/flags/archived/archive", Some(1), &json!({})).expect(200);
    audience(&huidu, "crowd", "user", &["a".into(), "b".into(), "c".into()]);
    audience(&huidu, "untouched", "user", &["a".into()]);
    let wider = |key: &str| {
        let mut flag = ramp(key, 20.0, 5.0);
        flag.as_object_mut().unwrap().remove("salt");
        flag
    };
    let body = json!({"huidu_export": 1, "flags": [wider("live"), wider("killed"), wider("archived")],
                      "audiences": [{"key": "crowd", "ids": ["b", "d", "e"]}]});
    let done = import(&huidu, "production", "", &body).expect(200).json();
    let percent = json!([{"pointer": "/rules/0/serve/rollout/percent", "from": 5.0, "to": 20.0}]);
    let versions = [("live", 2), ("killed", 3), ("archived", 3)];
    for (at, (key, version)) in versions.into_iter().enumerate() {
        let told = json!({"key": key, "action": "replace", "version": version, "diff": percent});
        assert_eq!(done["flags"][at], told);
        let stored = huidu.get(&path("production", &format!("/flags/{key}")), ADMIN).expect(200).json();
        assert_eq!(
            json!([stored["state"], stored["version"], stored["flag"]["salt"]]),
            json!([key, version, key])
        );
    }
    assert_eq!(done["audiences"], json!([{"key": "crowd", "action": "replace", "add": 2, "remove": 2}]));
    let after = export(&huidu, "production");
    let ids = |key: &str| {
        after["audiences"].as_array().unwrap().iter().find(|audience| audience["key"] == key).unwrap()["ids"]
            .clone()
    };
    assert_eq!((ids("crowd"), ids("untouched")), (json!(["b", "d", "e"]), json!(["a"])));
    assert!(after["flags"].as_array().unwrap().iter().any(|flag| flag["key"] == "other"));
    let live = huidu.get(&path("production", "/flags/live"), ADMIN).json();
    assert_eq!(live["stage"], 2, "another way of deciding begins a stage");
    let audit = huidu.get(&path("production", "/audit?flag=live"), ADMIN).expect(200).json();
    assert_eq!(audit["items"][0]["action"], "import");
    let newest = huidu.get(&path("production", "/audit"), ADMIN).expect(200).json()["items"][0].clone();
    assert_eq!(
        json!([newest["kind"], newest["action"], newest["detail"]["audiences"]]),
        json!(["environment", "import", ["crowd"]])
    );
}

#[test]
fn an_export_with_salts_puts_the_same_units_inside() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 50.0, 0.0));
    huidu.post("/v1/environments", ADMIN, &json!({"key": "copy"})).expect(201);
    let body = huidu.get(&path("production", "/export?secrets=true"), ADMIN).expect(200).json();
    import(&huidu, "copy", "", &body).expect(200);
    let copied = huidu.get(&path("copy", "/export?secrets=true"), ADMIN).expect(200).json();
    assert_eq!(copied["flags"], body["flags"]);
    // Another salt over an existing flag is taken, and warned of where it stood.
    let mut other = ramp("f", 50.0, 0.0);
    other["salt"] = json!("other");
    let warned = import(&huidu, "copy", "?dry_run=true", &of_flags(&[other])).expect(200).json();
    assert_eq!(
        json!([warned["warnings"][0]["pointer"], warned["warnings"][0]["code"]]),
        json!(["/flags/0/salt", "salt_changed"])
    );
}

#[test]
fn on_postgresql_an_import_is_the_same_and_another_instance_hears_of_it() {
    block_on(async {
        let database = Database::empty(Engine::Postgres).await;
        let url = database.url.clone();
        tokio::task::spawn_blocking(move || two_instances(&url)).await.unwrap();
    });
}

fn two_instances(url: &str) {
    let here = Huidu::start_with(&[("DATABASE_URL", url)]);
    let there = Huidu::beside(&here);
    let body = export(&here, "production");
    here.post("/v1/environments", ADMIN, &json!({"key": "copy"})).expect(201);
    let done = import(&here, "copy", "", &body).expect(200).json();
    assert!(every_action(&done, "create"), "{done}");
    let mut expected = body.clone();
    expected["environment"] = json!("copy");
    eventually("the other instance has it", || {
        let flags = there.get(&path("copy", "/flags"), ADMIN);
        flags.status == 200 && flags.json()["items"].as_array().is_some_and(|items| items.len() == 2)
    });
    assert_eq!(export(&there, "copy"), expected);
    let again = import(&there, "copy", "", &body).expect(200).json();
    assert!(every_action(&again, "unchanged"), "{again}");
}

#[test]
fn imports_at_once_take_turns() {
    let huidu = crate::trust::unlimited();
    std::thread::scope(|scope| {
        for number in 0..6 {
            let huidu = &huidu;
            scope.spawn(move || {
                let flags: Vec<_> = (0..5).map(|n| ramp(&format!("f-{number}-{n}"), 5.0, 0.0)).collect();
                let mut shared = ramp("shared", f64::from(number), 0.0);
                shared["salt"] = json!("s");
                let body = of_flags(&[flags, vec![shared]].concat());
                import(huidu, "production", "", &body).expect(200);
            });
        }
    });
    let keys = export(&huidu, "production")["flags"].as_array().unwrap().len();
    assert_eq!(keys, 2 + 6 * 5 + 1);
    let version = huidu.get(&path("production", "/flags/shared"), ADMIN).json()["version"].clone();
    assert_eq!(version, 6, "each of them was one whole change");
}
