//! `huidu explain`.

use std::fs;

use serde_json::json;

use super::*;

#[test]
fn a_service_explains_itself_to_people() {
    let huidu = Huidu::start();
    let context =
        json!({"targetingKey": "tester-1", "goods": [{"id": "g-1", "category": "shoes", "price": 1}]});
    let ask = |more: &[&str], input: &Value| {
        let arguments = [&["explain", "wechat-scan-pay", "--context", "-"], more].concat();
        call_as(&huidu, ADMIN, &arguments, input.to_string().as_bytes())
    };
    let done = ask(&[], &context).good().says(&[
        "wechat-scan-pay: on, visible\n",
        "  because  TARGETING_MATCH: rule invited serves this variant\n",
        "  arm      fixed\n",
        "  of       version 1, snapshot 1\n",
        "  yes       wechat-scan-pay is live\n",
        "  yes       goods: all items must be eligible\n",
        "  yes       rule invited\n",
        "  yes         in audience wechat-testers: \"tester-1\"",
    ]);
    assert!(!done.out.contains('\u{1b}'));
    ask(&[], &json!({"context": context})).good().says(&["on, visible"]);
    let path = "/v1/environments/production/flags/wechat-scan-pay/explain";
    let service = huidu.post(path, ADMIN, &json!({"context": context})).expect(200).json();
    assert_eq!(ask(&["--json"], &context).good().json(), service);
    // A draft, which is checked and not stored.
    let mut draft =
        huidu.get("/v1/environments/production/flags/wechat-scan-pay", ADMIN).json()["flag"].clone();
    draft["rules"] = json!([]);
    let file = huidu.folder().join("draft.json");
    fs::write(&file, draft.to_string()).unwrap();
    let file = file.to_str().unwrap();
    ask(&["--document", file], &context).good().says(&[
        "off, not visible",
        "STATIC",
        "a draft over version 1",
    ]);
    fs::write(file, "{\"key\": \"wechat-scan-pay\"}").unwrap();
    ask(&["--document", file], &context).bad(1, &["flag_invalid", "/variants"]);
    ask(&[], &json!({"goods": 7})).bad(1, &["goods"]);
    call_as(&huidu, ADMIN, &["explain", "wechat-scan-pay", "--context", "-"], b"{").bad(1, &["line 1"]);
    call_as(&huidu, ADMIN, &["explain", "none", "--context", "-"], b"{}").bad(1, &["there is no such flag"]);
    call_as(&huidu, &huidu.client, &["explain", "none", "--context", "-"], b"{}").bad(1, &["forbidden"]);
}
