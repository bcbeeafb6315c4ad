//! Copies that are not good are ignored, named, and never make a default.

use std::os::unix::fs::PermissionsExt as _;

use huidu::live::disk::{Found, find};
use serde_json::json;

use super::{Stand, seen};
use crate::fixture::*;
use crate::postgres::Engine;

fn id(huidu: &Huidu) -> String {
    std::fs::read_to_string(huidu.folder().join("huidu.id")).unwrap()
}

/// Why the copy of a folder is ignored.
fn ignored(huidu: &Huidu, id: &str) -> Option<String> {
    match find(huidu.folder(), Some(id)) {
        Found::Ignored(error) => Some(error.to_string()),
        Found::Good(_) | Found::Nothing => None,
    }
}

#[test]
fn a_torn_flipped_newer_or_foreign_copy_is_ignored() {
    let mut huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 100.0, 0.0));
    huidu.stop();
    let (folder, id) = (huidu.folder().join("last-good"), id(&huidu));
    let path = folder.join("state");
    let whole = std::fs::read(&path).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
    for text in [ADMIN, &huidu.client, &huidu.server] {
        let found = whole.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(!found, "a key stands in the copy");
    }
    assert!(matches!(find(huidu.folder(), Some(&id)), Found::Good(_)));
    for part in 0..16 {
        std::fs::write(&path, &whole[..whole.len() * part / 16]).unwrap();
        assert!(ignored(&huidu, &id).is_some(), "torn at {part}/16");
    }
    let head = whole.iter().position(|byte| *byte == b'\n').unwrap();
    for at in (0..=head).chain([head + 1, whole.len() / 2, whole.len() - 1]) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        assert!(ignored(&huidu, &id).is_some(), "byte {at} flipped");
    }
    let text = String::from_utf8(whole.clone()).unwrap();
    std::fs::write(&path, text.replacen("huidu-last-good 1 ", "huidu-last-good 2 ", 1)).unwrap();
    assert!(ignored(&huidu, &id).unwrap().contains("newer huidu"));
    std::fs::write(&path, &whole).unwrap();
    assert!(ignored(&huidu, "another").unwrap().contains("belongs to the database"));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(find(huidu.folder(), Some(&id)), Found::Nothing));
}

