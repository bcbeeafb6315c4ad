//! A database that was restored from an older backup: what is known goes on until an operator's word.

use std::process::Command;

use serde_json::json;

use super::{Stand, seen};
use crate::fixture::*;
use crate::postgres::Engine;

fn restored(huidu: &Huidu) -> std::process::Output {
    let mut command: Command = program(huidu.folder(), &[]);
    command.arg("restored").output().unwrap()
}

#[test]
fn an_older_database_is_refused_until_told() {
    let mut stand = Stand::start(Engine::Sqlite);
    stand.huidu.create_flag(&ramp("f", 100.0, 0.0));
    let wish = json!({"name": "gone", "role": "server", "environment": "production"});
    let made = stand.huidu.post("/v1/keys", ADMIN, &wish).expect(201).json();
    let key = made["key"].as_str().unwrap();
    stand.huidu.stop();
    let backup = std::fs::read(stand.huidu.database()).unwrap();
    stand.huidu.start_again();
    stand.huidu.manage("POST", "/flags/f/kill", None, &json!({})).expect(200);
    let path = format!("/v1/keys/{}", made["id"].as_str().unwrap());
    stand.huidu.call("DELETE", &path, ADMIN, &[], b"").expect(204);
    stand.huidu.stop();
    std::fs::write(stand.huidu.database(), &backup).unwrap();
    stand.huidu.start_again();
    let number = |huidu: &Huidu| huidu.metric("huidu_snapshot_number{environment=\"production\"}").unwrap();
    let served = number(&stand.huidu);
    assert_eq!(seen(&stand.huidu, "f")[2], "DISABLED", "a kill is not undone");
    stand.huidu.get("/metrics", key).refused(401, "unauthorized");
    eventually("it is said", || {
        let (word, codes) = stand.standing();
        word == "degraded"
            && ["database_older", "keys_older"].iter().all(|code| codes.contains(&(*code).to_owned()))
    });
    stand
        .huidu
        .manage("PUT", "/flags/new", None, &ramp("new", 1.0, 0.0))
        .refused(503, "database_unavailable");
    stand.huidu.post("/v1/keys", ADMIN, &wish).refused(503, "database_unavailable");
    stand.huidu.stop();
    stand.huidu.start_again();
    assert_eq!(seen(&stand.huidu, "f")[2], "DISABLED", "nor by another start");
    assert_eq!(stand.huidu.log().matches("the state of the database is refused").count(), 2, "once a start");
    let output = restored(&stand.huidu);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("production"), "{output:?}");
    stand.until("ready");
    assert_eq!(seen(&stand.huidu, "f")[0], true);
    eventually("the key is good again", || stand.huidu.get("/metrics", key).status == 200);
    assert!(number(&stand.huidu) > served, "numbers go on above what was served");
    stand.huidu.manage("PUT", "/flags/new", None, &ramp("new", 1.0, 0.0)).expect(201);
    stand.huidu.stop();
    stand.huidu.start_again();
    assert_eq!(seen(&stand.huidu, "f")[0], true);
    stand.until("ready");
}
