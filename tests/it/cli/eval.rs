//! `huidu eval`: the same decisions as a service, from files.

use std::fs;

use serde_json::{Value, json};

use super::*;

/// A folder with files of ids, as the examples ask for them.
fn shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("testers.txt"), "tester-1\r\n\n tester-2\n").unwrap();
    fs::write(folder.path().join("excluded.csv"), "id,why\ng-9,fragile\n").unwrap();
    folder
}

fn decide(folder: &Path, name: &str, context: &Value, more: &[&str]) -> Done {
    let file = example(name);
    let audiences =
        ["--audience", "wechat-testers=testers.txt", "--audience", "wechat-excluded-goods=excluded.csv"];
    let all = [&["eval", "--flag-file", &file, "--context", "-"], &audiences[..], more].concat();
    run_with(folder, &[], &all, context.to_string().as_bytes())
}

fn shopper(id: &str, goods: &str, category: &str) -> Value {
    json!({"targetingKey": id, "app_version": "10.9.1", "region": "CN-31",
           "goods": [{"id": goods, "category": category, "price": 45_900}]})
}

#[test]
fn each_example_is_decided_and_the_exit_code_says_whether_as_expected() {
    let folder = shop();
    let tester = shopper("tester-1", "g-1", "shoes");
    for (name, variant) in [("wechat-scan-pay.json", "on"), ("wechat-friend-pay.json", "copy_link")] {
        // Half of the goods are let in by the second one.
        let open = (0..40).map(|n| shopper("tester-2", &format!("g-2{n}"), "shoes")).find(|context| {
            decide(folder.path(), name, context, &["--json"]).json()["decision"]["variant"] == variant
        });
        let context = open.unwrap_or_else(|| panic!("{name}: never open"));
        let done = decide(folder.path(), name, &context, &["--expect", variant]).good();
        assert!(
            done.out.starts_with(&format!("{}: {variant}, visible\n", name.trim_end_matches(".json"))),
            "{done:?}"
        );
        decide(folder.path(), name, &context, &["--expect", "off"])
            .bad(1, &["expected the variant off, but"]);
    }
    let phone = shopper("tester-1", "g-1", "phone");
    decide(folder.path(), "wechat-scan-pay.json", &phone, &["--expect", "off"]).good().says(&[
        "off, not visible",
        "the goods gate shuts it",
        "not      g-1",
    ]);
    let excluded = shopper("tester-1", "g-9", "shoes");
    decide(folder.path(), "wechat-scan-pay.json", &excluded, &["--expect", "off"]).good();
    // The whole body of OFREP is taken as well.
    decide(folder.path(), "wechat-scan-pay.json", &json!({"context": tester}), &["--expect", "on"]).good();
}

#[test]
fn the_trace_names_every_step_and_is_the_services_own() {
    let huidu = Huidu::start();
    let path = "/v1/environments/production/flags/wechat-scan-pay";
    let stored = huidu.get(path, ADMIN).expect(200).json();
    let folder = shop();
    // A whole answer of the service is taken for a document, with its salt.
    fs::write(folder.path().join("flag.json"), stored.to_string()).unwrap();
    for context in [
        shopper("tester-1", "g-1", "shoes"),
        shopper("u-9", "g-1", "shoes"),
        shopper("u-10", "g-1", "phone"),
        json!({"targetingKey": "u-1"}),
        json!({}),
    ] {
        let arguments = [
            "eval",
            "--flag-file",
            "flag.json",
            "--context",
            "-",
            "--trace",
            "--json",
            "--audience",
            "wechat-testers=testers.txt",
            "--audience",
            "wechat-excluded-goods=/dev/null",
        ];
        let own = run_with(folder.path(), &[], &arguments, context.to_string().as_bytes()).json();
        let body = json!({"context": context});
        let service = huidu.post(&format!("{path}/explain"), ADMIN, &body).expect(200).json();
        assert_eq!(own["trace"], service["trace"], "{context}");
        for field in ["variant", "visible", "reason", "rule", "arm", "code"] {
            assert_eq!(own["decision"][field], service["decision"][field], "{field}: {context}");
        }
    }
    let words = decide(folder.path(), "wechat-scan-pay.json", &shopper("u-9", "g-1", "shoes"), &["--trace"]);
    words.good().says(&[
        "  yes       wechat-scan-pay is live\n",
        "  no        rule invited\n",
        "  no          in audience wechat-testers: \"u-9\"\n",
        "  yes       rule ramp\n",
        "user.app_version semver_gte \"10.9.0\": \"10.9.1\"",
    ]);
}

