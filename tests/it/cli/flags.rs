//! `huidu flag` against a service.

use std::fs;

use serde_json::{Value, json};

use super::*;

const SCAN: &str = "wechat-scan-pay";

fn stored(huidu: &Huidu, key: &str) -> Value {
    huidu.get(&format!("/v1/environments/production/flags/{key}"), ADMIN).expect(200).json()
}

#[test]
fn flags_are_listed_and_shown_for_people_and_for_programs() {
    let huidu = Huidu::start();
    let list = call(&huidu, &["flag", "list"]).good().out;
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[0].starts_with("FLAG ") && lines[2].starts_with(SCAN), "{list}");
    assert!(lines[2].contains("live") && lines[2].contains("ramp 5 % (control 5 %)"), "{list}");
    assert!(!list.contains('\u{1b}'), "no colours in a pipe");
    let json = call(&huidu, &["flag", "list", "--json"]).good().json();
    assert_eq!(json["items"][1], stored(&huidu, SCAN));
    assert_eq!(
        call(&huidu, &["flag", "list", "--state", "killed", "--json"]).good().json()["items"],
        json!([])
    );
    call(&huidu, &["flag", "list", "--environment", "staging"]).good().says(&["no flags in staging"]);
    call(&huidu, &["flag", "get", SCAN])
        .good()
        .says(&["wechat-scan-pay: live, version 1, stage 1", "\"salt\""]);
    let document = call(&huidu, &["flag", "get", SCAN, "--document"]).good();
    assert_eq!(document.json(), stored(&huidu, SCAN)["flag"]);
    assert_eq!(call(&huidu, &["flag", "get", SCAN, "--json"]).good().json(), stored(&huidu, SCAN));
}

#[test]
fn more_flags_than_a_page_are_all_listed() {
    let huidu = Huidu::start_with(&[("WRITES_PER_MINUTE", "100000")]);
    for n in 0..203 {
        huidu.create_flag(&ramp(&format!("many-{n}"), 1.0, 0.0));
    }
    let items = call(&huidu, &["flag", "list", "--json"]).good().json()["items"].as_array().unwrap().len();
    assert_eq!(items, 205);
}

#[test]
fn a_flag_is_set_ramped_killed_restored_rolled_back_and_archived() {
    let huidu = Huidu::start();
    let file = huidu.folder().join("mine.json");
    fs::write(&file, ramp("mine", 10.0, 5.0).to_string()).unwrap();
    let file = file.to_str().unwrap();
    call(&huidu, &["flag", "set", file, "--reason", "first try, 灰度"]).good().says(&[
        "created\n",
        "mine: live, version 1, stage 1",
        "rollouts  ramp 10 % (control 5 %)",
    ]);
    call(&huidu, &["flag", "set", file]).good().says(&["unchanged\n", "version 1"]);
    call(&huidu, &["flag", "set", file, "--new"]).bad(1, &["flag_exists"]);
    call(
        &huidu,
        &["flag", "rollout", "mine", "--percent", "20.5", "--control", "6", "--reason", "quiet week"],
    )
    .good()
    .says(&["version 2, stage 2", "ramp 20.5 % (control 6 %)"]);
    call(&huidu, &["flag", "rollout", "mine", "--percent", "30", "--rule", "ramp", "--if-version", "1"])
        .bad(1, &["version_conflict: flag mine is at version 2, you sent 1"]);
    call(&huidu, &["flag", "rollout", "mine", "--percent", "99"]).bad(1, &["flag_invalid", "at most 94%"]);
    call(&huidu, &["flag", "kill", "mine", "--reason", "payments fail"])
        .good()
        .says(&["mine: killed, version 3"]);
    assert_eq!(huidu.entry("mine", &json!({"id": "u"}), &json!([]))["reason"], "DISABLED");
    call(&huidu, &["flag", "restore", "mine", "--reason", "fixed"])
        .good()
        .says(&["mine: live, version 4, stage 3"]);
    call(&huidu, &["flag", "rollback", "mine", "--to", "1"])
        .good()
        .says(&["version 5", "ramp 10 % (control 5 %)"]);
    call(&huidu, &["flag", "diff", "mine", "--from", "2"]).good().says(&[
        "  ~ /flag/rules/0/serve/rollout/control: 6",
        "  ~ /flag/rules/0/serve/rollout/percent: 20.5 -> 10",
    ]);
    call(&huidu, &["flag", "diff", "mine", "--from", "2", "--to", "2"]).good().says(&["are the same"]);
    let versions = call(&huidu, &["flag", "versions", "mine"]).good().out;
    let lines: Vec<&str> = versions.lines().collect();
    assert!(lines.len() == 6 && lines[5].contains("first try, 灰度"), "{versions}");
    assert!(lines[4].contains("quiet week") && lines[4].contains("rollout"), "{versions}");
    assert_eq!(call(&huidu, &["flag", "versions", "mine", "--limit", "2"]).good().out.lines().count(), 3);
    let old = call(&huidu, &["flag", "get", "mine", "--version", "2", "--document"]).good().json();
    assert_eq!(old["rules"][0]["serve"]["rollout"]["percent"], 20.5);
    call(&huidu, &["flag", "get", "mine", "--version", "2"])
        .good()
        .says(&["mine version 2: rollout by key:"]);
    call(&huidu, &["flag", "get", "mine", "--version", "99"]).bad(1, &["not_found"]);
    call(&huidu, &["flag", "archive", "mine"]).good().says(&["mine: archived, version 6"]);
}

