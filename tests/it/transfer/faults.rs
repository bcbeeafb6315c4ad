//! What an import refuses: all faults at once, each by its pointer, and nothing is stored.

use serde_json::{Value, json};

use super::{audience, export, import, of_flags, path, snapshot};
use crate::fixture::*;

/// Pointer and code of each fault of a refusal.
fn faults(answer: &Answer) -> Vec<String> {
    let problem = answer.clone().refused(422, "import_invalid").json();
    let errors = problem["errors"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    errors.iter().map(|error| format!("{} {}", text(&error["pointer"]), text(&error["code"]))).collect()
}

/// `document` with one field set.
fn with(mut document: Value, field: &str, value: Value) -> Value {
    document[field] = value;
    document
}

fn plain(key: &str) -> Value {
    ramp(key, 5.0, 0.0)
}

fn requires(key: &str, required: &str) -> Value {
    with(plain(key), "prerequisites", json!([{"flag": required, "variants": ["on"]}]))
}

#[test]
fn every_fault_of_every_part_comes_at_once_and_nothing_is_stored() {
    let huidu = Huidu::start();
    let before = (export(&huidu, "production"), snapshot(&huidu, "production"));
    let mut percent = plain("b");
    percent["rules"][0]["serve"]["rollout"]["percent"] = json!(101);
    let body = json!({"huidu_export": 1, "flags": [
        plain("good"),
        percent,
        with(plain("c"), "colour", json!("red")),
        plain("good"),
        7,
        with(plain("d"), "key", json!("a/b")),
        with(plain("e"), "rules", json!([{"id": "r", "when": {"audience": "nobody"}, "serve": {"variant": "on"}}])),
    ], "audiences": [
        {"key": "wechat-testers", "kind": "goods", "ids": []},
        {"key": "missing", "kind": "user", "size": 5},
        {"key": "made", "kind": "user", "ids": [""]},
    ]});
    for query in ["", "?dry_run=true"] {
        let told = faults(&import(&huidu, "production", query, &body));
        assert_eq!(
            told,
            [
                "/audiences/2/ids/0 id_invalid",
                "/audiences/0/kind audience_kind",
                "/audiences/1/key unknown_audience",
                "/flags/1/rules/0/serve/rollout/percent out_of_range",
                "/flags/2/colour unknown_field",
                "/flags/3/key duplicate_flag",
                "/flags/4 wrong_type",
                "/flags/5/key key_invalid",
                "/flags/6/rules/0/when/audience unknown_audience",
            ]
        );
    }
    assert_eq!((export(&huidu, "production"), snapshot(&huidu, "production")), before);
}

#[test]
fn flags_are_validated_as_one_set() {
    let huidu = Huidu::start();
    let rows: Vec<(Vec<Value>, &[&str])> = vec![
        // A flag may require one that comes after it.
        (vec![requires("a", "b"), plain("b")], &[]),
        (
            vec![requires("c", "d"), requires("d", "c")],
            &["/flags/0/prerequisites prerequisite_cycle", "/flags/1/prerequisites prerequisite_cycle"],
        ),
        // The one that is stored requires `a` through `b` of this import.
        (
            vec![with(plain("b"), "prerequisites", json!([{"flag": "a", "variants": ["on"]}]))],
            &["/flags/0/prerequisites prerequisite_cycle"],
        ),
        (vec![requires("e", "nobody")], &["/flags/0/prerequisites/0/flag unknown_flag"]),
        // Its requirement has faults of its own, which are told there.
        (vec![requires("f", "g"), with(plain("g"), "colour", json!(1))], &["/flags/1/colour unknown_field"]),
        (
            vec![requires("h", "i"), with(plain("i"), "variants", json!({"off": false, "yes": true}))],
            &["/flags/0/prerequisites/0/variants unknown_variant"],
        ),
        (
            vec![with(plain("j"), "funnel", json!(["seen"])), with(plain("k"), "metrics", json!(["seen"]))],
            &["/flags/0/funnel/0 step_kind_conflict", "/flags/1/metrics/0 step_kind_conflict"],
        ),
        (vec![with(plain("l"), "funnel", json!(["order_paid"]))], &["/flags/0/funnel/0 step_kind_conflict"]),
        (
            (0..7)
                .map(
                    |n| if n == 6 { plain("m6") } else { requires(&format!("m{n}"), &format!("m{}", n + 1)) },
                )
                .collect(),
            &[
                "/flags/0/prerequisites prerequisite_too_deep",
                "/flags/1/prerequisites prerequisite_too_deep",
                "/flags/2/prerequisites prerequisite_too_deep",
                "/flags/3/prerequisites prerequisite_too_deep",
                "/flags/4/prerequisites prerequisite_too_deep",
                "/flags/5/prerequisites prerequisite_too_deep",
            ],
        ),
    ];
    for (flags, expected) in rows {
        let answer = import(&huidu, "production", "", &of_flags(&flags));
        if expected.is_empty() {
            answer.expect(200);
        } else {
            assert_eq!(faults(&answer), expected, "{flags:?}");
        }
    }
    // Both turn a step's kind together: as one set it fits.
    let kinds = |field: &str| {
        [with(plain("s"), field, json!(["turned"])), with(plain("t"), field, json!(["turned"]))]
    };
    for field in ["funnel", "metrics", "funnel"] {
        import(&huidu, "production", "", &of_flags(&kinds(field))).expect(200);
    }
}

#[test]
fn an_audience_without_ids_must_be_there_and_stays_as_it_is() {
    let huidu = Huidu::start();
    let ids: Vec<String> = (0..1_500).map(|n| format!("u-{n}")).collect();
    audience(&huidu, "large", "user", &ids);
    let body =
        |size: i64| json!({"huidu_export": 1, "audiences": [{"key": "large", "kind": "user", "size": size}]});
    let before = snapshot(&huidu, "production");
    let same = import(&huidu, "production", "", &body(1_500)).expect(200).json();
    assert_eq!(
        json!([same["audiences"], same["warnings"]]),
        json!([[{"key": "large", "action": "unchanged", "add": 0, "remove": 0}], []])
    );
    let other = import(&huidu, "production", "", &body(9)).expect(200).json();
    assert_eq!(
        json!([other["warnings"][0]["pointer"], other["warnings"][0]["code"]]),
        json!(["/audiences/0/size", "audience_size"])
    );
    assert_eq!(snapshot(&huidu, "production"), before);
    let few = json!({"huidu_export": 1, "audiences": [{"key": "large", "ids": ["u-7", "new"]}]});
    let cut = import(&huidu, "production", "", &few).expect(200).json();
    assert_eq!(cut["audiences"], json!([{"key": "large", "action": "replace", "add": 1, "remove": 1_499}]));
    let empty = json!({"huidu_export": 1, "audiences": [{"key": "large", "ids": []}]});
    let cut = import(&huidu, "production", "", &empty).expect(200).json();
    assert_eq!(cut["audiences"], json!([{"key": "large", "action": "replace", "add": 0, "remove": 2}]));
}

#[test]
fn what_is_no_export_is_refused_by_its_own_code() {
    let huidu = Huidu::start();
    let at = path("production", "/import");
    let call = |body: &[u8]| huidu.call("POST", &at, ADMIN, &[("content-type", "application/json")], body);
    call(b"").refused(400, "json_invalid");
    call(b"{").refused(400, "json_invalid");
    call(b"{\"huidu_export\":1,\"huidu_export\":1}").refused(400, "json_duplicate_key");
    assert_eq!(faults(&call(b"{}")), ["/huidu_export required"]);
    assert_eq!(faults(&call(b"[]")), [" wrong_type"]);
    let twice =
        call(br#"{"huidu_export":1,"flags":[{"key":"f","key":"f"}]}"#).refused(400, "json_duplicate_key");
    assert_eq!(twice.json()["pointer"], "/flags/0/key");
    call(&vec![b' '; (32 << 20) + 1]).refused(413, "body_too_large");
    huidu.post(&format!("{at}?dry_run=maybe"), ADMIN, &of_flags(&[])).refused(400, "query_invalid");
    huidu.post(&format!("{at}?force=true"), ADMIN, &of_flags(&[])).refused(400, "query_invalid");
    // As deep as a document may be it still fits into an export, and no deeper.
    let nested = |levels: usize| {
        let value = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        format!(
            r#"{{"key":"deep","value_type":"object","off_variant":"off","variants":{{"off":{value}}},"salt":"s"}}"#
        )
    };
    let put = |document: &str| {
        let headers = [("content-type", "application/json"), ("if-none-match", "*")];
        huidu.call("PUT", &path("staging", "/flags/deep"), ADMIN, &headers, document.as_bytes())
    };
    put(&nested(31)).refused(400, "json_too_deep");
    put(&nested(30)).expect(201);
    let wrapped = |document: &str| format!(r#"{{"huidu_export":1,"flags":[{document}]}}"#);
    call(wrapped(&nested(31)).as_bytes()).refused(400, "json_too_deep");
    call(wrapped(&nested(30)).as_bytes()).expect(200);
}

#[test]
fn more_flags_or_audiences_than_an_environment_may_have_are_refused() {
    let huidu = Huidu::start();
    let audiences: Vec<_> = (0..999).map(|n| json!({"key": format!("a-{n}"), "ids": []})).collect();
    let body = |count: usize| json!({"huidu_export": 1, "audiences": audiences[..count]});
    import(&huidu, "production", "?dry_run=true", &body(999)).refused(422, "quota_reached");
    import(&huidu, "production", "?dry_run=true", &body(998)).expect(200);
    let flags: Vec<_> = (0..9_999).map(|n| json!({"key": format!("f-{n}"), "value_type": "boolean", "variants": {"off": false}, "off_variant": "off"})).collect();
    import(&huidu, "production", "?dry_run=true", &of_flags(&flags)).refused(422, "quota_reached");
}

#[test]
fn a_damaged_flag_is_never_left_out_of_an_export_in_silence() {
    let huidu = Huidu::start();
    let url = format!("sqlite:{}", huidu.database().display());
    crate::postgres::block_on(async {
        use sqlx::{Connection as _, Executor as _};
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        connection.execute("UPDATE flags SET document = '{}' WHERE key = 'wechat-scan-pay'").await.unwrap();
        connection.close().await.unwrap();
    });
    let refused = huidu.get(&path("production", "/export"), ADMIN).refused(500, "flag_unreadable");
    assert!(refused.text.contains("wechat-scan-pay"), "{refused:?}");
    // A whole document heals it.
    let scan: Value = serde_json::from_str(include_str!("../../../examples/wechat-scan-pay.json")).unwrap();
    let healed = import(&huidu, "production", "", &of_flags(&[scan])).expect(200).json();
    assert_eq!(healed["flags"][0]["action"], "replace");
    assert_eq!(export(&huidu, "production")["flags"].as_array().unwrap().len(), 2);
}
