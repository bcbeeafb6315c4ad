//! `huidu export` and `huidu import`: an environment as files.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use super::*;

/// Every file below `root`, with its text.
fn files(root: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(
                files(&path)
                    .into_iter()
                    .map(|(name, text)| (Path::new(path.file_name().unwrap()).join(name), text)),
            );
        } else {
            found.push((path.file_name().unwrap().into(), fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn versions(huidu: &Huidu) -> Vec<(Value, Value)> {
    let list = huidu.get("/v1/environments/production/flags", ADMIN).expect(200).json();
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| (item["version"].clone(), item["state"].clone())).collect()
}

#[test]
fn an_export_imported_into_a_fresh_service_exports_the_same() {
    let (source, target) = (Huidu::start(), Huidu::start());
    let mut needs = ramp("needs", 12.5, 5.0);
    needs["prerequisites"] = json!([{"flag": "wechat-scan-pay", "variants": ["on"]}]);
    needs["rules"][0]["when"] = json!({"audience": "vip"});
    call_as(&source, ADMIN, &["audience", "put", "vip", "-"], b"u-1").good();
    source.create_flag(&needs);
    let (first, second) = (source.folder().join("shop"), target.folder().join("shop"));
    let export = |huidu: &Huidu, more: &[&str]| call(huidu, &[&["export", "--dir", "shop"], more].concat());
    export(&source, &["--check"]).bad(1, &[]).says(&["shop differs"]);
    assert!(!first.exists(), "a check writes nothing");
    export(&source, &[]).good().says(&["  + flags/needs.json\n", "  + audiences/vip.txt\n", "7 files added"]);
    let names: Vec<_> = files(&first).into_iter().map(|(name, _)| name.display().to_string()).collect();
    assert_eq!(
        names,
        [
            "audiences/vip.txt",
            "audiences/wechat-excluded-goods.txt",
            "audiences/wechat-testers.txt",
            "flags/needs.json",
            "flags/wechat-friend-pay.json",
            "flags/wechat-scan-pay.json",
            "huidu.json"
        ]
    );
    let text = fs::read_to_string(first.join("flags/needs.json")).unwrap();
    assert!(text.starts_with("{\n  \"key\": \"needs\",\n") && text.ends_with("}\n"), "{text}");
    assert!(!files(&first).iter().any(|(_, text)| text.contains("\"salt\"")), "salts stay where they are");
    // Twice writes nothing.
    let before = fs::metadata(first.join("flags/needs.json")).unwrap().modified().unwrap();
    export(&source, &[]).good().says(&["shop is up to date: 7 files"]);
    assert_eq!(fs::metadata(first.join("flags/needs.json")).unwrap().modified().unwrap(), before);
    export(&source, &["--check"]).good();
    let dir = first.to_str().unwrap();
    let import = |more: &[&str]| call(&target, &[&["import", "--dir", dir], more].concat());
    let before = versions(&target);
    import(&["--dry-run"]).good().says(&[
        "create flag needs\n",
        "create audience vip: 1 ids to add",
        "nothing was changed",
    ]);
    assert_eq!(versions(&target), before);
    import(&["--reason", "from git"]).good().says(&["create flag needs\n", "2 changes made in production"]);
    assert_eq!(versions(&target)[0].1, "killed", "what an import creates is shut");
    let after = versions(&target);
    import(&[]).good().says(&["production is up to date: 6 unchanged"]);
    assert_eq!(versions(&target), after, "twice changes nothing");
    export(&target, &[]).good();
    assert_eq!(files(&first), files(&second));
}

#[test]
fn changes_in_files_are_shown_and_imported_and_faults_name_their_file() {
    let huidu = Huidu::start();
    call(&huidu, &["export", "--dir", "shop"]).good();
    let file = huidu.folder().join("shop/flags/wechat-scan-pay.json");
    let text = fs::read_to_string(&file).unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    document["rules"][1]["serve"]["rollout"]["percent"] = json!(7.5);
    fs::write(&file, document.to_string()).unwrap();
    fs::write(huidu.folder().join("shop/audiences/wechat-testers.txt"), "tester-2\nu-7\n").unwrap();
    let import = |more: &[&str]| call(&huidu, &[&["import", "--dir", "shop"], more].concat());
    import(&["--dry-run"]).good().says(&[
        "replace flag wechat-scan-pay\n",
        "  ~ /rules/1/serve/rollout/percent: 5 -> 7.5\n",
        "audience wechat-testers: 2 ids to add, 1 to remove\n",
        "would make 2 changes in production",
    ]);
    import(&[]).good();
    assert_eq!(versions(&huidu), [(json!(1), json!("live")), (json!(2), json!("live"))]);
    // The file is written again in its stable form, and no other.
    call(&huidu, &["export", "--dir", "shop"])
        .good()
        .says(&["  ~ flags/wechat-scan-pay.json\n", "1 changed"]);
    document["rules"][1]["serve"]["rollout"]["percent"] = json!(750);
    document["colour"] = json!("red");
    fs::write(&file, document.to_string()).unwrap();
    import(&[]).bad(
        1,
        &[
            "flags/wechat-scan-pay.json /rules/1/serve/rollout/percent  out_of_range",
            "flags/wechat-scan-pay.json /colour  unknown_field",
        ],
    );
    fs::write(&file, "{").unwrap();
    fs::write(huidu.folder().join("shop/flags/other.json"), "{\"key\": \"x\"}").unwrap();
    import(&[])
        .bad(1, &["flags/wechat-scan-pay.json: ", "flags/other.json: `key` is not the name of the file"]);
    assert_eq!(versions(&huidu)[1].0, 2, "nothing was changed");
    call(&huidu, &["import", "--dir", "none"]).bad(1, &["none/huidu.json cannot be read", "huidu export"]);
}

#[test]
fn files_of_what_is_gone_are_told_and_removed_only_when_asked() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("short-lived", 1.0, 0.0));
    call(&huidu, &["export", "--dir", "shop"]).good();
    call(&huidu, &["flag", "archive", "short-lived"]).good();
    let file = huidu.folder().join("shop/flags/short-lived.json");
    call(&huidu, &["export", "--dir", "shop"]).good().says(&["  - flags/short-lived.json\n", "--prune"]);
    assert!(file.exists());
    let told = call(&huidu, &["export", "--dir", "shop", "--check", "--json"]).bad(1, &[]).json();
    assert_eq!(told["gone"], json!(["flags/short-lived.json"]));
    call(&huidu, &["export", "--dir", "shop", "--prune"]).good().says(&["were removed"]);
    assert!(!file.exists());
    // Salts come only on demand, and only for an admin.
    call(&huidu, &["export", "--dir", "with", "--secrets"]).good();
    let text = fs::read_to_string(huidu.folder().join("with/flags/wechat-scan-pay.json")).unwrap();
    assert!(text.contains("\"salt\""));
    let wish = json!({"name": "e", "role": "editor", "environment": "production"});
    let key = huidu.post("/v1/keys", ADMIN, &wish).expect(201).json()["key"].as_str().unwrap().to_owned();
    call_as(&huidu, &key, &["export", "--dir", "no", "--secrets"], b"").bad(1, &["forbidden"]);
    call_as(&huidu, &key, &["export", "--dir", "no"], b"").good();
    assert!(!huidu.folder().join("no/flags/short-lived.json").exists());
}

#[test]
fn an_audience_too_large_for_files_is_named_and_stays() {
    let huidu = Huidu::start();
    let many: String = (0..1_001).map(|n| format!("u-{n}\n")).collect();
    call_as(&huidu, ADMIN, &["audience", "put", "many", "-"], many.as_bytes()).good();
    call(&huidu, &["export", "--dir", "shop"]).good();
    assert!(!huidu.folder().join("shop/audiences/many.txt").exists());
    let head: Value =
        serde_json::from_str(&fs::read_to_string(huidu.folder().join("shop/huidu.json")).unwrap()).unwrap();
    assert_eq!(head["audiences"]["many"], json!({"kind": "user", "ids": "not exported"}));
    call(&huidu, &["import", "--dir", "shop"]).good().says(&["production is up to date"]);
    let fresh = Huidu::start();
    let dir = huidu.folder().join("shop");
    call(&fresh, &["import", "--dir", dir.to_str().unwrap()]).bad(1, &["huidu.json", "many"]);
}