#[test]
fn a_kill_needs_nothing_but_a_key() {
    let huidu = Huidu::start();
    // No file, no variable besides the two, no version, no reason; and an editor's key is enough.
    let wish = json!({"name": "on call", "role": "editor", "environment": "production"});
    let made = huidu.post("/v1/keys", ADMIN, &wish).expect(201).json();
    let key = made["key"].as_str().unwrap();
    let url = format!("http://{}", huidu.address);
    run(huidu.folder(), &["flag", "kill", SCAN, "--url", &url, "--key", key]).good().says(&["killed"]);
    assert_eq!(stored(&huidu, SCAN)["state"], "killed");
    call_as(&huidu, key, &["flag", "kill", SCAN], b"").good().says(&["killed, version 2"]);
}

#[test]
fn a_document_is_rehearsed_and_replaces_only_the_version_that_was_read() {
    let huidu = Huidu::start();
    let mut document = stored(&huidu, SCAN)["flag"].clone();
    document["rules"][1]["serve"]["rollout"]["percent"] = json!(12.5);
    // The salt may be left out: the flag keeps its own.
    document.as_object_mut().unwrap().remove("salt");
    let text = document.to_string();
    call_as(&huidu, ADMIN, &["flag", "set", "-", "--dry-run"], text.as_bytes())
        .good()
        .says(&["would replace wechat-scan-pay\n", "  ~ /rules/1/serve/rollout/percent: 5 -> 12.5\n"]);
    let rehearsed =
        call_as(&huidu, ADMIN, &["flag", "set", "-", "--dry-run", "--json"], text.as_bytes()).json();
    assert_eq!(rehearsed["diff"].as_array().unwrap().len(), 1, "{rehearsed}");
    assert_eq!(stored(&huidu, SCAN)["version"], 1, "nothing was changed");
    call_as(&huidu, ADMIN, &["flag", "set", "-", "--if-version", "7"], text.as_bytes())
        .bad(1, &["version_conflict"]);
    call_as(&huidu, ADMIN, &["flag", "set", "-", "--if-version", "1"], text.as_bytes())
        .good()
        .says(&["replaced\n", "version 2"]);
    document["rules"][1]["serve"]["rollout"]["percent"] = json!(1000);
    document["colour"] = json!("red");
    for more in [&[][..], &["--dry-run"]] {
        let arguments = [&["flag", "set", "-"], more].concat();
        call_as(&huidu, ADMIN, &arguments, document.to_string().as_bytes())
            .bad(1, &["flag_invalid: the flag has 2 faults", "/rules/1/serve/rollout/percent", "/colour"]);
    }
    call_as(&huidu, ADMIN, &["flag", "set", "-"], b"{\"key\": ").bad(1, &["line 1"]);
    call_as(&huidu, ADMIN, &["flag", "set", "-"], b"{}").bad(1, &["the document has no `key`"]);
    call_as(&huidu, ADMIN, &["flag", "set", "-"], b"{\"key\": \"a/b\"}").bad(1, &["a key is 1 to 100"]);
    call(&huidu, &["flag", "set", "none.json"]).bad(1, &["none.json cannot be read"]);
}

#[test]
fn refusals_are_sentences_and_never_show_the_key() {
    let huidu = Huidu::start();
    let secret = "huidu_editor_unknownunknownunknownunknown";
    let done = call_as(&huidu, secret, &["flag", "list"], b"").bad(1, &["unauthorized", "HUIDU_KEY"]);
    assert!(!done.err.contains(secret) && !done.out.contains(secret), "{done:?}");
    call_as(&huidu, &huidu.client, &["flag", "kill", SCAN], b"").bad(1, &["forbidden"]);
    call(&huidu, &["flag", "get", "none"]).bad(1, &["not_found: there is no such flag"]);
    call(&huidu, &["flag", "list", "--environment", "none"]).bad(1, &["not_found"]);
    let long = "x".repeat(501);
    call(&huidu, &["flag", "kill", SCAN, "--reason", &long]).bad(1, &["out_of_range"]);
    // Nobody listens at the address of a service that has stopped.
    let mut gone = Huidu::start();
    gone.stop();
    let done = call(&gone, &["flag", "kill", SCAN])
        .bad(1, &["cannot be reached", "nothing listens there", &gone.address]);
    assert_eq!(done.err.lines().count(), 1, "{}", done.err);
    assert!(!done.err.contains(ADMIN));
    call_as(&huidu, "ключ", &["flag", "list"], b"").bad(2, &["printable"]);
    run_with(huidu.folder(), &[("HUIDU_KEY", "")], &["flag", "list"], b"").bad(2, &["set HUIDU_KEY"]);
    run(huidu.folder(), &["flag", "list", "--help"]).good();
    let help = run_with(huidu.folder(), &[("HUIDU_KEY", secret)], &["flag", "list", "--help"], b"").good();
    assert!(!help.out.contains(secret));
}

#[test]
fn what_is_not_huidu_is_said_to_be_something_else() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        std::io::Read::read(&mut stream, &mut head).unwrap();
        let page = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\n<html></html>";
        stream.write_all(page.as_bytes()).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["flag", "list", "--url", &url, "--key", "k"])
        .bad(1, &["status 200", "is it huidu?"]);
    server.join().unwrap();
}

#[test]
fn the_variables_of_commands_do_not_disturb_a_service() {
    let huidu =
        Huidu::start_with(&[("URL", "http://example.invalid"), ("KEY", "x"), ("ENVIRONMENT", "staging")]);
    call(&huidu, &["flag", "list"]).good();
}