#[test]
fn all_faults_of_all_files_come_at_once_with_their_places() {
    let folder = shop();
    let mut first: Value =
        serde_json::from_slice(&fs::read(example("wechat-scan-pay.json")).unwrap()).unwrap();
    first["rules"][1]["serve"]["rollout"]["percent"] = json!(101);
    first["colour"] = json!("red");
    fs::write(folder.path().join("a.json"), first.to_string()).unwrap();
    fs::write(folder.path().join("b.json"), "{\n \"key\": \"b\",\n}").unwrap();
    let arguments = ["eval", "--flag-file", "a.json", "--flag-file", "b.json"];
    let done = run(folder.path(), &arguments).bad(
        1,
        &[
            "a.json: 2 faults",
            "/rules/1/serve/rollout/percent",
            "/colour  unknown_field",
            "b.json: 1 fault",
            "line 3",
        ],
    );
    assert_eq!(done.out, "");
    let errors = run(folder.path(), &[&arguments[..], &["--json"]].concat()).json();
    assert_eq!(errors["errors"].as_array().unwrap().len(), 3, "{errors}");
    assert_eq!(errors["errors"][0]["file"], "a.json");
    for (text, words) in [("[]", "an object is needed"), ("{}", "`key` is required"), ("", "json_invalid")] {
        fs::write(folder.path().join("c.json"), text).unwrap();
        run(folder.path(), &["eval", "--flag-file", "c.json"]).bad(1, &["c.json", words]);
    }
    run(folder.path(), &["eval", "--flag-file", "none.json"]).bad(1, &["none.json cannot be read"]);
}

#[test]
fn prerequisites_come_from_further_files() {
    let folder = shop();
    let mut needs = ramp("needs", 100.0, 0.0);
    needs["prerequisites"] = json!([{"flag": "base", "variants": ["on"]}]);
    fs::write(folder.path().join("needs.json"), needs.to_string()).unwrap();
    fs::write(folder.path().join("base.json"), ramp("base", 100.0, 0.0).to_string()).unwrap();
    fs::write(folder.path().join("user.json"), r#"{"targetingKey": "u"}"#).unwrap();
    let alone = ["eval", "--flag-file", "needs.json", "--context", "user.json"];
    run(folder.path(), &alone).bad(1, &["/prerequisites/0/flag  unknown_flag"]);
    let both = [&alone[..], &["--flag-file", "base.json"]].concat();
    run(folder.path(), &[&both[..], &["--expect", "on"]].concat()).good().says(&["needs: on"]);
    run(folder.path(), &[&both[..], &["--flag", "base"]].concat()).good().says(&["base: on"]);
    run(folder.path(), &[&both[..], &["--flag", "other"]].concat()).bad(1, &["no file has the flag"]);
    let twice = [&both[..], &["--flag-file", "base.json"]].concat();
    run(folder.path(), &twice).bad(1, &["/key  flag_exists"]);
    // A killed prerequisite answers off.
    let killed = json!({"flag": ramp("base", 100.0, 0.0), "state": "killed", "version": 3});
    fs::write(folder.path().join("base.json"), killed.to_string()).unwrap();
    run(folder.path(), &[&both[..], &["--expect", "off"]].concat()).good().says(&["prerequisite"]);
}

#[test]
fn what_cannot_be_known_is_no_decision() {
    let folder = shop();
    let file = example("wechat-scan-pay.json");
    let user = shopper("u-1", "g-1", "shoes").to_string();
    let done =
        run_with(folder.path(), &[], &["eval", "--flag-file", &file, "--context", "-"], user.as_bytes());
    done.bad(1, &["no salt", "wechat-testers was not given", "wechat-excluded-goods=FILE"])
        .says(&["no decision", "an audience that decides cannot be read"]);
    decide(
        folder.path(),
        "wechat-scan-pay.json",
        &json!({"goods": [{"id": "g-1", "category": "shoes"}]}),
        &[],
    )
    .bad(1, &[])
    .says(&["has no unit"]);
    for (context, words) in
        [("{", "the context"), (r#"{"goods": 7}"#, "goods"), (r#"{"targetingKey": 7}"#, "targetingKey")]
    {
        run_with(folder.path(), &[], &["eval", "--flag-file", &file, "--context", "-"], context.as_bytes())
            .bad(1, &[words]);
    }
    fs::write(folder.path().join("bad.txt"), format!("ok\n{}\n", "x".repeat(257))).unwrap();
    let arguments = ["eval", "--flag-file", &file, "--audience", "wechat-testers=bad.txt"];
    run(folder.path(), &arguments).bad(1, &["bad.txt", "line 2"]);
}

#[test]
fn an_end_is_judged_by_the_time_that_is_given() {
    let folder = shop();
    let mut flag = ramp("short", 100.0, 0.0);
    flag["expire_at"] = json!("2026-06-01T00:00:00Z");
    fs::write(folder.path().join("short.json"), flag.to_string()).unwrap();
    fs::write(folder.path().join("user.json"), r#"{"targetingKey": "u"}"#).unwrap();
    let at = |time: &str, expected: &str| {
        let arguments = [
            "eval",
            "--flag-file",
            "short.json",
            "--context",
            "user.json",
            "--at",
            time,
            "--expect",
            expected,
        ];
        run(folder.path(), &arguments).good()
    };
    at("2026-05-31T23:59:59Z", "on");
    at("2026-06-01T00:00:00Z", "off").says(&["DISABLED"]);
    // The same salt gives the same bucket, another one another.
    let bucket = |salt: &str| {
        let mut bare = ramp("bare", 50.0, 0.0);
        bare.as_object_mut().unwrap().remove("salt");
        fs::write(folder.path().join("bare.json"), bare.to_string()).unwrap();
        let arguments = [
            "eval",
            "--flag-file",
            "bare.json",
            "--context",
            "user.json",
            "--trace",
            "--json",
            "--salt",
            salt,
        ];
        run(folder.path(), &arguments).json()["trace"][2]["bucket"].clone()
    };
    assert!(bucket("a").is_u64() && bucket("a") == bucket("a") && bucket("a") != bucket("b"));
}