#[test]
fn without_a_good_copy_and_without_the_database_nothing_is_decided() {
    let mut stand = Stand::start(Engine::Sqlite);
    stand.huidu.create_flag(&ramp("f", 100.0, 0.0));
    stand.huidu.stop();
    let path = stand.huidu.folder().join("last-good/state");
    let whole = std::fs::read(&path).unwrap();
    stand.take_away();
    let foreign =
        String::from_utf8(whole.clone()).unwrap().replacen("huidu-last-good 1 ", "huidu-last-good 9 ", 1);
    for (what, bytes) in [
        ("torn", Some(whole[..whole.len() / 2].to_vec())),
        ("newer", Some(foreign.into_bytes())),
        ("none", None),
    ] {
        match &bytes {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        stand.huidu.start_again_unready();
        assert_eq!(
            stand.huidu.get("/readyz", "").expect(503).json(),
            json!({"status": "starting"}),
            "{what}"
        );
        // No key is known, so none can be told from another; what may be asked without one says that it is not ready.
        let body = json!({"placement": "checkout", "user": {"id": "u-1"}});
        stand.huidu.post("/v1/decisions", &stand.huidu.server, &body).refused(503, "not_ready");
        let ofrep =
            stand.huidu.post("/ofrep/v1/evaluate/flags/f", &stand.huidu.client, &json!({"context": {}}));
        assert_eq!(
            (ofrep.status, &ofrep.json()["errorCode"]),
            (503, &json!("PROVIDER_NOT_READY")),
            "{ofrep:?}"
        );
        let stream = stand.huidu.get("/ofrep/v1/sse?token=abc", "");
        stream.refused(503, "not_ready");
        if bytes.is_some() {
            assert!(stand.huidu.log().contains("the last good state on disk is ignored"), "{what}");
        }
        stand.huidu.stop();
        assert_eq!(std::fs::read(&path).ok(), bytes, "{what}: nothing is overwritten");
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    stand.huidu.start_again_unready();
    stand.give_back();
    stand.until("ready");
    assert_eq!(seen(&stand.huidu, "f")[0], true);
    eventually("a good copy again", || ignored(&stand.huidu, &id(&stand.huidu)).is_none());
}

#[test]
fn a_copy_of_another_database_does_not_decide() {
    let (mut other, mut stand) = (Huidu::start(), Stand::start(Engine::Sqlite));
    other.create_flag(&ramp("other", 100.0, 0.0));
    other.stop();
    stand.huidu.stop();
    let state = |huidu: &Huidu| huidu.folder().join("last-good/state");
    std::fs::copy(state(&other), state(&stand.huidu)).unwrap();
    stand.take_away();
    stand.huidu.start_again_unready();
    stand.huidu.get("/readyz", "").expect(503);
    assert!(stand.huidu.log().contains("belongs to the database"), "{}", stand.huidu.log());
}

#[test]
fn audiences_lie_beside_the_state_and_are_written_once() {
    let mut stand = Stand::start(Engine::Sqlite);
    let ids: String = (0..5_000).map(|n| format!("u-{n}\n")).collect();
    let headers = [("content-type", "text/plain"), ("if-none-match", "*")];
    let path = "/v1/environments/production/audiences/many";
    stand.huidu.call("PUT", path, ADMIN, &headers, ids.as_bytes()).expect(201);
    let mut flag = ramp("f", 0.0, 0.0);
    flag["rules"][0] = json!({"id": "r", "when": {"audience": "many"}, "serve": {"variant": "on"}});
    stand.huidu.create_flag(&flag);
    stand.huidu.manage("POST", "/audiences/many/remove", None, &json!({"ids": ["u-1"]})).expect(200);
    stand.huidu.manage("POST", "/audiences/many/add", None, &json!({"ids": ["late"]})).expect(200);
    let member =
        |huidu: &Huidu, id: &str| huidu.entry("f", &json!({"id": id}), &json!([]))["visible"].clone();
    let decides = |huidu: &Huidu| ["u-2", "u-1", "late", "stranger"].map(|id| member(huidu, id));
    let wanted = [true, false, true, false].map(|member| json!(member));
    assert_eq!(decides(&stand.huidu), wanted);
    let base = |huidu: &Huidu| {
        let files = std::fs::read_dir(huidu.folder().join("last-good")).unwrap().map(|entry| entry.unwrap());
        let is_base = |file: &std::fs::DirEntry| {
            file.path().extension().is_some_and(|kind| kind == "base")
                && file.metadata().unwrap().len() > 40_000
        };
        let mut large: Vec<_> = files.filter(is_base).collect();
        large.pop().map(|file| (file.file_name(), file.metadata().unwrap().modified().unwrap()))
    };
    stand.huidu.stop();
    let before = base(&stand.huidu).expect("the ids lie in a file of their own");
    let state = std::fs::metadata(stand.huidu.folder().join("last-good/state")).unwrap().len();
    assert!(state < 30_000, "the state holds no ids: {state} bytes");
    stand.take_away();
    stand.huidu.start_again();
    assert_eq!(decides(&stand.huidu), wanted);
    stand.give_back();
    stand.until("ready");
    stand.huidu.create_flag(&ramp("g", 100.0, 0.0));
    stand.huidu.stop();
    assert_eq!(base(&stand.huidu), Some(before.clone()), "a change of a flag does not write them again");
    let file = stand.huidu.folder().join("last-good").join(&before.0);
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    stand.take_away();
    stand.huidu.start_again();
    let entry = stand.huidu.entry("f", &json!({"id": "u-2"}), &json!([]));
    assert_eq!((&entry["visible"], &entry["code"]), (&json!(false), &json!("audience_unavailable")));
    assert_eq!(seen(&stand.huidu, "g")[0], true, "the others move on");
    assert!(stand.standing().1.contains(&"audiences_unreadable".into()));
    stand.give_back();
    stand.until("ready");
    assert_eq!(decides(&stand.huidu), wanted);
}

#[test]
fn a_disk_that_takes_no_copy_is_said_and_heals() {
    let stand = Stand::start(Engine::Sqlite);
    let folder = stand.huidu.folder().join("last-good");
    eventually("a first copy", || folder.join("state").exists());
    let aside = stand.huidu.folder().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    stand.huidu.create_flag(&ramp("f", 100.0, 0.0));
    stand.until("degraded");
    assert_eq!(stand.standing().1, ["copy_not_written"]);
    assert_eq!(seen(&stand.huidu, "f")[0], true);
    assert!(stand.huidu.metric("huidu_copy_write_failures_total").unwrap() >= 1.0);
    std::fs::remove_file(&folder).unwrap();
    stand.until("ready");
    assert!(folder.join("state").exists());
}
